"""Results: labels with their table and provenance, and the way to disk and back."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._version import __version__
from ..core.errors import OptionError
from . import storage
from . import tables as tabulate
from .atomic import plain
from .base import ID_SCOPES, IdScope

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..images.stack import ImageStack

_COLUMNS = {
    "index": np.int64,
    "area": np.int64,
    "centroid_y": np.float64,
    "centroid_x": np.float64,
    "mean_intensity": np.float64,
    "score": np.float64,
}


@dataclass(slots=True, eq=False, repr=False)
class Segmentation:
    """Labels, one table row per label, and how they came about.

    Attributes
    ----------
    labels : ndarray of int32, or zarr array, shape as named by ``axes``
        0 is background; ``ids`` tells what the others stand for.
    table : DataFrame
        ``index`` is the label id; stacks have ``frame`` as well, the place of the frame in order.
    provenance : dict
        Plain data: version, method, config, weights, input, seconds, device.
    axes : str
        One letter per axis of ``labels``, for example ``"TYX"``.
    scale : tuple of float or None
        Size of a step along each axis.
    units : tuple of str or None
        Unit of each axis.
    ids : {"frame", "stack", "track", "class"}
        Within what an id stands for the same: an object of one frame, whose id says nothing of
        other frames (entities); a kind of pixel in all frames of the stack (clusters); an object
        followed through frames; a class, by its place among the names that were asked for.

    translate : tuple of float or None
        Position of the first pixel along each axis, in ``units``.

    Raises
    ------
    OptionError
        If ``ids`` is none of these.
    """

    labels: Any
    table: pd.DataFrame
    provenance: dict[str, Any] = field(default_factory=dict)
    axes: str = "YX"
    scale: tuple[float, ...] | None = None
    units: tuple[str, ...] | None = None
    ids: IdScope = "frame"
    translate: tuple[float, ...] | None = None

    def __repr__(self) -> str:
        method, rows = self.provenance.get("method", "labels"), len(self.table)
        size = " × ".join(map(str, self.labels.shape))
        return f"<{type(self).__name__}: {method}, {self.axes} {size}, table of {rows} rows>"

    def __post_init__(self) -> None:
        if self.ids not in ID_SCOPES:
            raise OptionError(f"ids={self.ids!r} is none of {', '.join(map(repr, ID_SCOPES))}.")

    @classmethod
    def load(cls, path: Path) -> Segmentation:
        """Read back what :meth:`save` wrote; see :func:`napari_kindred.load_segmentation`.

        Of a file that lacks what a subclass adds, such as that of a stopped run, the rest is
        returned as a plain :class:`Segmentation`.
        """
        return Segmentation(**storage.load(path))

    def save(self, path: str | Path, overwrite: bool = False) -> Path:
        """Write everything to disk; nothing is left behind half-written.

        Parameters
        ----------
        path : str or Path
            ``NAME.ome.zarr`` holds labels, table and provenance in one; ``NAME.tif`` holds the
            labels, with ``NAME.csv`` (table) and ``NAME.json`` (provenance) beside it.
        overwrite : bool
            Whether files that are there already may be replaced.

        Returns
        -------
        Path
            Where the labels are.

        Raises
        ------
        OutputError
            When the path exists, when it cannot be written, or when its suffix is none of these.
        """
        return storage.save(self, Path(path), overwrite=overwrite)

    def export(
        self,
        path: str | Path,
        format: str | None = None,
        *,
        image: Any = None,
        properties: Sequence[str] | None = None,
        overwrite: bool = False,
    ) -> Path:
        """Write a file for another program; see :data:`.FORMATS`.

        Parameters
        ----------
        path : str or Path
        format : {"roi", "geojson", "coco", "yolo", "csv", "tiff", "ctc", "trackmate", "tracks"}
            ImageJ regions of interest in a ``.zip``, GeoJSON for QuPath, COCO instances in a
            ``.json``, YOLO segmentation labels in a ``.yolo.zip``, measurements in a ``.csv``, or
            labels in a ``.tif`` that Fiji opens with pixel size and frame interval; of linked
            labels also the masks and tracks of the Cell Tracking Challenge in a folder ``…_RES``,
            TrackMate's ``.xml``, or the objects of all tracks in a ``.tracks.csv``. Left out, the
            end of the path says it.
        image, properties
            Of the format ``csv``: as :meth:`measure` takes them.
        overwrite : bool
            Whether a file that is there already may be replaced.

        Returns
        -------
        Path
            The file.

        Raises
        ------
        OptionError, InputError, OutputError
            When there is no such format or property, when the image is needed and is not there, or
            when the file cannot be written.
        """
        from .exports import export

        path = Path(path)
        return export(
            [(str(self.provenance.get("image") or path.name.partition(".")[0]), self)],
            path,
            format,
            overwrite,
            image=image,
            properties=properties,
        )

    def measure(self, image: Any = None, properties: Sequence[str] | None = None) -> pd.DataFrame:
        """Measure shape and intensity of each object in each frame.

        Parameters
        ----------
        image : path, ImageFile or array, optional
            The image that was segmented, with all its channels; if left out, the file that the
            result was made of.
        properties : sequence of str, optional
            Names of ``skimage.measure.regionprops``, such as ``"eccentricity"``; the usual ones if
            left out, with intensities if the image is there.

        Returns
        -------
        DataFrame
            A row per object and frame: ``index``, ``frame`` (of a stack), then the properties by
            their names with their unit, such as ``area [µm²]`` if the image is calibrated and
            ``area [px]`` if not, intensities per channel, then score and class if known.

        Raises
        ------
        OptionError, InputError
            When there is no such property, or when the image is needed and is not there, or has
            another size.
        """
        from .exports.measurements import measure_objects

        return measure_objects(self, image, properties)

    def objects(self) -> tuple[Any, pd.DataFrame]:
        """Return the labels of what is exported, and a table with a row per label."""
        return self.labels, self.table

    def further_tables(self) -> dict[str, pd.DataFrame]:
        """Tables beside the result's own that are not empty, by what a row stands for."""
        return {"track": self.tracks} if self.ids == "track" else {}

    @property
    def tracks(self) -> pd.DataFrame:
        """A row per track: ``track``, ``parent`` (0 for none), ``first`` and ``last`` frame.

        Raises
        ------
        OptionError
            If the ids are not those of tracks.
        """
        if self.ids != "track":
            raise OptionError(
                "These labels are not linked; napari_kindred.link gives objects the same id in "
                "every frame."
            )
        return tabulate.tracks_of(self.table)

    def table_per(self, per: str | None = None) -> pd.DataFrame:
        """Return a row per entity, cluster, class or frame; see :func:`.tables.table_per`."""
        return tabulate.table_per(self, per)

    def save_table(self, path: str | Path, per: str | None = None, overwrite: bool = False) -> Path:
        """Write that as CSV, units in its columns' names; see :func:`.tables.save_table`."""
        return tabulate.save_table(self, Path(path), per, overwrite)


