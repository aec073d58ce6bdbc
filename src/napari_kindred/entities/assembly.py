"""Labels of entities, put together frame by frame, or block by block."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..core.events import Partial, Progress
from ..images.arrays import blocks
from ..linking.movie import LinkedMovie
from ..results.assembly import Assembly, location_for, put_labels, within
from ..results.label_ids import offset_ids
from ..results.segmentation import empty_table

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from ..core.events import Event
    from ..images.stack import ImageStack
    from ..linking.config import LinkConfig


class EntityAssembly(Assembly):
    """Labels of entities; with ``unique_ids`` ids count on from frame to frame."""

    def __init__(
        self, frames: ImageStack, memory: float | None = None, unique_ids: bool = False
    ) -> None:
        super().__init__(
            frames.output_shape,
            frames.output_axes,
            frames.scale,
            frames.units,
            location_for(frames, "entities", self.ids),
            memory,
            translate=frames.translate,
        )
        self._unique = unique_ids and len(frames.output_shape) > 2
        self._last = 0
        self._tables: dict[tuple[int, ...], pd.DataFrame] = {}
        self._blocks: dict[tuple[int, ...], list[pd.DataFrame]] = {}

    @property
    def done(self) -> int:
        """Number of finished frames."""
        return len(self._tables)

    @property
    def begun(self) -> bool:
        """Whether there are blocks of an unfinished frame."""
        return bool(self._blocks)

    def add(self, partial: Partial) -> Partial:
        """Add a finished frame, or a block of one; returns it as the job yields it."""
        with self._lock:
            labels, table, last = self._numbered(partial.labels, partial.table)
            if not self._closed:
                put_labels(self.labels, within(partial.index, partial.block), labels)
                if partial.block is not None:
                    self._blocks.setdefault(partial.index, []).append(table)
                else:
                    self._take(partial.index, table, last)
        return replace(partial, labels=labels, table=table, assembly=self)

    def settle(
        self, index: tuple[int, ...], lut: np.ndarray, table: pd.DataFrame, note: str = ""
    ) -> Generator[Progress, None, Partial]:
        """Give a frame whose blocks are all there its final ids, however the job ends meanwhile."""
        labels = self.labels
        if index and not isinstance(labels, np.ndarray):
            import dask.array as da

            view = da.from_zarr(labels)[index]
        else:
            view = labels[index] if index else labels
        with self._lock:
            before = self._last if self._unique else 0
            lut, table, last = self._numbered(lut, table)
            stopped = self._closed
            if not stopped:
                self._take(index, table, last)
        waiting = [] if stopped else list(blocks(view, "YX"))
        count = len(waiting)
        try:
            while waiting:
                self._renumber((*index, *waiting.pop(0)), lut, before)
                yield Progress(count - len(waiting), count, "numbering the entities")
        finally:
            for part in waiting:
                self._renumber((*index, *part), lut, before)
        return Partial(index, view, table, note, assembly=self)

    def iter_link(
        self, config: LinkConfig, spacing: Sequence[float] | None
    ) -> Generator[Event, None, None]:
        """Give objects the same id in every frame; yields each frame again with these ids.

        Nothing changes before all frames are linked; then all change, however the job ends.
        """
        movie, count = LinkedMovie(config, spacing), self.frames
        for frame in range(count):  # all of them are segmented by now
            yield Progress(count, count, "linking", count, count)
            movie.add(np.asarray(self.labels[frame]))
        with self._lock:
            if self._closed:
                return
            tracks, self.ids = movie.tracks_by_frame(), "track"
            for index, given in tracks.items():
                rows = self._tables[index].drop(columns="id_in_frame", errors="ignore")
                self._tables[index] = rows.assign(
                    index=rows["index"].map(given["track"]),
                    track=rows["index"].map(given["track"]),
                    parent=rows["index"].map(given["parent"]),
                )
        waiting = list(tracks)
        try:
            while waiting:
                index = waiting.pop(0)
                yield self._give_tracks(index, tracks[index]["track"])
        finally:
            for index in waiting:
                self._give_tracks(index, tracks[index]["track"])

    def _give_tracks(self, index: tuple[int, ...], track: pd.Series) -> Partial:
        labels = np.asarray(self.labels[index])
        table = np.zeros(int(labels.max(initial=0)) + 1, np.int32)
        table[track.index] = track
        self.labels[index] = table[labels]
        return Partial(index, self.labels[index], self._tables[index], assembly=self)

    def _numbered(self, labels: Any, table: pd.DataFrame) -> tuple[Any, pd.DataFrame, int]:
        return offset_ids(labels, table, self._last) if self._unique else (labels, table, 0)

    def _take(self, index: tuple[int, ...], table: pd.DataFrame, last: int) -> None:
        self._tables[index], self._last = table, last
        self._blocks.pop(index, None)

    def _renumber(self, place: tuple[Any, ...], lut: np.ndarray, before: int) -> None:
        provisional = np.asarray(self.labels[place])
        self.labels[place] = lut[np.where(provisional > 0, provisional - before, 0)]

    def table(self) -> pd.DataFrame:
        """Return the rows of all frames so far."""
        with self._lock:
            blocked = {index: pd.concat(rows) for index, rows in self._blocks.items()}
            by_index = {**blocked, **self._tables}
        tables = [by_index[index] for index in sorted(by_index)]
        filled = [table for table in tables if len(table)]
        if filled:
            return pd.concat(filled, ignore_index=True)
        return tables[0] if tables else empty_table(stack=len(self.labels.shape) > 2)
