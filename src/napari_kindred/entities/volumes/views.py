"""Three views of a volume: the network looks at its XY, XZ and YZ planes.

Every cell is seen by three planes.  The logits of the background are averaged; the offset along an
axis is the mean of the two views in which that axis lies.  A plane cuts a ball of diameter ``D``
in a disc of diameter ``sqrt(D^2 - 4 d^2)``, ``d`` being the plane's distance to the centre, so the
three discs through a place ``r`` away from the centre tell ``D^2 = (sum of squares + 4 r^2) / 3``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch.nn import functional as F

from ...core.events import Notice, Progress
from ..projective import SIZE_UNIT, WIDTH_PER_DIAMETER
from ..resampling import InterpolationWeights
from ..segment import iter_dense_bounded

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from numpy.typing import NDArray

    from ..config import EntityConfig
    from ..network import EntityNetwork
    from .grid import Block, VolumeGrid

VIEWS = ("XY", "XZ", "YZ")
"""Names of the views; view ``k`` looks along axis ``k`` of ``ZYX``."""

CHANNELS = 5
"""Of the maps of a volume: sums over the views of the background's logit, of the offsets along z,
y and x, and of the squared diameters."""

CLOSER = 0.2
"""Added to the mean logit.  Two of three planes cut an object off its centre, where its disc is
blurred and its size uncertain: with this, objects of simulated volumes have 1.03 times their
volume at the default threshold.  It goes with the shipped weights."""

SLAB = 1 << 26
"""Bytes of a volume that are read in one go."""


class VolumePixels(Protocol):
    """What the pixels of a volume are read from."""

    def __getitem__(self, block: Block, /) -> NDArray[np.float32]:
        """Return a normalised block, (z, y, x, C)."""


@dataclass(frozen=True, slots=True)
class _Slab:
    """Planes of a view that are looked at together.

    ``outputs`` are the planes, ``span`` the voxels along the view's axis that they are made of.
    """

    outputs: slice
    span: slice


def iter_views(
    network: EntityNetwork,
    pixels: VolumePixels,
    grid: VolumeGrid,
    config: EntityConfig,
    maps: Any,
) -> Generator[Progress | Notice, None, None]:
    """Add what all three views see to maps (5, z, y, x) of the grid's cells, which hold zeros."""
    views = [_View(grid, axis) for axis in range(3)]
    total = sum(view.count * view.area for view in views)
    done = 0.0
    for view in views:
        for slab in view.slabs():
            planes = view.planes(pixels, slab)
            for first in range(0, len(planes), view.batch(config.tile)):
                part = planes[first : first + view.batch(config.tile)]
                image = part.expand(-1, 3, -1, -1)
                dense = yield from _without_progress(
                    iter_dense_bounded(network, image, config.tile, config.views)
                )
                dense = dense.reshape(len(part), -1, *dense.shape[1:])[:, :4]
                view.add(maps, dense, slab.outputs.start + first)
                done += len(part) * view.area
                yield Progress(done, total, f"looking at {VIEWS[view.axis]} planes")


def _without_progress(
    job: Generator[Any, None, NDArray[np.float32]],
) -> Generator[Notice, None, NDArray[np.float32]]:
    """Run a job whose progress is too fine to be shown."""
    while True:
        try:
            event = next(job)
        except StopIteration as stop:
            dense: NDArray[np.float32] = stop.value
            return dense
        if isinstance(event, Notice):
            yield event


