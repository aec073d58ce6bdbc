"""How the cells of a volume's maps lie in its voxels.

The network looks at planes in which a pixel is as high as it is wide, so a volume is resampled to
cubes.  All that is learnt of it is laid down in *cells*, cubes of as many scaled pixels as the
network's output stride: places, widths and offsets are counted in cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..resampling import InterpolationWeights

if TYPE_CHECKING:
    from numpy.typing import NDArray

Shape = tuple[int, int, int]
Block = tuple[slice, slice, slice]


@dataclass(frozen=True, slots=True)
class VolumeGrid:
    """Grid of cells over a volume.

    Attributes
    ----------
    shape : tuple of int
        Of the volume, voxels.
    factors : tuple of float
        Scaled pixels per voxel along each axis.
    stride : int
        Scaled pixels per cell.
    """

    shape: Shape
    factors: tuple[float, float, float]
    stride: int

    @classmethod
    def of(
        cls, shape: Shape, spacing: tuple[float, float, float], scale: float, stride: int
    ) -> VolumeGrid:
        """Return the grid at a scale, by which the finer step in the plane is enlarged."""
        finest = min(spacing[1:])
        z, y, x = (scale * step / finest for step in spacing)
        return cls(shape, (z, y, x), stride)

    @property
    def scaled(self) -> Shape:
        """Shape of the volume after resampling, scaled pixels."""
        z, y, x = (
            max(1, round(n * factor)) for n, factor in zip(self.shape, self.factors, strict=True)
        )
        return z, y, x

    @property
    def cells(self) -> Shape:
        """Number of cells along each axis."""
        z, y, x = (-(-length // self.stride) for length in self.scaled)
        return z, y, x

    @property
    def steps(self) -> tuple[float, float, float]:
        """Voxels per cell along each axis."""
        z, y, x = (
            self.stride * n / length for n, length in zip(self.shape, self.scaled, strict=True)
        )
        return z, y, x

    @property
    def voxel(self) -> float:
        """Volume of a voxel in cells."""
        return float(1 / np.prod(self.steps))

    def places(self, block: Block) -> list[NDArray[np.float32]]:
        """Return where the voxels of a block lie, in cells, for each axis."""
        return [
            ((np.arange(part.start, part.stop) + 0.5) / step - 0.5).astype(np.float32)
            for part, step in zip(block, self.steps, strict=True)
        ]

    def enlarged(self, maps: NDArray[np.float32], block: Block) -> NDArray[np.float32]:
        """Bring maps (C, z, y, x) of all cells to the voxels of a block, (C, Z, Y, X)."""
        taps = [
            InterpolationWeights.between(part, 1 / step, count, antialias=False)
            for part, step, count in zip(block, self.steps, self.cells, strict=True)
        ]
        spans = [tap.span for tap in taps]
        values = torch.from_numpy(np.array(maps[(slice(None), *spans)], np.float32))
        for axis, (tap, span) in enumerate(zip(taps, spans, strict=True), start=1):
            values = tap.apply(values, axis, span.start)
        enlarged: NDArray[np.float32] = values.numpy()
        return enlarged
