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
from ..core.events import Partial, Progress
from ..images.arrays import blocks
from . import storage
from . import tables as tabulate
from .atomic import plain
from .disk_labels import OutputLocation, create_on_disk, tell, where
from .id_scope import ID_SCOPES, IdScope

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from ..images.stack import ImageStack

IN_MEMORY = 1 << 26
"""Labels of no more bytes than this are kept in memory without asking how much there is."""

SHARE = 0.25
"""Of the memory that a job may take, what its labels may."""

_COLUMNS = {
    "index": np.int64,
    "area": np.int64,
    "centroid_y": np.float64,
    "centroid_x": np.float64,
    "mean_intensity": np.float64,
    "score": np.float64,
}


@dataclass(slots=True, eq=False)
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

    Raises
    ------
    OptionError
        When ``ids`` is none of these.
    """

    labels: Any
    table: pd.DataFrame
    provenance: dict[str, Any] = field(default_factory=dict)
    axes: str = "YX"
    scale: tuple[float, ...] | None = None
    units: tuple[str, ...] | None = None
    ids: IdScope = "frame"

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

    def further_tables(self) -> dict[str, pd.DataFrame]:
        """Tables beside the result's own that are not empty, by what a row stands for."""
        return {}

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
    if frames is None or frames.path is None:
        return None
    return {"path": frames.path, "axes": frames.axes, "channel": frames.channel}


def room_for_labels(memory: float | None = None) -> int:
    """Return how many bytes of labels may be in memory: a share of what the whole job may take.

    Parameters
    ----------
    memory : float or None
        As the ``memory`` of a config.
    """
    from ..compute.device import memory_budget

    return int(SHARE * memory_budget(memory))


def make_labels(
    shape: Sequence[int],
    dtype: Any = np.int32,
    in_memory: int | None = None,
    location: OutputLocation | None = None,
    memory: float | None = None,
) -> Any:
    """Return zeros to be filled frame by frame or block by block.

    Parameters
    ----------
    shape : sequence of int
    dtype : dtype
    in_memory : int, optional
        Most bytes to keep in memory; :func:`room_for_labels` when left out.
    location : OutputLocation, optional
        Beside which image they are written when there is no room for them in memory.
    memory : float, optional
        As the ``memory`` of a config.

    Returns
    -------
    ndarray or zarr.Array
        In memory, or a compressed zarr array: at its home where there is no room, else in a
        temporary folder that is deleted together with the array.
    """
    shape = tuple(int(size) for size in shape)
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    if size <= (IN_MEMORY if in_memory is None else in_memory):
        return np.zeros(shape, dtype)
    fits = size <= room_for_labels(memory)
    if fits and in_memory is None:
        return np.zeros(shape, dtype)
    return create_on_disk(
        shape, dtype, None if fits else location, empty_table(stack=len(shape) > 2)
    )


def location_for(frames: ImageStack, what: str, ids: IdScope) -> OutputLocation | None:
    """Return where labels of an image go that are too large for memory, if its place is known."""
    if frames.path is None:
        return None
    return OutputLocation(frames.path, what, frames.output_axes, frames.scale, frames.units, ids)


def put_labels(target: Any, place: tuple[Any, ...], labels: Any) -> None:
    """Write a frame's labels (Y, X) to a place of a stack's, a part at a time if they are lazy."""
    if isinstance(labels, np.ndarray):
        target[place] = labels
        return
    for part in blocks(labels, "YX"):
        target[within(place, part)] = np.asarray(labels[part])


def within(place: tuple[Any, ...], block: tuple[slice, slice] | None) -> tuple[Any, ...]:
    """Return where in a stack a block of the frame at ``place`` lies.

    ``place`` names the frame's axes by ``slice(None)`` among others, or leaves them out.
    """
    if block is None:
        return place
    parts = iter(block)
    named = [next(parts) if item == slice(None) else item for item in place]
    return (*named, *parts)


class Assembly:
    """Finished frames, put together while a job runs; what there is at a cancel is a result.

    Parameters
    ----------
    frames : ImageStack
        The image that is worked on.
    memory : float, optional
        As the ``memory`` of a config.
    """

    def __init__(self, frames: ImageStack, memory: float | None = None) -> None:
        self._frames = frames
        self.labels = make_labels(
            frames.output_shape, location=location_for(frames, "entities", "frame"), memory=memory
        )
        self._tables: dict[tuple[int, ...], pd.DataFrame] = {}
        self._blocks: dict[tuple[int, ...], list[pd.DataFrame]] = {}

    @property
    def note(self) -> str:
        """Where the labels are, one sentence, if they are kept on disk."""
        return where(self.labels)

    @property
    def done(self) -> list[tuple[int, ...]]:
        """Indices of the frames that are there, or of which there are blocks, in order."""
        return sorted({*self._tables, *self._blocks})

    def add(self, partial: Partial) -> None:
        """Take a finished frame in, or a block of one."""
        put_labels(self.labels, within(partial.index, partial.block), partial.labels)
        if partial.block is not None:
            self._blocks.setdefault(partial.index, []).append(partial.table)
            return
        self._tables[partial.index] = partial.table
        self._blocks.pop(partial.index, None)

    def settle(
        self, index: tuple[int, ...], lut: np.ndarray, table: pd.DataFrame
    ) -> Generator[Progress, None, Any]:
        """Give a frame whose blocks are all there its final ids.

        Parameters
        ----------
        index : tuple of int
        lut : ndarray of int32
            The final id of every provisional one.
        table : DataFrame
            The frame's rows.

        Returns
        -------
        array-like of int32, shape (Y, X)
            The frame's labels where they are: numpy, or zarr or dask to be read in parts.
        """
        labels = self.labels
        if index and not isinstance(labels, np.ndarray):
            import dask.array as da

            view = da.from_zarr(labels)[index]
        else:
            view = labels[index] if index else labels
        parts = list(blocks(view, "YX"))
        for number, part in enumerate(parts):
            labels[(*index, *part)] = lut[np.asarray(labels[(*index, *part)])]
            yield Progress(number + 1, len(parts), "numbering the entities")
        self._tables[index] = table
        self._blocks.pop(index, None)
        return view

    def table(self) -> pd.DataFrame:
        """Return the rows of all frames that are there."""
        known = {**{index: pd.concat(rows) for index, rows in self._blocks.items()}, **self._tables}
        tables = [known[index] for index in self.done]
        filled = [table for table in tables if len(table)]
        if filled:
            return pd.concat(filled, ignore_index=True)
        return tables[0] if tables else empty_table(stack=bool(self._frames.leading_axes))

    def segmentation(
        self,
        provenance: Mapping[str, Any],
        scale: tuple[float, ...] | None = None,
        units: tuple[str, ...] | None = None,
    ) -> Segmentation:
        """Return what is there as a result; its provenance tells whether that is all of it."""
        facts = {
            **provenance,
            "complete": len(self._tables) == len(self._frames),
            "frames_done": len(self._tables),
        }
        table = self.table()
        tell(self.labels, table, facts)
        scale, units = (scale, units) if scale else (self._frames.scale, self._frames.units)
        return Segmentation(self.labels, table, facts, self._frames.output_axes, scale, units)
