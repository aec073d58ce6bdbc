"""How well labels agree with ground truth: instances, clusters over time, classes.

Label 0 is background everywhere.  Overlaps are counted in a sparse table, so that a picture with
thousands of instances is scored in about the time it takes to read it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

THRESHOLDS: tuple[float, ...] = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
"""IoU thresholds over which mSA is averaged."""


@dataclass(frozen=True, slots=True)
class Overlaps:
    """Which instances of two label images overlap, and how much.

    Attributes
    ----------
    first, second : ndarray of int, shape (K,)
        Ids of the overlapping pairs, background left out.
    iou : ndarray of float, shape (K,)
        Intersection over union of each pair, in (0, 1].
    count_first, count_second : int
        Instances in either image, overlapping or not.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    iou: NDArray[np.float64]
    count_first: int
    count_second: int


def contingency(
    first: NDArray[Any], second: NDArray[Any]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Count the pixels of every pair of ids that share one.

    Parameters
    ----------
    first, second : ndarray of int, same shape
        Label images; ids of any size, none negative.

    Returns
    -------
    first_ids, second_ids, pixels : ndarray of int, shape (K,)
        The pairs, background (0) included, sorted by first and then second id.

    Raises
    ------
    InputError
        When the shapes differ, or labels are negative or no integers.
    """
    from scipy.sparse import coo_array

    if first.shape != second.shape:
        raise InputError(f"Label images must have one shape, not {first.shape} and {second.shape}.")
    (a, a_ids), (b, b_ids) = _compact(first), _compact(second)
    table = coo_array(
        (np.ones(a.size, np.int64), (a, b)), shape=(len(a_ids), len(b_ids))
    ).tocsr()  # adds up what falls on the same pair
    table.sort_indices()
    rows = np.repeat(np.arange(len(a_ids)), np.diff(table.indptr))
    return a_ids[rows], b_ids[table.indices], table.data


def _compact(labels: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Flat labels and the id each stands for; ids are only squeezed when they are far apart."""
    if not (np.issubdtype(labels.dtype, np.integer) or labels.dtype == bool):
        raise InputError(f"Labels must be whole numbers, not {labels.dtype}.")
    flat = labels.ravel()
    if flat.size and flat.min() < 0:
        raise InputError("Labels must not be negative.")
    largest = int(flat.max(initial=0))
    if largest <= 2 * flat.size + 1024:
        return flat.astype(np.int64), np.arange(largest + 1)
    ids, compact = np.unique(flat, return_inverse=True)
    return compact.astype(np.int64), ids.astype(np.int64)


def overlaps(first: NDArray[Any], second: NDArray[Any]) -> Overlaps:
    """Find the overlapping instances of two label images.

    Parameters
    ----------
    first, second : ndarray of int, same shape

    Raises
    ------
    InputError
        As :func:`contingency`.
    """
    a, b, pixels = contingency(first, second)
    ids_a, place_a = np.unique(a, return_inverse=True)
    ids_b, place_b = np.unique(b, return_inverse=True)
    area_a = np.bincount(place_a, weights=pixels)[place_a]
    area_b = np.bincount(place_b, weights=pixels)[place_b]
    pair = (a > 0) & (b > 0)
    return Overlaps(
        first=a[pair],
        second=b[pair],
        iou=pixels[pair] / (area_a + area_b - pixels)[pair],
        count_first=int((ids_a > 0).sum()),
        count_second=int((ids_b > 0).sum()),
    )


def instance_counts(
    truth: NDArray[Any],
    predicted: NDArray[Any],
    thresholds: Iterable[float] = THRESHOLDS,
) -> NDArray[np.float64]:
    """Match instances one to one and count hits and misses.

    At every threshold as many pairs with at least that IoU as possible are matched, and of all
    such matchings one with the largest sum of IoU.

    Parameters
    ----------
    truth, predicted : ndarray of int, same shape
        Label images.
    thresholds : iterable of float
        IoU thresholds in (0, 1].

    Returns
    -------
    ndarray of float, shape (thresholds, 4)
        True positives, false positives, false negatives, sum of the matched pairs' IoU.

    Raises
    ------
    InputError
        As :func:`contingency`.
    """
    found = overlaps(truth, predicted)
    rows = []
    for threshold in thresholds:
        iou = found.iou[match(found, threshold)]
        hits, total = len(iou), float(iou.sum())
        rows.append((hits, found.count_second - hits, found.count_first - hits, total))
    return np.array(rows, float).reshape(-1, 4)


def match(found: Overlaps, threshold: float) -> NDArray[np.int64]:
    """Match instances one to one, as many as can be and of those the best.

    Returns (M,) int.
    """
    good = np.flatnonzero(found.iou >= threshold)
    iou = found.iou[good]
    a = np.unique(found.first[good], return_inverse=True)[1]
    b = np.unique(found.second[good], return_inverse=True)[1]
    # Above one half a pair excludes every other; at or below, the few in conflict are assigned.
    conflict = (np.bincount(a)[a] > 1) | (np.bincount(b)[b] > 1) if len(a) else np.zeros(0, bool)
    matched = good[~conflict]
    if conflict.any():
        from scipy.optimize import linear_sum_assignment  # takes half a second to load

        rows, row = np.unique(a[conflict], return_inverse=True)
        columns, column = np.unique(b[conflict], return_inverse=True)
        gain = np.zeros((len(rows), len(columns)))
        # A pair more counts for more than any sum of IoU could.
        gain[row, column] = iou[conflict] + min(gain.shape) + 1
        pairs = np.zeros(gain.shape, bool)
        pairs[linear_sum_assignment(gain, maximize=True)] = True
        matched = np.sort(np.concatenate([matched, good[conflict][pairs[row, column]]]))
    return matched


def average_precision(pairs: Iterable[tuple[NDArray[Any], NDArray[Any]]]) -> dict[str, float]:
    """Score instances over many pictures.

    Parameters
    ----------
    pairs : iterable of (truth, predicted)
        Label images, each pair of one shape; counts are summed over the pictures.

    Returns
    -------
    dict
        ``AP50``: ``TP / (TP + FP + FN)`` at IoU 0.5; ``mSA``: its mean over IoU 0.50 to 0.95 in
        steps of 0.05; ``mSA_per_image``: the same for every picture by itself, averaged;
        ``PQ`` and ``F1`` at IoU 0.5; ``images`` and ``objects``: how many.  Without any instance
        the scores are 0.
    """
    counts, per_image = np.zeros((len(THRESHOLDS), 4)), []
    for truth, predicted in pairs:
        own = instance_counts(truth, predicted)
        counts += own
        per_image.append(float(_precision(own).mean()))
    precision = _precision(counts)
    hits, wrong, missed, total = counts[0]
    return {
        "AP50": float(precision[0]),
        "mSA": float(precision.mean()),
        "mSA_per_image": float(np.mean(per_image)) if per_image else 0.0,
        "PQ": float(total / max(hits + 0.5 * wrong + 0.5 * missed, 1)),
        "F1": float(2 * hits / max(2 * hits + wrong + missed, 1)),
        "images": float(len(per_image)),
        "objects": float(hits + missed),
    }


def _precision(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(counts[:, 0] / np.maximum(counts[:, :3].sum(1), 1))


def mean_iou(
    pairs: Iterable[tuple[NDArray[Any], NDArray[Any]]], ignore: int = 255
) -> tuple[float, dict[int, float]]:
    """Score class maps over many pictures.

    Parameters
    ----------
    pairs : iterable of (truth, predicted)
        Maps of class numbers, 0 for background.
    ignore : int
        Pixels with this number in the truth do not count.

    Returns
    -------
    mean : float
        Mean IoU of the classes that occur in the truth, background left out; 0 without any.
    per_class : dict of int to float
        IoU of every class in the truth, background included.

    Raises
    ------
    InputError
        As :func:`contingency`.
    """
    both: dict[int, int] = {}
    area_truth: dict[int, int] = {}
    area_predicted: dict[int, int] = {}
    for truth, predicted in pairs:
        for a, b, n in zip(*(x.tolist() for x in contingency(truth, predicted)), strict=True):
            if a == ignore:
                continue
            area_truth[a] = area_truth.get(a, 0) + n
            area_predicted[b] = area_predicted.get(b, 0) + n
            if a == b:
                both[a] = n + both.get(a, 0)
    iou = {
        k: both.get(k, 0) / (area + area_predicted.get(k, 0) - both.get(k, 0))
        for k, area in sorted(area_truth.items())
    }
    classes = [value for k, value in iou.items() if k > 0]
    return float(np.mean(classes)) if classes else 0.0, iou


def consistency(truth: NDArray[Any], clusters: NDArray[Any]) -> dict[str, float]:
    """Score clusters over time.

    Parameters
    ----------
    truth : ndarray of int, shape (T, Y, X)
        Track ids: the same object has the same id in every frame.
    clusters : ndarray of int, shape (T, Y, X)

    Returns
    -------
    dict
        ``flip_rate``: share of steps, from one frame with an object to the next, in which the
        cluster of most of the object's pixels changes (the smallest, of equals);
        ``best_iou``, ``best_f1``, ``best_recall``: all objects together against those clusters of
        which more than half lies in objects, chosen once for the whole movie; ``frames`` and
        ``clusters``: how many.

    Raises
    ------
    InputError
        As :func:`contingency`.
    """
    ids, found, pixels = contingency(truth, clusters)
    members, cluster = np.unique(found, return_inverse=True)
    area = np.bincount(cluster, weights=pixels)
    inside = np.bincount(cluster, weights=pixels * (ids > 0))
    chosen = inside > area / 2
    hit, taken, objects = inside[chosen].sum(), area[chosen].sum(), inside.sum()
    return {
        "flip_rate": _flip_rate(truth, clusters),
        "best_iou": float(hit / max(taken + objects - hit, 1)),
        "best_f1": float(2 * hit / max(taken + objects, 1)),
        "best_recall": float(hit / max(objects, 1)),
        "frames": float(len(truth)),
        "clusters": float(len(members)),
    }


def _flip_rate(truth: NDArray[Any], clusters: NDArray[Any]) -> float:
    objects, majorities = [], []
    for own, found in zip(truth, clusters, strict=True):
        ids, cluster, pixels = contingency(own, found)
        # Sorted by object and falling pixels; the sort is stable, so equals stay in order.
        order = np.lexsort((-pixels, ids))
        ids, cluster = ids[order], cluster[order]
        first = np.append(True, ids[1:] != ids[:-1]) & (ids > 0)
        objects.append(ids[first])
        majorities.append(cluster[first])
    tracks, cluster = np.concatenate(objects), np.concatenate(majorities)
    order = np.argsort(tracks, kind="stable")
    tracks, cluster = tracks[order], cluster[order]
    step = tracks[1:] == tracks[:-1]
    flips = step & (cluster[1:] != cluster[:-1])
    return float(flips.sum() / max(step.sum(), 1))
