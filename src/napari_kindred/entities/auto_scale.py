"""At which scale to look at a picture: the automatic choice of the ``scale`` option.

The network finds entities of about 12 to 60 pixels across and tells their diameter well within
that range; outside of it, small ones merge into blobs and large ones fall apart, and the scores
drop.  So quick looks at a few scales tell which one suits: the one whose entities score best.
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
"""Median diameter, in pixels of the scaled picture, at which masks measured best."""

TRUSTED = (16.5, 50.0)
"""Diameters, in pixels of the looked-at picture, that are believed."""

NEAR = 0.12
"""Scales closer to 1 than this (natural logarithm) are not worth resampling for."""

SMALLEST = 48
"""A plane is not shrunk below this side, in pixels."""

LARGEST = 3.0
"""Pictures are never enlarged more than this."""

LOOK = 640
"""Side, in scaled pixels, of the window that a quick look sees."""

LADDER = (1.0, 0.5, 0.25, 0.125, 2.0, 3.0)
"""Scales looked at, in this order, until one finds entities of a good size without doubt."""

GOOD = 0.8
"""Score above which there is no doubt."""

AGREE = 0.25
"""Two scales that see the same diameter (to this difference of logarithms) leave no doubt."""

AGREE_BY = 0.02
"""… as long as no other scale scored better by more than this."""

COST = 0.02
"""What a look's score is reduced by per octave away from 1: parts and groups can look like
entities, and most pictures are taken at a magnification that suits what they show."""

PARTS = 0.5
"""A look that covers less than this share of what the first one covered there sees parts."""

QuickSegmenter = Callable[
    [NDArray[np.float32], float], tuple[NDArray[np.int32], NDArray[np.float32]]
]
"""Segments a plane (H, W, C) after scaling it: labels of the scaled size, and their scores."""


def typical_diameter(labels: NDArray[np.int32]) -> float:
    """Median equivalent diameter weighted by area, pixels; 0 without labels.

    Half of all entity pixels lie in entities that are larger.
    """
    areas = np.sort(np.bincount(labels.ravel())[1:])
    if not areas.sum():
        return 0.0
    middle = np.searchsorted(np.cumsum(areas), areas.sum() / 2)
    return 2 * math.sqrt(areas[middle] / math.pi)


def window_slices(
    shape: tuple[int, int], scale: float, mask: NDArray[np.bool_]
) -> tuple[slice, slice]:
    """Slices of a window of at most ``LOOK`` scaled pixels where ``mask`` is densest."""
    sides = [min(length, math.ceil(LOOK / scale)) for length in shape]
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
    """A normalised plane, whole or to be read window by window."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Height and width, and what else."""

    def __getitem__(self, window: tuple[slice, slice], /) -> NDArray[np.float32]:
        """Return a window, (h, w, C)."""


def choose_scale(
    pixels: Pixels,
    segment: QuickSegmenter,
    shrunk: Callable[[int], NDArray[np.float32]] | None = None,
) -> Generator[Progress, None, tuple[float, float]]:
    """Look at a normalised plane at a few scales and choose the one to segment it at.

    Parameters
    ----------
    pixels : ndarray, (H, W, C), or what reads windows of one
    segment : callable
        See :data:`QuickSegmenter`.
    shrunk : callable, optional
        Returns the plane with a longest side of so many pixels, for one that is too large to be
        shrunk by the look.

    Returns
    -------
    scale : float
        1 when entities have a good size as they are, or when none were found.
    diameter : float
        Typical diameter of the entities in pixels of the plane, 0 when none were found.
    """
    shape = (pixels.shape[0], pixels.shape[1])
    overview = min(1.0, LOOK / max(shape))
    scales = [s for s in LADDER if min(shape) * s >= SMALLEST or s == 1]
    if overview < 1:
        scales.insert(0, overview)
    mask = np.zeros((1, 1), bool)
    believed: list[tuple[float, float]] = []
    for number, scale in enumerate(scales):
        yield Progress(number / len(scales), 1, "measuring the entities")
        window = window_slices(shape, scale, mask)
        if shrunk is not None and scale == overview < 1:
            labels, scores = segment(shrunk(LOOK), 1.0)
        else:
            labels, scores = segment(pixels[window], scale)
        expected = _share(mask, window, shape)
        if number == 0:
            mask = labels > 0
        seen = typical_diameter(labels)
        if not TRUSTED[0] <= seen <= TRUSTED[1]:
            continue
        if np.count_nonzero(labels) < PARTS * expected * labels.size:
            continue
        areas = np.bincount(labels.ravel())[1:]
        score = float((scores * areas).sum() / areas.sum())
        diameter = seen / scale
        if score >= GOOD:
            return _scale_for(diameter), diameter
        score -= COST * abs(math.log2(scale))
        agrees = any(abs(math.log(diameter / other)) < AGREE for _, other in believed)
        believed.append((score, diameter))
        if agrees and score >= max(believed)[0] - AGREE_BY:
            return _scale_for(diameter), diameter
    if not believed:
        return 1.0, 0.0
    diameter = max(believed)[1]
    return _scale_for(diameter), diameter


def _share(mask: NDArray[np.bool_], window: tuple[slice, slice], shape: tuple[int, int]) -> float:
    """Return how much of a window of the plane a mask of the whole plane covers."""
    part = tuple(
        slice(one.start * m // side, -(-one.stop * m // side))
        for one, m, side in zip(window, mask.shape, shape, strict=True)
    )
    return float(mask[part].mean())


def _scale_for(diameter: float) -> float:
    wanted = min(TARGET / diameter, LARGEST)
    return 1.0 if abs(math.log(wanted)) < NEAR else round(wanted, 3)
