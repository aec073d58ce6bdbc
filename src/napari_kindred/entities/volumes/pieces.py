"""From the modes of a volume to its objects: pieces of clusters, laid together block by block.

Modes are those of the whole volume, so a voxel's cluster does not depend on the block it is in.
What is connected inside of a block is a *piece*; pieces of one cluster that touch across a face of
two blocks are one.  The rest follows from the pieces' sums and from who touches whom, so objects
are the same however the volume is cut.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from skimage.measure import label

from .. import decode
from ..scoring import ObjectStats
from .views import CellMaps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ..decode import Modes
    from ..scoring import ObjectFilter
    from .grid import Block, VolumeGrid

WHOLE = 0.25
"""Share of the usual volume of its cluster below which a piece is a fragment of an object."""


@dataclass(frozen=True, slots=True)
class PieceStats:
    """Sums over the voxels of pieces, or of objects.

    Attributes
    ----------
    owner : ndarray of int64, (N,)
        Cluster, from 1; 0 for voxels whose votes join none.
    first : ndarray of int64, (N,)
        First voxel, counted row by row and slice by slice over the volume.
    volume, quality, foreground, log_width : ndarray of float64, (N,)
        As in :class:`.ObjectStats`; volumes in voxels, widths in cells.
    """

    owner: NDArray[np.int64]
    first: NDArray[np.int64]
    volume: NDArray[np.float64]
    quality: NDArray[np.float64]
    foreground: NDArray[np.float64]
    log_width: NDArray[np.float64]

    @classmethod
    def joined(
        cls, parts: Sequence[PieceStats], group: NDArray[np.int64], count: int
    ) -> PieceStats:
        """Add up parts by group; the owner is that of the group's largest part."""
        names = ("volume", "quality", "foreground", "log_width")
        values = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
        sums = {
            name: np.bincount(group, value, minlength=count).astype(np.float64)
            for name, value in values.items()
        }
        first = np.full(count, np.iinfo(np.int64).max)
        np.minimum.at(first, group, np.concatenate([part.first for part in parts]))
        owner = np.zeros(count, np.int64)
        order = np.argsort(values["volume"], kind="stable")
        # Of equal indices the last assignment, that of the largest part, stays.
        owner[group[order]] = np.concatenate([part.owner for part in parts])[order]
        return cls(owner, first, **sums)

    def discs(self, grid: VolumeGrid, scale: float) -> ObjectStats:
        """Return the statistics of discs of the same diameters in the plane, as scores need them.

        Areas are in pixels of the unscaled plane.
        """
        volume = np.maximum(self.volume, 1)
        pixels = grid.stride / scale
        diameter = pixels * (6 / np.pi * volume * grid.voxel) ** (1 / 3)
        area = np.pi / 4 * diameter**2
        share = area / volume
        return ObjectStats(
            area=area.astype(np.float64),
            quality=self.quality * share,
            foreground=self.foreground * share,
            log_width=self.log_width * share + area * np.log(pixels),
        )


