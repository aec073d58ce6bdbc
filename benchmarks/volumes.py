"""How well objects of volumes are found: in 3-D, stitched through z, and by a plain overlap.

    python benchmarks/volumes.py [DATA_DIR] [--seed N] [--out FILE]

Simulated volumes (``simulated_volumes.py``) of three thicknesses of slices and three densities, and
the stacks of DATA_DIR, whose images are in ``cells3d_plant`` and ``nuclei3d_mouse_embryo``.
"Overlap" is what Cellpose calls ``stitch_threshold``: each section takes the id of the section
below that it overlaps with an IoU of at least 0.25 and more than any other; it is given the same
labels of slices as the stitching here.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from meanshift import hardware
from movie_memory import peak
from simulated_volumes import Simulation
from tables import keep

import napari_kindred as nk
from napari_kindred.compute.device import select
from napari_kindred.core.events import Partial
from napari_kindred.entities.checkpoint import load_network
from napari_kindred.images.readers import read_image
from napari_kindred.results.metrics import average_precision, contingency, overlaps

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

NAME = "volumes"
SHAPE = (80, 112, 112)
DENSITIES = {"sparse": (0.08, 0.3), "dense": (0.2, 0.7), "touching": (0.4, 1.0)}
"""Share of the volume that is filled, and share of the objects that touch another one."""

WAYS = {"3-D": "three views", "z": "stitched", "overlap": "overlap"}
THRESHOLD = 0.25
"""Smallest IoU with which the overlap takes two sections for one object."""

STACKS = {
    "8-cell embryo, nuclei": "nuclei3d_mouse_embryo/{}/8_cell_stage.tif",
    "plant nuclei, noisy (1135)": "cells3d_plant/{}/1135_mini.tif",
    "plant nuclei, noisy (1136)": "cells3d_plant/{}/1136_mini.tif",
    "ovule, cell walls": "cells3d_plant/{}/sample_ovule.tif",
}
"""Their voxels are cubes, judged by the objects' shapes in the annotation."""

MEMORY = Simulation((128, 128, 128), 1, 0.2, 0.7)
"""Volume of which the memory is measured."""


def overlap_stitched(slices: list[NDArray[Any]]) -> NDArray[np.int32]:
    """Stitch labels of slices as Cellpose's ``stitch3D`` does."""
    stitched = [slices[0].astype(np.int32)]
    last = int(stitched[0].max())
    for plane in slices[1:]:
        ids = np.arange(int(plane.max()) + 1)
        found = overlaps(stitched[-1], plane)
        best: dict[int, tuple[float, int]] = {}
        taken: dict[int, tuple[float, int]] = {}
        for below, above, iou in zip(found.first, found.second, found.iou, strict=True):
            if iou >= THRESHOLD:
                taken[int(below)] = max(taken.get(int(below), (0.0, 0)), (float(iou), int(above)))
        for below, (iou, above) in taken.items():
            best[above] = max(best.get(above, (0.0, 0)), (iou, below))
        for above in ids[1:]:
            if int(above) in best:
                ids[above] = best[int(above)][1]
            else:
                last += 1
                ids[above] = last
        stitched.append(ids[plane].astype(np.int32))
    return np.stack(stitched)


def seg(truth: NDArray[Any], found: NDArray[Any]) -> float:
    """Return the Cell Tracking Challenge's SEG: mean IoU with what covers more than half."""
    ids, others, shared = contingency(truth, found)
    area = np.bincount(truth.ravel())
    theirs = np.bincount(found.ravel())
    scores = np.zeros(int(truth.max()) + 1)
    for a, b, n in zip(ids, others, shared, strict=True):
        if a and b and 2 * n > area[a]:
            scores[a] = n / (area[a] + theirs[b] - n)
    return float(scores[np.flatnonzero(area)][1:].mean())


def numbered(labels: NDArray[Any]) -> NDArray[np.int32]:
    """Return a slice with its sections numbered from 1 on."""
    ids = np.unique(np.append(0, labels))
    return np.searchsorted(ids, labels).astype(np.int32)


def run(
    image: NDArray[Any], link: str, spacing: tuple[float, ...], model: Any
) -> tuple[NDArray[np.int32], list[NDArray[np.int32]], float]:
    """Segment a volume; returns labels, slices before they were stitched, CPU seconds."""
    start, slices = time.process_time(), []
    job = nk.iter_segment_entities(image, axes="ZYX", link=link, spacing=spacing, model=model)
    while True:
        try:
            event = next(job)
        except StopIteration as done:
            return np.asarray(done.value.labels), slices, time.process_time() - start
        if isinstance(event, Partial) and len(slices) < len(image):
            slices.append(numbered(np.asarray(event.labels)))


def simulated(seed: int) -> Iterator[tuple[str, str, Any, Any, tuple[float, ...]]]:
    """Yield group, name, image, truth and spacing of the simulated volumes."""
    for thickness in (1, 2, 5):
        for number, (density, (filled, touching)) in enumerate(DENSITIES.items()):
            plan = Simulation(SHAPE, thickness, filled, touching)
            image, truth = plan.make(1000 * seed + 10 * thickness + number)
            yield f"slices {thickness} px apart", density, image, truth, (thickness, 1.0, 1.0)