def empty_table(stack: bool = False) -> pd.DataFrame:
    """Return a table without rows, its columns of the types that :func:`measure` gives them."""
    table = pd.DataFrame({name: np.zeros(0, dtype) for name, dtype in _COLUMNS.items()})
    if stack:
        table.insert(1, "frame", np.zeros(0, np.int64))
    return table


def measure(
    labels: np.ndarray,
    pixels: np.ndarray | None,
    scores: np.ndarray | Sequence[float] | None = None,
    frame: int | None = None,
) -> pd.DataFrame:
    """Measure every label of one frame.

    Parameters
    ----------
    labels : ndarray of int, shape (Y, X)
        0 is background; ids need not be consecutive.
    pixels : ndarray of float, shape (Y, X, C) or (Y, X), or None
        Intensities, averaged over the channels; without them there is no ``mean_intensity``.
    scores : array of float, shape (n,), optional
        One value per label, in ascending order of id; NaN when left out.
    frame : int, optional
        Place of the frame in its stack, from 0; gives the table its ``frame`` column.

    Returns
    -------
    DataFrame
        Columns ``index``, ``frame`` (stacks only), ``area`` in pixels, ``centroid_y`` and
        ``centroid_x`` in pixels, ``mean_intensity``, ``score``; sorted by ``index``.
    """
    place = np.flatnonzero(labels)
    ids, inverse = np.unique(labels.reshape(-1)[place], return_inverse=True)
    if scores is not None and len(scores) != len(ids):
        raise ValueError(f"{len(scores)} scores for {len(ids)} labels")
    area = np.bincount(inverse, minlength=len(ids))

    def mean(values: np.ndarray) -> np.ndarray:
        return np.bincount(inverse, weights=values, minlength=len(ids)) / area

    table = pd.DataFrame(
        {
            "index": ids.astype(np.int64),
            "area": area.astype(np.int64),
            "centroid_y": mean(place // labels.shape[1]),
            "centroid_x": mean(place % labels.shape[1]),
            "score": np.full(len(ids), np.nan) if scores is None else np.asarray(scores, float),
        }
    )
    if pixels is not None:
        grey = pixels.mean(axis=2) if pixels.ndim == 3 else pixels
        table.insert(4, "mean_intensity", mean(grey.reshape(-1)[place]))
    if frame is not None:
        table.insert(1, "frame", np.int64(frame))
    return table


def provenance(
    *,
    method: str,
    config: Any,
    frames: ImageStack | None = None,
    weights: Mapping[str, Any] | None = None,
    seconds: float | None = None,
    device: str = "",
    notes: Sequence[str] = (),
    **more: Any,
) -> dict[str, Any]:
    """Write down how a result came about, as plain data that JSON can hold.

    Parameters
    ----------
    method : str
        For example ``"entities"``.
    config : dataclass or mapping
        The options used.
    frames : ImageStack, optional
        The image, for its signature.
    weights : mapping, optional
        ``name`` and ``sha256`` of the weights.
    seconds : float, optional
        How long it took.
    device : str
        Where it was computed.
    notes : sequence of str
        What the user was told on the way.
    **more
        Further entries.
    """
    image = {} if frames is None else frames.signature()
    entries = {
        "software": "napari-kindred",
        "version": __version__,
        "method": method,
        "config": config,
        "axes": image.get("axes"),
        "channel": image.get("channel"),
        "input": image,
        "file": _file_of(frames),
        "weights": dict(weights or {}),
        "seconds": None if seconds is None else max(0.0, round(seconds, 3)),
        "device": device,
        "notes": list(notes),
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        **more,
    }
    return {key: plain(value) for key, value in entries.items()}


def _file_of(frames: ImageStack | None) -> dict[str, Any] | None:
    """Return where the image is, and how it is read, if it was opened from a file."""
    if frames is None or not frames.source:
        return None
    return {"path": frames.source, "axes": frames.axes, "channel": frames.channel}
