"""Measurements of the objects of one frame: what links are decided by."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import coo_array

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True)
class FrameObjects:
    """The objects of one frame of 2-D or 3-D labels.

    Attributes
    ----------
    ids : ndarray of int, shape (n,)
        Label ids, ascending.
    area : ndarray of float, shape (n,)
        Number of pixels.
    centroid : ndarray of float, shape (n, d)
        In units of ``spacing``.
    labels : ndarray of int32, shape (Y, X) or (Z, Y, X)
        1 … n in place of the ids, 0 is background.
    spacing : ndarray of float, shape (d,)
        Size of a pixel along each axis.
    """

    ids: NDArray[np.int64]
    area: NDArray[np.float64]
    centroid: NDArray[np.float64]
    labels: NDArray[np.int32]
    spacing: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def diameter(self) -> NDArray[np.float64]:
        """Diameters of circles or balls of the same size, in units of ``spacing``."""
        return diameters(self.area, self.spacing)

    @property
    def at_edge(self) -> NDArray[np.bool_]:
        """Whether each object touches a lateral edge of the frame, (n,)."""
        edge = np.zeros(len(self) + 1, bool)
        for axis in (-2, -1):
            for place in (0, -1):
                edge[np.take(self.labels, place, axis)] = True
        return edge[1:]

    def pixels(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Return coordinates (P, d) of the pixels of objects, and the place of each's object."""
        where = np.nonzero(self.labels)
        return np.stack(where, 1).astype(np.int32), self.labels[where] - 1


def diameters(area: NDArray[np.float64], spacing: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the diameters of circles (2 axes) or balls (3 axes) of so many pixels."""
    size = area * float(np.prod(spacing))
    if len(spacing) == 2:
        return np.asarray(2 * np.sqrt(size / math.pi))
    return np.asarray(2 * np.cbrt(size * 3 / (4 * math.pi)))


def measure_objects(labels: NDArray[Any], spacing: Sequence[float] | None = None) -> FrameObjects:
    """Measure the objects of a frame."""
    ids, compact = compacted(labels)
    n, steps = len(ids), np.ones(labels.ndim) if spacing is None else np.asarray(spacing, float)
    where = np.nonzero(compact)
    which = compact[where] - 1
    area = np.bincount(which, minlength=n).astype(float)
    sums = [np.bincount(which, weights=axis, minlength=n) for axis in where]
    centroid = np.stack(sums, 1) / np.maximum(area, 1)[:, None] * steps
    return FrameObjects(ids, area, centroid, compact, steps)


def compacted(labels: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return the ids of objects, ascending, and labels in which they are 1 … n."""
    if labels.dtype == bool:
        labels = labels.astype(np.uint8)
    largest = int(labels.max(initial=0))
    if largest <= 4 * labels.size:  # a table is faster than sorting
        counts = np.bincount(labels.reshape(-1), minlength=1)
        counts[0] = 0
        ids = np.flatnonzero(counts)
        table = np.zeros(len(counts), np.int32)
        table[ids] = np.arange(1, len(ids) + 1)
        return ids.astype(np.int64), table[labels]
    found, inverse = np.unique(labels, return_inverse=True)
    place = np.asarray(inverse.reshape(labels.shape), np.int32)
    if found[0] == 0:
        return found[1:].astype(np.int64), place
    return found.astype(np.int64), place + np.int32(1)


def count_pairs(
    first: NDArray[np.integer], second: NDArray[np.integer], rows: int, columns: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Count how often each pair occurs; returns the pairs, sorted, and the counts."""
    ones = np.ones(len(first))
    table = coo_array((ones, (first, second)), shape=(rows, columns)).tocsr()
    table.sort_indices()
    row = np.repeat(np.arange(rows), np.diff(table.indptr))
    return row, table.indices.astype(np.int64), table.data
