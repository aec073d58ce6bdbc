"""Cost of a link between an object and one of a later frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import cKDTree

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .ends import Ends
    from .objects import FrameObjects

NEIGHBOURS = 8
"""Nearest objects that are candidates for an end, next to those that it overlaps."""


@dataclass(frozen=True, slots=True)
class Weights:
    """Weights of a link's cost, chosen with ``benchmarks/linking_settings.py``."""

    distance: float = 0.5
    """Of the square of the distance, as a share of the largest."""
    overlap: float = 0.4
    """Of the share of the smaller one that is not in the other."""
    area: float = 0.3
    """Of the logarithm of the ratio of areas."""
    gap: float = 0.0576
    """Of each frame in which the object was missing."""
    edge: float = 0.2
    """Of a gap between objects at the edge of the frame: what left there seldom comes back."""
    inertia: float = 0.3
    """Share of its last displacement that an object is expected to repeat."""
    still: float = 0.8
    """Reach of links in diameters, of objects that stay where they are, …"""
    moving: float = 3.0
    """… and in addition for each diameter that objects move from frame to frame."""
    sure: float = 1.52
    """Links of a lower cost tell of a common motion."""


@dataclass(frozen=True)
class Candidates:
    """Pairs of an end and an object of the next frame that may be the same.

    Attributes
    ----------
    first, second : ndarray of int, shape (K,)
        Places of end and object, sorted.
    distance : ndarray of float, shape (K,)
        Between the centroids, in diameters.
    shared : ndarray of float, shape (K,)
        Number of pixels that both have.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    distance: NDArray[np.float64]
    shared: NDArray[np.float64]


def find_candidates(ends: Ends, objects: FrameObjects, reach: float) -> Candidates:
    """Find the pairs that overlap, or whose centroids are at most ``reach`` diameters apart."""
    rows, columns, shared = ends.overlaps(objects)
    near = _near(ends, objects, reach)
    key = np.unique(np.concatenate([rows * len(objects) + columns, near]))
    first, second = np.divmod(key, max(len(objects), 1))
    found = np.zeros(len(key))
    found[np.searchsorted(key, rows * len(objects) + columns)] = shared
    way = objects.centroid[second] - ends.places[first]
    size = np.sqrt(ends.diameter[first] * objects.diameter[second])
    return Candidates(first, second, np.linalg.norm(way, axis=1) / size, found)


def _near(ends: Ends, objects: FrameObjects, reach: float) -> NDArray[np.int64]:
    """Return ``first * len(objects) + second`` of the near pairs, (K,)."""
    if not len(ends) or not len(objects):
        return np.zeros(0, np.int64)
    tree = cKDTree(objects.centroid)
    count = min(NEIGHBOURS, len(objects))
    limit = reach * ends.diameter * np.sqrt(ends.age)
    distance, place = tree.query(ends.places, count, distance_upper_bound=float(limit.max()))
    distance, place = distance.reshape(len(ends), -1), place.reshape(len(ends), -1)
    first, rank = np.nonzero(distance <= limit[:, None])
    return np.asarray(first * len(objects) + place[first, rank])


def link_cost(
    pairs: Candidates, ends: Ends, objects: FrameObjects, reach: float, weights: Weights
) -> NDArray[np.float64]:
    """Return the cost of each candidate; 1 is that of no link."""
    first, second = pairs.first, pairs.second
    age = ends.age[first]
    area = np.log(objects.area[second] / ends.area[first])
    smaller = np.minimum(ends.area[first], objects.area[second])
    return np.asarray(
        weights.distance * (pairs.distance / reach) ** 2 / age
        + weights.overlap * (1 - pairs.shared / smaller)
        + weights.area * np.abs(area)
        + weights.gap * (age - 1)
        + weights.edge * ((age > 1) & ends.at_edge[first] & objects.at_edge[second])
    )
