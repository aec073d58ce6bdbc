"""Planes too large to hold, read region by region."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch

from .resampling import InterpolationWeights, scaled_shape

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..images.stack import FrameStats, ImageStack

_BAND = 1 << 26
"""Bytes of a plane that are read in one go for its overview."""


class Source(Protocol):
    """What a block's pixels are read from; see :class:`PlaneSource`."""

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the plane."""

    @property
    def stored(self) -> tuple[int, int]:
        """Height and width of what is read."""

    @property
    def stats(self) -> FrameStats:
        """What the plane's regions have in common."""

    def raw(self, rows: slice, columns: slice) -> NDArray[np.float32]:
        """Return a region as it is, (h, w, C)."""


@dataclass(frozen=True, slots=True)
class PlaneSource:
    """One frame of an image, whose normalised pixels are read region by region."""

    frames: ImageStack
    index: tuple[int, ...]
    stats: FrameStats
    full: tuple[int, int] | None = None
    """Height and width of the plane, if ``frames`` is a lower resolution of it."""

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        return self.full or self.frames.plane_shape

    @property
    def stored(self) -> tuple[int, int]:
        """Height and width of what is read."""
        return self.frames.plane_shape

    def raw(self, rows: slice, columns: slice) -> NDArray[np.float32]:
        """Read a region as it is, (h, w, C)."""
        return self.frames.read_region(self.index, rows, columns, self.stats).pixels

    def __getitem__(self, window: tuple[slice, slice]) -> NDArray[np.float32]:
        """Read a region normalised as part of the plane, (h, w, C)."""
        return self.stats.normalised(self.raw(*window))

    def overview(self, side: int) -> NDArray[np.float32]:
        """Return the plane shrunk to a longest side, (h, w, C), read a band of rows at a time."""
        shape = self.shape
        size = scaled_shape(shape, side / max(shape))
        steps = [full / small for full, small in zip(shape, size, strict=True)]
        across = InterpolationWeights.between(slice(0, size[1]), steps[1], shape[1], antialias=True)
        depth = self.frames.depth
        high = max(1, int(_BAND / (4 * depth * shape[1]) / steps[0]) - 2)
        bands = []
        for top in range(0, size[0], high):
            outputs = slice(top, min(top + high, size[0]))
            down = InterpolationWeights.between(outputs, steps[0], shape[0], antialias=True)
            pixels = torch.from_numpy(self[down.span, slice(0, shape[1])])
            bands.append(down.apply(across.apply(pixels, 1, 0), 0, down.span.start))
        whole: NDArray[np.float32] = torch.cat(bands).numpy()
        return whole
