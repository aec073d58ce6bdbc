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


GAP = 0.35
"""Parts of an object are not farther apart than this share of its usual diameter …"""

WHOLE = 1.25
"""… and together not larger than so many of them."""


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
    extents: NDArray[np.float32] | None = None,
) -> Resolved:
    """Give each mask its most probable class.  Of masks on each other the smaller is on top.

    ``scores`` (N, C), ``quality`` (N,), ``thresholds`` (C,).  Of ``overlapping`` masks only the
    best of those with a higher IoU than ``nms_mask``, or ``nms_box`` of their boxes, stays.
    ``extents`` (C,) are the usual diameters of whole objects in pixels, 0 if unknown: parts of one
    object, such as the lobes of a nucleus, become one.
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
    whole = np.arange(len(shown))
    if extents is not None:
        whole = whole_objects(shown.boxes, best[chosen], extents)
    # An object of several parts is as sure as the surest of them, which come first.
    surest = np.lexsort((-confidence[chosen], whole))
    _, first = np.unique(whole[surest], return_index=True)
    scores_of = confidence[chosen][surest[first]]
    classes_of = best[chosen][surest[first]] + 1
    painted = shown.paint(whole + 1, order)
    visible = np.bincount(painted.ravel(), minlength=len(first) + 1)[1:] > 0
    ids = np.zeros(len(first) + 1, np.int32)
    ids[1:][visible] = np.arange(1, visible.sum() + 1)
    return Resolved(
        np.concatenate([[0], classes_of]).astype(np.int32)[painted],
        ids[painted],
        classes_of[visible].astype(np.int64),
        scores_of[visible].astype(np.float32),
    )


def whole_objects(
    boxes: NDArray[np.int32], classes: NDArray[np.integer], extents: NDArray[np.float32]
) -> NDArray[np.intp]:
    """Return which object each mask of ``boxes`` (N, 4) and ``classes`` (N,) belongs to, (N,).

    Parts of one class, nearest first, are put together while the whole is not larger than usual.
    """
    owner = np.arange(len(boxes))
    spans = boxes.astype(np.float64)
    for kind in np.flatnonzero(extents > 0):
        places = np.flatnonzero(classes == kind)
        first, second = np.triu_indices(len(places), 1)
        first, second = places[first], places[second]
        apart = np.maximum(spans[first, :2], spans[second, :2]) - np.minimum(
            spans[first, 2:], spans[second, 2:]
        )
        gap = np.linalg.norm(np.maximum(apart, 0), axis=1)
        near = np.flatnonzero(gap <= GAP * extents[kind])
        for pair in near[np.argsort(gap[near], kind="stable")]:
            one, two = owner[first[pair]], owner[second[pair]]
            joint = np.concatenate(
                [
                    np.minimum(spans[one, :2], spans[two, :2]),
                    np.maximum(spans[one, 2:], spans[two, 2:]),
                ]
            )
            if one != two and (joint[2:] - joint[:2]).max() <= WHOLE * extents[kind]:
                owner[owner == two] = one
                spans[one] = joint
    return np.unique(owner, return_inverse=True)[1]


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
