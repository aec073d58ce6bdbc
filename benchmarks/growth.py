"""How time and memory of each method grow with frames and with pixels.

    python benchmarks/growth.py                       # ten minutes on two cores
    python benchmarks/growth.py --factors 1,2 --side 128 --methods entities --out FILE.json

Each run is a process of its own.  Told are its seconds from pixels to the last label, and by how
much its largest resident size is above the size that it had when it had imported the package and
its libraries.  Frames grow from ``FRAMES`` of ``--side`` squared to eight times as many; pixels
from a single frame of that side to one of eight times the area.  All options are at their
defaults, but for the scale of entities, which is 1, so that the same is done at every size.

Frames are those of ``consistency_speed.py``: the shipped sample, each moved by another step, made
when they are read.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from plots import keep_plot, legend, lines, new_figure, shown
from tables import keep, measured_before

NAME = "growth"
FACTORS = (1, 2, 4, 8)
FRAMES = 2
SIDE = 384
METHODS = ("entities", "clusters", "classes")
NAMES = ("fluorescent nucleus", "white blood cell")


def run(method: str, movie: Any) -> Any:
    """Run a method on a movie, with default options."""
    import napari_kindred as nk

    if method == "entities":
        return nk.segment_entities(movie, axes="TYX", scale=1.0)
    if method == "clusters":
        return nk.cluster_stack(movie, axes="TYX")
    return nk.segment_classes(movie, NAMES, axes="TYX", vocabulary="microscopy")


def one_run(method: str, frames: int, side: int) -> dict[str, Any]:
    """Run a method in this process; return its time and the memory that it took."""
    from consistency_speed import LongMovie
    from movie_memory import peak

    movie = LongMovie(frames, side)
    bare = peak()
    start = time.perf_counter()
    result = run(method, movie)
    for number in range(frames):
        np.asarray(result.labels[number])
    return {
        "method": method,
        "frames": frames,
        "side": side,
        "seconds": round(time.perf_counter() - start, 2),
        "megabytes": round((peak() - bare) / 1e6),
    }


def measure(method: str, frames: int, side: int, threads: int) -> dict[str, Any]:
    """Run a method in a process of its own, with nothing known from earlier runs."""
    with tempfile.TemporaryDirectory(prefix="napari-kindred-") as folder:
        done = subprocess.run(
            [sys.executable, __file__, *f"--one {method} --frames {frames} --side {side}".split()],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "NAPARI_KINDRED_CACHE": folder,
                "OMP_NUM_THREADS": str(threads),
            },
        )
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(row, flush=True)
    return row


def grow(
    methods: list[str], factors: list[int], frames: int, side: int, threads: int
) -> dict[str, Any]:
    """Measure every method for all numbers of frames, and for all areas."""
    found: dict[str, Any] = {}
    for method in methods:
        found[method] = {
            "frames": [measure(method, frames * factor, side, threads) for factor in factors],
            "pixels": [
                measure(method, 1, round(side * factor**0.5), threads) for factor in factors
            ],
        }
    return found


def markdown(result: dict[str, Any]) -> str:
    """Return the table of one measurement."""
    factors = result["factors"]
    rows = [
        "| method | growing | " + " | ".join(f"× {factor}" for factor in factors) + " |",
        "|---|---|" + "---|" * len(factors),
    ]
    for method, found in result["methods"].items():
        for what, own in found.items():
            cells = [f"{row['seconds']:.1f} s, {row['megabytes']:,} MB" for row in own]
            rows.append(f"| {method} | {what} | {' | '.join(cells)} |")
    note = (
        f"Frames: {result['frames']} of {result['side']} × {result['side']} pixels at × 1; pixels: "
        f"a single frame of that size at × 1. Seconds of everything but loading Python's "
        f"libraries; memory above what these take. {result['hardware']}."
    )
    return "\n".join(
        [*rows, "", note, "", shown(NAME, "Seconds and memory over frames and pixels")]
    )


def draw(result: dict[str, Any]) -> Any:
    """Return the plot: seconds and memory over frames, and over pixels."""
    figure, panels = new_figure(4, width=3.0)
    methods = result["methods"]
    kinds = [("frames", "frames, ×"), ("pixels", "pixels of a frame, ×")]
    units = [("seconds", "seconds"), ("megabytes", "memory above the import, MB")]
    places = [(what, label, unit, axis) for what, label in kinds for unit, axis in units]
    for axes, (what, label, unit, axis) in zip(panels, places, strict=True):
        series = {
            method: [max(row[unit], 0.01) for row in found[what]]
            for method, found in methods.items()
        }
        lines(axes, result["factors"], series, label, axis)
    legend(figure, panels[0])
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--factors", default=",".join(map(str, FACTORS)))
    parser.add_argument("--frames", type=int, default=FRAMES, help=f"at × 1 [{FRAMES}]")
    parser.add_argument("--side", type=int, default=SIDE, help=f"at × 1 [{SIDE}]")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--one", choices=METHODS, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help="another JSON file; the pages then stay")
    given = parser.parse_args()
    if given.one:
        print(json.dumps(one_run(given.one, given.frames, given.side)))
        return
    import torch
    from peers import machine

    torch.set_num_threads(given.threads)
    factors = [int(factor) for factor in given.factors.split(",")]
    result = measured_before(NAME, given.out)
    own = {"frames": given.frames, "side": given.side, "factors": factors}
    if any(result.get(key) != value for key, value in own.items()):
        result = {"methods": {}}  # sizes that do not belong together make no table
    result |= own | {"hardware": machine(), "date": time.strftime("%Y-%m-%d")}
    result["methods"] |= grow(
        given.methods.split(","), factors, given.frames, given.side, given.threads
    )
    keep(NAME, result, markdown(result), given.out)
    keep_plot(NAME, draw(result), given.out)


if __name__ == "__main__":
    main()
