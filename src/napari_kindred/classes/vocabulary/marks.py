"""From marks on a picture to what its masks are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..names import key
from .examples import is_background, numbers
from .mil import NOTHING, UNKNOWN, UNMARKED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from ..proposals.base import Proposals
    from ..proposals.masks import Masks
    from .examples import Example

SAME = 0.5
"""A mask is what a box is around when their boxes share at least this (IoU)."""

WITHIN, FILLED = 0.8, 0.1
"""Where none is, the largest mask that lies in the box so far, and fills so much of it: boxes are
drawn loosely, and of some cells only the nucleus is found."""

NEAR = 0.1
"""A mask whose box shares at least this with a box that is not around it may belong to it."""

MOSTLY = 0.6
"""Share of a mask that must have one label to be of that class."""

SMALLEST = 1e-9
"""Areas are not divided by less than this."""

INSIDE = 0.8
"""Share of a region that must lie in a box's ellipse to be of the box's class."""


@dataclass(frozen=True)
class Placed:
    """What marks say of masks.

    Attributes
    ----------
    codes : ndarray of int16, shape (N,)
        As :attr:`.Bag.instances`.
    hits : mapping of int to (int, int)
        How many marks of each class lie on a mask of their own, and how many it has.
    """

    codes: NDArray[np.int16]
    hits: Mapping[int, tuple[int, int]]

    @property
    def found(self) -> int:
        """How many of the marks lie on a mask of their own."""
        return sum(found for found, _ in self.hits.values())

    @property
    def marks(self) -> int:
        """How many marks there are; those of background need no mask, and do not count."""
        return sum(marks for _, marks in self.hits.values())


def place(proposals: Proposals, example: Example, classes: Mapping[str, int]) -> Placed:
    """Find the masks that an example's marks mean."""
    count = len(proposals)
    if not example.marked:
        alone = bool(example.names) and all(map(is_background, example.names))
        return Placed(np.full(count, NOTHING if alone else UNKNOWN, np.int16), {})
    sheet = _Sheet(count)

    def number(name: str) -> int:
        return NOTHING if is_background(name) else classes[key(name)]

    for name, points in example.points.items():
        _points(sheet, proposals, numbers(points, 2, name, example.source), number(name))
    by_box = _box_regions if proposals.spec.kind == "regions" else _box_masks
    for name, boxes in example.boxes.items():
        by_box(sheet, proposals.masks, numbers(boxes, 4, name, example.source), number(name))
    if example.labels is not None and example.label_names:
        _labels(sheet, proposals.masks, example, number)
    named = (*example.points, *example.boxes, *example.label_names.values())
    return sheet.placed(example.complete, any(map(is_background, named)))


class _Sheet:
    """What was said of each mask so far."""

    def __init__(self, count: int) -> None:
        self.codes = np.full(count, UNMARKED, np.int16)
        self.open = np.zeros(count, bool)
        self.disputed = np.zeros(count, bool)
        self._hits: dict[int, tuple[int, int]] = {}

    def assign(self, masks: NDArray[Any], code: int) -> bool:
        """Note that masks are of a class; tells whether that is new to none of them."""
        other = (self.codes[masks] != UNMARKED) & (self.codes[masks] != code)
        self.disputed[masks[other]] = True
        self.codes[masks] = code
        return not other.any()

    def count(self, code: int, found: bool) -> None:
        """Count a mark of a class, and whether it lies on a mask of its own."""
        if code >= 0:
            hits, marks = self._hits.get(code, (0, 0))
            self._hits[code] = hits + found, marks + 1

    def placed(self, complete: bool, background: bool) -> Placed:
        """Sum up: what was disputed, or is near a mark, is left open.

        Where ``background`` was marked as well, what is not marked is not said to be any.
        """
        codes = self.codes.copy()
        left = codes == UNMARKED
        if complete:
            codes[left] = NOTHING
        elif background:
            codes[left] = UNKNOWN
        codes[(left & self.open) | self.disputed] = UNKNOWN
        return Placed(codes, self._hits)


def _points(sheet: _Sheet, proposals: Proposals, points: NDArray[np.float64], code: int) -> None:
    """Note what points mean: each the mask of best quality that it lies on."""
    on = proposals.masks.contain(points)
    for column in on.T:
        masks = np.flatnonzero(column)
        sheet.open[masks] = True
        best = masks[[proposals.quality[masks].argmax()]] if len(masks) else masks
        sheet.count(code, bool(len(best)) and sheet.assign(best, code))


