"""Clustering a movie next to k-means of the whole stack: scikit-learn's, and napari-convpaint's.

    python benchmarks/peers_clusters.py --peers FOLDER                 # an hour
    python benchmarks/peers_clusters.py --peers FOLDER --frames 4,8 --pixels 1,2 --repeats 1

*Clustering*: the tokens of 50, 100 and 200 frames of 512 × 512 are made once; ours, scikit-learn's
PCA and k-means of all of them at once, and the two functions that napari-convpaint calls for the
k-means of a whole stack without annotations cluster the very same tokens, into as many clusters
of as many components, with each one's default number of starts.

*End to end*: ``cluster_stack`` from pixels to labels of pixels, and the same frames encoded by the
same encoder and clustered by scikit-learn, to labels of tokens.

*From pixels, all their own*: ``cluster_stack`` next to napari-convpaint's
``ConvpaintModel().get_feature_image(stack, kmeans_clusters=…)``, its only call that clusters a
stack without annotations, with its default features (a VGG16, of random values, for its weights
cannot be had offline: the time is the same).  It keeps the features of every pixel of the stack,
so only few frames fit; the size of its process is told.

All take turns on the same processors with the same number of threads; quoted is the ratio within
each round.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from consistency_speed import SIDE, LongMovie, flat, ours, tokens_of
from consistency_ways import CLUSTERS, COMPONENTS
from peers import Peer, PeerError, ValueRange, add_arguments, in_turns, machine, ratios, same_cores
from plots import keep_plot, lines, new_figure, shown
from tables import keep, measured_before

from napari_kindred import cluster_stack
from napari_kindred.models.feature_cache import FeatureCache

NAME = "peers_clusters"
FRAMES = (50, 100, 200)
PIXELS = (2, 4, 8)
PARTS = ("clustering", "end to end", "from pixels")
PEER = "napari-convpaint"

Ways = dict[str, Callable[[], dict[str, float]]]


def seconds_of(work: Callable[[], Any]) -> dict[str, float]:
    start = time.perf_counter()
    work()
    return {"total": time.perf_counter() - start}


def from_pixels(movie: LongMovie | np.ndarray) -> Any:
    """Cluster a movie with nothing known of it; returns the labels of its last frame."""
    with tempfile.TemporaryDirectory() as folder:
        result = cluster_stack(
            movie, axes="TYX", n_clusters=CLUSTERS, device="cpu", cache=FeatureCache(Path(folder))
        )
        return np.asarray(result.labels[-1])


def told(runs: dict[str, list[dict[str, float]]], **facts: Any) -> dict[str, Any]:
    """Return medians of all ways, and each one's ratios to ours."""
    return facts | {
        "ways": {
            name: {key: round(ValueRange.of(run[key] for run in all_).median, 3) for key in all_[0]}
            | {"ratio": vars(ratios(all_, runs["ours"], "total"))}
            for name, all_ in runs.items()
        }
    }


def clustering(tokens: list[np.ndarray], peer: Peer | None, repeats: int) -> dict[str, Any]:
    """Cluster the same tokens in every way."""
    ways: Ways = {
        "ours": lambda: {"total": ours(tokens)},
        "scikit-learn": lambda: {"total": flat(tokens)},
    }
    if peer:
        peer.ask("keep", values=np.stack(tokens))
        ways[PEER] = partial(peer.ask, "cluster", clusters=CLUSTERS, components=COMPONENTS)
    count = len(tokens) * int(np.prod(tokens[0].shape[:2]))
    return told(in_turns(ways, repeats), frames=len(tokens), tokens=count)


def end_to_end(frames: int, repeats: int) -> dict[str, Any]:
    """Cluster a movie from its pixels, by us and by scikit-learn behind the same encoder."""
    movie = LongMovie(frames, SIDE)
    ways: Ways = {
        "ours": lambda: seconds_of(lambda: from_pixels(movie)),
        "scikit-learn": lambda: seconds_of(lambda: flat(tokens_of(movie))),
    }
    return told(in_turns(ways, repeats, warm=False), frames=frames)


