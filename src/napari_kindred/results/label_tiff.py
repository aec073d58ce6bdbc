"""Labels as TIFF, frame by frame, and as the numbers that any file of labels can hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.errors import OutputError
from ..images.arrays import blocks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

_LETTERS = "TCZYX"

_WHOLE = 1 << 24
"""Frames of more pixels than this are written tile by tile instead of as a whole."""

_TILE = 512
"""Side of these tiles."""

_DENSEST = 2000
"""Bytes of labels that a byte of a file can stand for at most, in the packings that there are."""

_IMAGEJ_AXES = "TZCYX"
"""Order of the axes of ImageJ's hyperstacks."""

_IMAGEJ_UNITS = {"micrometer": "um", "nanometer": "nm", "millimeter": "mm", "meter": "m"}

_IMAGEJ_TIMES = {"second": "sec", "millisecond": "ms", "minute": "min", "hour": "h"}

_EXACT_IN_FLOAT = 1 << 24
"""Whole numbers up to here have a floating point number of 32 bits of their own."""

_SHORT_UNITS = {"micrometer": "µm", "nanometer": "nm", "millimeter": "mm", "second": "s"}


def as_ids(labels: Any) -> NDArray[np.int32]:
    """Return labels, or part of them, as int32."""
    values = np.asarray(labels)
    if values.dtype.kind != "b" and not np.can_cast(values.dtype, np.int32):
        limits = np.iinfo(np.int32)
        for value in (int(values.min(initial=0)), int(values.max(initial=0))):
            if not limits.min <= value <= limits.max:
                raise OutputError(
                    f"The label {value} is beyond {limits.max}, the largest that can be written; "
                    "number the labels anew."
                )
    return values.astype(np.int32, copy=False)


def places_in(labels: Any) -> Iterator[tuple[Any, ...]]:
    """Yield places in labels, frame by frame and of large frames block by block."""
    parts = list(blocks(labels, _LETTERS[-len(labels.shape) :]))
    for index in np.ndindex(*labels.shape[:-2]):
        for part in parts:
            yield *index, *part


def write_tiff(
    path: Path,
    labels: Any,
    axes: str,
    scale: Sequence[float] | None = None,
    units: Sequence[str] | None = None,
) -> None:
    """Write labels as a compressed TIFF frame by frame, uint16 where the ids allow it."""
    import tifffile

    # Pages that are one pixel wide are taken for something else; arrays of them in plain TIFFs not.
    narrow, is_ome = labels.shape[-1] == 1, path.name.lower().endswith((".ome.tif", ".ome.tiff"))
    if narrow and is_ome:
        raise OutputError("OME-TIFF holds no labels one pixel wide; name the file .tif instead.")
    lowest, highest = _range_of(labels)
    dtype = np.dtype(np.uint16 if lowest == 0 and highest < 2**16 else np.int32)
    tile = _TILE if labels.shape[-2] * labels.shape[-1] > _WHOLE else None
    plain = not narrow and not is_ome and tile is None and dtype == np.uint16
    if plain and _is_hyperstack(labels, axes):  # Fiji and others find size and interval there
        write_imagej(path, labels, axes, scale, units, highest)
        return
    metadata: dict[str, Any] = {"axes": axes}
    if is_ome and scale is not None:
        for letter, step, unit in zip(axes, scale, units or ("pixel",) * len(axes), strict=True):
            key = "TimeIncrement" if letter == "T" else f"PhysicalSize{letter}"
            if unit in _SHORT_UNITS:
                metadata |= {key: step, f"{key}Unit": _SHORT_UNITS[unit]}
    tifffile.imwrite(
        path,
        as_ids(labels).astype(dtype) if narrow else _pages_of(labels, dtype, tile),
        shape=tuple(labels.shape),
        dtype=dtype,
        bigtiff=int(np.prod(labels.shape, dtype=np.int64)) * dtype.itemsize > 2**31,
        tile=None if tile is None else (tile, tile),
        compression="zlib",
        photometric="minisblack",
        metadata=metadata,
    )


