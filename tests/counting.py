"""Arrays that tell how much of them was read."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


class Counting:
    """An array that counts the values read from it."""

    def __init__(self, data: np.ndarray) -> None:
        self.shape, self.dtype, self.data, self.read = data.shape, data.dtype, data, 0

    def __getitem__(self, picks: tuple) -> np.ndarray:
        part = self.data[picks]
        self.read += part.size
        return part
