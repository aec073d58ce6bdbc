"""Blocks of a plane put together: entities that a cut goes through become one again."""

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
"""Two entities are one when they share more than this part of their union, in the strip that two
blocks both see; or of the smaller one, where both go through the cut: one of them may be seen
whole by one block, and in parts by the other."""


@dataclass(frozen=True, slots=True)
class Overlap:
    """What two neighbouring blocks are compared in.

    Attributes
    ----------
    place : tuple of two slices
        Of the plane: the middle half of what both windows cover.
    axis : int
        Across the cut.
    cut : int
        Where the one core ends and the other begins, counted from the strip's begin.
    """

    place: Slices
    axis: int
    cut: int

    @classmethod
    def between(cls, first: Tile, second: Tile, axis: int) -> Overlap:
        """Return that of two blocks, ``second`` following ``first`` along an axis."""
        place = [
            slice(max(a.start, b.start), min(a.stop, b.stop))
            for a, b in zip(first.outer, second.outer, strict=True)
        ]
        cut, across = second.inner[axis].start, place[axis]
        start, stop = (cut + across.start) // 2, (cut + across.stop + 1) // 2
        place[axis] = slice(start, stop)
        return cls((place[0], place[1]), axis, cut - start)


class BlockStitcher:
    """Puts a plane's blocks together, in whatever order they come.

    Parameters
    ----------
    places : sequence of Tile
        All blocks of the plane.
    """

    def __init__(self, places: Sequence[Tile]) -> None:
        self._neighbours = _neighbours(places)
        self._waiting: dict[frozenset[Corner], NDArray[np.int32]] = {}
        self._pairs: list[NDArray[np.int64]] = []
        self._stats: list[BlockObjectStats] = []
        self.count = 0

    def add(self, block: BlockLabels) -> NDArray[np.int32]:
        """Take a block in.

        Returns
        -------
        ndarray of int32
            Labels of its core, with ids of their own in the plane until all blocks are there.
        """
        offset, me = self.count, _corner(block.place)
        for other, overlap in self._neighbours[me]:
            rows, columns = (
                slice(part.start - outer.start, part.stop - outer.start)
                for part, outer in zip(overlap.place, block.place.outer, strict=True)
            )
            mine, both = _moved(block.labels[rows, columns], offset), frozenset((me, other))
            if both in self._waiting:
                self._pairs.append(same_entities(self._waiting.pop(both), mine, overlap))
            else:
                self._waiting[both] = mine
        self._stats.append(block.stats)
        self.count += len(block.stats.area)
        return _moved(block.core, offset)

    def finish(self, object_filter: ObjectFilter) -> tuple[NDArray[np.int32], BlockObjectStats]:
        """Decide, when all blocks are there, which ids are one entity and which are none.

        Parameters
        ----------
        object_filter : ObjectFilter

        Returns
        -------
        lut : ndarray of int32, (ids + 1,)
            The final id of each id, 0 for what is left out; 1 … N by their first pixel, row by
            row, as in a plane that is segmented whole.
        stats : BlockObjectStats
            Of the N entities, in this order.
        """
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
        return lut, BlockObjectStats(
            **{item.name: getattr(total, item.name)[order] for item in fields(BlockObjectStats)}
        )


def _corner(place: Tile) -> Corner:
    """Return where a block's core begins, which no other's does."""
    return place.inner[0].start, place.inner[1].start


def _neighbours(places: Sequence[Tile]) -> dict[Corner, list[tuple[Corner, Overlap]]]:
    """Return those beside, above and below each block, with the strips that they share."""
    known = {_corner(place): place for place in places}
    found: dict[Corner, list[tuple[Corner, Overlap]]] = {corner: [] for corner in known}
    for corner, place in known.items():
        rows, columns = place.inner
        for axis, beside in enumerate(((rows.stop, columns.start), (rows.start, columns.stop))):
            if beside in known:
                overlap = Overlap.between(place, known[beside], axis)
                found[corner].append((beside, overlap))
                found[beside].append((corner, overlap))
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
    """Return the table that :func:`.measure` gives for these entities.

    Parameters
    ----------
    total : BlockObjectStats
        Those without a pixel are left out.
    object_filter : ObjectFilter
    frame : int or None
        As there.
    offset : int
        Ids begin at the next.
    """
    seen = np.flatnonzero(total.area)
    area = total.area[seen]
    table = pd.DataFrame(
        {
            "index": seen + np.int64(offset + 1),
            "area": area,
            "centroid_y": total.rows[seen] / area,
            "centroid_x": total.columns[seen] / area,
            "mean_intensity": total.intensity[seen] / area,
            "score": object_filter.scores(total)[seen].astype(float),
        }
    )
    if frame is not None:
        table.insert(1, "frame", np.int64(frame))
    return table
