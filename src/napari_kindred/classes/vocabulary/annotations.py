"""Classes of an image's masks, from the annotations on it."""

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
"""A mask belongs to a box if their boxes have at least this IoU …"""

WITHIN, FILLED = 0.8, 0.1
"""… or else the largest mask with this share inside the box that fills this share of it: boxes are
drawn loosely, and of some cells only the nucleus is found."""

NEAR = 0.1
"""A mask whose box has at least this IoU with another object's box may belong to that object."""

MOSTLY = 0.6
"""Share of a mask that must have one label to be of that class."""

SMALLEST = 1e-9
"""Lower bound of areas that divide."""

INSIDE = 0.8
"""Share of a region that must lie in a box's ellipse to be of the box's class."""


@dataclass(frozen=True)
class MaskCodes:
    """Classes of masks: ``codes`` (N,) as :attr:`.Bag.instances`.

    ``hits`` are, of each class, the number of annotations that annotate a mask, and their number;
    those of background need no mask, and do not count.
    """

    codes: NDArray[np.int16]
    hits: Mapping[int, tuple[int, int]]

    @property
    def found(self) -> int:
        """Number of annotations that annotate a mask."""
        return sum(found for found, _ in self.hits.values())

    @property
    def total(self) -> int:
        """Number of annotations."""
        return sum(total for _, total in self.hits.values())


def annotate(proposals: Proposals, example: Example, classes: Mapping[str, int]) -> MaskCodes:
    """Find the masks that an example's annotations belong to."""
    count = len(proposals)
    if not example.marked:
        only_background = bool(example.names) and all(map(is_background, example.names))
        return MaskCodes(np.full(count, NOTHING if only_background else UNKNOWN, np.int16), {})
    collected = _Collected(count)

    def number(name: str) -> int:
        return NOTHING if is_background(name) else classes[key(name)]

    for name, points in example.points.items():
        _points(collected, proposals, numbers(points, 2, name, example.source), number(name))
    by_box = _box_regions if proposals.spec.kind == "regions" else _box_masks
    for name, boxes in example.boxes.items():
        by_box(collected, proposals.masks, numbers(boxes, 4, name, example.source), number(name))
    if example.labels is not None and example.label_names:
        _labels(collected, proposals.masks, example, number)
    named = (*example.points, *example.boxes, *example.label_names.values())
    return collected.result(example.complete, any(map(is_background, named)))


class _Collected:
    """Annotations of each mask so far."""

    def __init__(self, count: int) -> None:
        self.codes = np.full(count, UNMARKED, np.int16)
        self.open = np.zeros(count, bool)
        self.disputed = np.zeros(count, bool)
        self._annotations: list[tuple[int, NDArray[Any], NDArray[Any], float]] = []

    def add(
        self, code: int, masks: NDArray[Any], weights: NDArray[Any] | None = None, needed: float = 1
    ) -> None:
        """Add an annotation of some masks.

        It counts as found if the ``weights`` (1 each by default) of its undisputed masks sum up to
        what is ``needed``.
        """
        self.disputed[masks] |= (self.codes[masks] != UNMARKED) & (self.codes[masks] != code)
        self.codes[masks] = code
        if code >= 0:
            weights = np.ones(len(masks)) if weights is None else weights
            self._annotations.append((code, masks, weights, needed))

    def result(self, complete: bool, background: bool) -> MaskCodes:
        """Return the codes: disputed masks, and those near an annotation, are left open.

        If ``background`` was annotated as well, other masks are not taken for background.
        """
        codes = self.codes.copy()
        left = codes == UNMARKED
        if complete:
            codes[left] = NOTHING
        elif background:
            codes[left] = UNKNOWN
        codes[(left & self.open) | self.disputed] = UNKNOWN
        hits: dict[int, tuple[int, int]] = {}
        for code, masks, weights, needed in self._annotations:
            found, total = hits.get(code, (0, 0))
            hit = weights[~self.disputed[masks]].sum() >= needed
            hits[code] = found + int(hit), total + 1
        return MaskCodes(codes, hits)


def _points(
    collected: _Collected, proposals: Proposals, points: NDArray[np.float64], code: int
) -> None:
    """Add points: each annotates the mask of best quality that it lies on."""
    on = proposals.masks.contain(points)
    for column in on.T:
        masks = np.flatnonzero(column)
        collected.open[masks] = True
        collected.add(code, masks[[proposals.quality[masks].argmax()]] if len(masks) else masks)


def _box_masks(collected: _Collected, masks: Masks, boxes: NDArray[np.float64], code: int) -> None:
    """Add boxes: each annotates the mask that fits it best, or else lies within it."""
    shared, own, theirs = _box_overlaps(masks.boxes.astype(np.float64), boxes)
    iou = shared / np.maximum(own[:, None] + theirs - shared, SMALLEST)
    inside, filled = shared / np.maximum(own, SMALLEST)[:, None], shared / theirs
    collected.open[((iou >= NEAR) | (inside >= WITHIN)).any(1)] = True
    for column in range(len(boxes)):
        fit = np.where(iou[:, column] >= SAME, 1 + iou[:, column], 0.0)
        part = (inside[:, column] >= WITHIN) & (filled[:, column] >= FILLED)
        fit = np.maximum(fit, np.where(part, filled[:, column], 0.0))
        best = [fit.argmax()] if fit.any() else []
        collected.add(code, np.array(best, np.int64))


def _box_regions(
    collected: _Collected, masks: Masks, boxes: NDArray[np.float64], code: int
) -> None:
    """Add boxes: each annotates the regions within the largest ellipse in it."""
    for box in boxes:
        ellipse = in_ellipse(box, masks.shape)
        inside = _counts(masks, ellipse.astype(np.int64), 2)[:, 1] / np.maximum(masks.areas, 1)
        collected.open[inside > 0] = True
        collected.add(code, np.flatnonzero(inside >= INSIDE))


def in_ellipse(box: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return which pixels (Y, X) lie in the largest ellipse within a box (4,)."""
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    y0, x0, y1, x1 = box
    middle, half = ((y0 + y1) / 2, (x0 + x1) / 2), ((y1 - y0) / 2, (x1 - x0) / 2)
    down, right = (rows + 0.5 - middle[0]) / half[0], (columns + 0.5 - middle[1]) / half[1]
    inside: NDArray[np.bool_] = down**2 + right**2 <= 1
    return inside


def _labels(
    collected: _Collected, masks: Masks, example: Example, number: Callable[[str], int]
) -> None:
    """Add labels: a mask's is that of most of it; in a sketch, of most of its labelled part."""
    labels = np.asarray(example.labels)
    ids = [int(label) for label in example.label_names]
    # Numbers without a name count as unlabelled: column 0.
    compact = np.zeros(labels.shape, np.int64)
    for column, label in enumerate(ids, start=1):
        compact[labels == label] = column
    counts = _counts(masks, compact, len(ids) + 1)
    whole = masks.areas if example.complete else counts[:, 1:].sum(1)
    shares = counts / np.maximum(whole, 1)[:, None]
    collected.open[(counts[:, 1:] > 0).any(1)] = True
    covered = np.bincount(compact.ravel(), minlength=len(ids) + 1)
    for column, label in enumerate(ids, start=1):
        if covered[column]:
            chosen = np.flatnonzero(shares[:, column] >= MOSTLY)
            code = number(example.label_names[label])
            # Masks may overlap, so that the labelled pixels in them may be more than there are.
            collected.add(code, chosen, counts[chosen, column], SAME * covered[column])
    if example.complete:
        collected.open[shares[:, 0] >= MOSTLY] = False


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
