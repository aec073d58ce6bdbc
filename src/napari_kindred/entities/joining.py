"""Blocks of a plane put together: entities that a cut goes through become one again."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ..metrics import overlaps
from .blocks import BlockLabels, Sums, is_whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ..config import EntityConfig
    from ..tiling import Slices, Tile

Corner = tuple[int, int]

SAME = 0.5
"""Intersection over union, in the strip that two blocks share, above which two entities are one.
Above one half, each has at most one such partner."""


class Joiner:
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
        self._sums: list[Sums] = []
        self.count = 0

    def add(self, block: BlockLabels) -> NDArray[np.int32]:
        """Take a block in.

        Returns
        -------
        ndarray of int32
            Labels of its core, with ids of their own in the plane until all blocks are there.
        """
        offset, me = self.count, _corner(block.place)
        for other, strip in self._neighbours[me]:
            rows, columns = (
                slice(part.start - outer.start, part.stop - outer.start)
                for part, outer in zip(strip, block.place.outer, strict=True)
            )
            mine, cut = _moved(block.labels[rows, columns], offset), frozenset((me, other))
            if cut in self._waiting:
                both = overlaps(self._waiting.pop(cut), mine)
                self._pairs.append(np.stack([both.first, both.second], 1)[both.iou > SAME])
            else:
                self._waiting[cut] = mine
        self._sums.append(block.sums)
        self.count += len(block.sums.area)
        return _moved(block.core, offset)

    def finish(self, config: EntityConfig, widths: bool) -> tuple[NDArray[np.int32], Sums]:
        """Decide, when all blocks are there, which ids are one entity and which are none.

        Parameters
        ----------
        config : EntityConfig
        widths : bool
            Whether the network tells how large an entity should be.

        Returns
        -------
        lut : ndarray of int32, (ids + 1,)
            The final id of each id, 0 for what is left out; 1 … N by their first pixel, row by
            row, as in a plane that is segmented whole.
        sums : Sums
            Of the N entities, in this order.
        """
        pairs = np.concatenate([np.zeros((0, 2), np.int64), *self._pairs]) - 1
        graph = coo_array((np.ones(len(pairs), bool), pairs.T), (self.count, self.count))
        groups, group = connected_components(graph, directed=False)
        total = _grouped(self._sums, group, groups)
        keep = is_whole(total, config, widths)
        order = np.argsort(total.first, kind="stable")
        order = order[keep[order]]
        number = np.zeros(groups, np.int32)
        number[order] = np.arange(1, len(order) + 1)
        lut = np.append(np.int32(0), number[group]).astype(np.int32)
        return lut, Sums(*(getattr(total, item.name)[order] for item in fields(Sums)))


def _corner(place: Tile) -> Corner:
    """Return where a block's core begins, which no other's does."""
    return place.inner[0].start, place.inner[1].start


def _neighbours(places: Sequence[Tile]) -> dict[Corner, list[tuple[Corner, Slices]]]:
    """Return those beside, above and below each block, with the strips that they share."""
    known = {_corner(place): place for place in places}
    found: dict[Corner, list[tuple[Corner, Slices]]] = {corner: [] for corner in known}
    for corner, place in known.items():
        rows, columns = place.inner
        for beside in ((rows.start, columns.stop), (rows.stop, columns.start)):
            if beside in known:
                strip = _shared(place.outer, known[beside].outer)
                found[corner].append((beside, strip))
                found[beside].append((corner, strip))
    return found


def _shared(first: Slices, second: Slices) -> Slices:
    rows, columns = (
        slice(max(a.start, b.start), min(a.stop, b.stop))
        for a, b in zip(first, second, strict=True)
    )
    return rows, columns


def _moved(labels: NDArray[np.int32], offset: int) -> NDArray[np.int32]:
    return np.where(labels > 0, labels + np.int32(offset), 0).astype(np.int32)


def _grouped(parts: Sequence[Sums], group: NDArray[Any], groups: int) -> Sums:
    """Add up the sums of all parts of each group."""
    totals = {}
    for item in fields(Sums):
        values = np.concatenate([np.zeros(0), *(getattr(part, item.name) for part in parts)])
        if item.name == "first":
            least = np.full(groups, np.iinfo(np.int64).max)
            np.minimum.at(least, group, values.astype(np.int64))
            totals[item.name] = least
        else:
            total = np.bincount(group, weights=values, minlength=groups)
            totals[item.name] = total.astype(np.int64) if item.name == "area" else total
    return Sums(**totals)


def table_of(total: Sums, frame: int | None, offset: int = 0) -> pd.DataFrame:
    """Return the table that :func:`napari_kindred.results.measure` gives for these entities.

    Parameters
    ----------
    total : Sums
        Those without a pixel are left out.
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
            "score": (total.quality[seen] / area).astype(np.float32).astype(float),
        }
    )
    if frame is not None:
        table.insert(1, "frame", np.int64(frame))
    return table
