"""Entities on a plane that does not fit: memory, time, and how many of a known count are found.

    python benchmarks/whole_plane.py                  # 20,000 x 20,000 pixels, about an hour
    python benchmarks/whole_plane.py --scale 0.5      # half the resolution, a third of the time
    python benchmarks/whole_plane.py --side 5000 --out small.json

A plane of uint16 is drawn chunk by chunk into a zarr on disk: ellipses like nuclei on an uneven
grid, none touching the plane's edge, blurred, with the camera's offset and noise.  Another process
segments it with ``segment_entities``, every option but ``--scale`` at its default, and says by how
much its memory rose above what it held after the imports.  An entity counts as found when its
centroid lies within ``NEAR`` pixels of a true centre, each having one partner at most.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import zarr
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree
from tables import keep

PITCH = 48
"""Pixels between the places of neighbouring nuclei."""

NEAR = 6.0
CHUNK = 1000
MARGIN = 32
SEED = 7

WORK = """
import json, resource, sys, time
import psutil
import napari_kindred as nk
import zarr
from napari_kindred.entities import predict
from napari_kindred.core.events import Notice, finish

def tell(event):
    if isinstance(event, Notice):
        print(event.text, file=sys.stderr, flush=True)
    elif int(1000 * event.done / event.total) > tell.shown if hasattr(event, "done") else False:
        tell.shown = int(1000 * event.done / event.total)
        print(f"{tell.shown / 10:.1f} %", end="\\r", file=sys.stderr, flush=True)

tell.shown = -1
before = psutil.Process().memory_info().rss
start = time.perf_counter()
plane = zarr.open_array(sys.argv[1], mode="r")
scale = sys.argv[3] if sys.argv[3] == "auto" else float(sys.argv[3])
result = finish(nk.iter_segment_entities(plane, axes="YX", scale=scale), tell)
seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
labels = result.labels
zarred = not hasattr(labels, "tobytes")
result.table.to_csv(sys.argv[2], index=False)
print(json.dumps({
    "seconds": seconds,
    "imported_bytes": before,
    "peak_bytes": peak,
    "labels_on_disk": zarred,
    "label_bytes": labels.nbytes_stored() if zarred else labels.nbytes,
    "scale": result.provenance["scale_used"],
    "device": result.provenance["device"],
}))
"""


def nuclei(side: int) -> np.ndarray:
    """Return all nuclei of a plane: centre (y, x), half axes, angle, brightness; (N, 6)."""
    places = (side - 2 * MARGIN) // PITCH
    rows = []
    for row in range(places):
        rng = np.random.default_rng([SEED, row])
        grid = MARGIN + PITCH * (np.arange(places) + 0.5)
        found = np.stack(
            [
                np.full(places, MARGIN + PITCH * (row + 0.5)) + rng.uniform(-4, 4, places),
                grid + rng.uniform(-4, 4, places),
                rng.uniform(16, 20, places),
                rng.uniform(14, 18, places),
                rng.uniform(0, np.pi, places),
                rng.uniform(400, 1600, places),
            ],
            1,
        )
        rows.append(found[rng.uniform(size=places) < 0.8])
    return np.concatenate(rows)


def draw(known: np.ndarray, top: int, left: int, shape: tuple[int, int]) -> np.ndarray:
    """Draw a part of the plane, as it is whatever the part."""
    height, width = shape[0] + 2 * MARGIN, shape[1] + 2 * MARGIN
    picture = np.zeros((height, width), np.float32)
    y, x = known[:, 0] - top + MARGIN, known[:, 1] - left + MARGIN
    here = (y > -MARGIN) & (y < height + MARGIN) & (x > -MARGIN) & (x < width + MARGIN)
    for cy, cx, (a, b, angle, grey) in zip(y[here], x[here], known[here, 2:], strict=True):
        corner = max(0, int(cy) - 21), max(0, int(cx) - 21)
        rows, columns = np.ogrid[corner[0] : int(cy) + 22, corner[1] : int(cx) + 22]
        rows, columns = rows[rows[:, 0] < height], columns[:, columns[0] < width]
        down, right = rows - cy, columns - cx
        along = down * np.cos(angle) + right * np.sin(angle)
        across = right * np.cos(angle) - down * np.sin(angle)
        inside = (along / a) ** 2 + (across / b) ** 2 < 1
        part = picture[corner[0] : int(cy) + 22, corner[1] : int(cx) + 22]
        part[inside] = grey
    blurred = gaussian_filter(picture, 1.5)[MARGIN:-MARGIN, MARGIN:-MARGIN]
    noise = np.random.default_rng([SEED, top, left]).normal(0, 1, shape)
    return (200 + blurred + noise * np.sqrt(100 + blurred)).clip(0, 65535).astype(np.uint16)


def write(path: Path, side: int, known: np.ndarray) -> int:
    """Write the plane; returns the bytes that it takes on disk."""
    plane = zarr.create_array(str(path), shape=(side, side), chunks=(CHUNK, CHUNK), dtype="uint16")
    order = np.argsort(known[:, 0])
    known = known[order]
    for top in range(0, side, CHUNK):
        first, last = np.searchsorted(known[:, 0], [top - 2 * MARGIN, top + CHUNK + 2 * MARGIN])
        for left in range(0, side, CHUNK):
            shape = (min(CHUNK, side - top), min(CHUNK, side - left))
            part = draw(known[first:last], top, left, shape)
            plane[top : top + shape[0], left : left + shape[1]] = part
    return int(plane.nbytes_stored())


def matched(known: np.ndarray, found: np.ndarray) -> int:
    """Count pairs of true and found centres that are each other's nearest, and near."""
    forth, nearest = cKDTree(found).query(known)
    _, back = cKDTree(known).query(found)
    return int(((forth <= NEAR) & (back[nearest] == np.arange(len(known)))).sum())


