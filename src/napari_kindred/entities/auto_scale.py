"""Automatic choice of the ``scale`` option.

The network segments objects of about 12 to 60 pixels across, and measures their diameter well
within that range; outside of it small ones merge into blobs, large ones fall apart, and the scores
drop.  So trial segmentations at a few scales decide.  A trial whose objects are too small or too
large to be trusted proposes the next scale; if none does, a fixed ladder of scales is tried, and
the one whose objects score best is chosen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..core.events import Progress

TARGET = 32.0
"""Median diameter, in pixels of the scaled image, at which masks measured best."""

TRUSTED = (16.5, 50.0)
"""Diameters, in pixels of a trial's scaled image, that are trusted."""

ENOUGH = 8
"""Number of objects from which a trial of untrusted diameter proposes the next scale, and from
which a part of the plane leaves no doubt."""

PROPOSALS = 2
"""Largest number of proposed scales, so that trials cannot chase each other."""

TRIED = 0.2
"""Scales closer to one another than this (natural logarithm) are one trial."""

NEAR = 0.12
"""Scales closer to 1 than this (natural logarithm) are not worth resampling for."""

SMALLEST = 48
"""A plane is not shrunk below this side, in pixels."""

LARGEST = 5.0
"""Images are never enlarged more than this."""

LOOK = 384
"""Side, in scaled pixels, of the window of a trial."""

WIDE = 640
"""… where that has too few objects."""

OVERVIEW = 640
"""Longest side, in scaled pixels, of the whole plane in the first trial."""

LADDER = (1.0, 0.5, 0.25, 0.125, 2.0, 3.0)
"""Scales tried, in this order, until one finds objects of a good size without doubt."""

GOOD = 0.8
"""Score above which there is no doubt, unless another trial scored better, its cost considered."""

AGREE = 0.25
"""Two trials that measure the same diameter (to this difference of logarithms) leave no doubt."""

AGREE_BY = 0.02
"""… if no other trial scored better by more than this."""

COST = 0.02
"""Reduction of a trial's score per octave away from 1: parts and groups can look like objects, and
most images are taken at a magnification that suits what they show."""

PARTS = 0.5
"""A trial that covers less than this share of what the first one covered there found parts."""

QuickSegmenter = Callable[
    [NDArray[np.float32], float], tuple[NDArray[np.int32], NDArray[np.float32]]
]
"""Segments a plane (H, W, C) after scaling it: labels of the scaled size, and their scores."""


def typical_diameter(labels: NDArray[np.int32]) -> float:
    """Median equivalent diameter weighted by area, pixels; 0 without labels.

    Half of all object pixels lie in objects that are larger.
    """
    areas = np.sort(np.bincount(labels.ravel())[1:])
    if not areas.sum():
        return 0.0
    middle = np.searchsorted(np.cumsum(areas), areas.sum() / 2)
    return 2 * math.sqrt(areas[middle] / math.pi)


def window_slices(
    shape: tuple[int, int], scale: float, mask: NDArray[np.bool_], side: int = LOOK
) -> tuple[slice, slice]:
    """Slices of a window of at most ``side`` scaled pixels where ``mask`` is densest."""
    sides = [min(length, math.ceil(side / scale)) for length in shape]
    if not mask.any():
        mask = np.ones((1, 1), bool)
    window = [
        max(1, round(n * side / m)) for n, side, m in zip(mask.shape, sides, shape, strict=True)
    ]
    cover = ndimage.uniform_filter(mask.astype(np.float32), window, mode="constant")
    top = np.unravel_index(int(cover.argmax()), cover.shape)
    slices = []
    for place, length, size, side in zip(top, mask.shape, shape, sides, strict=True):
        start = int(np.clip((float(place) + 0.5) / length * size - side / 2, 0, size - side))
        slices.append(slice(start, start + side))
    return slices[0], slices[1]


class Pixels(Protocol):
    """A normalised plane, in memory or read window by window."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Height, width, and any further axes."""

    def __getitem__(self, window: tuple[slice, slice], /) -> NDArray[np.float32]:
        """Return a window, (h, w, C)."""


