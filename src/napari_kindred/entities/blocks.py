"""Segmentation of a large plane in overlapping blocks.

A block's window is its core, for which it gives labels, and room around it for the entities that
the core cuts; the network sees a halo beyond.  The overlap of two neighbours shows which of their
entities are one (:mod:`napari_kindred.entities.stitching`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..images.tiling import Tile, tiles
from . import decode
from .network import MULTIPLE
from .resampling import GridMapping, InterpolationWeights, scaled_shape
from .scoring import ObjectFilter, ObjectStats, object_stats
from .segment import HALO, instances_of, iter_dense_bounded, merge, object_filter_of, resize

if TYPE_CHECKING:
    from collections.abc import Generator

    from numpy.typing import NDArray

    from ..core.events import Notice, Progress
    from .config import EntityConfig
    from .network import EntityNetwork
    from .region_reader import Source

BLOCK = 4096
"""Side of a block's window, in pixels of the finest image that the network sees."""

SMALLEST_BLOCK = 512
"""Blocks are not halved below this side."""

ROOM = 64
"""Pixels of the scaled plane around a block's core: entities that a core cuts reach less far, or
else are stitched from the neighbours' parts."""


@dataclass(frozen=True, slots=True)
class BlockObjectStats(ObjectStats):
    """Statistics of each of N entities of a block, summed over its pixels in the core."""

    first: NDArray[np.int64]
    """First pixel, counted row by row over the plane; the plane's size without one in the core."""
    rows: NDArray[np.float64]
    columns: NDArray[np.float64]
    intensity: NDArray[np.float64]
    """Mean of all channels."""

    def at(self, index: NDArray[Any]) -> BlockObjectStats:
        """Return the statistics of some entities, by a mask or in an order."""
        parts = (getattr(self, item.name)[index] for item in fields(self))
        return BlockObjectStats(*parts)


@dataclass(frozen=True, slots=True)
class BlockLabels:
    """Labels and statistics of the entities in one block's window."""

    place: Tile
    labels: NDArray[np.int32]
    stats: BlockObjectStats

    @property
    def core(self) -> NDArray[np.int32]:
        """Labels of the core."""
        return self.labels[self.place.local]


def finest(scale: float, config: EntityConfig) -> float:
    """Return how much finer than the plane a block's finest pixels are, at least 1."""
    return max(1.0, scale * float(2 ** (config.resolutions - 1)))


