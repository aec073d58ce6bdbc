"""Labels too large for memory: an OME-Zarr beside the image that fills up while a job runs."""

from __future__ import annotations

import tempfile
import weakref
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..images.ome import label_attributes
from ..images.readers import is_image, split_path, stem_of
from .atomic import plain
from .base import KEY
from .storage import create_labels
from .zarr_tables import write_columns

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    import zarr

UNFINISHED = {"complete": False, "frames_done": 0}
"""What the provenance says of labels that nobody has said to be finished."""


@dataclass(frozen=True, slots=True)
class OutputLocation:
    """Where labels go that are too large for memory.

    Attributes
    ----------
    image : Path
        The file or folder that is segmented.
    what : str
        What the name adds to that of the image, such as ``"entities"``.
    axes : str
        One letter per axis of the labels.
    scale : tuple of float or None
        Size of a step along each axis.
    units : tuple of str or None
        Unit of each axis.
    ids : str
        As of :class:`.Segmentation`.
    translate : tuple of float or None
        Position of the first pixel along each axis.
    """

    image: Path
    what: str
    axes: str
    scale: tuple[float, ...] | None = None
    units: tuple[str, ...] | None = None
    ids: str = "frame"
    translate: tuple[float, ...] | None = None

    def make(self) -> Path | None:
        """Make a folder beside the image whose name was not taken; None where that cannot be."""
        stem = stem_of(self.image) if is_image(self.image) else self.image.name
        for number in count(1):
            name = f"{stem} {self.what}" + (f" {number}" if number > 1 else "")
            path = split_path(self.image)[0].parent / f"{name}.ome.zarr"
            try:
                path.mkdir()
            except FileExistsError:
                continue
            except OSError:
                break
            return path
        return None


def create_on_disk(
    shape: Sequence[int], dtype: Any, location: OutputLocation | None, table: pd.DataFrame
) -> zarr.Array[Any]:
    """Return zeros on disk, to be filled frame by frame or block by block.

    Parameters
    ----------
    shape : sequence of int
    dtype : dtype
    location : OutputLocation or None
        Without one, and where its folder cannot be written to, they are in a temporary folder
        that is deleted together with the array.
    table : DataFrame
        Without rows, for a reader that comes before the labels are finished.

    Returns
    -------
    zarr.Array
        Compressed; at its home part of an OME-Zarr that is valid all along.
    """
    import zarr

    path = None if location is None else location.make()
    if location is None or path is None:
        folder = tempfile.TemporaryDirectory(prefix="napari-kindred-", ignore_cleanup_errors=True)
        labels = create_labels(zarr.create_group(folder.name), shape, dtype)
        # Deleted with the array, not with the interpreter's last breath as an orphan.
        weakref.finalize(labels, folder.cleanup)
        return labels
    root = zarr.create_group(path)
    root.attrs.update(
        {
            "ome": label_attributes(
                location.axes, location.scale, location.units, location.translate
            ),
            KEY: {
                "axes": location.axes,
                "scale": plain(location.scale),
                "units": plain(location.units),
                "translate": plain(location.translate),
                "ids": location.ids,
                "provenance": UNFINISHED,
            },
        }
    )
    write_columns(root, table)
    return create_labels(root, shape, dtype, location.axes)


def home_of(labels: Any) -> Path | None:
    """Return the OME-Zarr beside an image that labels grow in; None for all others."""
    import zarr

    if not isinstance(labels, zarr.Array) or not isinstance(labels.store, zarr.storage.LocalStore):
        return None
    path = Path(labels.store.root)
    return path if path.name.endswith(".ome.zarr") and (path / "table").is_dir() else None


def tell(labels: Any, table: pd.DataFrame, provenance: Mapping[str, Any], ids: str) -> None:
    """Write table, provenance and scope of ids into the OME-Zarr that labels grew in, if any."""
    path = home_of(labels)
    if path is None:
        return
    import zarr

    root = zarr.open_group(path, mode="r+")
    write_columns(root, table)
    about: Any = root.attrs[KEY]
    # Last, so that nothing is called complete before it is.
    root.attrs[KEY] = {**about, "ids": ids, "provenance": plain(provenance)}


def where(labels: Any) -> str:
    """Return a sentence on where labels are written, empty for those in memory."""
    path = home_of(labels)
    if path is None:
        return ""
    size = np.prod(labels.shape, dtype=np.int64) * labels.dtype.itemsize / 2**30
    return f"The labels ({size:.1f} GB) are too large for memory and written to {str(path)!r}."
