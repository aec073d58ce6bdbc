"""From scored masks to one class per pixel: threshold, suppression of doubles, what lies on top.

U-SAM, section on inference: confidence threshold, then non-maximum suppression; the rest is
background.
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
    """One picture with its classes.

    Attributes
    ----------
    labels : ndarray of int32, shape (Y, X)
        1 is the first class; 0 is background.
    entities : ndarray of int32, shape (Y, X)
        Every thing its own id, 1 to K; 0 is background.
    classes : ndarray of int64, shape (K,)
        Class of each thing, from 1.
    scores : ndarray of float32, shape (K,)
        Confidence in it, 0 to 1.
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
    """Let masks become things of one class each.

    Every mask takes its most probable class.  Where masks lie on each other the smaller is on
    top, as a part lies upon the whole.

    ``scores`` (N, C) float32, ``quality`` (N,) float32, ``thresholds`` (C,) float32.
    """
    best = scores.argmax(1) if scores.shape[1] else np.zeros(len(scores), np.int64)
    confidence = scores[np.arange(len(best)), best]
    chosen = np.flatnonzero((confidence >= thresholds[best]) & (masks.areas > 0))
    if overlapping:
        order = chosen[np.argsort(-(confidence * quality)[chosen], kind="stable")]
        kept = order[_first_of_doubles(masks.take(order), nms_box, nms_mask)]
        chosen = np.sort(kept)
    shown = masks.take(chosen)
    places = np.argsort(-shown.areas, kind="stable")
    painted = shown.paint(np.arange(1, len(shown) + 1), places)
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


def _first_of_doubles(masks: Masks, nms_box: float, nms_mask: float) -> NDArray[np.intp]:
    """Return the masks, given from best to worst, that are no double of a better one."""
    shared = masks.overlaps()
    union = masks.areas[:, None] + masks.areas[None] - shared
    double = shared > nms_mask * union
    double |= (shared > 0) & (masks.box_ious() > nms_box)
    alive = np.ones(len(masks), bool)
    for place in range(len(masks)):
        if alive[place]:
            alive[place + 1 :] &= ~double[place, place + 1 :]
    return np.flatnonzero(alive)


def best_of(
    masks: Masks, scores: NDArray[np.float32]
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Spread the scores of masks that do not overlap over their pixels.

    ``scores`` (N, C) float32; returns ``best`` (Y, X) int32, ``confidence`` (Y, X) float32.
    """
    place = masks.paint(np.arange(1, len(masks) + 1))
    if not len(masks):
        return place, np.zeros(masks.shape, np.float32)
    best = np.concatenate([[0], scores.argmax(1) + 1]).astype(np.int32)
    confidence = np.concatenate([[0], scores.max(1)]).astype(np.float32)
    return best[place], confidence[place]


def resolve_map(
    best: NDArray[np.int32], confidence: NDArray[np.float32], thresholds: NDArray[np.float32]
) -> Resolved:
    """Let a map of classes become things: the connected parts of each class.

    ``best`` (Y, X) int32, ``confidence`` (Y, X) float32, ``thresholds`` (C,) float32.
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
