"""Stitching the blocks of a plane: parts of an entity on both sides of a cut are joined."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ..results.metrics import contingency
from .blocks import BlockLabels, BlockObjectStats

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ..images.tiling import Slices, Tile
    from .scoring import ObjectFilter

Corner = tuple[int, int]

SAME = 0.5
"""Two entities are one if they share more than this part of their union in the overlap of two
blocks, or of the smaller one if both cross the cut: one block may have it whole, and the other in
parts."""


@dataclass(frozen=True, slots=True)
class Overlap:
    """Strip in which two neighbouring blocks are compared: the middle half of their overlap."""

    place: Slices
    axis: int
    """Axis across the cut."""
    cut: int
    """Position of the cut between the two cores in the strip."""

    @classmethod
    def between(cls, first: Tile, second: Tile, axis: int) -> Overlap:
        """Return the overlap of two blocks, ``second`` following ``first`` along an axis."""
        place = [
            slice(max(a.start, b.start), min(a.stop, b.stop))
            for a, b in zip(first.outer, second.outer, strict=True)
        ]
        cut, across = second.inner[axis].start, place[axis]
        start, stop = (cut + across.start) // 2, (cut + across.stop + 1) // 2
        place[axis] = slice(start, stop)
        return cls((place[0], place[1]), axis, cut - start)


class BlockStitcher:
    """Stitches the blocks of a plane, in any order."""

    def __init__(self, places: Sequence[Tile]) -> None:
        self._neighbours = _neighbours(places)
        self._waiting: dict[frozenset[Corner], NDArray[np.int32]] = {}
        self._pairs: list[NDArray[np.int64]] = []
        self._stats: list[BlockObjectStats] = []
        self.count = 0

    def add(self, block: BlockLabels) -> NDArray[np.int32]:
        """Add a block; returns the labels of its core, with provisional ids in the plane."""
        offset, corner = self.count, _corner(block.place)
        for other, overlap in self._neighbours[corner]:
            rows, columns = (
                slice(part.start - outer.start, part.stop - outer.start)
                for part, outer in zip(overlap.place, block.place.outer, strict=True)
            )
            labels, both = _moved(block.labels[rows, columns], offset), frozenset((corner, other))
            if both in self._waiting:
                self._pairs.append(same_entities(self._waiting.pop(both), labels, overlap))
            else:
                self._waiting[both] = labels
        self._stats.append(block.stats)
        self.count += len(block.stats.area)
        return _moved(block.core, offset)

    def finish(self, object_filter: ObjectFilter) -> tuple[NDArray[np.int32], BlockObjectStats]:
        """Return the final id of each provisional id, by first pixel, and their statistics."""
        pairs = np.concatenate([np.zeros((0, 2), np.int64), *self._pairs]) - 1
        graph = coo_array((np.ones(len(pairs), bool), pairs.T), (self.count, self.count))
        groups, group = connected_components(graph, directed=False)
        total = _grouped(self._stats, group, groups)
        keep = object_filter.keeps(total)
        order = np.argsort(total.first, kind="stable")
        order = order[keep[order]]
        number = np.zeros(groups, np.int32)
        number[order] = np.arange(1, len(order) + 1)
        lut = np.append(np.int32(0), number[group]).astype(np.int32)
        return lut, total.at(order)


def _corner(place: Tile) -> Corner:
    """Return the first pixel of a block's core, which identifies it."""
    return place.inner[0].start, place.inner[1].start


def _neighbours(places: Sequence[Tile]) -> dict[Corner, list[tuple[Corner, Overlap]]]:
    """Return the neighbours of each block, with the overlaps."""
    by_corner = {_corner(place): place for place in places}
    found: dict[Corner, list[tuple[Corner, Overlap]]] = {corner: [] for corner in by_corner}
    for corner, place in by_corner.items():
        rows, columns = place.inner
        for axis, neighbour in enumerate(((rows.stop, columns.start), (rows.start, columns.stop))):
            if neighbour in by_corner:
                overlap = Overlap.between(place, by_corner[neighbour], axis)
                found[corner].append((neighbour, overlap))
                found[neighbour].append((corner, overlap))
    return found


def same_entities(
    first: NDArray[np.int32], second: NDArray[np.int32], overlap: Overlap
) -> NDArray[np.int64]:
    """Return which entities of two labellings of one strip are the same, pairs of ids (N, 2)."""
    a, b, shared = contingency(first, second)
    areas = np.bincount(a, shared)[a], np.bincount(b, shared)[b]
    one = shared > SAME * (areas[0] + areas[1] - shared)
    within = shared > SAME * np.minimum(*areas)
    halves = []
    for part in (slice(None, overlap.cut), slice(overlap.cut, None)):
        where = (part,) if overlap.axis == 0 else (slice(None), part)
        halves.append(set(zip(*contingency(first[where], second[where])[:2], strict=True)))
    through = halves[0] & halves[1]
    crossing = np.fromiter((pair in through for pair in zip(a, b, strict=True)), bool, len(a))
    keep = (a > 0) & (b > 0) & (one | (within & crossing))
    return np.stack([a[keep], b[keep]], 1)


def _moved(labels: NDArray[np.int32], offset: int) -> NDArray[np.int32]:
    return np.where(labels > 0, labels + np.int32(offset), 0).astype(np.int32)


def _grouped(
    parts: Sequence[BlockObjectStats], group: NDArray[Any], groups: int
) -> BlockObjectStats:
    """Add up the sums of all parts of each group."""
    totals = {}
    for item in fields(BlockObjectStats):
        values = np.concatenate([np.zeros(0), *(getattr(part, item.name) for part in parts)])
        if item.name == "first":
            least = np.full(groups, np.iinfo(np.int64).max)
            np.minimum.at(least, group, values.astype(np.int64))
            totals[item.name] = least
        else:
            total = np.bincount(group, weights=values, minlength=groups)
            totals[item.name] = total.astype(np.int64) if item.name == "area" else total
    return BlockObjectStats(**totals)


def table_of(
    total: BlockObjectStats, object_filter: ObjectFilter, frame: int | None, offset: int = 0
) -> pd.DataFrame:
    """Return the table of these entities, as :func:`.measure` does; ids begin after ``offset``."""
    present = np.flatnonzero(total.area)
    area = total.area[present]
    table = pd.DataFrame(
        {
            "index": present + np.int64(offset + 1),
            "area": area,
            "centroid_y": total.rows[present] / area,
            "centroid_x": total.columns[present] / area,
            "mean_intensity": total.intensity[present] / area,
            "score": object_filter.scores(total)[present].astype(float),
        }
    )
    if frame is not None:
        table.insert(1, "frame", np.int64(frame))
    return table
