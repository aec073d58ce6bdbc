"""Drift of a whole field between two frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .objects import FrameObjects

REACH = 3.0
"""Largest drift that is looked for, in median diameters."""

BIN = 0.1
"""Step of the histogram of displacements, in median diameters."""

CLEAR = 1.3
"""Factor by which a drift must have more votes than no drift."""

NEARLY = 0.9
"""Share of the most votes from which on a drift is as good."""

EXPLAINS = 0.7
"""Share of the displacements that a common motion may leave over."""

FEWEST = 5
"""Objects of a frame below which nothing is said of a drift."""


def estimate_drift(
    before_centroid: NDArray[np.float64],
    before_area: NDArray[np.float64],
    after: FrameObjects,
) -> NDArray[np.float64]:
    """Return the displacement (d,) that most objects share, zeros if there is none.

    Every pair of an object before and one after that may be the same votes for its displacement;
    the pairs that are the same agree, the others are spread out.
    """
    d = after.centroid.shape[1]
    nothing = np.zeros(d)
    if min(len(before_area), len(after)) < FEWEST:
        return nothing
    unit = float(np.median(after.diameter))
    tree, other = cKDTree(before_centroid), cKDTree(after.centroid)
    pairs = tree.sparse_distance_matrix(other, REACH * unit, output_type="coo_matrix")
    if not pairs.nnz:
        return nothing
    steps = (after.centroid[pairs.col] - before_centroid[pairs.row]) / unit
    ratio = np.abs(np.log(after.area[pairs.col] / before_area[pairs.row]))
    votes = np.exp(-2 * ratio)
    side = 2 * int(REACH / BIN) + 1
    place = np.clip(np.rint(steps / BIN).astype(int) + side // 2, 0, side - 1)
    grid = np.zeros((side,) * d)
    np.add.at(grid, tuple(place.T), votes)
    grid = gaussian_filter(grid, 2.0, mode="constant")
    # Of drifts with nearly as many votes, as in a regular pattern, the smallest.
    best = np.argwhere(grid > NEARLY * grid.max()) - side // 2
    found = best[np.argmin((best**2).sum(1))] * BIN
    if grid.max() < CLEAR * grid[(side // 2,) * d]:
        found = nothing
    near = np.linalg.norm(steps - found, axis=1) < 4 * BIN
    if near.sum() < FEWEST:
        return np.asarray(found * unit)
    return np.asarray(np.median(steps[near], axis=0) * unit, np.float64)


def mean_place(centroid: NDArray[np.float64], area: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the middle (d,) of all pixels of objects at ``centroid`` (n, d)."""
    return np.asarray(np.average(centroid, axis=0, weights=area))


def common_motion(
    places: NDArray[np.float64], moved: NDArray[np.int64], way: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return how all ``places`` (m, d) move if they follow those that moved by ``way`` (k, d).

    An affine motion, as of a colony that grows or a sample that turns, is fitted; those far off it
    move by themselves and do not count.
    """
    middle = places[moved].mean(0)
    spread = np.abs(places[moved] - middle).mean() + 1e-9
    every = np.column_stack([(places - middle) / spread, np.ones(len(places))])
    good = np.ones(len(moved), bool)
    # A slight pull towards no motion decides where there are few.
    pull = np.diag([1.0] * places.shape[1] + [0.0])
    for _ in range(3):
        known = every[moved[good]]
        fit = np.linalg.solve(known.T @ known + pull, known.T @ way[good])
        left = np.linalg.norm(way - every[moved] @ fit, axis=1)
        good = left <= 2.5 * np.median(left) + 1e-9
    if np.median(left) > EXPLAINS * np.median(np.linalg.norm(way, axis=1)):
        return np.zeros_like(places)
    return np.asarray(every @ fit)
