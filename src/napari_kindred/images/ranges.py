"""One intensity range for a whole movie."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .contrast import limits, square_step, squares_of
from .intensity import Levels, is_constant

if TYPE_CHECKING:
    from .plane_reader import PlaneReader


def levels_in(plain: Any) -> Levels | None:
    """Return a range that was written down: two numbers, two lists of numbers, or None."""
    if plain is None:
        return None
    low, high = (
        tuple(map(float, one)) if isinstance(one, list | tuple) else float(one) for one in plain
    )
    return low, high


def alike(levels: Levels, others: Levels) -> bool:
    """Tell whether two ranges differ by less than half their width, or factor 2 in it."""
    low, high, other_low, other_high = map(np.ravel, (*levels, *others))
    if low.shape != other_low.shape:
        return False
    width, other = high - low, np.maximum(other_high - other_low, 1e-12)
    near = np.abs(low - other_low) < 0.5 * other
    return bool(np.all(near & (0.5 * other < width) & (width < 2 * other)))


def intensity_range(frames: PlaneReader, sampled: int = 16) -> Levels:
    """Return the limits of a whole movie, from frames evenly spread over it.

    One range for all frames: a range per frame would turn a change of one object's brightness into
    a change of everything's.  See :func:`.contrast.limits`.

    Parameters
    ----------
    frames : ImageStack or PlaneReader
    sampled : int
        At most so many frames are read, and of each a regular sample.

    Returns
    -------
    low, high : float or tuple of float
        Equal where the sample has the same value everywhere.  Frames of one value count only
        where there are no others.  One for each channel, if there are several.
    """
    if frames.parts:
        each = np.array([intensity_range(part, sampled) for part in frames.parts])
        return tuple(each[:, 0].tolist()), tuple(each[:, 1].tolist())
    indices = list(frames.indices())
    places = sorted({int(i) for i in np.linspace(0, len(indices) - 1, sampled).round()})
    values, constants = [], []
    for place in places:
        pixels = frames.read(indices[place]).pixels
        if is_constant(pixels):
            # A frame without anything, all NaN for example, says nothing of the others.
            constants.append(float(pixels.flat[0]))
            continue
        squares = squares_of(pixels, square_step(pixels.size * len(places)))
        values.append(squares.reshape(4, -1, pixels.shape[2]))
    if not values:
        return min(constants), max(constants)
    return limits(np.concatenate(values, axis=1))