def real(folder: Path) -> Iterator[tuple[str, str, Any, Any, tuple[float, ...]]]:
    """Yield the same of the stacks that are in a folder."""
    for name, file in STACKS.items():
        if (folder / file.format("images")).exists():
            image, truth = (
                np.asarray(read_image(folder / file.format(kind)).data)
                for kind in ("images", "labels")
            )
            yield "real", name, image, truth, (1.0, 1.0, 1.0)


def measure(cases: Iterator[Any], model: Any) -> list[dict[str, Any]]:
    """Score every way on every volume."""
    rows = []
    for group, name, image, truth, spacing in cases:
        for link in ("3-D", "z"):
            labels, slices, seconds = run(image, link, spacing, model)
            ways = {link: labels}
            if link == "z":
                ways["overlap"] = overlap_stitched(slices)
            for way, found in ways.items():
                score = average_precision([(truth, found)])
                rows.append(
                    {
                        "group": group,
                        "name": name,
                        "way": way,
                        "AP50": round(score["AP50"], 3),
                        "mSA": round(score["mSA"], 3),
                        "SEG": round(seg(truth, found), 3),
                        "objects": int(score["objects"]),
                        "found": len(np.unique(found)) - 1,
                        "seconds": None if way == "overlap" else round(seconds, 1),
                        "megavoxels": round(image.size / 1e6, 3),
                    }
                )
                print(rows[-1], flush=True)
    return rows


def memory_of(link: str) -> float:
    """Return by how many megabytes a process grows while it segments, per megavoxel."""
    code = f"import volumes; volumes.grow({link!r})"
    folder = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True
    )
    return float(done.stdout.split()[-1])


def grow(link: str) -> None:
    """Print the growth of this process."""
    image, _ = MEMORY.make(0)
    model = load_network("kindred-entities", select("cpu"))
    run(image[:16], link, (1.0, 1.0, 1.0), model)  # what is loaded once
    before = peak()
    run(image, link, (1.0, 1.0, 1.0), model)
    print((peak() - before) / 2**20 / (image.size / 1e6))


def markdown(result: dict[str, Any]) -> str:
    """Return the table of one measurement."""
    rows = result["rows"]
    lines = [
        "| volume | objects | " + " | ".join(WAYS.values()) + " |",
        "|---|---|" + "---|" * len(WAYS),
    ]
    for group, name in dict.fromkeys((row["group"], row["name"]) for row in rows):
        own = {row["way"]: row for row in rows if (row["group"], row["name"]) == (group, name)}
        cells = [f"{own[w]['AP50']:.2f} / {own[w]['mSA']:.2f} / {own[w]['SEG']:.2f}" for w in WAYS]
        title = name if group == "real" else f"{group}, {name}"
        lines.append(f"| {title} | {own['3-D']['objects']} | {' | '.join(cells)} |")
    made = [row for row in rows if row["group"] != "real"]
    means = [np.mean([row["AP50"] for row in made if row["way"] == way]) for way in WAYS]
    lines.append(f"| simulated, mean AP50 | | {' | '.join(f'{mean:.2f}' for mean in means)} |")
    for title, cells in (
        ("CPU seconds per megavoxel", [speed(made, way) for way in WAYS]),
        ("MB per megavoxel", [f"{result['memory'].get(w, '')}" for w in WAYS]),
    ):
        lines.append(f"| {title} | | {' | '.join(cells)} |")
    note = (
        "AP50 / mSA / SEG in 3-D. Seconds are those of one thread, megavoxels those of the image"
        f"{result.get('timed', '')}. {result['hardware']}."
    )
    return "\n".join([*lines, "", note])


def speed(rows: list[dict[str, Any]], way: str) -> str:
    """Return the seconds per megavoxel of a way; the overlap's are those of the stitching."""
    own = [row for row in rows if row["way"] == way and row["seconds"] is not None]
    if not own:
        return ""
    return f"{sum(row['seconds'] for row in own) / sum(row['megavoxels'] for row in own):.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, nargs="?", help="folder of the real stacks")
    parser.add_argument("--seed", type=int, default=1, help="settings were chosen on others")
    parser.add_argument("--weights", default="kindred-entities", metavar="NAME_OR_FILE")
    parser.add_argument(
        "--out", type=Path, help="another JSON file; the pages then stay as they are"
    )
    given = parser.parse_args()
    model = load_network(given.weights, select("cpu"))
    rows = measure(simulated(given.seed), model)
    if given.data is not None:
        rows += measure(real(given.data), model)
    memory = {link: round(memory_of(link)) for link in ("3-D", "z")}
    result = {
        "hardware": hardware(),
        "date": time.strftime("%Y-%m-%d"),
        "seed": given.seed,
        "memory": memory,
        "rows": rows,
    }
    keep(NAME, result, markdown(result), given.out)


if __name__ == "__main__":
    main()
