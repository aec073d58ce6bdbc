"""Anything array-like: checked without being read, cut into blocks, sent to other processes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from mmap import mmap
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import InputError
from .pictures import values_of

_BLOCK = 1 << 26
"""Bytes of a plane that are read in one go."""

_HELD = 1 << 20
"""Bytes of pixels that a dask graph may hold in itself and still count as a reference to them."""


def as_array(image: Any) -> Any:
    """Return something sliceable with a shape and a numeric dtype, unread."""
    if isinstance(image, str | Path):
        raise InputError(
            f"{str(image)!r} is a path, not an image; open it first, with "
            "napari_kindred.images.stack.read_image(path)."
        )
    if type(image).__module__.startswith("PIL."):
        image = values_of(image)[0]
    if isinstance(image, list | tuple) and len({np.shape(one) for one in image}) > 1:
        raise InputError(
            "The images in the list are neither frames of one size nor one image at lower and "
            "lower resolutions; give one image at a time."
        )
    if not all(hasattr(image, name) for name in ("shape", "dtype", "__getitem__")):
        try:
            image = np.asarray(image)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"A {type(image).__name__} is no image; give a numpy, dask or zarr array."
            ) from error
    if any(size != size for size in image.shape):  # NaN, as dask has it
        raise InputError(
            "The image does not know its own size; call its compute_chunk_sizes() first."
        )
    if np.ma.is_masked(image):
        raise InputError(
            "Some of the image's values are masked; say what they are, for example image.filled(0)."
        )
    try:
        dtype = np.dtype(image.dtype)
    except TypeError as error:
        raise InputError(
            f"The dtype {image.dtype} is none of numpy's; convert the image with np.asarray."
        ) from error
    if dtype.kind == "c":
        raise InputError("The image has complex values; give its magnitude, np.abs(image).")
    if dtype.kind not in "buif":
        raise InputError(
            f"The image's values are of dtype {dtype}; convert them to numbers first, for "
            "example image.astype('float32')."
        )
    if 0 in image.shape:
        raise InputError(f"The image is empty: its shape is {tuple(image.shape)}.")
    return image


def blocks(data: Any, axes: str) -> Iterator[tuple[slice, slice]]:
    """Cut the plane of an array into blocks of whole chunks, so that each chunk is read once.

    Parameters
    ----------
    data : array-like
        Its ``chunks``, where it has any, are those of zarr, h5py or dask.
    axes : str
        One letter per axis.

    Yields
    ------
    rows, columns : slice
        Row by row, together the whole plane.
    """
    size = dict(zip(axes, data.shape, strict=True))
    chunks = dict(zip(axes, getattr(data, "chunks", None) or (1,) * len(axes), strict=True))
    height, width = size["Y"], size["X"]
    high, wide = (min(size[letter], max(np.atleast_1d(chunks[letter]).tolist())) for letter in "YX")
    room = max(1, _BLOCK // (np.dtype(data.dtype).itemsize * size.get("S", 1)))
    wide *= max(1, min(room // (high * wide), -(-width // wide)))
    high *= max(1, room // (high * wide))
    for top, left in product(range(0, height, high), range(0, width, wide)):
        yield slice(top, min(top + high, height)), slice(left, min(left + wide, width))


def regular(
    values: np.ndarray,
    rows: slice,
    columns: slice,
    steps: tuple[int, int],
    first: tuple[int, int] = (0, 0),
) -> tuple[tuple[slice, slice], np.ndarray]:
    """Take from a block what it has of a regular sample of its plane.

    Parameters
    ----------
    values : ndarray, shape (Y, X, ...)
    rows, columns : slice
        Where the block lies.
    steps : tuple of int
        Distance of the sampled rows and of the sampled columns.
    first : tuple of int
        The first sampled row and column of the plane.

    Returns
    -------
    place : tuple of slice
        Where in the sample the values go.
    values : ndarray
        A view.
    """
    down, across = steps
    start = (rows.start - first[0], columns.start - first[1])
    part = values[-start[0] % down :: down, -start[1] % across :: across]
    top, left = (max(0, -(-place // step)) for place, step in zip(start, steps, strict=True))
    return (slice(top, top + part.shape[0]), slice(left, left + part.shape[1])), part


@dataclass(frozen=True, slots=True)
class MappedFile:
    """What a memory-mapped file is sent to another process as; pickled, numpy would read it all.

    Attributes
    ----------
    path, dtype : str
    shape : tuple of int
    offset : int
        Bytes before the first value.
    order : str
        ``"C"`` or ``"F"``.
    """

    path: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    order: str

    def open(self) -> np.ndarray:
        """Map the file, which has to be there for this process too."""
        order: Any = self.order
        return np.memmap(self.path, self.dtype, "r", self.offset, self.shape, order)


def packed(data: Any) -> Any:
    """Return what to pickle in an array's place; :func:`unpacked` makes the array of it again."""
    if not _is_mapped(data):
        return data
    order = "C" if data.flags.c_contiguous else "F"
    return MappedFile(str(data.filename), data.dtype.str, data.shape, data.offset, order)