def measured(side: int, scale: str, folder: Path) -> dict[str, Any]:
    known = nuclei(side)
    image, table = folder / "plane.zarr", folder / "table.csv"
    stored = write(image, side, known)
    print(f"{len(known)} nuclei on {side} x {side} pixels, {stored / 2**30:.2f} GB on disk")
    command = [sys.executable, "-c", WORK, str(image), str(table), scale]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    facts = json.loads(done.stdout)
    rows = pd.read_csv(table)
    hits = matched(known[:, :2], rows[["centroid_y", "centroid_x"]].to_numpy())
    return {
        "side": side,
        "nuclei": len(known),
        "image_bytes": stored,
        "found": len(rows),
        "recall": hits / len(known),
        "precision": hits / len(rows),
        "ids_unique": bool(rows["index"].is_unique),
        **facts,
    }


def markdown(result: dict[str, Any]) -> str:
    """Return the table of the pages."""
    risen = (result["peak_bytes"] - result["imported_bytes"]) / 2**30
    facts = {
        "plane": f"{result['side']:,} × {result['side']:,} px, uint16",
        "looked at, at scale": f"{result['scale']:g}",
        "nuclei drawn": f"{result['nuclei']:,}",
        "entities found": f"{result['found']:,}",
        "of the nuclei found": f"{100 * result['recall']:.2f} %",
        "of the entities right": f"{100 * result['precision']:.2f} %",
        "most memory, above the imports": f"{risen:.2f} GB",
        "time": f"{result['seconds'] / 60:.0f} min on {result['device']}",
        "labels on disk": f"{result['label_bytes'] / 2**30:.2f} GB "
        f"(image: {result['image_bytes'] / 2**30:.2f} GB)",
    }
    return "\n".join(["| | |", "|---|---|", *(f"| {k} | {v} |" for k, v in facts.items())])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=20_000, help="of the plane, in pixels")
    parser.add_argument("--scale", default="auto", help="at which it is looked at [auto]")
    parser.add_argument("--out", type=Path, help="JSON file; the pages then stay as they are")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = measured(given.side, given.scale, Path(folder))
    keep("whole_plane", result, markdown(result), given.out)


if __name__ == "__main__":
    main()
