"""Masks of one image, each stored as a crop: they may overlap, and take little memory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from ...core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

ROWS = 256
"""Masks whose boxes are compared with all others at a time, to bound the memory."""


@dataclass(frozen=True, eq=False)
class Masks:
    """Masks of one image of ``shape`` (Y, X).

    ``boxes`` (N, 4) are (y0, x0, y1, x1), half-open, within the image; ``crops`` are the content of
    each box, (y1 - y0, x1 - x0).
    """

    shape: tuple[int, int]
    boxes: NDArray[np.int32]
    crops: tuple[NDArray[np.bool_], ...]

    def __post_init__(self) -> None:
        sizes = np.array([crop.shape for crop in self.crops]).reshape(-1, 2)
        if self.boxes.shape != (len(self.crops), 4):
            raise InputError(
                f"{len(self.crops)} masks need boxes of shape ({len(self.crops)}, 4), not "
                f"{self.boxes.shape}."
            )
        if (self.boxes[:, 2:] - self.boxes[:, :2] != sizes).any():
            raise InputError("Every mask must be as large as its box.")
        if (self.boxes < 0).any() or (self.boxes[:, 2:] > self.shape).any():
            raise InputError(f"Every box must lie within the image of shape {self.shape}.")

    def __len__(self) -> int:
        return len(self.crops)

    @classmethod
    def from_labels(cls, labels: NDArray[Any]) -> Masks:
        """Take every label but 0 of a plane (Y, X) as a mask, in the order of their ids.

        InputError if this is not a plane of integers, or one is negative.
        """
        labels = np.asarray(labels)
        if labels.ndim != 2 or labels.dtype.kind not in "bui":
            raise InputError(
                f"Labels must be a plane (Y, X) of whole numbers, not {labels.ndim} axes of "
                f"{labels.dtype}."
            )
        if labels.min(initial=0) < 0:
            raise InputError("Labels must not be negative; 0 is background.")
        if labels.max(initial=0) > labels.size:  # ids far apart would make a long list of nothing
            ids, inverse = np.unique(labels, return_inverse=True)
            labels = inverse.reshape(labels.shape) + (ids[0] != 0)
        if labels.dtype.itemsize > 4 or labels.dtype.kind == "b":
            labels = labels.astype(np.int32)
        boxes, crops = [], []
        for number, place in enumerate(ndimage.find_objects(labels), start=1):
            if place is not None:
                rows, columns = place
                boxes.append((rows.start, columns.start, rows.stop, columns.stop))
                crops.append(labels[place] == number)
        return cls((labels.shape[0], labels.shape[1]), _boxes(boxes), tuple(crops))

    @classmethod
    def joined(cls, parts: Sequence[Masks]) -> Masks:
        """Return the masks of one or more sets of one image, one after the other."""
        crops = tuple(crop for part in parts for crop in part.crops)
        return cls(parts[0].shape, np.concatenate([part.boxes for part in parts]), crops)

    @cached_property
    def areas(self) -> NDArray[np.int64]:
        """Pixels of each mask, (N,)."""
        return np.array([np.count_nonzero(crop) for crop in self.crops], np.int64)

    def place(self, index: int) -> tuple[slice, slice]:
        """Return the rows and columns of one mask's box."""
        y0, x0, y1, x1 = (int(edge) for edge in self.boxes[index])
        return slice(y0, y1), slice(x0, x1)

    def dense(self, index: int) -> NDArray[np.bool_]:
        """Return one mask as a plane (Y, X)."""
        mask = np.zeros(self.shape, bool)
        mask[self.place(index)] = self.crops[index]
        return mask

    def take(self, indices: ArrayLike) -> Masks:
        """Return some of the masks, by their numbers or as (N,) bool."""
        chosen = np.asarray(indices)
        chosen = np.flatnonzero(chosen) if chosen.dtype == bool else chosen.astype(np.int64)
        return Masks(self.shape, self.boxes[chosen], tuple(self.crops[i] for i in chosen))

    def paint(self, values: ArrayLike, order: Iterable[int] | None = None) -> NDArray[np.int32]:
        """Paint masks over each other with ``values`` (N,), (Y, X); 0 is no mask.

        ``order`` are the numbers of the masks to paint; later ones cover earlier ones.
        """
        values = np.asarray(values)
        canvas = np.zeros(self.shape, np.int32)
        for index in range(len(self)) if order is None else order:
            canvas[self.place(index)][self.crops[index]] = values[index]
        return canvas

    def contain(self, points: ArrayLike) -> NDArray[np.bool_]:
        """Return which points (y, x), (P, 2), are in which mask, (N, P); pixel centres integer."""
        places = np.floor(np.asarray(points, np.float64).reshape(-1, 2) + 0.5).astype(np.int64)
        found = np.zeros((len(self), len(places)), bool)
        for number, (box, crop) in enumerate(zip(self.boxes, self.crops, strict=True)):
            near = np.flatnonzero(((places >= box[:2]) & (places < box[2:])).all(1))
            inside = places[near] - box[:2]
            found[number, near] = crop[inside[:, 0], inside[:, 1]]
        return found

    def overlaps(self, other: Masks | None = None) -> NDArray[np.int64]:
        """Count the pixels that masks share with M others, or with each other: (N, M)."""
        theirs = self if other is None else other
        if theirs.shape != self.shape:
            raise InputError(
                f"Masks of images of shapes {self.shape} and {theirs.shape} share no pixels; "
                "give masks of one image."
            )
        shared = np.zeros((len(self), len(theirs)), np.int64)
        for i, j in _touching(self.boxes, theirs.boxes):
            if other is not None:
                shared[i, j] = _shared_pixels(self, i, theirs, j)
            elif i < j:
                shared[i, j] = shared[j, i] = _shared_pixels(self, i, self, j)
        if other is None:
            np.fill_diagonal(shared, self.areas)
        return shared

    def ious(self, other: Masks | None = None) -> NDArray[np.float64]:
        """Return intersection over union of masks, (N, M); 0 for two empty ones."""
        theirs = self if other is None else other
        return _over_union(self.overlaps(other), self.areas, theirs.areas)

    def box_ious(self) -> NDArray[np.float64]:
        """Return intersection over union of the masks' boxes, (N, N)."""
        sizes = (self.boxes[:, 2:] - self.boxes[:, :2]).astype(np.int64).prod(1)
        return _over_union(_common(self.boxes, self.boxes), sizes, sizes)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all of it as a few arrays, eight pixels to a byte; see :meth:`from_arrays`."""
        flat = [np.packbits(crop.ravel()) for crop in self.crops]
        return {
            "mask_shape": np.array(self.shape, np.int64),
            "mask_boxes": self.boxes,
            "mask_bits": np.concatenate([np.zeros(0, np.uint8), *flat]),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Masks:
        """Build masks from the result of :meth:`arrays`; InputError if they do not fit."""
        height, width = (int(n) for n in arrays["mask_shape"])
        boxes, bits = arrays["mask_boxes"], arrays["mask_bits"]
        sizes = boxes[:, 2:] - boxes[:, :2]
        ends = np.cumsum(-(-sizes.astype(np.int64).prod(1) // 8))
        if len(bits) != (ends[-1] if len(ends) else 0):
            raise InputError("The masks' bits do not fit their boxes.")
        crops = []
        for end, (rows, columns) in zip(ends.tolist(), sizes.tolist(), strict=True):
            count = rows * columns
            part = np.unpackbits(bits[end - -(-count // 8) : end], count=count)
            crops.append(part.view(bool).reshape(rows, columns))
        return cls((height, width), np.ascontiguousarray(boxes, np.int32), tuple(crops))


def _boxes(rows: Sequence[tuple[int, ...]]) -> NDArray[np.int32]:
    return np.array(rows, np.int32).reshape(-1, 4)


def _common(first: NDArray[np.int32], second: NDArray[np.int32]) -> NDArray[np.int64]:
    """Pixels (N, M) that boxes (N, 4) and (M, 4) share."""
    start = np.maximum(first[:, None, :2], second[None, :, :2])
    stop = np.minimum(first[:, None, 2:], second[None, :, 2:])
    common: NDArray[np.int64] = np.clip(stop - start, 0, None).astype(np.int64).prod(-1)
    return common


def _touching(first: NDArray[np.int32], second: NDArray[np.int32]) -> Iterator[tuple[int, int]]:
    """Yield the pairs of boxes that share pixels."""
    for start in range(0, len(first), ROWS):
        some = first[start : start + ROWS]
        # Labels come in the order of their rows, so that few boxes lie next to any such group.
        near = (second[:, 2] > some[:, 0].min()) & (second[:, 0] < some[:, 2].max())
        others = np.flatnonzero(near)
        for row, column in np.argwhere(_common(some, second[others])):
            yield start + int(row), int(others[column])


def _shared_pixels(first: Masks, i: int, second: Masks, j: int) -> int:
    """Count the pixels that two masks share, where their boxes do."""
    one, two = first.boxes[i], second.boxes[j]
    start, stop = np.maximum(one[:2], two[:2]), np.minimum(one[2:], two[2:])
    parts = [
        crop[tuple(slice(*edges) for edges in zip(start - box[:2], stop - box[:2], strict=True))]
        for crop, box in ((first.crops[i], one), (second.crops[j], two))
    ]
    return int(np.count_nonzero(parts[0] & parts[1]))


def _over_union(
    shared: NDArray[np.int64], first: NDArray[np.int64], second: NDArray[np.int64]
) -> NDArray[np.float64]:
    union = first[:, None] + second[None] - shared
    share: NDArray[np.float64] = shared / np.maximum(union, 1)
    return share
