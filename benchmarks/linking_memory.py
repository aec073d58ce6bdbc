"""Whether the memory that linking a movie takes stays the same as the movie grows.

    python benchmarks/linking_memory.py                    # minutes
    python benchmarks/linking_memory.py --frames 50,200

Labels of 500 and of 2,000 frames of 256 × 256 pixels, 36 discs that wander and at times are
missing, are written to zarr, a frame per chunk, and linked by ``nk.link`` with 0.25 GB allowed,
each in a process of its own.  What is told is the largest resident size of that process, less its
size when it had imported what it needs.  The table has a row per object and frame, so it grows.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from movie_memory import peak
from tables import keep

NAME = "linking_memory"
SIDE = 256
LENGTHS = (500, 2000)


def write_labels(path: Path, frames: int, side: int) -> None:
    """Write labels whose ids are those of the frame."""
    import zarr

    random = np.random.default_rng(0)
    movie = zarr.create_array(
        path, shape=(frames, side, side), chunks=(1, side, side), dtype="uint16"
    )
    step = side // 6
    homes = np.array([(y, x) for y in range(6) for x in range(6)]) * step + step // 2
    places = homes.astype(float)
    rows, columns = np.mgrid[:side, :side]
    for frame in range(frames):
        places += random.normal(0, 1, places.shape) + 0.1 * (homes - places)
        labels = np.zeros((side, side), np.uint16)
        there = np.flatnonzero(random.random(len(places)) > 0.02)
        for number, one in enumerate(random.permutation(there), 1):
            y, x = places[one]
            near = np.s_[max(0, int(y) - 12) : int(y) + 13, max(0, int(x) - 12) : int(x) + 13]
            inside = np.hypot(rows[near] - y, columns[near] - x) < 10
            labels[near][inside] = number
        movie[frame] = labels


def one_run(path: str) -> dict[str, Any]:
    """Link the labels at a path in this process; return the time and memory that it took."""
    import zarr

    import napari_kindred as nk

    nk.link(np.zeros((2, 32, 32), np.uint8), axes="TYX")  # what linking imports
    bare = peak()
    movie = zarr.open_array(path, mode="r")
    start = time.perf_counter()
    result = nk.link(movie, axes="TYX", memory=0.25)
    return {
        "frames": movie.shape[0],
        "seconds_per_frame": round((time.perf_counter() - start) / movie.shape[0], 4),
        "megabytes": round((peak() - bare) / 1e6),
        "labels_on_disk": not isinstance(result.labels, np.ndarray),
        "table_megabytes": round(result.table.memory_usage(deep=True).sum() / 1e6, 1),
        "tracks": len(result.tracks),
    }


def main() -> None:
    """Measure each length in a process of its own, and keep the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", default=",".join(map(str, LENGTHS)))
    parser.add_argument("--side", type=int, default=SIDE)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--run", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.run:
        print(json.dumps(one_run(given.run)))
        return
    found = []
    for frames in map(int, given.frames.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "labels.zarr"
            write_labels(path, frames, given.side)
            command = [sys.executable, __file__, "--run", str(path)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found.append(json.loads(done.stdout.splitlines()[-1]))
            print(found[-1], flush=True)
    result = {"side": given.side, "runs": found}
    keep(NAME, result, markdown(result), given.out)


def markdown(result: dict[str, Any]) -> str:
    """Return the table for the page."""
    side = result["side"]
    head = f"| frames of {side} × {side} | peak above what is imported, MB | table, MB | tracks |"
    rows = [
        f"| {run['frames']:,} | {run['megabytes']} | {run['table_megabytes']} | {run['tracks']} |"
        for run in result["runs"]
    ]
    return "\n".join([head, "|---|---|---|---|", *rows])


if __name__ == "__main__":
    main()
