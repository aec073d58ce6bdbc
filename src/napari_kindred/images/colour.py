"""Colours as files store them, as grey values or RGB: palettes, CMYK, inverted grey, planes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def as_lazy(data: Any) -> Any:
    """Return an array as a dask array, a plane of it per chunk unless it has chunks itself."""
    import dask.array as da

    if isinstance(data, da.Array):
        return data
    chunks = getattr(data, "chunks", None) or (1,) * (len(data.shape) - 2) + tuple(data.shape[-2:])
    # Without a name, dask would read all of the data to make one of its content.
    return da.from_array(data, chunks=chunks, name=False)


def indexed(data: Any, table: NDArray[Any]) -> Any:
    """Return the colours (…, 3) or grey values (…) that a table, (N, 3) or (N,), has for indices.

    The indices have the shape (…).
    """
    lazy = as_lazy(data)

    def look_up(block: NDArray[Any]) -> NDArray[Any]:
        found: NDArray[Any] = table[np.minimum(block, len(table) - 1)]
        return found

    if table.ndim == 1:
        return lazy.map_blocks(look_up, dtype=table.dtype)
    return lazy.map_blocks(
        look_up, dtype=table.dtype, new_axis=lazy.ndim, chunks=(*lazy.chunks, (3,))
    )


def samples_last(data: Any, place: int) -> Any:
    """Return colours stored plane by plane with the samples as their last axis."""
    import dask.array as da

    return da.moveaxis(as_lazy(data), place, -1)


def inverted(data: Any, largest: int) -> Any:
    """Return grey values of which the smallest means white."""
    lazy = as_lazy(data)
    if lazy.dtype.kind == "b":
        return lazy.map_blocks(np.logical_not, dtype=bool)
    return lazy.map_blocks(lambda block: block.dtype.type(largest) - block, dtype=lazy.dtype)


def cmyk_to_rgb(data: Any) -> Any:
    """Return RGB (…, 3) for unsigned CMYK (…, 4), as viewers show it."""
    lazy = as_lazy(data)
    lazy = lazy.rechunk({lazy.ndim - 1: 4})
    dtype, largest = lazy.dtype, int(np.iinfo(lazy.dtype).max)

    def convert(block: NDArray[Any]) -> NDArray[Any]:
        light = largest - block.astype(np.float64)
        return np.rint(light[..., :3] * light[..., 3:] / largest).astype(dtype)

    return lazy.map_blocks(convert, dtype=dtype, chunks=(*lazy.chunks[:-1], (3,)))


def palette_of(colormap: NDArray[np.uint16]) -> NDArray[Any] | None:
    """Return a TIFF's colour map (3, N) as a table (N, 3), None if it is a ramp of one colour.

    A table of grey values is (N,).  A ramp only tints a grey image.  Colours of 8 bits, which most
    maps hold, are returned as such.
    """
    table = np.asarray(colormap).T.astype(np.uint16)
    length = max(len(table) - 1, 1)
    ramp = np.linspace(0, 1, len(table))[:, None] * table[-1]
    if table[-1].any() and np.abs(ramp - table).max() <= 65535 / length + 256:
        return None
    if (table == table[:, :1]).all():
        table = table[:, 0]
    narrow = (table >> 8).astype(np.uint8)
    whole = np.array_equal(narrow.astype(np.uint16) * 257, table)
    return narrow if whole or not (table & 255).any() else table