def _box_masks(sheet: _Sheet, masks: Masks, boxes: NDArray[np.float64], code: int) -> None:
    """Note what boxes mean: each the mask that fits it best, or else lies within it."""
    shared, own, theirs = _box_overlaps(masks.boxes.astype(np.float64), boxes)
    iou = shared / np.maximum(own[:, None] + theirs - shared, SMALLEST)
    inside, filled = shared / np.maximum(own, SMALLEST)[:, None], shared / theirs
    sheet.open[((iou >= NEAR) | (inside >= WITHIN)).any(1)] = True
    for column in range(len(boxes)):
        fit = np.where(iou[:, column] >= SAME, 1 + iou[:, column], 0.0)
        part = (inside[:, column] >= WITHIN) & (filled[:, column] >= FILLED)
        fit = np.maximum(fit, np.where(part, filled[:, column], 0.0))
        seen = fit.max(initial=0) > 0
        sheet.count(code, seen and sheet.assign(np.array([fit.argmax()]), code))


def _box_regions(sheet: _Sheet, masks: Masks, boxes: NDArray[np.float64], code: int) -> None:
    """Note what boxes mean: each the regions within the largest ellipse in it."""
    rows, columns = np.ogrid[: masks.shape[0], : masks.shape[1]]
    for y0, x0, y1, x1 in boxes:
        middle, half = ((y0 + y1) / 2, (x0 + x1) / 2), ((y1 - y0) / 2, (x1 - x0) / 2)
        ellipse = ((rows + 0.5 - middle[0]) / half[0]) ** 2 + (
            (columns + 0.5 - middle[1]) / half[1]
        ) ** 2 <= 1
        inside = _counts(masks, ellipse.astype(np.int64), 2)[:, 1] / np.maximum(masks.areas, 1)
        sheet.open[inside > 0] = True
        meant = np.flatnonzero(inside >= INSIDE)
        sheet.count(code, bool(len(meant)) and sheet.assign(meant, code))


def _labels(sheet: _Sheet, masks: Masks, example: Example, number: Callable[[str], int]) -> None:
    """Note what labels mean: what most of a mask is; in a sketch, most of its labelled part."""
    labels = np.asarray(example.labels)
    ids = [int(label) for label in example.label_names]
    # Numbers without a name count as unlabelled: column 0.
    compact = np.zeros(labels.shape, np.int64)
    for column, label in enumerate(ids, start=1):
        compact[labels == label] = column
    counts = _counts(masks, compact, len(ids) + 1)
    whole = masks.areas if example.complete else counts[:, 1:].sum(1)
    shares = counts / np.maximum(whole, 1)[:, None]
    sheet.open[(counts[:, 1:] > 0).any(1)] = True
    covered = np.bincount(compact.ravel(), minlength=len(ids) + 1)
    for column, label in enumerate(ids, start=1):
        if not covered[column]:
            continue
        meant = np.flatnonzero(shares[:, column] >= MOSTLY)
        code = number(example.label_names[label])
        clear = bool(len(meant)) and sheet.assign(meant, code)
        # Masks may overlap, so that this share may be above 1.
        sheet.count(code, clear and counts[meant, column].sum() >= SAME * covered[column])
    if example.complete:
        sheet.open[shares[:, 0] >= MOSTLY] = False


def _counts(masks: Masks, numbers_of: NDArray[np.int64], kinds: int) -> NDArray[np.int64]:
    """Count each mask's pixels of each number, (N, kinds)."""
    found = np.zeros((len(masks), kinds), np.int64)
    for i, crop in enumerate(masks.crops):
        found[i] = np.bincount(numbers_of[masks.place(i)][crop], minlength=kinds)
    return found


def _box_overlaps(
    first: NDArray[np.float64], second: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Areas that boxes (N, 4) and (M, 4) share, (N, M), and their own, (N,) and (M,)."""
    start = np.maximum(first[:, None, :2], second[None, :, :2])
    stop = np.minimum(first[:, None, 2:], second[None, :, 2:])
    own, theirs = ((boxes[:, 2:] - boxes[:, :2]).prod(1) for boxes in (first, second))
    return np.clip(stop - start, 0, None).prod(-1), own, theirs
