"""Pictures with classes for the benchmarks of U-SAM, as examples and as ground truth."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from entities_accuracy import KINDS, kind_of
from scipy.ndimage import distance_transform_edt

from napari_kindred.classes.vocabulary.examples import Example
from napari_kindred.images.stack import list_images, read_image

if TYPE_CHECKING:
    from collections.abc import Sequence

WHITE_CELL = {1: "cytoplasm", 2: "nucleus"}
"""Pixel classes of wbc_blood."""

BLOOD = {"RBC": "red blood cell", "WBC": "white blood cell", "Platelets": "platelet"}
"""Classes of bccd_boxes, by the names that its table has."""

KIND_NAMES = dict(
    zip(
        KINDS,
        ("fluorescent nucleus", "stained nucleus", "brightfield nucleus", "phase contrast cell"),
        strict=True,
    )
)
"""What is seen in the pictures of each kind that entities are measured on."""


@dataclass(frozen=True)
class Sample:
    """One picture: its pixels unread, and what is in it."""

    name: str
    path: Path
    truth: Path | None = None
    boxes: dict[str, list[tuple[float, float, float, float]]] = field(default_factory=dict)

    @property
    def image(self) -> np.ndarray:
        """Return the picture."""
        return np.asarray(read_image(self.path).data)

    @property
    def labels(self) -> np.ndarray:
        """Return the true labels."""
        assert self.truth is not None
        return np.asarray(read_image(self.truth).data)


def white_cells(data: Path) -> list[Sample]:
    """List wbc_blood in the order of its table."""
    folder = data / "wbc_blood"
    images, labels = ({p.stem: p for p in list_images(folder / k)} for k in ("images", "labels"))
    with (folder / "index.csv").open(newline="") as file:
        names = [row["name"] for row in csv.DictReader(file)]
    return [Sample(name, images[name], labels[name]) for name in names]


def smears(data: Path) -> list[Sample]:
    """List bccd_boxes in name order, with the boxes (y0, x0, y1, x1) of each class."""
    folder = data / "bccd_boxes"
    found = {path.stem: Sample(path.stem, path) for path in list_images(folder / "images")}
    with (folder / "boxes.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            box = tuple(float(row[key]) for key in ("ymin", "xmin", "ymax", "xmax"))
            found[row["name"]].boxes.setdefault(BLOOD[row["class"]], []).append(box)  # type: ignore[arg-type]
    return list(found.values())


def cells(data: Path, split: str, most: dict[str, int]) -> dict[str, list[Sample]]:
    """List labelled pictures of each kind, evenly taken, of split ``train`` or ``val``."""
    found: dict[str, list[Sample]] = {kind: [] for kind in most}
    with (data / "dsb2018" / "index.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            kind = kind_of(row["modality_guess"])
            if row["split"] == split and kind in found:
                found[kind].append(_labelled(data / "dsb2018", f"{row['id']}.tif"))
    if "phase contrast" in found:
        folder = data / "usiigaci_phase"
        found["phase contrast"] = [
            _labelled(folder, path.name)
            for path in list_images(folder / "images")
            if path.name.startswith("val") == (split == "val")
        ]
    return {
        kind: samples[:: max(1, len(samples) // most[kind])][: most[kind]]
        for kind, samples in found.items()
    }


def _labelled(folder: Path, name: str) -> Sample:
    return Sample(Path(name).stem, folder / "images" / name, folder / "labels" / name)


def marked(sample: Sample, how: str, names: dict[int, str], random: np.random.Generator) -> Example:
    """Return a picture with pixel classes as an example.

    Parameters
    ----------
    how : str
        ``"labels"``: all of it; ``"names"``: the names only; or a number of points per class that
        are put inside things of the class, background included.
    """
    labels = sample.labels
    if how == "labels":
        return Example(
            sample.image, labels=labels, label_names=names, complete=True, source=sample.name
        )
    if how == "names":
        there = tuple(name for number, name in names.items() if (labels == number).any())
        return Example(sample.image, names=there, source=sample.name)
    points = {
        name: inner_points(labels == number, int(how), random)
        for number, name in {**names, 0: "background"}.items()
    }
    return Example(sample.image, points=points, source=sample.name)


def inner_points(
    mask: np.ndarray, count: int, random: np.random.Generator
) -> list[tuple[int, int]]:
    """Draw points of a mask (Y, X) away from its rim, as somebody who clicks would."""
    depth = distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    places = np.argwhere(depth >= min(3.0, depth.max() / 2))
    places = places[random.choice(len(places), min(count, len(places)), replace=False)]
    return [(int(y), int(x)) for y, x in places]


def matched(masks: np.ndarray, boxes: Sequence[tuple[float, float, float, float]]) -> np.ndarray:
    """Return for each box the number of the mask box (N, 4) that was found there, or -1.

    That is the one that shares most with it, if the IoU is 0.5 at least, or if four fifths of it
    lie in the box and fill a tenth: boxes are drawn loosely, and of many white cells the nucleus
    alone is found.
    """
    found = []
    for y0, x0, y1, x1 in boxes:
        height = np.minimum(masks[:, 2], y1) - np.maximum(masks[:, 0], y0)
        width = np.minimum(masks[:, 3], x1) - np.maximum(masks[:, 1], x0)
        shared = np.maximum(height, 0) * np.maximum(width, 0)
        own, box = (masks[:, 2:] - masks[:, :2]).prod(1), (y1 - y0) * (x1 - x0)
        there = shared >= 0.5 * (own + box - shared)
        there |= (shared >= 0.8 * own) & (shared >= 0.1 * box)
        found.append(int((shared * there).argmax()) if there.any() else -1)
    return np.array(found, int)
