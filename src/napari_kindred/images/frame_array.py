"""An array made of frames that are read one by one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from itertools import product
from typing import Any

import numpy as np


class FrameArray(ABC):
    """Frames of one shape behind the face of an array; each access reads those it needs.

    Parameters
    ----------
    leading : tuple of int
        Number of frames along each of the first axes.
    frame : tuple of int
        Shape of a frame.
    dtype : dtype
    """

    def __init__(self, leading: tuple[int, ...], frame: tuple[int, ...], dtype: Any) -> None:
        self._leading = leading
        self.shape = (*leading, *frame)
        self.dtype = np.dtype(dtype)
        self.ndim = len(self.shape)

    @abstractmethod
    def frame(self, index: tuple[int, ...]) -> np.ndarray:
        """Read the frame at a position along the first axes."""

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> np.ndarray:
        keys = list(key) if isinstance(key, tuple) else [key]
        if any(item is Ellipsis for item in keys):
            at = next(place for place, item in enumerate(keys) if item is Ellipsis)
            keys[at : at + 1] = [slice(None)] * (self.ndim - len(keys) + 1)
        keys += [slice(None)] * (len(self._leading) - len(keys))
        first, rest = keys[: len(self._leading)], tuple(keys[len(self._leading) :])
        picks = [
            list(range(size))[item] if isinstance(item, slice) else [range(size)[int(item)]]
            for item, size in zip(first, self._leading, strict=True)
        ]
        frames = [self.frame(index)[rest] for index in product(*picks)]
        kept = [
            len(pick) for item, pick in zip(first, picks, strict=True) if isinstance(item, slice)
        ]
        if not frames:
            whole = np.broadcast_to(np.zeros((), self.dtype), self.shape[len(self._leading) :])
            return np.zeros((*kept, *whole[rest].shape), self.dtype)
        return np.stack(frames).reshape((*kept, *frames[0].shape))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[...], dtype)
