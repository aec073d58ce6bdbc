"""Measures of the objects of a volume, from its labels block by block."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.spatial import SphericalVoronoi

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from .grid import Block

COLUMNS = {
    "index": np.int64,
    "volume": np.int64,
    "surface": np.float64,
    "centroid_z": np.float64,
    "centroid_y": np.float64,
    "centroid_x": np.float64,
    "mean_intensity": np.float64,
    "score": np.float64,
}


def empty_volume_table(stack: bool = False) -> pd.DataFrame:
    """Return a table of volumes without rows."""
    table = pd.DataFrame({name: np.zeros(0, dtype) for name, dtype in COLUMNS.items()})
    if stack:
        table.insert(1, "frame", np.zeros(0, np.int64))
    return table


def measure_volume(
    labels: Any,
    blocks: Iterable[Block],
    grey: Callable[[Block], NDArray[np.float32]] | None = None,
    scores: NDArray[np.float32] | None = None,
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> pd.DataFrame:
    """Measure the objects 1 … N of a volume.

    Parameters
    ----------
    labels : array-like of int, (Z, Y, X)
    blocks : iterable
        Blocks that cover it.
    grey : callable, optional
        Returns the intensities of a block.
    scores : ndarray, (N,), optional
    spacing : tuple of float
        Steps along z, y and x; only their ratios count, the surface being in units of the finer
        step in the plane, squared.

    Returns
    -------
    DataFrame
        ``index``, ``volume`` in voxels, ``surface`` (faces on the volume's own sides not counted),
        ``centroid_z``, ``centroid_y``, ``centroid_x`` in voxels, ``mean_intensity``, ``score``.
    """
    unit = min(spacing[1:])
    z, y, x = (step / unit for step in spacing)
    directions, shares = _directions((z, y, x))
    count = 0 if scores is None else len(scores)
    sums = np.zeros((6, count))
    for block in blocks:
        outer = tuple(
            slice(max(0, part.start - 1), min(length, part.stop + 1))
            for part, length in zip(block, labels.shape, strict=True)
        )
        around = np.asarray(labels[outer])
        inner = tuple(
            slice(part.start - whole.start, part.stop - whole.start)
            for part, whole in zip(block, outer, strict=True)
        )
        core = around[inner]
        sums = _room_for(sums, int(around.max(initial=0)))
        at = np.flatnonzero(core)
        ids = core.reshape(-1)[at] - 1
        places = np.unravel_index(at, core.shape)
        values: list[Any] = [None, *(p + part.start for p, part in zip(places, block, strict=True))]
        if grey is not None:
            values.append(grey(block).reshape(-1)[at])
        for row, weights in enumerate(values):
            sums[row] += np.bincount(ids, weights, minlength=sums.shape[1])
        for way, share in zip(directions, shares, strict=True):
            sums[5] += share * _crossings(around, inner, way, sums.shape[1])
    volume = np.maximum(sums[0], 1)
    table = pd.DataFrame(
        {
            "index": np.arange(1, sums.shape[1] + 1),
            "volume": sums[0].astype(np.int64),
            "surface": sums[5],
            "centroid_z": sums[1] / volume,
            "centroid_y": sums[2] / volume,
            "centroid_x": sums[3] / volume,
            "score": np.full(sums.shape[1], np.nan) if scores is None else scores.astype(float),
        }
    )
    if grey is not None:
        table.insert(6, "mean_intensity", sums[4] / volume)
    return table[table["volume"] > 0].reset_index(drop=True)


def _room_for(sums: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    return np.pad(sums, ((0, 0), (0, max(0, count - sums.shape[1]))))


@cache
def _directions(
    spacing: tuple[float, float, float],
) -> tuple[tuple[tuple[int, int, int], ...], tuple[float, ...]]:
    """Return thirteen directions, and the area that a crossing along each of them stands for.

    By Cauchy and Crofton a surface is four times the mean, over all directions, of the area of its
    projection, which the lines of a grid count.  Each direction stands for the part of the sphere
    that is nearer to it than to any other.
    """
    ways = [way for way in np.ndindex(3, 3, 3) if way != (1, 1, 1)]
    steps: NDArray[np.int64] = np.array(ways) - 1
    vectors = steps * np.array(spacing)
    lengths = np.linalg.norm(vectors, axis=1)
    share = SphericalVoronoi(vectors / lengths[:, None]).calculate_areas() / (4 * np.pi)
    line = np.prod(spacing) / lengths  # area between the lines of a direction
    half = range(13, 26)  # the others are their opposites
    chosen = tuple((int(z), int(y), int(x)) for z, y, x in steps[13:])
    # Every line enters and leaves: two crossings for each unit of the projection.
    return chosen, tuple(float(4 * 2 * share[i] * line[i] / 2) for i in half)


def _crossings(
    around: NDArray[Any],
    inner: tuple[slice, ...],
    way: tuple[int, int, int],
    count: int,
) -> NDArray[np.float64]:
    """Count, for each object, the steps of a direction from the core that enter or leave it."""
    here, there = [], []
    for part, step, length in zip(inner, way, around.shape, strict=True):
        start, stop = max(part.start, -step), min(part.stop, length - step)
        here.append(slice(start, stop))
        there.append(slice(start + step, stop + step))
    a, b = around[tuple(here)], around[tuple(there)]
    apart = a != b
    found = np.bincount(a[apart], minlength=count + 1) + np.bincount(b[apart], minlength=count + 1)
    return found[1:].astype(np.float64)
