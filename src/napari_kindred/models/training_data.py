"""Annotated images for training, held in memory: from folders, or arrays.

A data folder holds ``images/`` and ``labels/`` (integer, 0 = background) with equal stems, and
optionally ``index.csv`` (commas, semicolons or tabs; names with or without suffix) with columns
``id`` or ``name``, ``split`` (``train`` / ``val``),
``modality`` or ``modality_guess`` (images of one modality are one group), ``complete`` (0 if
objects were left un-annotated: background then takes part in repulsion only) and ``use``
(``measure``: never trained on).  A stack (Z, Y, X) whose labels are a stack too gives slices along
all three axes.  Without ``labels/``, a ``boxes.csv`` with columns ``name, xmin, ymin, xmax, ymax``
gives an ellipse for each box, un-annotated objects being possible everywhere else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from scipy.ndimage import label as label_pieces
from skimage.draw import ellipse as draw_ellipse
from skimage.transform import downscale_local_mean

from ..core.errors import InputError, OptionError
from ..images.label_files import as_labels, read_labels
from ..images.readers import read_image
from ..images.stack import normalise
from .data_folder import LISTED, few, files_by_stem, pixels_of, read_boxes, read_index

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

SLICE_STEP = 4
"""Every n-th slice of a stack is used."""

THINNEST = 8
"""Planes of a stack below which it is learnt plane by plane."""

SMALLEST_BOX = 4
"""Sides of boxes, in pixels, below which they are mistakes."""


@dataclass(frozen=True)
class TrainingArrays:
    """Annotated images as arrays; every tenth is for validation.

    Attributes
    ----------
    images : sequence of ndarray, (Y, X), (Y, X, C) or (Z, Y, X)
        Of any intensity range; at most three channels are used.
    labels : sequence of ndarray of int, (Y, X) or (Z, Y, X)
        A number per object, 0 = background.
    complete : bool
        Whether unlabelled pixels are background for certain.
    """

    images: Sequence[NDArray[Any]]
    labels: Sequence[NDArray[np.integer]]
    complete: bool = True

    def __post_init__(self) -> None:
        if len(self.images) != len(self.labels):
            raise InputError(
                f"There are {len(self.images)} images but {len(self.labels)} label images."
            )
        for number, labels in enumerate(self.labels):
            if np.asarray(labels).dtype.kind not in "iu":
                raise InputError(f"The labels of image {number} must be whole numbers.")


Data: TypeAlias = str | Path | Sequence[str | Path] | TrainingArrays


@dataclass(frozen=True)
class Example:
    """One annotated image."""

    name: str
    group: str
    """Data folder and modality; groups are sampled evenly."""
    pyramid: list[NDArray[np.float16]]
    """Normalised image and its halved copies, each (3, H / 2^k, W / 2^k), against aliasing."""
    labels: NDArray[np.int32]
    diameter: float
    """Median equivalent diameter of its entities, pixels; 0 without entities."""
    complete: bool
    """Whether unlabelled pixels are background for certain."""
    grey: bool
    """Whether the image has one channel."""
    note: str = ""
    """What the user should know of it, sentences."""


def median_diameter(labels: NDArray[np.integer]) -> float:
    """Median equivalent diameter of the labels (H, W), pixels; 0 without labels."""
    areas = np.bincount(labels[labels > 0])
    areas = areas[areas > 0]
    return float(np.median(2 * np.sqrt(areas / np.pi))) if len(areas) else 0.0


def split_of(name: str, row: dict[str, str], position: int) -> str:
    """Return the split of an image: by the index, else by its name, else every tenth is ``val``."""
    if row.get("split"):
        return row["split"].lower()
    if name.startswith(("val", "train")):
        return "val" if name.startswith("val") else "train"
    return "val" if position % 10 == 9 else "train"


def load_examples(folders: Sequence[str | Path], split: str) -> list[Example]:
    """Read the images of one split from all data folders; InputError for another layout."""
    examples: list[Example] = []
    for folder in map(Path, folders):
        parts = ["images"] if (folder / "boxes.csv").exists() else ["images", "labels"]
        for part in parts:
            if not (folder / part).is_dir():
                raise InputError(f"Training data needs a folder {part}/ inside {folder}.")
        images = files_by_stem(folder / "images")
        index = read_index(folder, images)
        boxes = read_boxes(folder / "boxes.csv") if not (folder / "labels").is_dir() else {}
        labels = {} if boxes else files_by_stem(folder / "labels")
        missing = sorted(set(images) - set(labels)) if not boxes else []
        if missing:
            raise InputError(f"{folder.name}/labels has no label image named {missing[0]}.")
        for position, (name, path) in enumerate(images.items()):
            row = index.get(name, {})
            if row.get("use") == "measure" or split_of(name, row, position) != split:
                continue
            if boxes:
                pixels, note = pixels_of(read_image(path), None, path.name)
                truth = ellipses(boxes.get(name, []), pixels.shape[:2])
                row = {**row, "complete": "0"}
            else:
                truth = read_labels(labels[name])
                pixels, note = pixels_of(read_image(path), truth.shape, path.name)
            examples += _examples(name, pixels, truth, folder.name, row, note)
    return examples


def ellipses(boxes: Sequence[tuple[float, ...]], shape: tuple[int, ...]) -> NDArray[np.int32]:
    """Labels (H, W) with the ellipse inscribed in each box; the smaller box wins an overlap."""
    labels = np.zeros(shape[:2], np.int32)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in boxes]
    for number in sorted(range(len(boxes)), key=lambda i: -areas[i]):
        top, left, bottom, right = boxes[number]
        if min(bottom - top, right - left) < SMALLEST_BOX:
            continue
        rows, columns = draw_ellipse(
            (top + bottom) / 2, (left + right) / 2, (bottom - top) / 2, (right - left) / 2, shape
        )
        labels[rows, columns] = number + 1
    return labels


def _examples(
    name: str,
    pixels: NDArray[np.float32],
    truth: NDArray[np.int32],
    folder: str,
    row: dict[str, str],
    note: str,
) -> list[Example]:
    """Return an image as one example, or every few slices of a stack along its three axes.

    A stack of few planes is taken plane by plane: it may be a movie, and its cross-sections show
    too little.
    """
    if truth.ndim != 3 or pixels.shape[:3] != truth.shape:
        return [_example(name, pixels, truth, folder, row, note)]
    examples = []
    thin = len(truth) < THINNEST
    for axis in range(1 if thin else 3):
        step = 1 if thin else SLICE_STEP
        for place in range(step // 2, truth.shape[axis], step):
            part = np.take(truth, [place], axis).squeeze(axis)
            if part.any():
                title = f"{name} {'zyx'[axis]}={place}"
                plane = np.take(pixels, place, axis)
                examples.append(_example(title, plane, part, folder, row, note))
    return examples


def load_splits(data: Data) -> tuple[list[Example], list[Example]]:
    """Read the images to train on, and those to validate on in the order of :func:`spread`.

    InputError if there is nothing to learn from, or for one of the reasons of
    :func:`load_examples`.
    """
    if isinstance(data, TrainingArrays):
        examples, validation = (array_examples(data, split) for split in ("train", "val"))
    else:
        folders = [data] if isinstance(data, str | Path) else data
        examples, validation = (load_examples(folders, split) for split in ("train", "val"))
    if not examples:
        raise InputError("There is no image marked 'train' in the data.")
    if not any(example.diameter > 0 for example in examples):
        raise InputError("The labels of all training images are empty.")
    return examples, spread(validation)


def array_examples(data: TrainingArrays, split: str) -> list[Example]:
    """Return the images of one split."""
    row = {"complete": str(int(data.complete))}
    examples: list[Example] = []
    for number, (image, labels) in enumerate(zip(data.images, data.labels, strict=True)):
        if split_of("", {}, number) == split:
            name = f"image {number}"
            truth = as_labels(np.asarray(labels), name)
            pixels, note = pixels_of(image, truth.shape, name)
            examples += _examples(name, pixels, truth, "arrays", row, note)
    return examples


def spread(examples: Sequence[Example]) -> list[Example]:
    """Reorder images so that any first few of them come from all groups."""
    groups: dict[str, list[Example]] = {}
    for example in examples:
        groups.setdefault(example.group, []).append(example)
    ordered = []
    while groups:
        for name in sorted(groups):
            ordered.append(groups[name].pop(0))
            if not groups[name]:
                del groups[name]
    return ordered


def _example(
    name: str,
    pixels: NDArray[np.float32],
    truth: NDArray[np.int32],
    folder: str,
    row: dict[str, str],
    note: str,
) -> Example:
    grey = pixels.ndim == 2
    pixels = pixels[..., None] if grey else pixels[..., :3]
    if pixels.shape[:2] != truth.shape or pixels.ndim != 3:
        raise InputError(
            f"{name}: the image is {pixels.shape[:2]} but its labels are {truth.shape}; crop both "
            "alike."
        )
    modality = row.get("modality") or row.get("modality_guess") or ""
    return example_of(
        name,
        normalise(pixels),
        truth,
        group=f"{folder}/{modality}" if modality else folder,
        complete=row.get("complete", "1") != "0",
        grey=grey,
        note=note,
    )


def example_of(
    name: str,
    plane: NDArray[np.float32],
    truth: NDArray[np.int32],
    *,
    group: str,
    complete: bool = True,
    grey: bool | None = None,
    note: str = "",
) -> Example:
    """Return an example of a normalised plane (H, W, 1) or (H, W, 3) and its labels (H, W)."""
    grey = plane.shape[2] == 1 if grey is None else grey
    plane = np.broadcast_to(plane, (*plane.shape[:2], 3)).transpose(2, 0, 1)
    pyramid = [np.ascontiguousarray(plane, dtype=np.float16)]
    while min(pyramid[-1].shape[1:]) >= 128:
        last = pyramid[-1].astype(np.float32)
        # An odd side ends in half a block: it is filled up with its edge, not with darkness.
        last = np.pad(last, [(0, 0), *((0, side % 2) for side in last.shape[1:])], mode="edge")
        half = downscale_local_mean(last, (1, 2, 2))
        pyramid.append(half.astype(np.float16))
    return Example(name, group, pyramid, truth, median_diameter(truth), complete, grey, note)


def notes_on(examples: Sequence[Example]) -> list[str]:
    """Return what the user should know of training images, a few sentences."""
    notes = few([(example.name, example.note) for example in examples if example.note])
    masks = [example.name for example in examples if _is_mask(example.labels)]
    if masks:
        listed = ", ".join(masks[:LISTED]) + " …" * (len(masks) > LISTED)
        notes.append(
            f"The labels of {listed} have one number for several separate pieces, which count as "
            "one object; number the objects if they are several."
        )
    return notes


def _is_mask(labels: NDArray[np.int32]) -> bool:
    """Whether one number stands for several pieces that do not touch."""
    numbers = np.unique(labels)
    return bool((numbers > 0).sum() == 1 and label_pieces(labels > 0)[1] > 1)


def data_hash(examples: Sequence[Example]) -> str:
    """Hash of the names, images and labels of a training run."""
    digest = hashlib.sha256()
    for example in examples:
        digest.update(example.name.encode())
        digest.update(example.pyramid[0].tobytes())
        digest.update(example.labels.tobytes())
    return digest.hexdigest()


def group_weights(
    examples: Sequence[Example], emphasis: Mapping[str, float] | None = None
) -> NDArray[np.float64]:
    """Probability with which each example is drawn.

    A group's share grows with the square root of its pixels, so that few large images and many
    small ones both count; so does an image's share of its group.  The share of a group in
    ``emphasis`` is multiplied.
    """
    area = np.array([e.labels.size for e in examples], float)
    groups = np.array([e.group for e in examples])
    weights = np.sqrt(area)
    for group in np.unique(groups):
        inside = groups == group
        weights[inside] *= np.sqrt(area[inside].sum()) / weights[inside].sum()
        weights[inside] *= (emphasis or {}).get(str(group), 1.0)
    return np.asarray(weights / weights.sum())


def read_emphasis(text: str, examples: Sequence[Example]) -> dict[str, float]:
    """Read the factors of groups from ``name=factor``, separated by commas.

    OptionError if there is no such group among the examples, or a factor is not a positive number.
    """
    factors = {}
    groups = sorted({example.group for example in examples})
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, factor = part.rpartition("=")
        if name not in groups:
            raise OptionError(
                f"emphasis={part!r} must be NAME=FACTOR; there are the names {', '.join(groups)}."
            )
        try:
            factors[name] = float(factor)
        except ValueError:
            factors[name] = 0.0
        if not (0 < factors[name] < np.inf):
            raise OptionError(f"emphasis={part!r} needs a number above 0 after the =.")
    return factors
