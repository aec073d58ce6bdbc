"""Results on disk: OME-Zarr, or TIFF with a table and a provenance file beside it."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..core.errors import OutputError, reason_of
from ..images.ome import AXIS_TYPES, label_attributes
from ..images.readers import is_there
from .atomic import (
    Writer,
    as_csv,
    as_json,
    check_folder,
    plain,
    refuse_existing,
    replacing,
    write_together,
)
from .base import ID_SCOPES, KEY
from .label_tiff import as_ids, places_in, read_tiff, write_tiff
from .zarr_tables import read_columns, write_columns

if TYPE_CHECKING:
    import zarr

    from .base import Result

IN_MEMORY = 1 << 30
"""Labels of more bytes than this are kept in a zarr array on disk instead of in memory."""

PROVENANCE = "provenance.json"
"""Name of the file that tells how all results of a folder came about."""

_LONGEST_TEXT = 64 << 20
"""Bytes of JSON that a result is believed to have."""


_OF_ALL = ("complete", "planned", "images", "failed")
"""What the log of a folder says of the folder only."""

_OF_ONE = ("content", "written", "rows", "labels")
"""What it says of an image that is no provenance of its result."""


def label_chunks(shape: Sequence[int]) -> tuple[int, ...]:
    """Return chunks for labels: one frame each, large frames in squares."""
    height, width = shape[-2:]
    # A block that is written into a large frame touches four squares, decoded all at once.
    side = 1024 if max(height, width) <= 1024 else 512
    return (1,) * (len(shape) - 2) + (max(1, min(height, side)), max(1, min(width, side)))


def check_output(path: Path, overwrite: bool = False) -> list[Path]:
    """Check before a long job that its result can be written, and return the files it will be.

    Raises
    ------
    OutputError
        When a file is there already, when the folder cannot be written, or when the suffix is
        neither ``.ome.zarr`` nor ``.tif``.
    """
    files = files_of(path)
    check_folder(path.parent)
    for file in files:
        refuse_existing(file, overwrite)
    return files


def files_of(path: Path) -> list[Path]:
    """Return the files that make up a result."""
    suffix = path.suffix.lower()
    if suffix == ".zarr":
        return [path]
    if suffix not in (".tif", ".tiff"):
        raise OutputError(f"{path.name!r} is no result; name it .ome.zarr or .tif.")
    base = path.name[: -len(suffix)].removesuffix(".ome")
    return [path, path.with_name(f"{base}.csv"), path.with_name(f"{base}.json")]


def save(
    result: Result,
    path: Path,
    overwrite: bool = False,
    more: Callable[[zarr.Group], None] | None = None,
    others: Mapping[Path, Writer] | None = None,
) -> Path:
    """Write a result; see :meth:`napari_kindred.Segmentation.save`.

    ``more`` adds to the group of an OME-Zarr before it is put in its place; ``others`` are written
    together with a TIFF, which has to be complete or not there at all.
    """
    fault = _fault_in(result.labels, result.table, about_of(result))
    if fault:
        raise OutputError(f"The result cannot be written, for {fault}; mend that first.")
    files = check_output(path, overwrite)
    for other in others or ():
        refuse_existing(other, overwrite)
    if len(files) == 1:
        import zarr

        with replacing(path, overwrite) as part:
            root = zarr.create_group(part, overwrite=True)
            write_group(root, result)
            if more is not None:
                more(root)
        return path
    labels, table, about = files
    # The labels last, so that they never lie there without the others.
    write_together(
        {
            **(others or {}),
            about: as_json(about_of(result)),
            table: as_csv(result.table),
            labels: as_tiff(result),
        },
        overwrite,
    )
    return path


def as_tiff(result: Result) -> Writer:
    """Return what writes labels as a compressed TIFF, frame by frame."""
    return lambda path: write_tiff(path, result.labels, result.axes, result.scale, result.units)


def about_of(result: Result) -> dict[str, Any]:
    """Return all of a result but its labels and tables, as plain data."""
    return {
        "axes": result.axes,
        "shape": getattr(result.labels, "shape", None),
        "scale": result.scale,
        "units": result.units,
        "translate": result.translate,
        "ids": result.ids,
        "provenance": result.provenance,
    }


def write_group(root: zarr.Group, result: Result) -> None:
    """Write a result into an empty group, as an OME-Zarr label image with table and provenance."""
    root.attrs["ome"] = label_attributes(result.axes, result.scale, result.units, result.translate)
    copy_labels(result.labels, create_labels(root, result.labels.shape, np.int32, result.axes))
    root.attrs[KEY] = plain(about_of(result))
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
    for place in places_in(labels):
        target[place] = as_ids(labels[place])


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
    if not is_there(path):
        raise OutputError(f"There is no result at {str(path)!r}; check the path.")
    files = files_of(path)
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

    about = _about_zarr(path, inside)
    root = zarr.open_group(path, mode="r", path=inside)
    array: Any = root["0"]
    labels = array[:] if array.nbytes <= IN_MEMORY else array
    return _parts(labels, read_columns(root), about)


def _about_zarr(path: Path, inside: str = "") -> Any:
    import zarr

    _refuse_long(path / inside / "zarr.json")
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
    labels = read_tiff(path)
    # A TIFF may leave out axes of length 1.
    shape = content.get("shape", (1,) * (len(content["axes"]) - labels.ndim) + labels.shape)
    return _parts(labels.reshape(shape), read_table(table), content)


def read_table(path: Path) -> pd.DataFrame:
    """Read a table that was written as CSV."""
    if path.read_bytes() in (b"\n", b"\r\n"):  # a table without columns
        return pd.DataFrame()
    return pd.read_csv(path, skip_blank_lines=False)


def _about_tiff(path: Path, about: Path) -> Any:
    log = path.with_name(PROVENANCE)
    if not about.exists() and log.is_file():
        return _about_in(log, path)
    _refuse_missing(path, about)
    _refuse_long(about)
    return json.loads(about.read_text("utf-8"))


def _about_in(log: Path, path: Path) -> Any:
    """Return what the log of a folder says about one of its results."""
    content = json.loads(log.read_text("utf-8"))
    entry = content["images"].get(path.stem)
    if entry is None:
        raise OutputError(f"{path.name!r} is no result that {log.name!r} knows; check its name.")
    shared = {key: content[key] for key in content if key not in _OF_ALL}
    own = {key: entry[key] for key in entry if key not in _OF_ONE}
    facts = {**shared, **own, "image": path.stem}
    return {**entry["labels"], "provenance": facts}


def _refuse_long(text: Path) -> None:
    if text.is_file() and text.stat().st_size > _LONGEST_TEXT:
        raise ValueError(f"{text.name} has {text.stat().st_size >> 20} MB")


def _refuse_missing(path: Path, part: Path) -> None:
    if not part.exists():
        raise OutputError(f"{path.name!r} lacks its {part.name!r}; put it beside the TIFF.")


def _parts(labels: Any, table: pd.DataFrame, about: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a result whose files may hold anything."""
    fault = _fault_in(labels, table, about)
    if fault:
        raise ValueError(fault)
    scale, units, start = about["scale"], about["units"], about["translate"]
    return {
        "labels": labels,
        "table": table,
        "provenance": dict(about["provenance"]),
        "axes": about["axes"],
        "scale": None if scale is None else tuple(map(float, scale)),
        "units": None if units is None else tuple(units),
        "ids": about["ids"],
        "translate": None if start is None else tuple(map(float, start)),
    }