def _range_of(labels: Any) -> tuple[int, int]:
    """Return the lowest and highest label, at least 0."""
    lowest = highest = 0
    for place in places_in(labels):
        ids = as_ids(labels[place])
        lowest, highest = min(lowest, int(ids.min())), max(highest, int(ids.max()))
    return lowest, highest


def _is_hyperstack(labels: Any, axes: str) -> bool:
    """Return whether ImageJ has a place for all axes, and its TIFF room for the labels."""
    ordered = [letter for letter in _IMAGEJ_AXES if letter in axes]
    size = int(np.prod(labels.shape, dtype=np.int64)) * 4
    return "".join(ordered) == axes and size < 2**31


def write_imagej(
    path: Path,
    labels: Any,
    axes: str,
    scale: Sequence[float] | None = None,
    units: Sequence[str] | None = None,
    highest: int | None = None,
) -> None:
    """Write labels as an ImageJ hyperstack, with pixel size and frame interval.

    Raises
    ------
    OutputError
        When ImageJ has no place for them.
    """
    import tifffile

    if not _is_hyperstack(labels, axes):
        raise OutputError(
            f"An ImageJ TIFF has no place for labels of axes {axes} and shape "
            f"{tuple(labels.shape)}; save them as .ome.zarr or .ome.tif."
        )
    highest = _range_of(labels)[1] if highest is None else highest
    if highest > _EXACT_IN_FLOAT:
        raise OutputError(
            f"The label {highest} is beyond {_EXACT_IN_FLOAT}, the largest that ImageJ can show; "
            "number the labels anew."
        )
    dtype = np.dtype(np.uint16 if highest < 2**16 else np.float32)
    steps = {} if scale is None else dict(zip(axes, scale, strict=True))
    names = {} if units is None else dict(zip(axes, units, strict=True))
    metadata: dict[str, Any] = {
        "axes": axes,
        "mode": "grayscale",
        "min": 0.0,
        "max": float(max(highest, 1)),
    }
    resolution = None
    unit = names.get("X", "")
    if unit in _IMAGEJ_UNITS and names.get("Y") == unit:
        metadata["unit"] = _IMAGEJ_UNITS[unit]
        resolution = (1 / steps["X"], 1 / steps["Y"])
        if names.get("Z") == unit:
            metadata["spacing"] = float(steps["Z"])
    if names.get("T") in _IMAGEJ_TIMES:
        metadata["finterval"] = float(steps["T"])
        metadata["tunit"] = _IMAGEJ_TIMES[names["T"]]
    tifffile.imwrite(
        path,
        _pages_of(labels, dtype, None),
        shape=tuple(labels.shape),
        dtype=dtype,
        imagej=True,
        resolution=resolution,
        compression="zlib",
        metadata=metadata,
    )


def _pages_of(labels: Any, dtype: Any, tile: int | None) -> Iterator[np.ndarray]:
    """Yield what a TIFF is made of: frames, or the tiles of each, a row of them read at a time."""
    height, width = labels.shape[-2:]
    for index in np.ndindex(*labels.shape[:-2]):
        if tile is None:
            yield np.asarray(labels[index]).astype(dtype, copy=False)
            continue
        for top in range(0, height, tile):
            row = np.asarray(labels[(*index, slice(top, min(top + tile, height)))]).astype(dtype)
            for left in range(0, width, tile):
                part = row[:, left : left + tile]
                yield np.pad(part, [(0, tile - length) for length in part.shape])


def read_tiff(path: Path) -> NDArray[np.int32]:
    """Read labels from a TIFF.

    Raises
    ------
    ValueError
        When the file says that it holds more than it can.
    """
    import tifffile

    with tifffile.TiffFile(path) as tif:
        size = sum(series.nbytes for series in tif.series[:1])
        if size > _DENSEST * path.stat().st_size:
            raise ValueError(f"it claims to hold {size / 2**30:.0f} GB")
        if not tif.series or tif.series[0].dtype.kind not in "bui":
            raise ValueError("it holds no whole numbers")
    return as_ids(tifffile.imread(path))
