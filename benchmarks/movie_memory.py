"""Whether the memory that clustering a movie takes stays the same as the movie grows.

    python benchmarks/movie_memory.py                    # an hour and more on two cores
    python benchmarks/movie_memory.py --frames 20,80     # minutes

Movies of 500 and of 2,000 frames of 512 × 512 pixels, uint16, are written to zarr, a frame per
chunk, and clustered by ``cluster_stack`` with default options, each in a process of its own and
with nothing known from earlier runs.  What is told is the largest resident size of that process,
less its size when it had imported ``napari_kindred`` and nothing else.

Frames are those of ``consistency_speed.py``: the shipped sample, played back and forth, mirrored
to size, and each moved by another step, so that no two are the same.
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

NAME = "movie_memory"
SIDE = 512
LENGTHS = (500, 2000)
LIMIT = 2.5
"""Gigabytes that are allowed."""


def peak() -> int:
    """Return the largest resident size of this process by now, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # what getrusage tells on Linux includes the parent process
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) << 10
    import psutil

    known = psutil.Process().memory_info()
    if hasattr(known, "peak_wset"):
        return int(known.peak_wset)
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def one_run(path: str) -> dict[str, Any]:
    """Cluster a movie on disk in this process; return its time and the memory that it took."""
    import napari_kindred as nk

    bare = peak()
    import zarr

    from napari_kindred.models.feature_cache import FeatureCache

    movie = zarr.open_array(path, mode="r")
    start = time.perf_counter()
    result = nk.cluster_stack(movie, axes="TYX")
    seconds = time.perf_counter() - start
    most = peak()
    return {
        "frames": movie.shape[0],
        "seconds": round(seconds),
        "bare": round(bare / 1e6),
        "megabytes": round((most - bare) / 1e6),
        "movie_disk": round(movie.nbytes_stored() / 1e6),
        "labels_disk": round(stored(result.labels) / 1e6),
        "cache_disk": round(FeatureCache().size() / 1e6),
        "clusters": len(result.table),
    }


def stored(labels: Any) -> int:
    """Return the bytes that labels take as zarr."""
    if hasattr(labels, "nbytes_stored"):
        return int(labels.nbytes_stored())
    import zarr

    chunks = (1, *labels.shape[1:])
    return int(
        zarr.create_array(zarr.storage.MemoryStore(), data=labels, chunks=chunks).nbytes_stored()
    )


def write_movie(path: Path, frames: int, side: int) -> None:
    """Write a movie frame by frame."""
    import zarr
    from consistency_speed import LongMovie

    drawn = LongMovie(frames, side)
    shape, chunks = (frames, side, side), (1, side, side)
    movie = zarr.create_array(path, shape=shape, chunks=chunks, dtype="uint16")
    for number in range(frames):
        movie[number] = drawn[number]


def measure(frames: int, side: int) -> dict[str, Any]:
    """Write a movie of a length and cluster it in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="napari-kindred-") as folder:
        path = Path(folder, "movie.zarr")
        write_movie(path, frames, side)
        done = subprocess.run(
            [sys.executable, __file__, "--one", str(path)],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "NAPARI_KINDRED_CACHE": str(Path(folder, "cache"))},
        )
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(row, flush=True)
    return row


def markdown(result: dict[str, Any]) -> str:
    """Return the table."""
    rows, side = result["rows"], result["side"]
    titles = (
        f"frames of {side} × {side}",
        "peak above the bare import, GB",
        "of the shortest",
        "s per frame",
        "movie on disk, GB",
        "its labels, GB",
        "kept of it, GB",
    )
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for row in rows:
        share = row["megabytes"] / rows[0]["megabytes"]
        disk = (row[name] / 1e3 for name in ("movie_disk", "labels_disk", "cache_disk"))
        lines.append(
            f"| {row['frames']:,} | {row['megabytes'] / 1e3:.2f} | {share:.0%} "
            f"| {row['seconds'] / row['frames']:.2f} | {' | '.join(f'{n:.2f}' for n in disk)} |"
        )
    most = max(row["megabytes"] for row in rows) / 1e3
    verdict = "below" if most < LIMIT else "ABOVE"
    told = f"At most {most:.2f} GB, {verdict} the {LIMIT} GB that are allowed. Seconds are of "
    told += f"everything, encoding included. {result['hardware']}."
    return "\n".join([*lines, "", told])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", default=",".join(map(str, LENGTHS)))
    parser.add_argument("--side", type=int, default=SIDE)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(one_run(given.one)))
        return
    from entities_speed import hardware
    from tables import keep

    lengths = [int(length) for length in given.frames.split(",")]
    rows = [measure(length, given.side) for length in lengths]
    result = {"side": given.side, "rows": rows, "hardware": hardware()}
    keep(NAME, result, markdown(result), given.out)


if __name__ == "__main__":
    main()
