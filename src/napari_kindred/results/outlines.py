"""Outlines of objects along the corners of their pixels, and pixels inside of outlines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import ArrayLike, NDArray

_STEPS = ((0, 1), (1, 0), (0, -1), (-1, 0))
"""Rows and columns of a step east, south, west and north."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A connected part of an object.

    Attributes
    ----------
    shell : ndarray of int, shape (n, 2)
        Corners (x, y) around it, clockwise as shown, not closed; pixel (0, 0) spans 0 to 1.
    holes : tuple of ndarray
        The same around each hole, counterclockwise.
    """

    shell: NDArray[np.int64]
    holes: tuple[NDArray[np.int64], ...] = ()

    @property
    def rings(self) -> tuple[NDArray[np.int64], ...]:
        """Shell and holes."""
        return self.shell, *self.holes


def pieces_of(mask: NDArray[np.bool_], corner: tuple[int, int] = (0, 0)) -> list[Piece]:
    """Return the outlines of all pixels of a mask, exactly.

    Parameters
    ----------
    mask : ndarray of bool, shape (Y, X)
    corner : tuple of int
        Row and column of its first pixel in the image.

    Returns
    -------
    list of Piece
        One per group of pixels that share edges.  Rings are simple: no corner occurs twice in
        one, although two may meet in a corner.
    """
    parts, count = ndimage.label(mask)
    pieces = []
    for number, place in enumerate(ndimage.find_objects(parts, count), start=1):
        rows, columns = place
        move = np.array([corner[1] + columns.start, corner[0] + rows.start])
        rings = [ring + move for ring in _rings(parts[place] == number)]
        areas = [area_of(ring) for ring in rings]
        shell = areas.index(max(areas))
        pieces.append(Piece(rings.pop(shell), tuple(rings)))
    return pieces


def area_of(ring: NDArray[np.int64]) -> float:
    """Return the area inside a ring, negative for one that is counterclockwise as shown."""
    x, y = ring[:, 0], ring[:, 1]
    return float(np.dot(x, np.roll(y, -1)) - np.dot(np.roll(x, -1), y)) / 2


def _rings(mask: NDArray[np.bool_]) -> list[NDArray[np.int64]]:
    """Return the corners (x, y) along all borders of a mask, its pixels on the right."""
    height, width = mask.shape
    around = np.pad(mask, 1)
    inside = around[1:-1, 1:-1]
    # Edges that leave a corner east, south, west and north, of pixels that are below them …
    leaving = np.zeros((4, height + 1, width + 1), bool)
    leaving[0, :-1, :-1] = inside & ~around[:-2, 1:-1]
    leaving[1, :-1, 1:] = inside & ~around[1:-1, 2:]
    leaving[2, 1:, 1:] = inside & ~around[2:, 1:-1]
    leaving[3, 1:, :-1] = inside & ~around[1:-1, :-2]
    waiting = dict.fromkeys(zip(*(axis.tolist() for axis in leaving.nonzero()), strict=True))
    rings = []
    while waiting:
        first = (direction, row, column) = next(iter(waiting))
        corners = []
        while True:
            del waiting[direction, row, column]
            down, right = _STEPS[direction]
            row, column = row + down, column + right
            # Where two pixels touch in a corner, a left turn keeps the ring from crossing itself.
            turns = ((direction + turn) % 4 for turn in (3, 0, 1))
            ahead = next((to for to in turns if leaving[to, row, column]), direction)
            if ahead != direction:
                corners.append((column, row))
            direction = ahead
            if (direction, row, column) == first:
                break
        rings.append(np.array(corners, np.int64))
    return rings


def fill(rings: Iterable[ArrayLike], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the pixels whose centre is inside an odd number of rings.

    Parameters
    ----------
    rings : iterable of array, shape (n, 2)
        Corners (x, y); pixel (0, 0) spans 0 to 1.
    shape : tuple of int
        Of the image.
    """
    from skimage.draw import polygon

    mask = np.zeros(shape, bool)
    for ring in rings:
        x, y = np.asarray(ring, float).reshape(-1, 2).T
        rows, columns = polygon(y - 0.5, x - 0.5, shape)
        mask[rows, columns] ^= True
    return mask
