"""Final labels of frames that were labelled provisionally."""

from __future__ import annotations

import numpy as np


class LabelMatching:
    """Which id each old id has become, learnt from pictures that were labelled both ways."""

    def __init__(self) -> None:
        self._shared = np.zeros((0, 0), np.int64)

    def learn(self, old: np.ndarray, new: np.ndarray) -> None:
        """Take note of one picture.

        ``old``, ``new`` (Y, X) int.
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

        Returns (largest + 1,) int32.
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
