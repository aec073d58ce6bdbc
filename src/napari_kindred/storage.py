"""Results on disk: OME-Zarr, or TIFF with a table and a provenance file beside it."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .arrays import blocks
from .columns import read_columns, write_columns
from .errors import OutputError, reason_of
from .ome import label_attributes

if TYPE_CHECKING:
    import zarr

    from .results import Segmentation

IN_MEMORY = 1 << 30
"""Labels of more bytes than this are kept in a zarr array on disk instead of in memory."""

KEY = "napari-kindred"
"""Name of the attribute that holds what OME-Zarr has no place for."""

_LETTERS = "TCZYX"

_WHOLE = 1 << 24
"""Frames of more pixels than this are written to a TIFF tile by tile instead of as a whole."""

_TILE = 512
"""Side of these tiles."""


def label_chunks(shape: Sequence[int]) -> tuple[int, ...]:
    """Return chunks for labels: one frame each, large frames in squares."""
    height, width = shape[-2:]
    # A block that is written into a large frame touches four squares, decoded all at once.
    side = 1024 if max(height, width) <= 1024 else 512
    return (1,) * (len(shape) - 2) + (max(1, min(height, side)), max(1, min(width, side)))


def plain(value: Any) -> Any:
    """Turn dataclasses, numpy values and paths into what JSON can hold."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain(dataclasses.asdict(value))
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)


def check_output(path: Path, overwrite: bool = False) -> list[Path]:
    """Check before a long job that its result can be written, and return the files it will be.

    Raises
    ------
    OutputError
        When a file is there already, when the folder cannot be written, or when the suffix is
        neither ``.ome.zarr`` nor ``.tif``.
    """
    files = _files_of(path)
    check_folder(path.parent)
    for file in files:
        refuse_existing(file, overwrite)
    return files


def _files_of(path: Path) -> list[Path]:
    """Return the files that make up a result."""
    suffix = path.suffix.lower()
    if suffix == ".zarr":
        return [path]
    if suffix not in (".tif", ".tiff"):
        raise OutputError(f"{path.name!r} is no result; name it .ome.zarr or .tif.")
    base = path.name[: -len(suffix)].removesuffix(".ome")
    return [path, path.with_name(f"{base}.csv"), path.with_name(f"{base}.json")]


