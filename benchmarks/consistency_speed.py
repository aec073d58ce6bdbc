"""Whether clustering a movie stays fast and small as the movie grows.

    python benchmarks/consistency_speed.py              # both parts; half an hour on two cores
    python benchmarks/consistency_speed.py --part time  # minutes
    python benchmarks/consistency_speed.py --part memory --frames 20,80

*Time*: tokens of 50, 100 and 200 frames of 512 × 512, clustered by us and by scikit-learn's PCA
and k-means of all tokens at once; encoding and refinement, which are the same for both, are left
out.  *Memory*: ``cluster_stack`` with default options on 100 and on 400 frames of 1024 × 1024, each
in a process of its own, whose largest resident size is read at the end.

Frames are those of the shipped sample, played back and forth, mirrored to size, and each moved by
another step, so that no two are the same; they are made when they are read.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from consistency_ways import CLUSTERS, COMPONENTS
from entities_speed import hardware
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from tables import keep, measured_before

from napari_kindred import ClusterConfig, cluster_stack
from napari_kindred.clusters.labelling import Labeller
from napari_kindred.clusters.predict import make_model
from napari_kindred.clusters.prepass import sample_places
from napari_kindred.core.events import finish
from napari_kindred.encoders.encode import iter_encode
from napari_kindred.encoders.registry import open_encoder
from napari_kindred.images.ranges import intensity_range
from napari_kindred.images.samples import open_sample
from napari_kindred.images.stack import ImageStack, normalise_to

NAME = "consistency_speed"
SIDE = 512
LENGTHS = (50, 100, 200)
LEVELS = (4, 8, 20)


class LongMovie:
    """A movie of any length that holds none of its frames; read like an array, frame by frame."""

    def __init__(self, frames: int, side: int) -> None:
        self._source = np.asarray(open_sample("nuclei").data)
        self.shape, self.dtype, self.ndim = (frames, side, side), self._source.dtype, 3

    def __getitem__(self, key: Any) -> np.ndarray:
        """Return ``movie[t]``, or a window of it."""
        number, *window = key if isinstance(key, tuple) else (key,)
        if isinstance(number, slice):
            return np.stack([self[(t, *window)] for t in range(*number.indices(self.shape[0]))])
        frame = self._frame(int(number))
        return frame[tuple(window)] if window else frame

    def _frame(self, number: int) -> np.ndarray:
        count, side = len(self._source), self.shape[1]
        place = number % (2 * count - 2)
        frame = self._source[min(place, 2 * count - 2 - place)]
        while min(frame.shape) < side:
            frame = np.pad(frame, [(0, min(n, side - n)) for n in frame.shape], "symmetric")
        return np.roll(frame[:side, :side], (number, 2 * number), (0, 1))


def tokens_of(movie: LongMovie) -> list[np.ndarray]:
    encoder = open_encoder("kindred", stride=4)
    frames = ImageStack.open(movie, "TYX")
    low, high = intensity_range(frames)
    found = []
    for index in frames.indices():
        pixels = normalise_to(frames.read(index).pixels, low, high)
        found.append(finish(iter_encode(encoder, pixels)).values)
    return found


def ours(tokens: list[np.ndarray]) -> float:
    """Seconds of both passes over the tokens, as the plugin makes them."""
    config = ClusterConfig(n_clusters=CLUSTERS)
    start = time.perf_counter()
    model = make_model(config)
    model.reset()
    model.fit_on_sample([tokens[number] for number in sample_places(len(tokens))])
    reduced: list[np.ndarray] = []
    for first in range(0, len(tokens), config.batch_size):
        batch = [model.reduce(one) for one in tokens[first : first + config.batch_size]]
        model.partial_fit_reduced(batch)
        reduced += batch
    model.finish()
    labeller = Labeller(model, config)
    for number, one in enumerate(reduced):
        labeller.vote(number, one)
    labeller.decide()
    return time.perf_counter() - start


def flat(tokens: list[np.ndarray]) -> float:
    """Seconds of scikit-learn's PCA and k-means of all tokens of the movie at once."""
    start = time.perf_counter()
    every = np.concatenate([one.reshape(-1, one.shape[-1]) for one in tokens])
    reduced = PCA(COMPONENTS, random_state=0).fit_transform(every)
    KMeans(CLUSTERS, n_init=1, random_state=0).fit(reduced)
    return time.perf_counter() - start


def measure_time() -> list[dict[str, Any]]:
    tokens = tokens_of(LongMovie(max(LENGTHS), SIDE))
    rows = []
    for length in LENGTHS:
        part = tokens[:length]
        row = {"frames": length, "tokens": length * int(np.prod(part[0].shape[:2]))}
        row |= {"ours": round(ours(part), 2), "flat": round(flat(part), 2)}
        print(row, flush=True)
        rows.append(row)
    return rows


def one_run(frames: int, side: int) -> dict[str, Any]:
    """Cluster a long movie in this process; returns its time and the process's largest size."""
    start = time.perf_counter()
    result = cluster_stack(LongMovie(frames, side), axes="TYX")
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Kilobytes on Linux, bytes on macOS.
    megabytes = peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)
    start = time.perf_counter()
    for level in LEVELS:  # tables, and the frame that is looked at
        np.asarray(result.at_level(level).labels[0])
    levels = (time.perf_counter() - start) / len(LEVELS)
    return {
        "frames": frames,
        "side": side,
        "seconds": round(seconds, 1),
        "megabytes": round(megabytes),
        "level": round(levels, 3),
        "clusters": len(result.table),
    }


def measure_memory(lengths: list[int], side: int) -> list[dict[str, Any]]:
    rows = []
    for length in lengths:
        done = subprocess.run(
            [sys.executable, __file__, "--one", str(length), "--side", str(side)],
            check=True,
            capture_output=True,
            text=True,
        )
        rows.append(json.loads(done.stdout.splitlines()[-1]))
        print(rows[-1], flush=True)
    return rows


def markdown(result: dict) -> str:
    """Return both tables."""
    lines: list[str] = []
    if result.get("time"):
        lines += [
            f"| frames of {SIDE} × {SIDE} | tokens | seconds, ours | seconds, flat | ratio |",
            "|---|---|---|---|---|",
        ]
        lines += [
            f"| {row['frames']} | {row['tokens']:,} | {row['ours']:.1f} | {row['flat']:.1f} "
            f"| {row['flat'] / row['ours']:.1f} |"
            for row in result["time"]
        ]
    if result.get("memory"):
        first = result["memory"][0]
        lines += [
            "",
            "| frames of {side} × {side} | s per frame | MB | of the first | level, s |".format(
                **first
            ),
            "|---|---|---|---|---|",
        ]
        lines += [
            f"| {row['frames']} | {row['seconds'] / row['frames']:.2f} | {row['megabytes']} "
            f"| {100 * row['megabytes'] / first['megabytes']:.0f} % | {row['level']:.2f} |"
            for row in result["memory"]
        ]
        lines += ["", "Seconds of everything, encoding included; largest size of the process."]
    return "\n".join([*lines, "", f"{result['hardware']}."])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", choices=("time", "memory"))
    parser.add_argument("--frames", default="100,400")
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(one_run(given.one, given.side)))
        return
    result = measured_before(NAME, given.out)
    result["hardware"] = hardware()
    if given.part != "memory":
        result["time"] = measure_time()
    if given.part != "time":
        lengths = [int(length) for length in given.frames.split(",")]
        result["memory"] = measure_memory(lengths, given.side)
    keep(NAME, result, markdown(result), given.out)


if __name__ == "__main__":
    main()
