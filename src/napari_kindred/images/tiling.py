"""Cut a plane into overlapping tiles and put dense results together again without seams.

Every tile begins on the same grid of ``multiple`` pixels.  A network that halves its input five
times (``multiple=32``) then places its coarse cells at the same pixels whatever the tile, so that
two neighbours agree wherever both see enough of the picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.errors import InputError, OptionError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

Slices = tuple[slice, slice]


@dataclass(frozen=True, slots=True)
class Tile:
    """One window of a plane.

    Attributes
    ----------
    outer : tuple of two slices
        What to read: rows and columns of the plane, never beyond its edges.
    inner : tuple of two slices
        What to write: rows and columns of the plane where this tile's result counts.
    local : tuple of two slices
        The same place as ``inner``, counted from the tile's own corner.
    weights : tuple of two ndarrays of float32
        How much the result counts along the rows and columns of ``inner``, in (0, 1].  Over all
        tiles, the products of row and column weights add up to 1 in every pixel.
    """

    outer: Slices
    inner: Slices
    local: Slices
    weights: tuple[NDArray[np.float32], NDArray[np.float32]]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of ``outer``."""
        rows, columns = self.outer
        return rows.stop - rows.start, columns.stop - columns.start


def tiles(
    shape: tuple[int, int], tile: int, halo: int, *, multiple: int = 1, blend: int = 0
) -> list[Tile]:
    """Cut a plane into overlapping tiles.

    The tiles of one axis all have the same size, the smallest multiple of ``multiple`` with which
    as few tiles as ``tile`` allows cover the axis; the last one ends at the plane's edge, which
    need not be on the grid.  Padding at the plane's edges is left to the caller.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns of the plane, each at least 1.
    tile : int
        Largest side of a tile in pixels; rounded down to a multiple of ``multiple``.
    halo : int
        Pixels of context: wherever a tile's result counts, the tile reaches at least this far
        beyond in every direction, or to the plane's edge.
    multiple : int
        Grid on which every tile begins, in pixels (a network's total stride).
    blend : int
        Half the width, in pixels, of the strip along a cut over which two tiles' results pass
        linearly into each other; with 0 each pixel belongs to exactly one tile.  A tile too narrow
        for its strips gets narrower ones.

    Returns
    -------
    list of Tile
        Row by row; their ``inner`` parts cover the plane.

    Raises
    ------
    InputError
        For a plane without pixels.
    OptionError
        When ``tile`` leaves no room between two halos.
    """
    if min(shape) < 1:
        raise InputError(f"A plane of shape {tuple(shape)} has no pixels to cut into tiles.")
    if multiple < 1 or halo < 0 or blend < 0:
        raise OptionError(
            f"multiple={multiple}, halo={halo} and blend={blend} must be at least 1, 0 and 0."
        )
    rows, columns = (_spans(length, tile, halo, multiple, blend) for length in shape)
    return [
        Tile(
            outer=(row.outer, column.outer),
            inner=(row.inner, column.inner),
            local=(row.local, column.local),
            weights=(row.weights, column.weights),
        )
        for row in rows
        for column in columns
    ]


@dataclass(frozen=True, slots=True)
class _Span:
    """A tile's extent along one axis."""

    outer: slice
    inner: slice
    weights: NDArray[np.float32]

    @property
    def local(self) -> slice:
        return slice(self.inner.start - self.outer.start, self.inner.stop - self.outer.start)


