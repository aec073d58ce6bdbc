"""One intensity range for a whole movie."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .contrast import limits, square_step, squares_of
from .intensity import is_constant

if TYPE_CHECKING:
    from .stack import ImageStack


def intensity_range(frames: ImageStack, sampled: int = 16) -> tuple[float, float]:
    """Return the limits of a whole movie, from frames evenly spread over it.

    One range for all frames: a range per frame would turn a change of one object's brightness into
    a change of everything's.  See :func:`.contrast.limits`.

    Parameters
    ----------
    frames : ImageStack
    sampled : int
        At most so many frames are read, and of each a regular sample.

    Returns
    -------
    low, high : float
        Equal where the sample has the same value everywhere.  Frames of one value count only
        where there are no others.
    """
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
