"""How long the window takes to answer: a run, another threshold, a preview, the first labels.

    python benchmarks/window_times.py          # about a minute

The picture is a frame of the shipped sample, mirrored to 1024 × 1024 pixels.  What the window runs
in its other thread is run here without a window: a first run, which loads the weights and compiles
the network; a second one, which finds it open; one with another threshold and one with another
minimum area, which take the maps that were kept; and a preview of the whole, with and without them.
Each but the first is the median of three.  CPU seconds, because other programs may run meanwhile.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from entities_speed import SIDE, picture
from meanshift import hardware
from tables import keep

from napari_kindred import iter_segment_entities
from napari_kindred.core.events import finish
from napari_kindred.entities.map_cache import MapCache
from napari_kindred.entities.preview import iter_preview

if TYPE_CHECKING:
    from collections.abc import Callable

NAME = "window_times"

REPEATS = 3


def seconds(job: Callable[[], Any]) -> float:
    """Return the CPU seconds of a job."""
    start = time.process_time()
    job()
    return time.process_time() - start


def measure() -> dict[str, float]:
    """Return CPU seconds by what is done."""
    pixels, axes = picture(None)
    maps = MapCache()

    def run(kept: MapCache | None = None, **options: Any) -> Any:
        return finish(iter_segment_entities(pixels, axes=axes, maps=kept, **options))

    def preview(kept: MapCache | None = None) -> Any:
        return finish(iter_preview(pixels, (), axes=axes, maps=kept))

    found = {"first run": seconds(lambda: run(maps))}
    thresholds = iter((0.5, 0.55, 0.65))
    jobs = {
        "another run": run,
        "another threshold": lambda: run(maps, threshold=next(thresholds)),
        "another minimum area": lambda: run(maps, min_area=100),
        "preview": preview,
        "preview again, with another option": lambda: preview(maps),
    }
    preview(maps)
    for name, job in jobs.items():
        found[name] = statistics.median(seconds(job) for _ in range(REPEATS))
    return {name: round(value, 2) for name, value in found.items()}


def markdown(result: dict[str, Any]) -> str:
    """Return the table of one measurement."""
    rows = [f"| {SIDE} × {SIDE} pixels, automatic scale | CPU seconds |", "|---|--:|"]
    rows += [f"| {name} | {value:.2f} |" for name, value in result["seconds"].items()]
    return "\n".join([*rows, "", result["hardware"] + "."])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="another JSON file; pages then stay as they are")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    result = {"seconds": measure(), "hardware": hardware()}
    keep(NAME, result, markdown(result), given.out)


if __name__ == "__main__":
    main()