def _spans(length: int, tile: int, halo: int, multiple: int, blend: int) -> list[_Span]:
    if length <= tile:
        whole = slice(0, length)
        return [_Span(whole, whole, np.ones(length, np.float32))]
    # Everything on the grid is counted in units of `multiple`.
    units, size = -(-length // multiple), tile // multiple
    overlap = 2 * -(-(halo + blend) // multiple)
    if size <= overlap:
        raise OptionError(
            f"tile={tile} is too small for a halo of {halo + blend} pixels on a grid of "
            f"{multiple}; use at least {(overlap + 1) * multiple}."
        )
    count = max(2, 1 + -(-(units - size) // (size - overlap)))
    size = -(-(units + overlap * (count - 1)) // count)
    # Even steps never exceed size - overlap, so that neighbours share a full halo on either side.
    starts = [i * (units - size) // (count - 1) * multiple for i in range(count)]
    stops = [min(start + size * multiple, length) for start in starts]
    cuts = [0, *((a + b) // 2 for a, b in zip(starts[1:], stops[:-1], strict=True)), length]
    ramps = _ramps(cuts, blend)
    return [
        _span(slice(starts[i], stops[i]), cuts[i : i + 2], ramps[i : i + 2]) for i in range(count)
    ]


def _ramps(cuts: list[int], blend: int) -> list[int]:
    """Half-width of the strip around each cut: never so wide that two strips of a tile meet."""
    gaps = [b - a for a, b in pairwise(cuts)]
    narrow = [min(a, b) // 2 for a, b in pairwise(gaps)]
    return [0, *(min(blend, limit) for limit in narrow), 0]


def _span(outer: slice, cuts: list[int], ramps: list[int]) -> _Span:
    (begin, end), (rise, fall) = cuts, ramps
    inner = slice(begin - rise, end + fall)
    weights = np.ones(inner.stop - inner.start, np.float32)
    if rise:
        weights[: 2 * rise] = _ramp(rise)
    if fall:
        weights[-2 * fall :] = 1 - _ramp(fall)
    return _Span(outer, inner, weights)


def _ramp(half: int) -> NDArray[np.float32]:
    return ((np.arange(2 * half) + 0.5) / (2 * half)).astype(np.float32)


class Stitcher:
    """Put the dense results of tiles together into one plane.

    Parameters
    ----------
    channels : int
        Channels of the results.
    shape : tuple of int
        Rows and columns of the plane.
    out : array-like of float32, shape (channels, Y, X), optional
        Where to write, holding zeros: anything sliced like an ndarray (a memory map, a zarr
        array), for planes larger than memory; a new ndarray when left out.

    Notes
    -----
    Results are averaged in blended strips.  Features without a sign of their own (lines) must
    come with the same sign from every tile, which one network's raw output does.
    """

    def __init__(self, channels: int, shape: tuple[int, int], out: Any = None) -> None:
        expected = (channels, *shape)
        if out is not None and tuple(out.shape) != expected:
            raise InputError(f"The output has shape {tuple(out.shape)}; it must be {expected}.")
        self._plane = np.zeros(expected, np.float32) if out is None else out

    @property
    def plane(self) -> Any:
        """Everything added so far, shape (channels, Y, X); zero where no tile counted yet."""
        return self._plane

    def add(self, tile: Tile, values: NDArray[Any]) -> None:
        """Add one tile's result.

        Parameters
        ----------
        tile : Tile
            One of :func:`tiles`, each added exactly once.
        values : ndarray, shape (channels, h, w)
            The result over ``tile.outer``; rows and columns beyond it (padding at the bottom and
            right) are ignored.

        Raises
        ------
        InputError
            When ``values`` does not cover the tile or has other channels.
        """
        channels, (height, width) = self._plane.shape[0], tile.shape
        if values.ndim != 3 or values.shape[0] != channels:
            raise InputError(f"A tile's result must be ({channels}, h, w), not {values.shape}.")
        if values.shape[1] < height or values.shape[2] < width:
            raise InputError(
                f"A tile's result of {values.shape[1:]} pixels does not cover its {tile.shape}."
            )
        rows, columns = tile.weights
        place = (slice(None), *tile.inner)
        inner = values[:, tile.local[0], tile.local[1]]
        if rows.min() == 1 and columns.min() == 1:
            self._plane[place] = inner
        else:
            self._plane[place] = self._plane[place] + inner * (rows[:, None] * columns)


def stitch(
    parts: Iterable[tuple[Tile, NDArray[Any]]], channels: int, shape: tuple[int, int]
) -> NDArray[np.float32]:
    """Put pairs of tile and result together; see :class:`Stitcher`.

    Returns (channels, Y, X) float32.
    """
    stitcher = Stitcher(channels, shape)
    for tile, values in parts:
        stitcher.add(tile, values)
    plane: NDArray[np.float32] = stitcher.plane
    return plane