def few_frames(frames: int, peer: Peer, repeats: int) -> dict[str, Any]:
    """Cluster a few frames from their pixels, each with features of its own."""
    movie = LongMovie(frames, SIDE)[:frames].astype(np.float32)
    ways: Ways = {
        "ours": lambda: seconds_of(lambda: from_pixels(movie)),
        PEER: partial(peer.ask, "stack", movie=movie, clusters=CLUSTERS),
    }
    return told(in_turns(ways, repeats, warm=False), frames=frames)


def markdown(result: dict[str, Any]) -> str:
    """Return the table of one measurement."""
    rows = [
        f"| what | frames of {SIDE} × {SIDE} | seconds, ours | seconds, theirs | over ours |",
        "|---|---|---|---|---|",
    ]
    for part in PARTS:
        for one in result.get(part, []):
            for name, own in one["ways"].items():
                if name == "ours":
                    continue
                size = f" ({own['megabytes'] / 1e3:.1f} GB)" if "megabytes" in own else ""
                rows.append(
                    f"| {part}, {name} | {one['frames']} | {one['ways']['ours']['total']:.1f} "
                    f"| {own['total']:.1f}{size} | {ValueRange(**own['ratio'])} |"
                )
    notes = [
        f"{CLUSTERS} clusters; of {COMPONENTS} components where tokens are the same. Medians of",
        f"{result['repeats']} rounds; ratios round by round, median (least–most).",
        f"{result['hardware']}, {result['threads']} threads each on the same cores.",
        f"{PEER}: {result['peer']}.",
    ]
    return "\n".join(
        [*rows, "", " ".join(notes), "", shown(NAME, "Seconds over frames, ours and peers")]
    )


def draw(result: dict[str, Any]) -> Any:
    """Return the plot: seconds over frames, of tokens, and from pixels."""
    parts = [part for part in ("clustering", "from pixels") if result.get(part)]
    figure, panels = new_figure(len(parts), width=4.2)
    for axes, part in zip(panels, parts, strict=True):
        found = result[part]
        names = list(dict.fromkeys(name for one in found for name in one["ways"]))
        series = {
            name: [one["ways"].get(name, {}).get("total") for one in found]
            for name in ("ours", "scikit-learn", PEER)
            if name in names
        }
        places = [one["frames"] for one in found]
        lines(axes, places, series, f"frames of {SIDE} × {SIDE}", "seconds")
        axes.set_title(part)
        axes.legend(frameon=False)
    return figure


def measure(given: argparse.Namespace, peer: Peer | None, result: dict[str, Any]) -> None:
    """Measure what is asked for, and put it into the result part by part."""
    lengths = [int(length) for length in given.frames.split(",")]
    parts = given.parts.split(",")
    if "clustering" in parts:
        tokens = tokens_of(LongMovie(max(lengths), SIDE))
        result["clustering"] = [
            clustering(tokens[:length], peer, given.repeats) for length in lengths
        ]
    if "from pixels" in parts and peer:
        peer.ask("open_model")
        result["from pixels"] = [
            few_frames(int(length), peer, min(2, given.repeats))
            for length in given.pixels.split(",")
        ]
    if "end to end" in parts:
        result["end to end"] = [end_to_end(max(lengths), min(2, given.repeats))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", default=",".join(map(str, FRAMES)), help="clustered as tokens")
    parser.add_argument("--pixels", default=",".join(map(str, PIXELS)), help="clustered by pixels")
    parser.add_argument("--parts", default=",".join(PARTS), help=f"of: {', '.join(PARTS)} [all]")
    add_arguments(parser)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    same_cores(given.threads)
    result = measured_before(NAME, given.out) | {
        "hardware": machine(),
        "threads": given.threads,
        "repeats": given.repeats,
        "date": time.strftime("%Y-%m-%d"),
    }
    peer = None
    try:
        peer = Peer("convpaint", given.peers, given.threads, "convpaint_peer")
        result["peer"] = peer.version("napari-convpaint", "scikit-learn", "torch")
    except PeerError as error:
        result["peer"] = f"not measured: {error}"
    try:
        measure(given, peer, result)
    finally:
        if peer:
            peer.close()
    keep(NAME, result, markdown(result), given.out)
    keep_plot(NAME, draw(result), given.out)


if __name__ == "__main__":
    main()
