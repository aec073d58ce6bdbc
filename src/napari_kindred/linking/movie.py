"""The tracks of a movie while its frames come in, and their table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .linker import Linker
from .objects import measure_objects
from .tracks import TrackNumbers, make_tracks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from .config import LinkConfig
    from .objects import FrameObjects


class LinkedMovie:
    """Links frames one after the other, and gives their labels the ids of tracks.

    A track has its id from the frame on in which it begins.  Later frames may show that a division
    was none: :meth:`settle` then tells which ids change in which frames.

    Parameters
    ----------
    config : LinkConfig
    spacing : sequence of float, optional
        Size of a pixel along each spatial axis.
    """

    def __init__(self, config: LinkConfig, spacing: Sequence[float] | None = None) -> None:
        self._linker, self._spacing = Linker(config), spacing
        self._numbers = TrackNumbers()
        self._before: list[NDArray[np.int64]] = []
        self._shown: list[NDArray[np.int64]] = []
        self._rows: list[pd.DataFrame] = []

    def __len__(self) -> int:
        return len(self._rows)

    def add(
        self, labels: NDArray[Any], pixels: NDArray[Any] | None = None
    ) -> tuple[NDArray[np.int32], pd.DataFrame]:
        """Link the next frame; returns its labels and its table, with the ids of tracks.

        Parameters
        ----------
        labels : ndarray of int, shape (Y, X) or (Z, Y, X)
        pixels : ndarray of float, same shape, optional
            Intensities.
        """
        objects = measure_objects(labels, self._spacing)
        track = self._numbers.add(self._linker.add(objects))
        self._before.append(objects.ids)
        self._shown.append(track)
        self._rows.append(rows_of(objects, len(self._rows), pixels))
        return relabelled(objects.labels, track), self._rows[-1].assign(index=track)

    def settle(self) -> Iterator[tuple[int, NDArray[np.int32]]]:
        """Decide what later frames say of earlier ones.

        Yields frames whose labels change, each with a table: the new id at the place of the old.
        """
        tracks = make_tracks(self._linker.links)
        cuts = np.cumsum([len(one) for one in self._shown])
        for frame, track in enumerate(np.split(tracks.track, cuts[:-1])):
            shown = self._shown[frame]
            if not np.array_equal(track, shown):
                table = np.zeros(int(shown.max()) + 1, np.int32)
                table[shown] = track
                self._shown[frame] = track
                yield frame, table

    def tracks_by_frame(self) -> dict[tuple[int, ...], pd.DataFrame]:
        """Return ``track`` and ``parent`` of each frame's objects, by the ids they came with."""
        tracks = make_tracks(self._linker.links)
        cuts = np.cumsum([len(ids) for ids in self._before])[:-1]
        return {
            (frame,): pd.DataFrame({"track": own, "parent": tracks.parent[own]}, index=ids)
            for frame, (ids, own) in enumerate(
                zip(self._before, np.split(tracks.track, cuts), strict=True)
            )
        }

    def table(self) -> pd.DataFrame:
        """Return a row per object and frame, with its track and the track that it came from."""
        tracks = make_tracks(self._linker.links)
        table = pd.concat(self._rows, ignore_index=True)
        table.insert(0, "index", tracks.track)
        table.insert(2, "id_in_frame", np.concatenate(self._before))
        return table.assign(track=tracks.track, parent=tracks.parent[tracks.track])


def relabelled(labels: NDArray[Any], ids: NDArray[np.int64]) -> NDArray[np.int32]:
    """Return labels 0 … n with ids in place of 1 … n."""
    return np.asarray(np.concatenate([[0], ids]).astype(np.int32)[labels])


def rows_of(objects: FrameObjects, frame: int, pixels: NDArray[Any] | None = None) -> pd.DataFrame:
    """Return frame, size and place, and the mean intensity if there are pixels, of each object."""
    axes = "zyx"[-objects.labels.ndim :]
    centroid = objects.centroid / objects.spacing
    columns: dict[str, Any] = {
        "frame": np.full(len(objects), frame, np.int64),
        "volume" if len(axes) == 3 else "area": objects.area.astype(np.int64),
        **{f"centroid_{axis}": centroid[:, place] for place, axis in enumerate(axes)},
    }
    if pixels is not None:
        where = objects.labels > 0
        sums = np.bincount(objects.labels[where], pixels[where], minlength=len(objects) + 1)
        columns["mean_intensity"] = sums[1:] / objects.area
    return pd.DataFrame(columns)
