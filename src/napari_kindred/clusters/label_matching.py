"""Final labels of frames that were labelled provisionally."""

from __future__ import annotations

import numpy as np


class LabelMatching:
    """The new id of each old id, learnt from frames that were labelled both ways."""

    def __init__(self) -> None:
        self._shared = np.zeros((0, 0), np.int64)

    def learn(self, old: np.ndarray, new: np.ndarray) -> None:
        """Count the pixels that old and new ids of a frame (Y, X) share."""
        rows, columns = int(old.max(initial=0)) + 1, int(new.max(initial=0)) + 1
        pairs = np.bincount(old.ravel() * np.int64(columns) + new.ravel(), minlength=rows * columns)
        before = self._shared.shape
        grown = np.zeros((max(rows, before[0]), max(columns, before[1])), np.int64)
        grown[: before[0], : before[1]] = self._shared
        grown[:rows, :columns] += pairs.reshape(rows, columns)
        self._shared = grown

    def lut(self, largest: int) -> np.ndarray:
        """Return the new id of every old one, (largest + 1,) int32."""
        table = np.zeros(largest + 1, np.int32)
        free = max(1, self._shared.shape[1])
        for old in range(1, largest + 1):
            shared = self._shared[old] if old < len(self._shared) else np.zeros(0, np.int64)
            if shared.any():
                table[old] = shared.argmax()
            else:
                table[old], free = free, free + 1
        return table