def choose_scale(
    pixels: Pixels,
    segment: QuickSegmenter,
    shrunk: Callable[[int], NDArray[np.float32]] | None = None,
) -> Generator[Progress, None, tuple[float, float]]:
    """Try a normalised plane at a few scales and choose the one to segment it at.

    Parameters
    ----------
    pixels : ndarray, (H, W, C), or a reader of windows of one
    segment : callable
        See :data:`QuickSegmenter`.
    shrunk : callable, optional
        Returns the plane shrunk to a longest side in pixels, for one too large to be shrunk by the
        trial.

    Returns
    -------
    scale : float
        1 if objects have a good size as they are, or if none were found.
    diameter : float
        Typical diameter of the objects in pixels of the plane, 0 if none were found.
    """
    shape = (pixels.shape[0], pixels.shape[1])
    overview = min(1.0, OVERVIEW / max(shape))
    ladder = [s for s in LADDER if min(shape) * s >= SMALLEST or s == 1]
    if overview < 1:
        ladder.insert(0, overview)
    first = np.zeros((1, 1), np.int32)
    tried: list[float] = []
    trusted: list[tuple[float, float]] = []
    proposals = 0
    whole = False
    while ladder:
        scale = ladder.pop(0)
        if any(abs(math.log(scale / other)) < TRIED for other in tried):
            continue
        yield Progress(len(tried) / (len(tried) + len(ladder) + 1), 1, "measuring the objects")
        window = _window(shape, scale, first)
        if shrunk is not None and scale == overview < 1:
            labels, scores = segment(shrunk(OVERVIEW), 1.0)
        else:
            labels, scores = segment(pixels[window], scale)
        expected = float((_part(first, window, shape) > 0).mean()) if whole else 0.0
        measured = typical_diameter(labels)
        if not tried:
            first = labels
            whole = measured >= TRUSTED[0]  # smaller ones merge, and cover more than they are
        tried.append(scale)
        if not TRUSTED[0] <= measured <= TRUSTED[1]:
            if not trusted and len(scores) >= ENOUGH and proposals < PROPOSALS:
                ladder.insert(0, _proposal(scale, measured, shape))
                proposals += 1
            continue
        if np.count_nonzero(labels) < PARTS * expected * labels.size:
            continue
        areas = np.bincount(labels.ravel())[1:]
        score = float((scores * areas).sum() / areas.sum())
        diameter = measured / scale
        everything = all(one.stop - one.start == n for one, n in zip(window, shape, strict=True))
        good = score >= GOOD and (everything or len(scores) >= ENOUGH)
        score -= COST * abs(math.log2(scale))
        if good and score >= max(trusted, default=(0.0, 0.0))[0]:
            return _scale_for(diameter), diameter
        agrees = any(abs(math.log(diameter / other)) < AGREE for _, other in trusted)
        trusted.append((score, diameter))
        if agrees and score >= max(trusted)[0] - AGREE_BY:
            return _scale_for(diameter), diameter
    if not trusted:
        return 1.0, 0.0
    diameter = max(trusted)[1]
    return _scale_for(diameter), diameter


def _proposal(scale: float, measured: float, shape: tuple[int, int]) -> float:
    """Scale at which objects of a diameter measured at another scale have a good size."""
    smallest = min(1.0, SMALLEST / min(shape))
    return min(max(scale * TARGET / measured, smallest), LARGEST)


def _window(shape: tuple[int, int], scale: float, first: NDArray[np.int32]) -> tuple[slice, slice]:
    """Slices of the window of a trial, where the first one found the most; wide if that is few."""
    window = window_slices(shape, scale, first > 0)
    if len(np.unique(_part(first, window, shape))) <= 4 * ENOUGH:
        window = window_slices(shape, scale, first > 0, WIDE)
    return window


def _part(
    labels: NDArray[np.int32], window: tuple[slice, slice], shape: tuple[int, int]
) -> NDArray[np.int32]:
    """Cut a window of the plane out of labels of the whole plane."""
    rows, columns = (
        slice(one.start * m // side, -(-one.stop * m // side))
        for one, m, side in zip(window, labels.shape, shape, strict=True)
    )
    return labels[rows, columns]


def _scale_for(diameter: float) -> float:
    wanted = min(TARGET / diameter, LARGEST)
    return 1.0 if abs(math.log(wanted)) < NEAR else round(wanted, 3)
