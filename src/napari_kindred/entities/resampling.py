"""How the pixels of a scaled plane, and the cells of its raw maps, lie in the plane's own pixels.

A plane too large to hold is looked at in windows.  Each of them is scaled, and its maps enlarged,
as if it were cut out of the whole plane scaled and enlarged: its samples lie at the same places.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as F

if TYPE_CHECKING:
    from numpy.typing import NDArray

Slices = tuple[slice, slice]


def scaled_shape(shape: tuple[int, int], scale: float) -> tuple[int, int]:
    """Size of a plane after scaling."""
    return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))


@dataclass(frozen=True, slots=True)
class InterpolationWeights:
    """Linear interpolation along one axis: which inputs make up each output, and their weights.

    Attributes
    ----------
    index : ndarray of int64, (outputs, k)
        Inputs, counted from the axis' begin; those of weight 0 may lie beyond its ends.
    weight : ndarray of float32, (outputs, k)
    """

    index: NDArray[np.int64]
    weight: NDArray[np.float32]

    @classmethod
    def between(
        cls, outputs: slice, step: float, inputs: int, antialias: bool
    ) -> InterpolationWeights:
        """Interpolate some outputs of an axis, as :func:`torch.nn.functional.interpolate` does."""
        centres = (np.arange(outputs.start, outputs.stop) + 0.5) * step
        reach = max(1.0, step) if antialias else 1.0
        first = np.floor(centres - reach + 0.5).astype(np.int64)
        index = first[:, None] + np.arange(math.ceil(2 * reach) + 1)
        weight = np.maximum(0.0, 1 - np.abs(index + 0.5 - centres[:, None]) / reach)
        weight[(index < 0) | (index >= inputs)] = 0
        weight /= weight.sum(1, keepdims=True)
        return cls(index, weight.astype(np.float32))

    @property
    def span(self) -> slice:
        """From the first to the last input that counts."""
        counts = self.index[self.weight > 0]
        return slice(int(counts.min()), int(counts.max()) + 1)

    def apply(self, values: torch.Tensor, axis: int, origin: int) -> torch.Tensor:
        """Interpolate along an axis of float32 ``values``, which begin at input ``origin``."""
        shape = [1] * values.ndim
        shape[axis] = -1
        index = torch.from_numpy((self.index - origin).clip(0, values.shape[axis] - 1))
        weight = torch.from_numpy(self.weight)
        out = values.index_select(axis, index[:, 0]) * weight[:, 0].view(shape)
        for tap in range(1, index.shape[1]):
            if weight[:, tap].any():
                out += values.index_select(axis, index[:, tap]) * weight[:, tap].view(shape)
        return out


@dataclass(frozen=True, slots=True)
class GridMapping:
    """Where the cells of the raw maps of a scaled plane lie in a window of it.

    Attributes
    ----------
    plane : tuple of int
        Size of the whole plane, pixels.
    window : tuple of two slices
        Of the plane.
    scale : float
        How the plane was scaled before the network looked at it.
    stride : int
        Pixels of the scaled plane per cell.
    origin : tuple of int
        The maps' first cell, counted from the plane's corner.
    """

    plane: tuple[int, int]
    window: Slices
    scale: float
    stride: int
    origin: tuple[int, int] = (0, 0)

    @classmethod
    def whole(cls, shape: tuple[int, int], scale: float, stride: int) -> GridMapping:
        """Return that of a whole plane's maps."""
        return cls(shape, (slice(0, shape[0]), slice(0, shape[1])), scale, stride)

    @property
    def shape(self) -> tuple[int, int]:
        """Size of the window, pixels."""
        rows, columns = self.window
        return rows.stop - rows.start, columns.stop - columns.start

    @property
    def steps(self) -> tuple[float, float]:
        """Pixels of the plane that a cell spans along each axis.

        Not the ratio of the two sizes: a scaled plane of odd size ends in half a cell.
        """
        scaled = scaled_shape(self.plane, self.scale)
        return (self.stride * self.plane[0] / scaled[0], self.stride * self.plane[1] / scaled[1])

    def bilinear(self, maps: NDArray[np.float32]) -> torch.Tensor:
        """Bring maps (C, h, w) to the window's pixels, (C, H, W)."""
        if self.shape == self.plane:
            full = F.interpolate(
                torch.from_numpy(maps)[None],
                scale_factor=[step * (1 + 1e-9) for step in self.steps],
                mode="bilinear",
                align_corners=False,
                recompute_scale_factor=False,
            )
            return full[0, :, : self.plane[0], : self.plane[1]]
        values = torch.from_numpy(maps)
        scaled = scaled_shape(self.plane, self.scale)
        for axis in (0, 1):
            count = -(-scaled[axis] // self.stride)
            interpolation = InterpolationWeights.between(
                self.window[axis], 1 / self.steps[axis], count, antialias=False
            )
            values = interpolation.apply(values, axis + 1, self.origin[axis])
        return values

    def nearest(self, labels: NDArray[np.int32]) -> NDArray[np.int32]:
        """Bring labels of cells (h, w) to the window's pixels, (H, W)."""
        rows, columns = (
            ((np.arange(part.start, part.stop) + 0.5) / step).astype(int).clip(0, first + old - 1)
            - first
            for part, step, first, old in zip(
                self.window, self.steps, self.origin, labels.shape, strict=True
            )
        )
        enlarged: NDArray[np.int32] = labels[rows[:, None], columns[None]]
        return enlarged
