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
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd

from .errors import OutputError

if TYPE_CHECKING:
    import zarr

    from .results import Segmentation

IN_MEMORY = 1 << 30
"""Labels of more bytes than this are kept in a zarr array on disk instead of in memory."""

KEY = "napari-kindred"
"""Name of the attribute that holds what OME-Zarr has no place for."""

_AXIS_TYPES = {"T": "time", "Z": "space", "Y": "space", "X": "space"}


def label_chunks(shape: Sequence[int]) -> tuple[int, ...]:
    """Return chunks for labels: one frame each, large frames in squares."""
    return (1,) * (len(shape) - 2) + tuple(max(1, min(size, 1024)) for size in shape[-2:])


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
            f"Nothing can be written into {str(folder)!r} ({error.strerror or error}); "
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
            f"Cannot write {str(path)!r} ({error.strerror or error}); choose another place."
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
    largest = max((int(frame.max()) for frame in _frames_of(labels)), default=0)
    dtype = np.dtype(np.uint16 if largest < 2**16 else np.int32)
    metadata: dict[str, Any] = {"axes": result.axes}
    if path.name.lower().endswith((".ome.tif", ".ome.tiff")):
        for letter, step, unit in _steps(result):
            key = "TimeIncrement" if letter == "T" else f"PhysicalSize{letter}"
            if unit in _OME_SHORT:
                metadata |= {key: step, f"{key}Unit": _OME_SHORT[unit]}
    with replacing(path) as part:
        tifffile.imwrite(
            part,
            (frame.astype(dtype, copy=False) for frame in _frames_of(labels)),
            shape=tuple(labels.shape),
            dtype=dtype,
            bigtiff=int(np.prod(labels.shape, dtype=np.int64)) * dtype.itemsize > 2**31,
            compression="zlib",
            photometric="minisblack",
            metadata=metadata,
        )


_OME_SHORT = {"micrometer": "µm", "nanometer": "nm", "millimeter": "mm", "second": "s"}


def _steps(result: Segmentation) -> Iterator[tuple[str, float, str]]:
    if result.scale is not None:
        units = result.units or ("pixel",) * len(result.axes)
        yield from zip(result.axes, result.scale, units, strict=True)


def _frames_of(labels: Any) -> Iterator[np.ndarray]:
    for index in np.ndindex(*labels.shape[:-2]):
        yield np.asarray(labels[index])


def _about(result: Segmentation) -> dict[str, Any]:
    return {
        "axes": result.axes,
        "scale": result.scale,
        "units": result.units,
        "provenance": result.provenance,
    }


def write_group(root: zarr.Group, result: Segmentation) -> None:
    """Write a result into an empty group, as an OME-Zarr label image with table and provenance."""
    shape = tuple(result.labels.shape)
    array = root.create_array("0", shape=shape, chunks=label_chunks(shape), dtype="int32")
    for index in np.ndindex(*shape[:-2]):
        array[index] = np.asarray(result.labels[index], dtype=np.int32)
    root.attrs["ome"] = _ome_metadata(result)
    root.attrs[KEY] = plain(_about(result))
    write_columns(root, result.table)


def _ome_metadata(result: Segmentation) -> dict[str, Any]:
    """Return the metadata of an OME-Zarr 0.5 label image, one resolution level."""
    units = result.units or ("pixel",) * len(result.axes)
    axes = []
    for letter, unit in zip(result.axes, units, strict=True):
        axis = {"name": letter.lower(), "type": _AXIS_TYPES[letter]}
        axes.append(axis if unit == "pixel" else {**axis, "unit": unit})
    scale = list(result.scale or (1.0,) * len(result.axes))
    level = {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": scale}]}
    return {
        "version": "0.5",
        "multiscales": [{"name": "labels", "axes": axes, "datasets": [level]}],
        "image-label": {},
    }


def write_columns(root: zarr.Group, table: pd.DataFrame, name: str = "table") -> None:
    """Write a table as one array per column; text becomes codes into a list of its values."""
    group = root.create_group(name)
    group.attrs["columns"] = [str(name) for name in table.columns]
    for name in table.columns:
        column = table[name]
        values, more = column.to_numpy(), {}
        if values.dtype.kind not in "buif":
            values, categories = pd.factorize(column)
            more = {"categories": [str(value) for value in categories]}
        array = group.create_array(
            str(name), shape=values.shape, chunks=(max(1, min(len(values), 1 << 16)),),
            dtype=values.dtype,
        )  # fmt: skip
        if len(values):
            array[:] = values
        array.attrs.update(more)


def load(path: Path) -> dict[str, Any]:
    """Read a result, as the fields of a Segmentation."""
    if not path.exists():
        raise OutputError(f"There is no result at {str(path)!r}; check the path.")
    files = _files_of(path)
    try:
        return _load_zarr(path) if len(files) == 1 else _load_tiff(*files)
    except OutputError:
        raise
    except Exception as error:
        text = " ".join(str(error).split())[:120]
        raise OutputError(
            f"The result {str(path)!r} is incomplete or damaged ({text}); make it again."
        ) from error


def _load_zarr(path: Path) -> dict[str, Any]:
    import zarr

    root = zarr.open_group(path, mode="r")
    if KEY not in root.attrs:
        raise OutputError(f"{path.name!r} was not written by napari-kindred; open it as an image.")
    array: Any = root["0"]
    labels = array[:] if array.nbytes <= IN_MEMORY else array
    group: Any = root["table"]
    columns = {name: _read_column(group[name]) for name in group.attrs["columns"]}
    return _parts(labels, pd.DataFrame(columns), cast("dict[str, Any]", root.attrs[KEY]))


def _read_column(array: Any) -> Any:
    values = array[:]
    if "categories" not in array.attrs:
        return values
    names = np.array([*array.attrs["categories"], None], dtype=object)
    return names[values]  # the code of a missing value is -1, the last entry


def _load_tiff(path: Path, table: Path, about: Path) -> dict[str, Any]:
    import tifffile

    for file in (table, about):
        if not file.exists():
            raise OutputError(f"{path.name!r} lacks its {file.name!r}; put it beside the TIFF.")
    labels = tifffile.imread(path).astype(np.int32, copy=False)
    content = json.loads(about.read_text("utf-8"))
    return _parts(labels, pd.read_csv(table), content)


def _parts(labels: Any, table: pd.DataFrame, about: dict[str, Any]) -> dict[str, Any]:
    parts = {"labels": labels, "table": table, **about}
    return {key: tuple(item) if isinstance(item, list) else item for key, item in parts.items()}
