"""Entities on 1024 × 1024 pixels next to StarDist and Cellpose, end to end.

    python benchmarks/peers_entities.py [DATA_DIR] --peers FOLDER     # half an hour
    python benchmarks/peers_entities.py --peers FOLDER --only StarDist --repeats 2    # minutes

Pictures: a frame of the shipped sample, mirrored; with ``DATA_DIR`` also held-out nuclei of its
``dsb2018`` (see ``entities_accuracy.py``), put next to each other.  Everything runs with the same
number of threads on the same processors, in turns, and ends with a label image; loading is left
out on all sides.

Pretrained weights of the peers are on servers that a build machine does not reach.  What a network
costs does not depend on its values, but what comes after it does, so:

* *StarDist* is trained here for some minutes (``--minutes``) with its default options and a grid
  of 2 × 2, that of its published models, on the split ``train`` of ``dsb2018``; without
  ``DATA_DIR`` on the shipped sample with our labels.  The model is kept in the peers' folder.
* *Cellpose* runs its own pipeline around a network of random weights, whose answer is replaced by
  the flows of true masks (of the sample, where there are none, of our labels), as it makes them for
  training; version 3 with the network of its ``cyto3``, version 4 with that of Cellpose-SAM.
  Pictures are not enlarged to its preferred diameter.  The network of version 4 takes minutes; it
  is asked once, for the first picture, and its time counted for the second too, which is as large.

So times can be compared, accuracies cannot, and are not shown.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from entities_speed import SIDE, picture
from peers import Peer, PeerError, ValueRange, add_arguments, in_turns, machine, ratios, same_cores
from plots import bars, keep_plot, new_figure, shown
from tables import keep

from napari_kindred import EntityConfig, segment_entities
from napari_kindred.compute.device import select
from napari_kindred.entities.checkpoint import load_network
from napari_kindred.images.samples import open_sample
from napari_kindred.images.stack import read_image

if TYPE_CHECKING:
    from collections.abc import Callable

NAME = "peers_entities"
GRID = 2
PIECE = 256
LARGEST = 360
"""Training pictures with a longer side are left out, to keep what is sent to StarDist small."""
MOST = 100
SAMPLE, NUCLEI = "shipped sample, mirrored", "DSB 2018, held out"

PEERS = {
    "StarDist": ("stardist", "stardist", "tensorflow-cpu"),
    "Cellpose 3": ("cellpose3", "cellpose", "torch"),
    "Cellpose 4": ("cellpose", "cellpose", "torch"),
}
"""Name in the table: environment, and packages whose versions are told."""

ASKED_ONCE = "Cellpose 4"


def rows_of(data: Path, split: str) -> list[dict[str, str]]:
    """Return the fluorescence pictures of a split, as the index tells them."""
    with (data / "dsb2018" / "index.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [
        row for row in rows if row["split"] == split and row["modality_guess"] == "fluorescence"
    ]


def pair_of(data: Path, row: dict[str, str]) -> tuple[np.ndarray, np.ndarray]:
    """Read one grey picture and its labels."""
    name = f"{row['id']}.tif"
    pixels, labels = (
        np.asarray(read_image(data / "dsb2018" / kind / name).data) for kind in ("images", "labels")
    )
    if pixels.ndim == 3:
        pixels = pixels[..., :3].mean(-1)
    return pixels.astype(np.float32), labels.astype(np.int32)


def nuclei(data: Path, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Return held-out pictures next to each other, each from 0 to 255, and their labels."""
    pixels, labels = np.zeros((side, side), np.uint8), np.zeros((side, side), np.int32)
    places = [(y, x) for y in range(0, side, PIECE) for x in range(0, side, PIECE)]
    small = [row for row in rows_of(data, "val") if row["height"] == row["width"] == str(PIECE)]
    for (y, x), row in zip(places, small, strict=False):
        one, own = pair_of(data, row)
        low, high = np.percentile(one, (0.1, 99.9))
        scaled = 255 * np.clip((one - low) / max(high - low, 1), 0, 1)
        where = np.s_[y : y + PIECE, x : x + PIECE]
        pixels[where] = scaled
        labels[where] = np.where(own > 0, own + labels.max(), 0)
    return pixels, labels


