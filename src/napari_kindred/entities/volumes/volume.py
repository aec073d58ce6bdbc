"""Segmentation of one volume: three views, modes, pieces, objects."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from ...core.events import Notice, Progress
from ...results.spill import full
from ..auto_scale import choose_scale
from ..scoring import ObjectFilter
from ..segment import quick_segmenter
from .grid import VolumeGrid
from .measure import empty_volume_table, measure_volume
from .modes import cut, iter_modes
from .pieces import PieceStitcher
from .views import CHANNELS, iter_views

if TYPE_CHECKING:
    from collections.abc import Generator

    import pandas as pd
    from numpy.typing import NDArray

    from ..config import EntityConfig
    from ..network import EntityNetwork
    from .grid import Block
    from .source import StackVolume

Spacing = tuple[float, float, float]

SIDE = 128
"""Side of the blocks in which voxels become labels."""

LOOKS = (0.25, 0.5, 0.75)
"""Slices that choose the scale: those up to which these shares of the volume's brightness lie."""


def iter_volume_scale(
    network: EntityNetwork, volume: StackVolume, config: EntityConfig
) -> Generator[Progress, None, tuple[float, float]]:
    """Choose the scale of a volume; returns it and the objects' diameter, 0 without any."""
    depth, height, width = volume.shape
    brightness = np.zeros(depth)
    for z in range(depth):
        step = max(1, min(height, width) // 64)
        plane = volume[slice(z, z + 1), slice(0, height), slice(0, width)]
        brightness[z] = plane[:, ::step, ::step].mean()
        yield Progress(z, depth, "measuring the objects")
    shares = np.cumsum(brightness) / max(brightness.sum(), 1e-12)
    found = []
    for z in sorted({min(int(np.searchsorted(shares, look)), depth - 1) for look in LOOKS}):
        plane = volume[slice(z, z + 1), slice(0, height), slice(0, width)][0]
        found.append((yield from choose_scale(plane, quick_segmenter(network, config))))
    seen = sorted(pair for pair in found if pair[1])
    return seen[len(seen) // 2] if seen else (1.0, 0.0)


def iter_volume(
    network: EntityNetwork,
    volume: StackVolume,
    labels: Any,
    config: EntityConfig,
    scale: float,
    spacing: Spacing,
    room: int,
) -> Generator[Progress | Notice, None, pd.DataFrame]:
    """Segment a volume into ``labels`` (Z, Y, X), which hold zeros; returns a row per object 1 … N.

    The volume's range of values is known.  ``room`` is how many bytes the maps may take in memory;
    they are in a temporary file otherwise.
    """
    if volume.constant:
        return empty_volume_table()
    grid = VolumeGrid.of(volume.shape, spacing, scale, network.config.output_stride)
    with _Maps(grid, room) as maps:
        yield from _share(iter_views(network, volume, grid, config, maps), 0.0, 0.85)
        modes = yield from _share(iter_modes(maps, config.threshold), 0.85, 0.87)
        stitcher = PieceStitcher(grid, maps, modes, config.threshold, labels)
        blocks = list(cut(volume.shape, SIDE))
        for number, block in enumerate(blocks):
            stitcher.add(block)
            yield Progress(0.87 + 0.08 * (number + 1) / len(blocks), 1, "gathering voxels")
    object_filter = ObjectFilter(network.scoring, scale, config)
    ids, scores = stitcher.finish(object_filter, config.min_area)
    for block in blocks:
        labels[block] = ids[np.asarray(labels[block])]
    yield Progress(0.96, 1, "measuring")
    if config.fill_holes:
        _fill_holes(labels, blocks, len(scores))
    return measure_volume(labels, blocks, volume.grey, scores, spacing)


class _Maps:
    """Maps of all cells, zero at first: in memory, or in a temporary file that is deleted."""

    def __init__(self, grid: VolumeGrid, room: int) -> None:
        self._shape = (CHANNELS, *grid.cells)
        self._on_disk = 4 * int(np.prod(self._shape, dtype=np.int64)) > room
        self._file: Any = None

    def __enter__(self) -> NDArray[np.float32]:
        if not self._on_disk:
            return np.zeros(self._shape, np.float32)
        self._file = tempfile.TemporaryFile(prefix="napari-kindred-")
        try:
            self._file.truncate(4 * int(np.prod(self._shape, dtype=np.int64)))
            return np.memmap(self._file, np.float32, "r+", shape=self._shape)
        except OSError as error:
            raise full(error) from error

    def __exit__(self, *error: object) -> None:
        if self._file is not None:
            self._file.close()


def _share(job: Generator[Any, None, Any], start: float, stop: float) -> Generator[Any, None, Any]:
    """Count a part's progress as a share of the volume's."""
    while True:
        try:
            event = next(job)
        except StopIteration as done:
            return done.value
        if isinstance(event, Progress):
            share = start + (stop - start) * event.done / max(event.total, 1)
            event = Progress(share, 1, event.what)
        yield event


def _fill_holes(labels: Any, blocks: list[Block], count: int) -> None:
    """Give each hole that lies inside of one object to it."""
    for number, box in enumerate(_boxes(labels, blocks, count), start=1):
        if box is None:
            continue
        part = np.asarray(labels[box])
        mine = part == number
        holes = ndimage.binary_fill_holes(mine) & (part == 0)
        if holes.any():
            part = part.copy()
            part[holes] = number
            labels[box] = part


def _boxes(labels: Any, blocks: list[Block], count: int) -> list[Block | None]:
    """Return the box around each object 1 … ``count``."""
    low = np.full((count + 1, 3), np.iinfo(np.int64).max)
    high = np.zeros((count + 1, 3), np.int64)
    for block in blocks:
        offset = np.array([part.start for part in block])
        for number, box in enumerate(ndimage.find_objects(np.asarray(labels[block])), start=1):
            if box is not None:
                low[number] = np.minimum(low[number], offset + [part.start for part in box])
                high[number] = np.maximum(high[number], offset + [part.stop for part in box])
    found: list[Block | None] = []
    for start, stop in zip(low[1:].tolist(), high[1:].tolist(), strict=True):
        z, y, x = (slice(a, b) for a, b in zip(start, stop, strict=True))
        found.append((z, y, x) if any(stop) else None)
    return found
