"""Labels of one run, put together while it works and readable all along."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np

from ..images.arrays import blocks
from .disk_labels import OutputLocation, create_on_disk, tell, where
from .segmentation import Segmentation, empty_table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pandas as pd

    from ..images.stack import ImageStack
    from .base import IdScope

IN_MEMORY = 1 << 26
"""Labels of at most this many bytes are held in memory without asking how much there is."""

SHARE = 0.25
"""Share of the memory that a job may take, that its labels may take."""


def room_for_labels(memory: float | None = None) -> int:
    """Return how many bytes of labels may be in memory: a share of what the whole job may take."""
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
    return OutputLocation(
        frames.path,
        what,
        frames.output_axes,
        frames.scale,
        frames.units,
        ids,
        frames.translate,
    )


def put_labels(target: Any, place: tuple[Any, ...], labels: Any) -> None:
    """Write a frame's labels (Y, X) to a place of a stack's, a part at a time if they are lazy."""
    if isinstance(labels, np.ndarray):
        target[place] = labels
        return
    for part in blocks(labels, "YX"):
        target[within(place, part)] = np.asarray(labels[part])


def within(place: tuple[Any, ...], block: tuple[slice, ...] | None) -> tuple[Any, ...]:
    """Return where in a stack a block of the frame at ``place`` lies.

    ``place`` names the frame's axes by ``slice(None)`` among others, or leaves them out.
    """
    if block is None:
        return place
    parts = iter(block)
    named = [next(parts) if item == slice(None) else item for item in place]
    return (*named, *parts)


class Assembly(ABC):
    """Labels of a run, the only copy: what the library returns, a command saves, a window shows.

    Whoever follows a run finds this in its :class:`~napari_kindred.core.events.Partial` events.
    A window reads in a thread of its own, so access is locked.

    Parameters
    ----------
    shape : sequence of int
        Of the labels of all frames.
    axes : str
    scale, units, translate : tuple or None
        As of :class:`.Segmentation`.
    location : OutputLocation, optional
        Beside which image the labels are written if there is no room for them in memory.
    memory : float, optional
        As the ``memory`` of a config.
    in_memory : int, optional
        Bytes of labels that are held in memory; see :func:`make_labels`.

    Attributes
    ----------
    labels : ndarray of int32, or zarr array
        Filled while the job runs.
    facts : callable
        Returns the provenance of what is there; set by the job.
    """

    ids: IdScope = "frame"

    def __init__(
        self,
        shape: Sequence[int],
        axes: str = "YX",
        scale: tuple[float, ...] | None = None,
        units: tuple[str, ...] | None = None,
        location: OutputLocation | None = None,
        memory: float | None = None,
        in_memory: int | None = None,
        translate: tuple[float, ...] | None = None,
    ) -> None:
        self.labels = make_labels(shape, np.int32, in_memory, location, memory)
        self.facts: Callable[[], Mapping[str, Any]] = dict
        self._axes, self._scale, self._units = axes, scale, units
        self.translate = translate
        self._lock = threading.RLock()
        self._closed = False

    @property
    def note(self) -> str:
        """Where the labels are, one sentence, if they are on disk."""
        return where(self.labels)

    @property
    def frames(self) -> int:
        """Number of frames that there will be."""
        return int(np.prod(self.labels.shape[:-2], dtype=np.int64))

    @property
    @abstractmethod
    def done(self) -> int:
        """Number of frames that are there."""

    @property
    def begun(self) -> bool:
        """Whether there are parts of a frame that is not done."""
        return False

    @abstractmethod
    def table(self) -> pd.DataFrame:
        """Return the table of what is there."""

    def close(self) -> None:
        """Take no more frames: whoever follows the job waits no longer for it."""
        with self._lock:
            self._closed = True

    def result(
        self, more: Mapping[str, Any] | None = None, notes: Sequence[str] = ()
    ) -> Segmentation:
        """Return what is there as a result; its provenance tells whether that is all of it.

        Parameters
        ----------
        more : mapping, optional
            Further entries of the provenance.
        notes : sequence of str
            Further notes of it.
        """
        with self._lock:
            facts = {**self.facts(), **(more or {})}
            if notes:
                facts["notes"] = [*facts.get("notes", ()), *notes]
            return self._result({**facts, **self._extent()})

    def _extent(self) -> dict[str, Any]:
        """Return what the provenance says of how much is there."""
        return {"complete": self.done == self.frames, "frames_done": self.done}

    def _placement(self) -> dict[str, Any]:
        """Return axes, pixel size, units and position of the labels, as every result takes them."""
        return {
            "axes": self._axes,
            "scale": self._scale,
            "units": self._units,
            "translate": self.translate,
        }

    def _result(self, facts: dict[str, Any]) -> Segmentation:
        table = self.table()
        tell(self.labels, table, facts, self.ids)
        return Segmentation(
            self.labels,
            table,
            facts,
            ids=self.ids,
            **self._placement(),
        )
