"""How much sooner two Dask workers are done with a movie than one process, with the same labels.

    python benchmarks/workers.py                  # about twenty minutes on two cores
    python benchmarks/workers.py --frames 6       # minutes
    python benchmarks/workers.py --method classes

A movie in zarr is worked on by each method: in this process, in its threads, and on a
``LocalCluster`` of two processes.  PyTorch has one thread everywhere, so that two workers have two
cores where one process has one.  A first run of eight frames lets every worker import what it
needs; each run opens its networks again, on every worker, and nothing is known of the frames from
earlier runs.  Labels are compared in the same run; they must be equal.

Clustering is encoded by workers and clustered here, so two workers cannot halve its time; what
they could at best is told by the share of the time that encoding takes in one process.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before PyTorch is imported

NAME = "workers"
METHODS = ("entities", "clusters", "classes")
WAYS = ("one process", "threads", "two workers")
SIDE = 256


def runner(method: str, movie: Any, count: int) -> Callable[[Any], Any]:
    """Return what runs a method on the first frames of a movie, given a scheduler."""
    import napari_kindred as nk
    from napari_kindred.models.feature_cache import FeatureCache

    frames, nothing = movie[:count], FeatureCache(limit=0)
    if method == "entities":
        return lambda scheduler: nk.segment_entities(frames, axes="TYX", scheduler=scheduler)
    if method == "clusters":
        return lambda scheduler: nk.cluster_stack(
            frames, axes="TYX", n_clusters=6, cache=nothing, scheduler=scheduler
        )
    names = nk.Vocabulary.load("microscopy").names[:2]
    return lambda scheduler: nk.segment_classes(
        frames, names, axes="TYX", cache=nothing, scheduler=scheduler
    )


def measure(method: str, movie: Any, client: Any, repeats: int) -> dict[str, Any]:
    """Time a method in each way, and compare its labels with those of one process."""
    import numpy as np

    warm, run = runner(method, movie, 8), runner(method, movie, movie.shape[0])
    schedulers = dict(zip(WAYS, (None, "threads", client), strict=True))
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    same, labels = {}, None
    for way, scheduler in schedulers.items():
        warm(scheduler)
        for _ in range(repeats):
            start = time.perf_counter()
            found = np.asarray(run(scheduler).labels)
            seconds[way].append(time.perf_counter() - start)
        labels = found if labels is None else labels
        same[way] = bool((labels == found).all())
    row = {"method": method, "seconds": seconds, "same": same}
    print(row, flush=True)
    return row


def write_movie(path: Path, frames: int) -> Any:
    """Write a movie to zarr, a frame per chunk, and return it as a lazy array."""
    import dask.array as da
    import zarr
    from consistency_speed import LongMovie

    drawn = LongMovie(frames, SIDE)
    movie = zarr.create_array(
        path, shape=(frames, SIDE, SIDE), chunks=(1, SIDE, SIDE), dtype="uint16"
    )
    for number in range(frames):
        movie[number] = drawn[number]
    return da.from_zarr(path)


def markdown(result: dict[str, Any]) -> str:
    """Return the table."""
    frames, rows = result["frames"], result["rows"]
    ways = " | ".join(f"{way}, s" for way in WAYS)
    title = f"{frames} frames of {SIDE} × {SIDE}"
    lines = [
        f"| {title} | {ways} | times faster with two workers | same labels |",
        "|---|--:|--:|--:|--:|---|",
    ]
    for row in rows:
        medians = [statistics.median(row["seconds"][way]) for way in WAYS]
        times = " | ".join(f"{median:.1f}" for median in medians)
        same = "yes" if all(row["same"].values()) else "**no**"
        lines.append(f"| {row['method']} | {times} | {medians[0] / medians[-1]:.2f} | {same} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--method", choices=METHODS, action="append")
    parser.add_argument("--out", type=Path, help="another JSON file; pages then stay as they are")
    given = parser.parse_args()
    from distributed import Client, LocalCluster
    from tables import keep

    with (
        tempfile.TemporaryDirectory(prefix="napari-kindred-") as folder,
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        movie = write_movie(Path(folder, "movie.zarr"), given.frames)
        rows = [measure(method, movie, client, given.repeats) for method in given.method or METHODS]
    result = {"frames": given.frames, "rows": rows}
    keep(NAME, result, markdown(result), given.out)


if __name__ == "__main__":
    main()