def _fault_in(labels: Any, table: Any, about: Mapping[str, Any]) -> str:
    """Return what is wrong with a result, the end of a sentence, or nothing."""
    axes, scale, units = about["axes"], about["scale"], about["units"]
    shape = tuple(getattr(labels, "shape", ()))
    if len(shape) < 2 or np.dtype(labels.dtype).kind not in "bui" or not math.prod(shape):
        return f"labels are whole numbers in two or more axes, not {_described(labels)}"
    letters = set(axes) if isinstance(axes, str) else set()
    if len(letters) != len(shape) or len(axes) != len(shape) or not letters <= set(AXIS_TYPES):
        return f"the axes {axes!r} do not name the {len(shape)} axes of the labels"
    if scale is not None and not _is_scale(scale, len(shape)):
        return f"the scale {scale!r} is not a number above 0 for each of the axes {axes}"
    start = about["translate"]
    if start is not None and not _is_position(start, len(shape)):
        return f"the position {start!r} is not a number for each of the axes {axes}"
    named = isinstance(units, list | tuple) and all(isinstance(unit, str) for unit in units)
    if units is not None and not (named and len(units) == len(shape)):
        return f"the units {units!r} are not a word for each of the axes {axes}"
    if about["ids"] not in ID_SCOPES:
        return f"the scope of ids {about['ids']!r} is none of {', '.join(ID_SCOPES)}"
    if not isinstance(table, pd.DataFrame) or not table.columns.is_unique:
        return "the table is none, or has two columns of one name"
    return "" if isinstance(about["provenance"], Mapping) else "the provenance is no dictionary"


def _described(labels: Any) -> str:
    if not hasattr(labels, "dtype"):
        return f"a {type(labels).__name__}"
    return f"{labels.dtype} of shape {tuple(labels.shape)}"


def _is_position(start: Any, count: int) -> bool:
    return (
        isinstance(start, list | tuple)
        and len(start) == count
        and all(isinstance(place, int | float | np.number) for place in start)
        and all(map(math.isfinite, start))
    )


def _is_scale(scale: Any, count: int) -> bool:
    return (
        isinstance(scale, list | tuple)
        and len(scale) == count
        and all(isinstance(step, int | float | np.number) for step in scale)
        and all(0 < step < math.inf for step in scale)
    )