def check_folder(folder: Path) -> None:
    """Make a folder where there is none, and check that files can be written into it.

    Raises
    ------
    OutputError
        When they cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(
            f"Nothing can be written into {str(folder)!r} ({reason_of(error)}); "
            "choose another folder."
        ) from error


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Raise OutputError for a path that exists and may not be replaced."""
    if path.exists() and not overwrite:
        raise OutputError(
            f"{str(path)!r} is there already; choose another name, or allow overwriting."
        )


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to, and put it in place of ``path`` when all went well.

    Raises
    ------
    OutputError
        When writing fails, for example on a full disk; ``path`` is then as it was.
    """
    # The suffix stays, since writers go by it.
    part = path.with_name(f".{os.getpid()}.part.{path.name}")
    try:
        yield part
        if path.is_dir():
            old = path.with_name(f".{os.getpid()}.old.{path.name}")
            path.rename(old)
            part.rename(path)
            shutil.rmtree(old)
        else:
            part.replace(path)
    except OSError as error:
        raise OutputError(
            f"Cannot write {str(path)!r} ({reason_of(error)}); choose another place."
        ) from error
    finally:
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)


def save(
    result: Segmentation,
    path: Path,
    overwrite: bool = False,
    more: Callable[[zarr.Group], None] | None = None,
) -> Path:
    """Write a result; see :meth:`napari_kindred.Segmentation.save`.

    ``more`` adds to the group of an OME-Zarr before it is put in its place.
    """
    files = check_output(path, overwrite)
    if len(files) == 1:
        import zarr

        with replacing(path) as part:
            root = zarr.create_group(part, overwrite=True)
            write_group(root, result)
            if more is not None:
                more(root)
        return path
    labels, table, about = files
    write_json(about, _about(result))
    write_table(table, result.table)
    write_labels(labels, result)  # last, so that labels never lie there without the others
    return path


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a dictionary as JSON, all of it or nothing."""
    with replacing(path) as part:
        part.write_text(json.dumps(plain(content), indent=2, ensure_ascii=False) + "\n", "utf-8")


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table as CSV, all of it or nothing."""
    with replacing(path) as part:
        table.to_csv(part, index=False)


def write_labels(path: Path, result: Segmentation) -> None:
    """Write labels as a compressed TIFF frame by frame, uint16 where the ids allow it."""
    import tifffile

    labels = result.labels
    largest = max((int(np.asarray(labels[place]).max()) for place in _parts_of(labels)), default=0)
    dtype = np.dtype(np.uint16 if largest < 2**16 else np.int32)
    tile = _TILE if labels.shape[-2] * labels.shape[-1] > _WHOLE else None
    metadata: dict[str, Any] = {"axes": result.axes}
    if path.name.lower().endswith((".ome.tif", ".ome.tiff")):
        for letter, step, unit in _steps(result):
            key = "TimeIncrement" if letter == "T" else f"PhysicalSize{letter}"
            if unit in _OME_SHORT:
                metadata |= {key: step, f"{key}Unit": _OME_SHORT[unit]}
    with replacing(path) as part:
        tifffile.imwrite(
            part,
            _pages_of(labels, dtype, tile),
            shape=tuple(labels.shape),
            dtype=dtype,
            bigtiff=int(np.prod(labels.shape, dtype=np.int64)) * dtype.itemsize > 2**31,
            tile=None if tile is None else (tile, tile),
            compression="zlib",
            photometric="minisblack",
            metadata=metadata,
        )


_OME_SHORT = {"micrometer": "µm", "nanometer": "nm", "millimeter": "mm", "second": "s"}


def _steps(result: Segmentation) -> Iterator[tuple[str, float, str]]:
    if result.scale is not None:
        units = result.units or ("pixel",) * len(result.axes)
        yield from zip(result.axes, result.scale, units, strict=True)


def _parts_of(labels: Any) -> Iterator[tuple[Any, ...]]:
    """Yield places in labels, frame by frame and of large frames block by block."""
    parts = list(blocks(labels, _LETTERS[-len(labels.shape) :]))
    for index in np.ndindex(*labels.shape[:-2]):
        for part in parts:
            yield *index, *part


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


def _about(result: Segmentation) -> dict[str, Any]:
    return {
        "axes": result.axes,
        "scale": result.scale,
        "units": result.units,
        "provenance": result.provenance,
    }


def write_group(root: zarr.Group, result: Segmentation) -> None:
    """Write a result into an empty group, as an OME-Zarr label image with table and provenance."""
    root.attrs["ome"] = label_attributes(result.axes, result.scale, result.units)
    copy_labels(result.labels, create_labels(root, result.labels.shape, np.int32, result.axes))
    root.attrs[KEY] = plain(_about(result))
    write_columns(root, result.table)


def create_labels(
    root: zarr.Group, shape: Sequence[int], dtype: Any, axes: str = ""
) -> zarr.Array[Any]:
    """Return zeros at the path ``0`` of a group, to be filled with labels."""
    from zarr.codecs import ZstdCodec

    return root.create_array(
        "0",
        shape=tuple(shape),
        chunks=label_chunks(shape),
        dtype=dtype,
        # Without shuffling of bytes, which breaks up the long runs of one id.
        compressors=ZstdCodec(level=3),
        dimension_names=list(axes.lower()) or None,
    )


def copy_labels(labels: Any, target: zarr.Array[Any]) -> None:
    """Copy labels into an empty array: as compressed chunks where they are alike, else decoded."""
    chunks = [_chunks_of(array) for array in (labels, target)]
    if chunks[0] and chunks[1] and _is_stored_alike(labels, target):
        if chunks[0].is_dir():  # else all of it is background
            shutil.copytree(chunks[0], chunks[1])
        return
    for place in _parts_of(labels):
        target[place] = np.asarray(labels[place], dtype=np.int32)


def _chunks_of(labels: Any) -> Path | None:
    """Return where the chunks of a zarr array are, None for what is no zarr 3 on disk."""
    import zarr

    if not isinstance(labels, zarr.Array) or not isinstance(labels.store, zarr.storage.LocalStore):
        return None
    return Path(labels.store.root, labels.path, "c") if labels.metadata.zarr_format == 3 else None


def _is_stored_alike(labels: Any, target: Any) -> bool:
    """Tell whether the chunks of one array could be those of the other."""
    one, other = (
        {**array.metadata.to_dict(), "attributes": None, "dimension_names": None}
        for array in (labels, target)
    )
    return bool(one == other)


def load(path: Path, inside: str = "") -> dict[str, Any]:
    """Read a result, or one in a group inside an OME-Zarr, as the fields of a Segmentation."""
    with reading(path) as files:
        return _load_zarr(path, inside) if len(files) == 1 else _load_tiff(*files)


@contextmanager
def reading(path: Path) -> Iterator[list[Path]]:
    """Give the files of a result; whatever goes wrong with them is said in one sentence."""
    if not path.exists():
        raise OutputError(f"There is no result at {str(path)!r}; check the path.")
    files = _files_of(path)
    try:
        yield files
    except OutputError:
        raise
    except Exception as error:
        raise OutputError(
            f"The result {str(path)!r} is incomplete or damaged ({reason_of(error)}); make it "
            "again."
        ) from error


def _load_zarr(path: Path, inside: str) -> dict[str, Any]:
    import zarr

    root = zarr.open_group(path, mode="r", path=inside)
    about = _about_zarr(path, inside)
    array: Any = root["0"]
    labels = array[:] if array.nbytes <= IN_MEMORY else array
    return _parts(labels, read_columns(root), about)


def _about_zarr(path: Path, inside: str = "") -> Any:
    import zarr

    root = zarr.open_group(path, mode="r", path=inside)
    if KEY not in root.attrs:
        raise OutputError(f"{path.name!r} was not written by napari-kindred; open it as an image.")
    return root.attrs[KEY]


def read_about(path: Path) -> dict[str, Any]:
    """Return how a result came about, without reading its labels.

    Parameters
    ----------
    path : Path
        As :func:`load` takes it.

    Raises
    ------
    OutputError
        When there is no result at this path, or when it is damaged.
    """
    with reading(path) as files:
        about = _about_zarr(path) if len(files) == 1 else _about_tiff(path, files[2])
        return dict(about["provenance"])


def _load_tiff(path: Path, table: Path, about: Path) -> dict[str, Any]:
    _refuse_missing(path, table)
    content = _about_tiff(path, about)
    return _parts(read_tiff(path), pd.read_csv(table), content)


def read_tiff(path: Path) -> Any:
    """Read labels from a TIFF, int32."""
    import tifffile

    return tifffile.imread(path).astype(np.int32, copy=False)


def _about_tiff(path: Path, about: Path) -> Any:
    _refuse_missing(path, about)
    return json.loads(about.read_text("utf-8"))


def _refuse_missing(path: Path, part: Path) -> None:
    if not part.exists():
        raise OutputError(f"{path.name!r} lacks its {part.name!r}; put it beside the TIFF.")


def _parts(labels: Any, table: pd.DataFrame, about: dict[str, Any]) -> dict[str, Any]:
    parts = {"labels": labels, "table": table, **about}
    return {key: tuple(item) if isinstance(item, list) else item for key, item in parts.items()}
