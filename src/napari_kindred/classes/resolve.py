"""From scored masks to one class per pixel: threshold, non-maximum suppression, stacking order.

U-SAM, section on inference; the rest is background.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .proposals.masks import Masks


@dataclass(frozen=True, eq=False)
class Resolved:
    """One image with its classes.

    ``labels`` (Y, X) are 1 for the first class, 0 for background; ``entities`` (Y, X) the ids 1 to
    K of the objects, ``classes`` (K,) the class of each, from 1, and ``scores`` (K,) its
    confidence, 0 to 1.
    """

    labels: NDArray[np.int32]
    entities: NDArray[np.int32]
    classes: NDArray[np.int64]
    scores: NDArray[np.float32]


def resolve_masks(
    masks: Masks,
    scores: NDArray[np.float32],
    quality: NDArray[np.float32],
    thresholds: NDArray[np.float32],
    *,
    overlapping: bool = True,
    nms_box: float = 0.7,
    nms_mask: float = 0.5,
) -> Resolved:
    """Give each mask its most probable class.  Of masks on each other the smaller is on top.

    ``scores`` (N, C), ``quality`` (N,), ``thresholds`` (C,).  Of ``overlapping`` masks only the
    best of those with a higher IoU than ``nms_mask``, or ``nms_box`` of their boxes, stays.
    """
    best = scores.argmax(1) if scores.shape[1] else np.zeros(len(scores), np.int64)
    confidence = scores[np.arange(len(best)), best]
    chosen = np.flatnonzero((confidence >= thresholds[best]) & (masks.areas > 0))
    if overlapping:
        order = chosen[np.argsort(-(confidence * quality)[chosen], kind="stable")]
        best_first = order[_without_duplicates(masks.take(order), nms_box, nms_mask)]
        chosen = np.sort(best_first)
    shown = masks.take(chosen)
    order = np.argsort(-shown.areas, kind="stable")
    painted = shown.paint(np.arange(1, len(shown) + 1), order)
    visible = np.bincount(painted.ravel(), minlength=len(shown) + 1)[1:] > 0
    ids = np.zeros(len(shown) + 1, np.int32)
    ids[1:][visible] = np.arange(1, visible.sum() + 1)
    classes = best[chosen] + 1
    return Resolved(
        np.concatenate([[0], classes]).astype(np.int32)[painted],
        ids[painted],
        classes[visible].astype(np.int64),
        confidence[chosen][visible].astype(np.float32),
    )


def _without_duplicates(masks: Masks, nms_box: float, nms_mask: float) -> NDArray[np.intp]:
    """Return the masks, given from best to worst, that are no duplicate of a better one."""
    shared = masks.overlaps()
    union = masks.areas[:, None] + masks.areas[None] - shared
    duplicate = shared > nms_mask * union
    duplicate |= (shared > 0) & (masks.box_ious() > nms_box)
    alive = np.ones(len(masks), bool)
    for number in range(len(masks)):
        if alive[number]:
            alive[number + 1 :] &= ~duplicate[number, number + 1 :]
    return np.flatnonzero(alive)


def best_of(
    masks: Masks, scores: NDArray[np.float32]
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Paint scores (N, C) of disjoint masks: the best class and its confidence, (Y, X) each."""
    painted = masks.paint(np.arange(1, len(masks) + 1))
    if not len(masks):
        return painted, np.zeros(masks.shape, np.float32)
    best = np.concatenate([[0], scores.argmax(1) + 1]).astype(np.int32)
    confidence = np.concatenate([[0], scores.max(1)]).astype(np.float32)
    return best[painted], confidence[painted]


def resolve_map(
    best: NDArray[np.int32], confidence: NDArray[np.float32], thresholds: NDArray[np.float32]
) -> Resolved:
    """Split a map of classes into objects: the connected parts of each class.

    ``best``, ``confidence`` (Y, X), ``thresholds`` (C,).
    """
    from skimage.measure import label

    needed = np.concatenate([[np.inf], thresholds]).astype(np.float32)
    labels = np.where(confidence >= needed[best], best, 0).astype(np.int32)
    entities = label(labels, connectivity=1).astype(np.int32)
    count = int(entities.max(initial=0))
    inside = np.flatnonzero(entities)
    owner = entities.ravel()[inside] - 1
    area = np.maximum(np.bincount(owner, minlength=count), 1)
    total = np.bincount(owner, confidence.ravel()[inside], minlength=count)
    classes = np.zeros(count, np.int64)
    classes[owner] = labels.ravel()[inside]
    return Resolved(labels, entities, classes, (total / area).astype(np.float32))
