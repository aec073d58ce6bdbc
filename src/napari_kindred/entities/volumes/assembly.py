"""Labels of objects that reach through slices, put together volume by volume."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ...core.events import Partial, Progress
from ...linking.movie import LinkedMovie
from ...results.assembly import within
from ..assembly import EntityAssembly
from .measure import empty_volume_table
from .modes import cut
from .volume import SIDE

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from numpy.typing import NDArray

    from ...core.events import Event
    from ...images.stack import ImageStack
    from ...linking.config import LinkConfig
    from ...results.base import IdScope


class LabelsAt:
    """The labels (Z, Y, X) of a volume inside of a stack's, read and written by blocks."""

    def __init__(self, labels: Any, place: tuple[Any, ...], depth: int) -> None:
        self._labels, self._place = labels, place
        self.shape: tuple[int, int, int] = (depth, labels.shape[-2], labels.shape[-1])

    def __getitem__(self, block: tuple[slice, ...]) -> NDArray[np.int32]:
        return np.asarray(self._labels[within(self._place, block)])

    def __setitem__(self, block: tuple[slice, ...], values: NDArray[np.int32]) -> None:
        self._labels[within(self._place, block)] = values

    def clear(self) -> None:
        """Set all labels to 0."""
        for block in cut(self.shape, SIDE):
            self[block] = np.zeros([part.stop - part.start for part in block], np.int32)


class VolumeAssembly(EntityAssembly):
    """Labels of the volumes of an image, ids unique over all of them.

    Slices may be added before they are stitched; a stopped run keeps them as they are.
    """

    ids: IdScope = "stack"

    def __init__(self, frames: ImageStack, memory: float | None = None) -> None:
        super().__init__(frames, memory, unique_ids=True)
        self._axes_of_frames = frames.leading_axes
        self._depth = frames.leading_shape[frames.leading_axes.index("Z")]
        self._volumes: dict[int, pd.DataFrame] = {}
        self._stitched = 0

    @property
    def done(self) -> int:
        """Number of finished slices."""
        return len(self._tables) + self._depth * len(self._volumes)

    def at(self, time: int | None) -> LabelsAt:
        """Return the labels of the volume at a point in time."""
        place = tuple(slice(None) if axis == "Z" else time for axis in self._axes_of_frames)
        return LabelsAt(self.labels, place, self._depth)

    def scores_of(self, ids: NDArray[np.int32]) -> NDArray[np.float32]:
        """Return the scores of sections by their ids."""
        tables = [table for table in self._tables.values() if len(table)]
        if not tables:
            return np.zeros(len(ids), np.float32)
        rows = pd.concat(tables).set_index("index")["score"]
        return rows.reindex(ids).to_numpy(np.float32)

    def take(
        self, time: int | None, table: pd.DataFrame, note: str
    ) -> Generator[Progress | Partial, None, None]:
        """Take over a volume whose labels are there with ids 1 … N; yields its slices."""
        labels, last = self.at(time), self._stitched
        table = table.copy()
        table["index"] += last
        if last:
            for block in cut(labels.shape, SIDE):
                own = labels[block]
                labels[block] = np.where(own > 0, own + np.int32(last), 0)
        if time is not None:
            table.insert(1, "frame", np.int64(time))
        with self._lock:
            if self._closed:
                return
            self._volumes[time or 0] = table
            self._stitched = int(table["index"].max()) if len(table) else last
            for index in self._indices(time):
                self._tables.pop(index, None)
        yield from self._slices(time, table, note)

    def _indices(self, time: int | None) -> list[tuple[int, ...]]:
        """Return the position of each slice of a volume on the image's leading axes."""
        return [
            index
            for index in product(*map(range, self.labels.shape[:-2]))
            if time is None or index[self._axes_of_frames.index("T")] == time
        ]

    def _slices(
        self, time: int | None, table: pd.DataFrame, note: str
    ) -> Generator[Partial, None, None]:
        """Yield the slices of a finished volume, each with the objects whose middle it is."""
        labels = self.at(time)
        middle = table["centroid_z"].round().astype(int)
        whole = (slice(0, labels.shape[1]), slice(0, labels.shape[2]))
        for index in self._indices(time):
            z = index[self._axes_of_frames.index("Z")]
            plane = labels[(slice(z, z + 1), *whole)][0]
            yield Partial(index, plane, table[middle == z], note if z == 0 else "", assembly=self)

    def iter_link(
        self, config: LinkConfig, spacing: Sequence[float] | None
    ) -> Generator[Event, None, None]:
        """Give objects the same id at all times; yields each slice again with these ids."""
        movie, count = LinkedMovie(config, spacing), self.frames
        whole = tuple(slice(0, side) for side in self.at(0).shape)
        for time in sorted(self._volumes):
            yield Progress(count, count, "linking", count, count)
            movie.add(self.at(time)[whole])
        with self._lock:
            if self._closed:
                return
            tracks, self.ids = movie.tracks_by_frame(), "track"
            for (time,), given in tracks.items():
                rows = self._volumes[time]
                self._volumes[time] = rows.assign(
                    index=rows["index"].map(given["track"]),
                    track=rows["index"].map(given["track"]),
                    parent=rows["index"].map(given["parent"]),
                )
        waiting = list(tracks)
        try:
            while waiting:
                (time,) = waiting.pop(0)
                self._give_ids(time, tracks[time,]["track"])
                yield from self._slices(time, self._volumes[time], "")
        finally:
            for (time,) in waiting:
                self._give_ids(time, tracks[time,]["track"])

    def _give_ids(self, time: int, track: pd.Series) -> None:
        labels = self.at(time)
        table = np.zeros(int(track.index.max()) + 1 if len(track) else 1, np.int32)
        table[track.index] = track
        for block in cut(labels.shape, SIDE):
            labels[block] = table[labels[block]]

    def table(self) -> pd.DataFrame:
        """Return the rows of all volumes so far, and of slices that are not stitched yet."""
        with self._lock:
            volumes = [self._volumes[time] for time in sorted(self._volumes)]
        sections = super().table() if self._tables else None
        filled = [one for one in (*volumes, sections) if one is not None and len(one)]
        if filled:
            return pd.concat(filled, ignore_index=True)
        return volumes[0] if volumes else empty_volume_table("T" in self._axes_of_frames)