def learnt_from(data: Path | None) -> tuple[list[tuple[np.ndarray, np.ndarray]], str]:
    """Return the pictures with labels that StarDist learns from, and what they are."""
    if data:
        rows = [
            row
            for row in rows_of(data, "train")
            if max(int(row["height"]), int(row["width"])) <= LARGEST
        ]
        chosen = np.random.default_rng(0).permutation(len(rows))[:MOST]
        return [pair_of(data, rows[number]) for number in chosen], "DSB 2018, split train"
    movie = np.asarray(open_sample("nuclei").data)
    labels = segment_entities(movie, axes="TYX", device="cpu").labels
    pairs = [(p.astype(np.float32), np.asarray(own)) for p, own in zip(movie, labels, strict=True)]
    return pairs, "the shipped sample with our labels"


def teach_stardist(peer: Peer, place: Path, data: Path | None, minutes: float) -> dict[str, Any]:
    """Open StarDist's model of a run before, or train one."""
    folder = (place / f"stardist-model-{'dsb2018' if data else 'sample'}").absolute()
    notes = folder / "training.json"
    if notes.exists() and peer.ask("load", folder=str(folder))["found"]:
        known: dict[str, Any] = json.loads(notes.read_text("utf-8"))
        return known
    pairs, source = learnt_from(data)
    print(f"Training StarDist on {source} for {minutes:g} minutes …", flush=True)
    height, width = (max(pixels.shape[axis] for pixels, _ in pairs) for axis in (0, 1))
    images = np.zeros((len(pairs), height, width), np.float32)
    labels = np.zeros(images.shape, np.int32)
    for number, (pixels, own) in enumerate(pairs):
        images[number, : pixels.shape[0], : pixels.shape[1]] = pixels
        labels[number, : own.shape[0], : own.shape[1]] = own
    shapes = np.array([pixels.shape for pixels, _ in pairs])
    told = peer.ask(
        "train",
        folder=str(folder),
        minutes=minutes,
        grid=GRID,
        images=images,
        labels=labels,
        shapes=shapes,
    )
    told |= {"source": source, "pictures": len(pairs)}
    notes.write_text(json.dumps(told, indent=1) + "\n", "utf-8")
    return told


def ours(pixels: np.ndarray, model: Any, **options: Any) -> dict[str, float]:
    """Segment once; returns seconds, and how many entities there are."""
    config = EntityConfig(axes="YX", device="cpu", **options)
    start = time.perf_counter()
    result = segment_entities(pixels, config=config, model=model)
    np.asarray(result.labels)
    return {"total": time.perf_counter() - start, "entities": float(len(result.table))}


def theirs(peer: Peer, pixels: np.ndarray, **options: Any) -> dict[str, float]:
    """Ask a peer once; returns what it tells, and how many objects there are."""
    told = peer.ask("segment", pixels=pixels.astype(np.float32), **options)
    labels = told.pop("labels")
    return {**told, "entities": float(len(np.unique(labels)) - 1)}