def unpacked(data: Any) -> Any:
    """Return the array that was :func:`packed`."""
    return data.open() if isinstance(data, MappedFile) else data


def is_portable(data: Any) -> bool:
    """Tell whether an array is pickled as a reference to its pixels instead of with them.

    So are zarr in files or on a server, memory-mapped files and dask arrays that compute or read
    their pixels.  What says so of itself, by a true ``portable``, is believed.
    """
    import dask.array as da
    import zarr

    if isinstance(data, zarr.Array):
        stores: tuple[type, ...] = (
            zarr.storage.LocalStore,
            zarr.storage.FsspecStore,
            zarr.storage.ObjectStore,
            zarr.storage.ZipStore,
        )
        return isinstance(data.store, stores)
    if isinstance(data, da.Array):
        parts = [getattr(part, "value", part) for part in dict(data.__dask_graph__()).values()]
        if not all(is_portable(part) for part in parts if isinstance(part, zarr.Array)):
            return False
        held = sum(part.nbytes for part in parts if isinstance(part, np.ndarray))
        return held <= _HELD
    return _is_mapped(data) or bool(getattr(data, "portable", False))


def source_of(data: Any) -> Path | None:
    """Return the file or folder that an array is read from, None where it does not say so."""
    zarr = sys.modules.get("zarr")  # where it is not loaded, nothing is of zarr
    if zarr and isinstance(data, zarr.Array) and isinstance(data.store, zarr.storage.LocalStore):
        inside = Path(data.store.root, data.path).absolute()
        # The outermost: an image's resolutions are arrays inside the OME-Zarr that people see.
        zarrs = [path for path in inside.parents if path.suffix.lower() == ".zarr"]
        return zarrs[-1] if zarrs else inside
    if _is_mapped(data):
        return Path(data.filename)
    source = getattr(data, "source", None)
    return source if isinstance(source, Path) else None


def fault_in_source(data: Any) -> str:
    """Return what became of an array's file since it was opened, the end of a sentence, or nothing.

    Zarr takes a chunk that is not there for zeros, and a mapped file that became shorter ends the
    whole program, both without a word.
    """
    import zarr

    if isinstance(data, zarr.Array) and isinstance(data.store, zarr.storage.LocalStore):
        place = Path(data.store.root, data.path)
        there = any((place / name).is_file() for name in ("zarr.json", ".zarray"))
        return "" if there else f"{place.name!r} is gone"
    if _is_mapped(data):
        path = Path(data.filename)
        if path.is_file() and path.stat().st_size < data.offset + data.nbytes:
            return f"{path.name!r} has become shorter"
    return ""


def _is_mapped(data: Any) -> bool:
    """Tell whether an array is a memory-mapped file as a whole; parts do not know their place."""
    return isinstance(data, np.memmap) and isinstance(data.base, mmap)