class _View:
    """The planes of a volume that are orthogonal to an axis.

    Where cells are at least a voxel apart along that axis, there is a plane for each cell, the
    mean of the voxels around it; else one for each voxel, and cells lie between planes.
    """

    def __init__(self, grid: VolumeGrid, axis: int) -> None:
        self.grid, self.axis = grid, axis
        self.across = tuple(other for other in range(3) if other != axis)
        self._averages = grid.steps[axis] >= 1
        self.count = grid.cells[axis] if self._averages else grid.shape[axis]
        self.size = tuple(grid.scaled[other] for other in self.across)
        self.area = self.size[0] * self.size[1]

    def batch(self, tile: int) -> int:
        """Return how many planes the network may be given at once."""
        return max(1, tile * tile // (4 * self.area))

    def slabs(self) -> Iterator[_Slab]:
        """Cut the planes into slabs that may be read in one go."""
        voxels = int(np.prod([self.grid.shape[other] for other in self.across]))
        thick = max(1, SLAB // (4 * voxels))
        step = max(1, int(thick / self.grid.steps[self.axis])) if self._averages else thick
        for start in range(0, self.count, step):
            outputs = slice(start, min(start + step, self.count))
            yield _Slab(outputs, self._taps(outputs).span if self._averages else outputs)

    def planes(self, pixels: VolumePixels, slab: _Slab) -> torch.Tensor:
        """Return the planes of a slab at the scaled size, (planes, C, h, w)."""
        block = [slice(0, n) for n in self.grid.shape]
        block[self.axis] = slab.span
        values = torch.from_numpy(pixels[block[0], block[1], block[2]])
        if self._averages:
            values = self._taps(slab.outputs).apply(values, self.axis, slab.span.start)
        values = values.permute(self.axis, 3, *self.across)
        before = tuple(values.shape[2:])
        if before != self.size:
            shrinks = any(new < old for new, old in zip(self.size, before, strict=True))
            values = F.interpolate(values, size=self.size, mode="bilinear", antialias=shrinks)
        return values

    def add(self, maps: Any, dense: NDArray[np.float32], first: int) -> None:
        """Add raw maps (planes, 4, h, w), the first plane being number ``first``, to the cells."""
        stride = self.grid.stride
        diameter = SIZE_UNIT / stride * np.exp2(dense[:, 3])
        seen = np.stack(
            [dense[:, 0], dense[:, 1] / stride, dense[:, 2] / stride, diameter**2], axis=0
        )
        channels = [0, 1 + self.across[0], 1 + self.across[1], 4]
        for cell, weight, plane in self._weights(first, dense.shape[0]):
            place: list[Any] = [slice(None)] * 3
            place[self.axis] = cell
            for channel, values in zip(channels, seen[:, plane], strict=True):
                maps[(channel, *place)] += weight * values

    def _weights(self, first: int, count: int) -> Iterator[tuple[int, float, int]]:
        """Yield which cells some planes belong to: cell, weight and number among the planes."""
        if self._averages:
            yield from ((first + number, 1.0, number) for number in range(count))
            return
        taps = self._taps(slice(0, self.grid.cells[self.axis]))
        number = taps.index - first
        inside = (number >= 0) & (number < count) & (taps.weight > 0)
        for cell, tap in np.argwhere(inside):
            yield int(cell), float(taps.weight[cell, tap]), int(number[cell, tap])

    def _taps(self, outputs: slice) -> InterpolationWeights:
        """Return which voxels or planes along the axis make up some cells."""
        n, step = self.grid.shape[self.axis], self.grid.steps[self.axis]
        return InterpolationWeights.between(outputs, step, n, antialias=True)


@dataclass(frozen=True, slots=True)
class CellMaps:
    """Means over the views of some cells.

    Attributes
    ----------
    logit : ndarray, (...) float32
        Of the background, the mean of the views plus :data:`CLOSER`.
    offset : ndarray, (3, ...) float32
        Way to the object's centre, cells.
    width : ndarray, (...) float32
        Kernel width of the object, cells.
    """

    logit: NDArray[np.float32]
    offset: NDArray[np.float32]
    width: NDArray[np.float32]

    @classmethod
    def of(cls, sums: NDArray[np.float32]) -> CellMaps:
        """Return the means of sums (5, ...)."""
        offset = np.asarray(sums[1:4] / 2, np.float32)
        square = np.maximum((sums[4] + 4 * (offset**2).sum(0)) / 3, 1e-6)
        width = np.asarray(WIDTH_PER_DIAMETER * np.sqrt(square), np.float32)
        logit = np.asarray(sums[0] / 3 + CLOSER, np.float32)
        return cls(logit, offset, width)

    @property
    def foreground(self) -> NDArray[np.float32]:
        """Squared cosine with the plane orthogonal to the background line, 0 … 1."""
        return (1 / (1 + np.exp(np.clip(self.logit, -30, 30)))).astype(np.float32)