def cut(
    shape: tuple[int, int], scale: float, config: EntityConfig, side: int = BLOCK
) -> list[Tile]:
    """Cut a plane into blocks with windows of ``side`` pixels at the finest resolution."""
    window = max(8, int(side / finest(scale, config)))
    room = min(math.ceil(ROOM / scale), window // 4)
    return tiles(shape, window, room)


def region_of(
    source: Source, place: Tile, scale: float, config: EntityConfig
) -> tuple[slice, slice]:
    """Return the region of stored pixels that a block needs."""
    steps = range(config.resolutions)
    needed = [_spans(source.shape, place, scale * 2**step, source.stored)[0] for step in steps]
    return (
        slice(min(rows.start for rows, _ in needed), max(rows.stop for rows, _ in needed)),
        slice(min(part.start for _, part in needed), max(part.stop for _, part in needed)),
    )


def segment_block(
    source: Source,
    place: Tile,
    network: EntityNetwork,
    config: EntityConfig,
    scale: float,
) -> Generator[Progress | Notice, None, BlockLabels]:
    """Segment one block of a plane; objects shared with a neighbour are not filtered yet."""
    shape, stored = source.shape, source.stored
    spans = [_spans(shape, place, scale * 2**step, stored) for step in range(config.resolutions)]
    region = region_of(source, place, scale, config)
    raw = source.raw(*region)
    pixels = source.stats.normalised(raw)
    found: list[decode.InstanceMap] = []
    for step, (_, scaled) in enumerate(spans):
        finer = scale * 2**step
        image = _scaled(pixels, region, shape, scaled, finer, stored)
        dense = yield from iter_dense_bounded(network, image, config.tile, config.views)
        stride = network.config.output_stride
        origin = (scaled[0].start // stride, scaled[1].start // stride)
        mapping = GridMapping(source.shape, place.outer, finer, stride, origin)
        found.append(instances_of(network, dense, mapping, config))
    instances = found[0]
    if len(found) > 1:
        filters = [
            ObjectFilter(network.scoring, scale * 2**step, config) for step in range(len(found))
        ]
        instances = merge(
            [_finished(one, place, shape, by) for one, by in zip(found, filters, strict=True)]
        )
    rows, columns = (
        nearest(part, full, low) - whole.start
        for part, whole, full, low in zip(place.outer, region, shape, stored, strict=True)
    )
    block = _summed(place, instances, raw[rows[:, None], columns].mean(axis=2), source.shape)
    return _sorted_out(block, object_filter_of(network, scale, config))


def _finished(
    found: decode.InstanceMap, place: Tile, shape: tuple[int, int], object_filter: ObjectFilter
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Apply the object filter, except to objects that the window's edges cut."""
    labels, (rows, columns) = found.labels, place.outer
    ends = (rows.start > 0, rows.stop < shape[0], columns.start > 0, columns.stop < shape[1])
    sides = (labels[0], labels[-1], labels[:, 0], labels[:, -1])
    cut_off = np.zeros(int(labels.max(initial=0)) + 1, bool)
    for side, inside in zip(sides, ends, strict=True):
        cut_off[side] |= inside
    part = cut_off[labels] & (labels > 0)
    whole, scores = object_filter.finish(replace(found, labels=np.where(part, 0, labels)))
    rest = replace(found, labels=np.where(part, labels, 0))
    stats = object_stats(rest)
    cut, more = decode.number(rest.labels, stats.area > 0, object_filter.scores(stats))
    joined = np.where(cut > 0, cut + len(scores), whole).astype(np.int32)
    return joined, np.append(scores, more).astype(np.float32)


def nearest(part: slice, full: int, low: int) -> NDArray[np.int64]:
    """Return the pixels of an axis of ``low`` pixels nearest to a part of ``full`` ones."""
    return ((2 * np.arange(part.start, part.stop) + 1) * low) // (2 * full)


def _spans(
    shape: tuple[int, int], place: Tile, scale: float, stored: tuple[int, int] | None = None
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return the stored pixels that a block needs, and the scaled ones of the network's input.

    The latter begin on the network's coarsest grid, so that neighbours share their cells.
    """
    needed, inputs = [], []
    scaled_lengths = scaled_shape(shape, scale)
    for part, length, scaled, low in zip(
        place.outer, shape, scaled_lengths, stored or shape, strict=True
    ):
        step = length / scaled
        start = max(0, int(part.start / step) - HALO) // MULTIPLE * MULTIPLE
        stop = min(scaled, math.ceil(part.stop / step) + HALO)
        inputs.append(slice(start, stop))
        span = InterpolationWeights.between(
            slice(start, stop), low / scaled, low, antialias=low > scaled
        ).span
        own = nearest(part, length, low)
        needed.append(slice(min(span.start, int(own[0])), max(span.stop, int(own[-1]) + 1)))
    return (needed[0], needed[1]), (inputs[0], inputs[1])


def _scaled(
    pixels: NDArray[np.float32],
    region: tuple[slice, slice],
    shape: tuple[int, int],
    window: tuple[slice, slice],
    scale: float,
    stored: tuple[int, int] | None = None,
) -> torch.Tensor:
    """Scale a region (h, w, C) of a plane to the part of the scaled plane that the network sees."""
    stored, lengths = stored or shape, scaled_shape(shape, scale)
    if lengths == stored:
        rows, columns = (
            slice(part.start - whole.start, part.stop - whole.start)
            for part, whole in zip(window, region, strict=True)
        )
        return resize(pixels[rows, columns], 1.0)
    values = torch.from_numpy(pixels)
    for axis, (low, scaled) in enumerate(zip(stored, lengths, strict=True)):
        interpolation = InterpolationWeights.between(
            window[axis], low / scaled, low, antialias=low > scaled
        )
        values = interpolation.apply(values, axis, region[axis].start)
    return values.permute(2, 0, 1)[None].expand(1, 3, -1, -1)


def _summed(
    place: Tile, instances: decode.InstanceMap, grey: NDArray[np.float32], shape: tuple[int, int]
) -> BlockLabels:
    """Renumber the parts of a window, and sum up the statistics of their pixels in the core."""
    present = np.bincount(instances.labels.ravel()) > 0
    labels = decode.numbered(instances.labels, present)
    count, local = int(present[1:].sum()), place.local
    core = decode.InstanceMap(
        labels[local],
        instances.quality[local],
        instances.foreground[local],
        None if instances.width is None else instances.width[local],
    )
    at = np.flatnonzero(core.labels)
    ids = core.labels.reshape(-1)[at] - 1
    rows, columns = (
        where + part.start
        for where, part in zip(np.divmod(at, core.labels.shape[1]), place.inner, strict=True)
    )
    first = np.full(count, shape[0] * shape[1], np.int64)
    flat = rows * shape[1] + columns
    first[ids[::-1]] = flat[::-1]

    def total(values: NDArray[np.float32] | NDArray[np.int64]) -> NDArray[np.float64]:
        return np.bincount(ids, weights=values, minlength=count).astype(np.float64)

    stats = object_stats(core, count)
    intensity = total(grey[local].reshape(-1)[at])
    total_stats = BlockObjectStats(
        stats.area,
        stats.quality,
        stats.foreground,
        stats.log_width,
        first,
        total(rows),
        total(columns),
        intensity,
    )
    return BlockLabels(place, labels, total_stats)


def _sorted_out(block: BlockLabels, object_filter: ObjectFilter) -> BlockLabels:
    """Apply the object filter to objects that no neighbour shares."""
    deep = []
    for inner, outer in zip(block.place.inner, block.place.outer, strict=True):
        before, after = inner.start - outer.start, outer.stop - inner.stop
        deep.append(slice(2 * before, outer.stop - outer.start - 2 * after))
    inside = np.bincount(block.labels[tuple(deep)].ravel(), minlength=len(block.stats.area) + 1)
    shared = np.bincount(block.labels.ravel(), minlength=len(inside)) > inside
    keep = np.append(False, object_filter.keeps(block.stats)) | shared
    labels = decode.numbered(block.labels, keep)
    return BlockLabels(block.place, labels, block.stats.at(keep[1:]))