class PieceStitcher:
    """Labels the blocks of a volume, each after those before it along every axis.

    Parameters
    ----------
    grid : VolumeGrid
    maps : array-like, (5, z, y, x)
        Sums of the views.
    modes : Modes
    threshold : float
        Minimum foreground.
    labels : array-like of int32, (Z, Y, X)
        Takes the pieces' ids, 1 … ``count``.
    """

    def __init__(
        self, grid: VolumeGrid, maps: Any, modes: Modes, threshold: float, labels: Any
    ) -> None:
        self.grid, self.modes, self.threshold = grid, modes, threshold
        self._maps, self.labels = maps, labels
        self.count = 0
        self._stats: list[PieceStats] = []
        self._owner = np.zeros(1, np.int64)
        self._same: list[NDArray[np.int64]] = []
        self._touching: list[NDArray[np.int64]] = []

    def add(self, block: Block) -> None:
        """Label a block, and write its pieces."""
        clusters, quality, cells = self._clusters(block)
        pieces = label(clusters, background=0, connectivity=1).astype(np.int32)
        stats = self._sums(block, clusters, pieces, quality, cells)
        self._owner = np.append(self._owner, stats.owner)
        pieces[pieces > 0] += self.count
        self.labels[block] = pieces
        for axis in range(3):
            ends: list[Any] = [slice(None)] * 3
            ends[axis] = slice(None, -1)
            starts = list(ends)
            starts[axis] = slice(1, None)
            self._touching.append(_pairs(pieces[tuple(ends)], pieces[tuple(starts)]))
            if block[axis].start:
                self._across(block, axis, pieces)
        self._stats.append(stats)
        self.count += len(stats.owner)

    def _clusters(self, block: Block) -> tuple[NDArray[np.int32], NDArray[np.float32], CellMaps]:
        """Assign the voxels of a block: 1 for none of the modes, then the modes, 0 background."""
        cells = CellMaps.of(self.grid.enlarged(self._maps, block))
        foreground = cells.foreground
        mask = foreground >= self.threshold
        at = np.nonzero(mask)
        places = [place[axis] for place, axis in zip(self.grid.places(block), at, strict=True)]
        votes = np.stack(places, -1) + cells.offset[:, mask].T
        cluster, similarity = decode.assign_all(votes, self.modes)
        clusters = np.zeros(mask.shape, np.int32)
        clusters[mask] = cluster + 1
        quality = np.zeros(mask.shape, np.float32)
        quality[mask] = similarity * foreground[mask]
        return clusters, quality, cells

    def _sums(
        self,
        block: Block,
        clusters: NDArray[np.int32],
        pieces: NDArray[np.int32],
        quality: NDArray[np.float32],
        cells: CellMaps,
    ) -> PieceStats:
        """Sum up the voxels of each piece of a block."""
        at = np.flatnonzero(pieces)
        ids = pieces.reshape(-1)[at] - 1
        count = int(pieces.max(initial=0))
        owner = np.zeros(count, np.int64)
        owner[ids] = clusters.reshape(-1)[at] - 1
        local = np.unravel_index(at, pieces.shape)
        place = tuple(axis + part.start for axis, part in zip(local, block, strict=True))
        first = np.zeros(count, np.int64)
        first[ids[::-1]] = np.ravel_multi_index(place, self.grid.shape)[::-1]

        def total(values: NDArray[np.float32] | None) -> NDArray[np.float64]:
            weights = None if values is None else values.reshape(-1)[at]
            return np.bincount(ids, weights, minlength=count).astype(np.float64)

        return PieceStats(
            owner,
            first,
            volume=total(None),
            quality=total(quality),
            foreground=total(cells.foreground),
            log_width=total(np.log(cells.width)),
        )

    def _across(self, block: Block, axis: int, pieces: NDArray[np.int32]) -> None:
        """Compare the first voxels of a block along an axis with the last before them."""
        before = list(block)
        before[axis] = slice(block[axis].start - 1, block[axis].start)
        face: list[Any] = [slice(None)] * 3
        face[axis] = slice(0, 1)
        pairs = _pairs(np.asarray(self.labels[tuple(before)]), pieces[tuple(face)])
        same = self._owner[pairs[:, 0]] == self._owner[pairs[:, 1]]
        self._same.append(pairs[same, :2])
        self._touching.append(pairs[~same])

    def finish(
        self, object_filter: ObjectFilter, min_volume: int
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Return the final id of each piece's, and the score of each object.

        Ids are 1 … N by first voxel; 0 is what the filter leaves out.
        """
        if not self.count:
            return np.zeros(1, np.int32), np.zeros(0, np.float32)
        group, groups = _components(np.concatenate([*self._same, _NONE]) - 1, self.count)
        stats = PieceStats.joined(self._stats, group, groups)
        pairs = np.concatenate([*self._touching, np.zeros((0, 3), np.int64)])
        pairs = np.stack([group[pairs[:, 0] - 1], group[pairs[:, 1] - 1], pairs[:, 2]], 1)
        host = _hosts(pairs[pairs[:, 0] != pairs[:, 1]], self._is_whole(stats))
        objects, number = np.unique(host, return_inverse=True)
        stats = PieceStats.joined([stats], number, len(objects))
        discs = stats.discs(self.grid, object_filter.scale)
        keep = object_filter.keeps(discs) & (stats.volume >= max(min_volume, 1))
        order = np.argsort(stats.first, kind="stable")
        order = order[keep[order]]
        ids = np.zeros(len(objects), np.int32)
        ids[order] = np.arange(1, len(order) + 1)
        scores = object_filter.scores(discs)[order]
        return np.append(np.int32(0), ids[number[group]]).astype(np.int32), scores

    def _is_whole(self, stats: PieceStats) -> NDArray[np.bool_]:
        """Whether pieces are objects of their own, not fragments of one."""
        usual = np.zeros(len(self.modes.widths) + 1)
        usual[1:] = decode.usual_size(self.modes.widths, 3) / self.grid.voxel
        largest = np.zeros(len(usual))
        np.maximum.at(largest, stats.owner, stats.volume)
        enough = np.maximum(WHOLE * np.minimum(usual, largest)[stats.owner], 1)
        return np.asarray((stats.owner > 0) & (stats.volume >= enough))


_NONE = np.zeros((0, 2), np.int64)


def _pairs(first: NDArray[np.int32], second: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return which labels lie side by side in two arrays, and how often: (N, 3)."""
    apart = (first != second) & (first > 0) & (second > 0)
    a, b = first[apart].astype(np.int64), second[apart].astype(np.int64)
    if not len(a):
        return np.zeros((0, 3), np.int64)
    span = int(b.max()) + 1
    pairs, count = np.unique(a * span + b, return_counts=True)
    return np.stack([pairs // span, pairs % span, count], 1)


def _components(pairs: NDArray[np.int64], count: int) -> tuple[NDArray[np.int64], int]:
    """Return the group of each of ``count`` things of which some pairs belong together."""
    graph = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), (count, count))
    groups, group = connected_components(graph, directed=False)
    return group.astype(np.int64), int(groups)


def _hosts(pairs: NDArray[np.int64], whole: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Give each fragment to the whole piece with the longest common border, outside in.

    Fragments that touch each other but no whole piece are one object.
    """
    host = np.arange(len(whole))
    both = np.concatenate([pairs, pairs[:, [1, 0, 2]]])
    while True:
        own, other = host[both[:, 0]], host[both[:, 1]]
        reaching = ~whole[own] & whole[other]
        if not reaching.any():
            break
        border = coo_array(
            (both[reaching, 2], (own[reaching], other[reaching])), 2 * (len(whole),)
        ).tocsr()
        rows = np.flatnonzero(np.diff(border.indptr))
        host[rows] = border.argmax(axis=1)[rows]
    loose = ~whole[host]
    left = both[loose[both[:, 0]] & loose[both[:, 1]]]
    group, groups = _components(left[:, :2], len(whole))
    least = np.full(groups, len(whole))
    np.minimum.at(least, group[loose], np.flatnonzero(loose))
    host[loose] = least[group[loose]]
    return host
