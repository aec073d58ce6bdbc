"""Simulate the two movies and the stack in ``sample_data/``, with their ground truth.

    python benchmarks/make_samples.py [--out sample_data]

The movies are those of ``simulated_movies.py``; the stack holds balls and ellipsoids
(``simulated_volumes.py``), slices two pixels apart.  Everything follows from the seed: the same
command writes the same pixels.
"""

from __future__ import annotations

import argparse
import csv
import uuid
from pathlib import Path

import numpy as np
import tifffile
from simulated_movies import NUCLEI, PHASE, simulate
from simulated_volumes import Simulation


def write(folder: Path, name: str, seed: int) -> None:
    """Simulate and write the movie, the labels and the lineage."""
    movie = {"nuclei": NUCLEI, "phase": PHASE}[name]
    frames, labels, cells = simulate(name, seed)
    meta = {
        "axes": "TYX",
        "PhysicalSizeX": movie.pixel,
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": movie.pixel,
        "PhysicalSizeYUnit": "µm",
        "TimeIncrement": movie.minutes,
        "TimeIncrementUnit": "min",
    }
    for stem, data in ((f"{name}_timelapse", frames), (f"{name}_timelapse_truth", labels)):
        tifffile.imwrite(
            folder / f"{stem}.ome.tif",
            data,
            ome=True,
            metadata={**meta, "UUID": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{stem} {seed}"))},
            compression="zlib",
            compressionargs={"level": 9},
            predictor=stem == f"{name}_timelapse",
        )
    with (folder / f"{name}_timelapse_tracks.csv").open("w", newline="") as handle:
        rows = csv.writer(handle, lineterminator="\n")
        rows.writerow(["id", "first", "last", "parent"])
        shown = {cell.number: np.flatnonzero((labels == cell.number).any((1, 2))) for cell in cells}
        for cell in sorted(cells, key=lambda cell: cell.number):
            when = shown[cell.number]
            if len(when):
                parent = cell.parent if len(shown.get(cell.parent, ())) else 0
                rows.writerow([cell.number, when[0], when[-1], parent])


STACK = Simulation((64, 96, 96), 2, 0.2, 0.7, snr=4.0, diameters=(14.0, 34.0))


def write_stack(folder: Path, seed: int) -> None:
    """Simulate and write the stack and its labels."""
    data, labels = STACK.make(seed)
    meta: dict[str, object] = {"axes": "ZYX"}
    for axis, step in zip("ZYX", (1.0, 0.5, 0.5), strict=True):
        meta |= {f"PhysicalSize{axis}": step, f"PhysicalSize{axis}Unit": "µm"}
    for stem, values in (("nuclei_stack", data), ("nuclei_stack_truth", labels)):
        tifffile.imwrite(
            folder / f"{stem}.ome.tif",
            values,
            ome=True,
            metadata={**meta, "UUID": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{stem} {seed}"))},
            compression="zlib",
            compressionargs={"level": 9},
        )


def main() -> None:
    """Write the movies and the stack."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "sample_data")
    folder = parser.parse_args().out
    folder.mkdir(parents=True, exist_ok=True)
    for name, seed in (("nuclei", 7), ("phase", 11)):
        write(folder, name, seed)
    write_stack(folder, 5)


if __name__ == "__main__":
    main()
