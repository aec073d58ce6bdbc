"""The intensity range of a frame, and whether there is anything to see in it.

Both are taken from squares of 2 × 2 pixels: their second smallest value leaves out single hot
pixels, and the differences within them tell the noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .intensity import normalise_to, percentiles, sampling_step

if TYPE_CHECKING:
    from numpy.typing import NDArray

OBJECT_SHARES = (15.0, 97.0)
"""Percentiles of the pixels of dark and of bright objects that become 0 and 1.

In an image of which objects cover 6.7 %, these are percentiles 1 and 99.8 of all its pixels."""

CORNERS = ((0, 0), (0, 1), (1, 0), (1, 1))
"""Places of the pixels in a square."""

NOISE_ABOVE = 6.0
"""Standard deviations of the noise by which objects differ from the background."""

FEWEST = 8
"""Squares that make an object or an edge."""

APART = 2
"""Squares from one to the next whose difference is an edge."""

LEVELS = 6
"""Grey levels that an edge has to have where compression has removed the noise."""

EDGE_ABOVE = 4.2
"""Standard deviations of the noise by which an edge differs from it."""

NARROW = 0.06
"""Range, as a share of the values, below which a few grey levels are no drawing."""

UNEVEN = 0.25
"""Share of differences that are not 0, from which on an image is a photograph, not a drawing."""


@dataclass(frozen=True)
class Contrast:
    """Intensity range of a frame, and what there is to see in it.

    Attributes
    ----------
    low, high : float
        Intensities that become 0 and 1; equal if the sample has one value.
    blank : bool
        Whether nothing but compression or rounding makes a difference between its pixels.
    faint : bool
        Whether no edge stands out from the noise.
    """

    low: float
    high: float
    blank: bool = False
    faint: bool = False


def square_step(size: int) -> int:
    """Return the distance of sampled squares, in pixels, of so many values."""
    return 2 * sampling_step(size)


def squares_of(pixels: NDArray[np.float32], step: int) -> NDArray[np.float32]:
    """Return squares (4, h, w, C) of a frame (Y, X, C), every ``step`` pixels."""
    height, width = ((size - 2) // step + 1 for size in pixels.shape[:2])
    return np.stack([pixels[top::step, left::step][:height, :width] for top, left in CORNERS])


def contrast_of(pixels: NDArray[np.float32], *, whole_numbers: bool = False) -> Contrast:
    """Return the contrast of a frame (Y, X, C) of finite values."""
    return contrast_in(squares_of(pixels, square_step(pixels.size)), whole_numbers=whole_numbers)


def contrast_in(squares: NDArray[np.float32], *, whole_numbers: bool = False) -> Contrast:
    """Return the contrast of a frame's squares (4, h, w, C)."""
    typical = _typical(squares)
    low, high = _limits(squares, typical)
    differences = _differences(typical)
    if differences.size < 4 * FEWEST or not high > low:
        return Contrast(low, high)
    noise = noise_of(squares)
    uneven = float(np.mean(differences > 0)) >= UNEVEN
    strongest = float(np.partition(differences, -FEWEST)[-FEWEST])
    quiet = whole_numbers and noise < 1 and float(np.median(differences)) <= 2
    bound = max(LEVELS, 9 * float(np.median(differences)))
    narrow = high - low < NARROW * max(abs(low), abs(high))
    blank = quiet and (uneven or narrow) and strongest < bound
    edges = np.count_nonzero(differences > EDGE_ABOVE * noise)
    faint = uneven and float(edges) < FEWEST + 2e-5 * differences.size
    return Contrast(low, high, blank, faint)


def _typical(squares: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the second smallest value (h, w, C) of each square."""
    first, second, third, fourth = squares
    lower = np.maximum(np.minimum(first, second), np.minimum(third, fourth))
    upper = np.minimum(np.maximum(first, second), np.maximum(third, fourth))
    second_smallest: NDArray[np.float32] = np.minimum(lower, upper)
    return second_smallest


def _differences(typical: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return how much squares differ from those next but one."""
    down = np.abs(typical[APART:] - typical[:-APART])
    across = np.abs(typical[:, APART:] - typical[:, :-APART])
    return np.concatenate([down.ravel(), across.ravel()])


def noise_of(squares: NDArray[np.float32]) -> float:
    """Return the standard deviation of the noise, from differences within squares (4, …)."""
    first, second, third, fourth = squares
    return float(1.4826 * np.median(np.abs(first - second - third + fourth)) / 2)


def limits(squares: NDArray[np.float32]) -> tuple[float, float]:
    """Return the intensities that become 0 and 1.

    Percentiles 1 and 99.8, but those of the objects if these cover so little of the image that
    the percentiles would be background; hot pixels do not count.
    """
    return _limits(squares, _typical(squares))


def _limits(squares: NDArray[np.float32], typical: NDArray[np.float32]) -> tuple[float, float]:
    low, high = percentiles(squares)
    noise = noise_of(squares)
    smallest, largest = percentiles(typical)
    if high > largest + 8 * noise + (largest - smallest) / 2 and largest > smallest:
        high = largest + 1.5 * noise
    middle = np.median(typical, axis=tuple(range(typical.ndim - 1)))
    above = typical - middle
    for bright in (True, False):
        objects = typical[above > NOISE_ABOVE * noise if bright else above < -NOISE_ABOVE * noise]
        if FEWEST <= objects.size <= typical.size / 4:
            place = float(np.percentile(objects, OBJECT_SHARES[bright]))
            low, high = (low, max(high, place)) if bright else (min(low, place), high)
    if high > low:
        return low, high
    return float(squares.min()), float(squares.max())


def normalise(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Map intensities to about 0 to 1, whatever the camera's range.

    Parameters
    ----------
    pixels : ndarray of float32, shape (Y, X, C)
        Finite values.

    Returns
    -------
    ndarray of float32, shape (Y, X, C)
        The limits of :func:`limits`, taken over all channels together so that colours stay, become
        0 and 1; values are clipped to 0 to 1.5.  All zeros for a constant image.
    """
    return normalise_to(pixels, *limits(squares_of(pixels, square_step(pixels.size))))
