"""Lower resolutions of an image: which of them show what the finest one shows."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Read = Callable[[slice, slice], NDArray[Any]]

_ALIKE = 1.3
"""Largest ratio of the factors by which the axes of two resolutions shrink."""

_TILES = 16
"""Tiles along each axis in which a resolution is looked through."""

_PATCH = 256
"""Side of the part of a fine tile that is read."""

_CHECKED = 4
"""Number of tiles of one value that are compared with the finest resolution."""


def is_pyramid(image: Any) -> bool:
    """Whether this is a list of one image's resolutions, finest first."""
    if not isinstance(image, Sequence) or len(image) < 2:
        return False
    if not all(hasattr(level, "shape") and hasattr(level, "dtype") for level in image):
        return False
    same = len({(len(level.shape), np.dtype(level.dtype)) for level in image}) == 1
    return same and all(_shrinks(fine.shape, coarse.shape) for fine, coarse in pairwise(image))


def _shrinks(fine: Sequence[int], coarse: Sequence[int]) -> bool:
    """Whether at least two axes become shorter, all of them by similar factors."""
    factors = [full / max(low, 1) for full, low in zip(fine, coarse, strict=True) if full != low]
    return len(factors) > 1 and min(factors) > 1 and max(factors) <= _ALIKE * min(factors)


def is_even(fine: tuple[int, int], coarse: tuple[int, int]) -> bool:
    """Whether rows and columns are fewer by one factor, but for rounding."""
    factor = float(np.sqrt(np.prod(fine) / np.prod(coarse)))
    return all(
        abs(low - full / factor) <= 1 + 0.01 * low for full, low in zip(fine, coarse, strict=True)
    )


def is_filled(fine: Read, full: tuple[int, int], coarse: Read, low: tuple[int, int]) -> bool:
    """Whether a lower resolution shows something wherever the finest one does.

    A conversion that was stopped leaves chunks of one value.  The lower resolution is looked
    through, of the finest one only a few places are read where the lower one has one value.

    Parameters
    ----------
    fine, coarse : callable
        Read rows and columns of a frame.
    full, low : tuple of int
        Shapes of the frame at both resolutions.
    """
    cuts = [np.linspace(0, size, min(_TILES, size) + 1).astype(int) for size in low]
    blank = []
    for top, bottom in pairwise(cuts[0]):
        band = coarse(slice(int(top), int(bottom)), slice(0, low[1]))
        for left, right in pairwise(cuts[1]):
            tile = band[:, left:right]
            if (tile == tile[:1, :1]).all():
                blank.append(((top + bottom) / 2 / low[0], (left + right) / 2 / low[1]))
    if not blank:
        return True
    chosen = [blank[place] for place in {*np.linspace(0, len(blank) - 1, _CHECKED).astype(int)}]
    differing = 0
    for centre in chosen:
        rows, columns = (
            slice(max(0, int(share * size) - side // 2), int(share * size) + side // 2 + 1)
            for share, size, side in zip(
                centre, full, (min(_PATCH, max(2, size // _TILES)) for size in full), strict=True
            )
        )
        patch = fine(rows, columns)
        differing += bool((patch != patch[:1, :1]).any())
    return 2 * differing <= len(chosen)
