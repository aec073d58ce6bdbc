"""Images with a class for every pixel, for the training of ESC-Net.

A data folder as for the other networks (:mod:`napari_kindred.models.training_data`), with a
``classes.csv`` (see :mod:`..class_table`).  Values that it does not name, and those named
void, unlabelled or ignore, are left out of the loss; only an unnamed 0 is background.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...core.errors import InputError, KindredError
from ...models.training_data import Example, data_hash, load_splits
from ..class_table import UNKNOWN, read_class_table
from ..names import check_names, key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

NOTHING = -1
"""Value of pixels that are certainly none of the classes."""

IGNORE = -100
"""Value of pixels whose class is unknown."""

SMALLEST = 0.5
"""Smallest side of a crop, as a share of the image's shorter side."""

LIGHT = 0.2
"""Largest change of a crop's brightness and contrast."""


@dataclass(frozen=True)
class ClassData:
    """Images whose labels hold the numbers of ``names``, from 0, ``NOTHING`` and ``IGNORE``.

    ``sha256`` is the hash of names, images and labels.
    """

    names: tuple[str, ...]
    train: list[Example]
    validation: list[Example]
    sha256: str


def load_class_data(data: str | Path | Sequence[str | Path]) -> ClassData:
    """Read data folders; InputError for one of another layout than described above."""
    folders = [Path(data)] if isinstance(data, str | Path) else [Path(one) for one in data]
    tables = [read_table(folder) for folder in folders]
    names: dict[str, str] = {}
    for table, _ in tables:
        for name in table.values():
            names.setdefault(key(name), name)
    numbers = {one: number for number, one in enumerate(names)}
    train: list[Example] = []
    validation: list[Example] = []
    for folder, (table, unnamed) in zip(folders, tables, strict=True):
        number_of = {value: numbers[key(name)] for value, name in table.items()}
        for found, wanted in zip(load_splits(folder), (train, validation), strict=True):
            wanted += [_renumbered(example, number_of, unnamed) for example in found]
    if not any((example.labels >= 0).any() for example in train):
        raise InputError("No pixel of the training images has a class of classes.csv.")
    digest = hashlib.sha256("\n".join(names.values()).encode())
    digest.update(data_hash(train).encode())
    return ClassData(tuple(names.values()), train, validation, digest.hexdigest())


def read_table(folder: Path) -> tuple[dict[int, str], int]:
    """Read a folder's ``classes.csv``: the names of classes by value, and what an unnamed 0 is."""
    path = folder / "classes.csv"
    listed = read_class_table(path)
    unnamed = IGNORE if 0 in listed else NOTHING
    rows = [row for row in listed.items() if not UNKNOWN.search(row[1])]
    try:
        names = check_names([name for _, name in rows])
    except KindredError as error:
        raise InputError(f"{path}: {error}") from error
    return {value: name for (value, _), name in zip(rows, names, strict=True)}, unnamed


def _renumbered(example: Example, number_of: dict[int, int], unnamed: int) -> Example:
    values = np.array([*number_of, 0 if 0 not in number_of else -1])
    numbers = np.array([*number_of.values(), unnamed])
    order = np.argsort(values)
    place = np.searchsorted(values[order], example.labels).clip(0, len(values) - 1)
    listed = values[order][place] == example.labels
    labels = np.where(listed, numbers[order][place], IGNORE).astype(np.int32)
    return Example(**{**vars(example), "labels": labels})


def draw_crop(example: Example, side: int, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Cut a random square out of an image, mirrored and with other brightness and contrast.

    Returns ``image`` (3, side, side) float32, ``labels`` (side, side) int64.
    """
    height, width = example.labels.shape
    length = round(random.uniform(SMALLEST, 1) * min(height, width))
    length = max(length, min(8, height, width))
    top, left = random.integers(height - length + 1), random.integers(width - length + 1)
    square = (slice(top, top + length), slice(left, left + length))
    pixels, labels = crop_of(example.pyramid[0][:, *square], example.labels[square], side)
    if random.random() < 0.5:
        pixels, labels = pixels.flip(2), labels.flip(1)
    contrast = random.uniform(1 - LIGHT, 1 + LIGHT)
    brightness = random.uniform(-LIGHT, LIGHT) / 2
    mean = pixels.mean((1, 2), keepdim=True)
    return ((pixels - mean) * contrast + mean + brightness).clamp(0, 1), labels


def crop_of(
    pixels: NDArray[np.float16], labels: NDArray[np.int32], side: int
) -> tuple[Tensor, Tensor]:
    """Scale a square (3, n, n) and its labels (n, n) to ``side`` pixels."""
    image = torch.from_numpy(pixels.astype(np.float32))[None]
    scaled = F.interpolate(image, (side, side), mode="bilinear", antialias=True)[0]
    # Labels as whole numbers in float64, which holds them exactly.
    plane = torch.from_numpy(labels.astype(np.float64))[None, None]
    return scaled.clamp(0, 1), F.interpolate(plane, (side, side), mode="nearest-exact")[0, 0].long()