class Opened:
    """The peers that can be measured, and why the others cannot."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.peers: dict[str, Peer] = {}
        self.facts: dict[str, dict[str, Any]] = {}
        self.missing: dict[str, str] = {}
        self.once: float | None = None
        for name, (environment, *packages) in PEERS.items():
            if name not in given.only.split(","):
                self.missing[name] = "not asked for in this run"
                continue
            script = "stardist_peer" if environment == "stardist" else "cellpose_peer"
            try:
                peer = Peer(environment, given.peers, given.threads, script)
                self.peers[name] = peer
                if environment == "stardist":
                    told = teach_stardist(peer, given.peers, given.data, given.minutes)
                else:
                    told = peer.ask("open_model")
            except PeerError as error:
                self.missing[name] = str(error)
                print(f"{name}: {error}", flush=True)
                if name in self.peers:
                    self.peers.pop(name).close()
            else:
                self.facts[name] = {"versions": peer.version(*packages), **told}

    def close(self) -> None:
        """End all of them."""
        for peer in self.peers.values():
            peer.close()


def compare(
    opened: Opened, pixels: np.ndarray, labels: np.ndarray | None, model: Any, repeats: int
) -> dict[str, Any]:
    """Time ours and all peers on one picture, in turns; all pictures have the same size."""
    ways: dict[str, Callable[[], dict[str, float]]] = {
        "ours": partial(ours, pixels, model),
        "ours, scale 1": partial(ours, pixels, model, scale=1.0),
    }
    if labels is None:
        config = EntityConfig(axes="YX", device="cpu")
        labels = np.asarray(segment_entities(pixels, config=config, model=model).labels)
    for name, peer in opened.peers.items():
        if name == "StarDist":
            ways[name] = partial(theirs, peer, pixels)
            continue
        peer.ask("masks", labels=labels.astype(np.int32))
        ways[name] = partial(theirs, peer, pixels, network=name != ASKED_ONCE)
        if name == ASKED_ONCE and opened.once is None:
            opened.once = theirs(peer, pixels, network=True)["network"]
            print(f"The network of {name}, once: {opened.once:.1f} s", flush=True)
    runs = in_turns(ways, repeats)
    for run in runs.get(ASKED_ONCE, []):
        run["network"] = opened.once or 0.0
        run["total"] += run["network"]
    found: dict[str, Any] = {"objects": int(len(np.unique(labels)) - 1), "ways": {}}
    for name, all_ in runs.items():
        own: dict[str, Any] = {
            key: round(ValueRange.of(run[key] for run in all_).median, 3) for key in all_[0]
        }
        for key in ("ours", "ours, scale 1"):
            own[f"over {key}"] = vars(ratios(all_, runs[key], "total"))
        found["ways"][name] = own
    return found


def markdown(result: dict[str, Any]) -> str:
    """Return the table of one measurement."""
    rows = [
        (
            f"| {result['side']} × {result['side']} | seconds | network | after it | objects "
            "| over ours, automatic scale | over ours, scale 1 |"
        ),
        "|---|---|---|---|---|---|---|",
    ]
    for title, found in result["pictures"].items():
        rows.append(f"| *{title}, {found['objects']} objects* | | | | | | |")
        for name, own in found["ways"].items():
            parts = " | ".join(
                f"{own[key]:.2f}" if key in own else "" for key in ("network", "post")
            )
            over = " | ".join(
                str(ValueRange(**own[f"over {key}"])) if key != name else "1"
                for key in ("ours", "ours, scale 1")
            )
            rows.append(
                f"| {name} | {own['total']:.2f} | {parts} | {own['entities']:.0f} | {over} |"
            )
    rows += [
        f"| {name} | not measured: {why} | | | | | |" for name, why in result["missing"].items()
    ]
    return "\n".join(
        [
            *rows,
            "",
            " ".join(_notes(result)),
            "",
            shown(NAME, "Seconds of a picture, ours and peers"),
        ]
    )


def _notes(result: dict[str, Any]) -> list[str]:
    facts = result["peers"]
    notes = [
        f"Medians of {result['repeats']} rounds; ratios round by round, median (least–most).",
        f"{result['hardware']}, {result['threads']} threads each on the same cores.",
    ]
    if "StarDist" in facts:
        own = facts["StarDist"]
        notes.append(
            f"StarDist ({own['versions']}): {own['steps']} steps in {own['seconds'] / 60:.0f} "
            f"minutes on {own['pictures']} pictures of {own['source']}."
        )
    for name in ("Cellpose 3", ASKED_ONCE):
        if name in facts:
            own = facts[name]
            notes.append(
                f"{name} ({own['versions']}): {own['network']} with random weights in "
                f"{own['numbers']}; the steps after it work on flows of the objects told"
                + (", its network was asked once." if name == ASKED_ONCE else ".")
            )
    return notes


def draw(result: dict[str, Any]) -> Any:
    """Return the plot: seconds of all ways, a panel per picture."""
    pictures = result["pictures"]
    figure, panels = new_figure(len(pictures), width=4.2, height=2.4)
    for axes, (title, found) in zip(panels, pictures.items(), strict=True):
        bars(axes, {name: own["total"] for name, own in found["ways"].items()}, title, "seconds")
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, nargs="?", metavar="DATA_DIR")
    parser.add_argument("--minutes", type=float, default=5.0, help="StarDist learns for [5]")
    parser.add_argument("--only", default=",".join(PEERS), help=f"of: {', '.join(PEERS)} [all]")
    parser.add_argument("--side", type=int, default=SIDE, help=f"of the pictures [{SIDE}]")
    add_arguments(parser)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    same_cores(given.threads)
    busy = machine()
    model = load_network(EntityConfig().weights, select("cpu"))
    opened = Opened(given)
    try:
        pictures: dict[str, tuple[np.ndarray, np.ndarray | None]] = {}
        if given.data:
            pictures[NUCLEI] = nuclei(given.data, given.side)
        pictures[SAMPLE] = picture(None)[0][: given.side, : given.side], None
        found = {
            title: compare(opened, pixels, labels, model, given.repeats)
            for title, (pixels, labels) in pictures.items()
        }
    finally:
        opened.close()
    result = {
        "side": given.side,
        "threads": given.threads,
        "repeats": given.repeats,
        "hardware": busy,
        "date": time.strftime("%Y-%m-%d"),
        "peers": opened.facts,
        "missing": opened.missing,
        "pictures": found,
    }
    keep(NAME, result, markdown(result), given.out)
    keep_plot(NAME, draw(result), given.out)


if __name__ == "__main__":
    main()
