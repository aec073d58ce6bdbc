"""Labels of frames while a movie is clustered: provisional first, then for good."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd

    from ..core.events import Partial

_COLUMNS = ("index", "area", "share", "first_frame", "last_frame", "frames")


class LabelMatching:
    """Which id each old id has become, learnt from pictures that were labelled both ways."""

    def __init__(self) -> None:
        self._shared = np.zeros((0, 0), np.int64)

    def learn(self, old: np.ndarray, new: np.ndarray) -> None:
        """Take note of one picture.

        Parameters
        ----------
        old, new : ndarray of int, shape (Y, X)
            The same picture with old and with new ids.
        """
        rows, columns = int(old.max(initial=0)) + 1, int(new.max(initial=0)) + 1
        pairs = np.bincount(old.ravel() * np.int64(columns) + new.ravel(), minlength=rows * columns)
        known = self._shared.shape
        grown = np.zeros((max(rows, known[0]), max(columns, known[1])), np.int64)
        grown[: known[0], : known[1]] = self._shared
        grown[:rows, :columns] += pairs.reshape(rows, columns)
        self._shared = grown

    def lut(self, largest: int) -> np.ndarray:
        """Return the new id of every old one.

        Parameters
        ----------
        largest : int
            Old ids go up to this one.

        Returns
        -------
        ndarray of int32, shape (largest + 1,)
            The id that shares most pixels with the old one. Old ids that were in no picture get
            ids of their own, above all others; 0 stays 0.
        """
        table = np.zeros(largest + 1, np.int32)
        free = max(1, self._shared.shape[1])
        for old in range(1, largest + 1):
            shared = self._shared[old] if old < len(self._shared) else np.zeros(0, np.int64)
            if shared.any():
                table[old] = shared.argmax()
            else:
                table[old], free = free, free + 1
        return table


class ProvisionalFrames:
    """Frames that are labelled twice: provisionally while they are clustered, then for good.

    Parameters
    ----------
    labels : array
        Where they go, numpy or zarr.
    shape : tuple of int
        Lengths of the leading axes, along which there are frames.
    slot : callable, optional
        Returns a frame's place in ``labels``; its index itself when left out.
    """

    def __init__(
        self,
        labels: Any,
        shape: Sequence[int],
        slot: Callable[[tuple[int, ...]], Any] = lambda index: index,
    ) -> None:
        self.labels = labels
        self._shape, self._slot = tuple(shape), slot
        self._counts: dict[tuple[int, ...], np.ndarray] = {}
        self._final: set[tuple[int, ...]] = set()
        self._matching = LabelMatching()

    @property
    def done(self) -> int:
        """How many frames there are."""
        return len(self._counts)

    @property
    def provisional(self) -> bool:
        """Whether there are frames, and none was labelled a second time."""
        return bool(self._counts) and not self._final

    def add(self, partial: Partial) -> None:
        """Take in a frame, or take it in again with its final labels."""
        slot = self._slot(partial.index)
        if partial.index in self._counts:
            self._matching.learn(np.asarray(self.labels[slot]), partial.labels)
            self._final.add(partial.index)
        self.labels[slot] = partial.labels
        self._counts[partial.index] = np.bincount(partial.labels.ravel())

    def settle(self) -> None:
        """Give all frames the final ids where only some have them, after a run was stopped."""
        if not self._final:
            return
        for index in self._counts.keys() - self._final:
            slot = self._slot(index)
            labels = np.asarray(self.labels[slot])
            labels = self._matching.lut(int(labels.max(initial=0)))[labels]
            self.labels[slot] = labels
            self._counts[index] = np.bincount(labels.ravel())
        self._final |= self._counts.keys()

    def table(self) -> pd.DataFrame:
        """Return a row per cluster.

        Returns
        -------
        DataFrame
            Columns ``index``, ``area`` over all frames in pixels, ``share`` of all their pixels,
            ``first_frame``, ``last_frame`` and ``frames``, the number of those it is in; ids from
            1 without a gap.
        """
        import pandas as pd

        order = sorted(self._counts)
        largest = max((len(counts) for counts in self._counts.values()), default=1)
        areas = np.zeros((len(order), largest), np.int64)
        for row, index in zip(areas, order, strict=True):
            row[: len(self._counts[index])] = self._counts[index]
        frames = [int(np.ravel_multi_index(index, self._shape)) if index else 0 for index in order]
        rows = []
        for label in range(1, largest):
            area = int(areas[:, label].sum())
            seen = [frame for frame, here in zip(frames, areas[:, label], strict=True) if here]
            first, last = (seen[0], seen[-1]) if seen else (-1, -1)
            rows.append((label, area, area / int(areas.sum()), first, last, len(seen)))
        return pd.DataFrame(rows, columns=list(_COLUMNS))
