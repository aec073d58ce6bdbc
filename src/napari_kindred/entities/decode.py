"""From dense positional maps to labels: mean-shift where the pixels point to.

Positional lines are parallel where votes fall on one place, so mean-shift with the 45° flat
kernel on the projective sphere is mean-shift of votes with a radius that follows each entity's
own width (:mod:`napari_kindred.entities.projective`).  Its modes are found as peaks of the votes'
density on a grid, for all entities at once, and pixels are assigned with a k-d tree.  Modes are
found and votes assigned in a plane as in a volume.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage.measure import label

from .projective import WIDTH_PER_DIAMETER

Floats = NDArray[np.float32]
Labels = NDArray[np.int32]

FLAT_KERNEL = float(np.sqrt(np.log(2)))
"""45 degrees between lines of equal width: ``exp(-d^2 / 2 w^2) >= sqrt(1/2)``, d in widths."""

WHOLE = 0.35
"""Share of the area predicted by its pixels, below which an entity is a fragment."""

REACH = 2.5
"""Distance to a mode, in kernel widths, beyond which a vote does not join it."""


@dataclass(frozen=True)
class Maps:
    """Dense maps of one plane at its full size, float32."""

    foreground: Floats
    """Squared cosine with the plane orthogonal to the background line, 0 … 1, (H, W)."""
    votes: Floats
    """Place (y, x) that each pixel points to, (H, W, 2)."""
    width: Floats
    """Kernel width of each pixel's entity in pixels, (H, W)."""


@dataclass(frozen=True)
class InstanceMap:
    """Labels of a plane or a window of it, before the object filter."""

    labels: Labels
    """Ids in no order, 0 is background."""
    quality: Floats
    """Foreground times similarity, 0 … 1."""
    foreground: Floats
    width: Floats | None
    """Predicted kernel width of each pixel's entity; None without positional features."""


@dataclass(frozen=True)
class Modes:
    """Modes of the votes: places (N, D), kernel widths (N,), shares of an entity's votes (N,)."""

    places: NDArray[np.float64]
    widths: NDArray[np.float64]
    mass: NDArray[np.float64]


def find_modes(
    votes: Floats,
    widths: Floats,
    weights: Floats,
    shape: tuple[int, ...],
    smallest_mass: float = 0.15,
) -> Modes:
    """Find the modes of votes whose kernel widths differ.

    Votes are counted on a grid per octave of width, smoothed with half the kernel width, and
    divided by the number of votes that an entity of that width has, so that one threshold serves
    small and large entities; the sum of all octaves' densities has its peaks at the modes.  Of
    peaks less than 45 degrees apart the one with most votes stays.

    ``votes`` (P, D), ``widths``, ``weights`` (P,); ``shape`` of the plane or volume.
    """
    if not len(votes):
        return Modes(np.zeros((0, len(shape))), np.zeros(0), np.zeros(0))
    finest = max(float(np.percentile(widths, 2)), 1.0)
    cell = max(1, int(finest / 2))
    grid = tuple(-(-side // cell) for side in shape)
    place = np.clip((votes / cell).astype(np.int64), 0, np.array(grid) - 1)
    index = np.ravel_multi_index(tuple(place.T), grid)
    density = _density(index, widths, weights, grid, cell)
    top = ndimage.maximum_filter(density, size=3, mode="constant")
    peaks = np.argwhere((density == top) & (density >= smallest_mass))
    mass = density[tuple(peaks.T)].astype(np.float64)
    places = (peaks.astype(np.float64) + 0.5) * cell - 0.5
    return thin(Modes(places, _widths_at(peaks, index, widths, weights, grid), mass))


def _density(
    index: NDArray[np.int64],
    widths: Floats,
    weights: Floats,
    grid: tuple[int, ...],
    cell: int,
) -> NDArray[np.float32]:
    """Density of votes on the grid, in shares of what an entity of their width has."""
    octave = np.rint(np.log2(widths)).astype(np.int8)
    density = np.zeros(grid, np.float32)
    for o in range(int(octave.min()), int(octave.max()) + 1):
        inside = octave == o
        if not inside.any():
            continue
        sigma = 2.0**o / 2 / cell
        votes_of_one = usual_size(np.array(2.0**o), len(grid))
        gain = (2 * np.pi * sigma**2) ** (len(grid) / 2) / votes_of_one
        count = np.bincount(index[inside], weights[inside] * gain, minlength=density.size)
        plane = count.reshape(grid).astype(np.float32)
        density += ndimage.gaussian_filter(plane, sigma, mode="constant", truncate=3.0)
    return density


def _widths_at(
    peaks: NDArray[np.int64],
    index: NDArray[np.int64],
    widths: Floats,
    weights: Floats,
    grid: tuple[int, ...],
) -> NDArray[np.float64]:
    """Geometric mean of the widths of the votes in the five cells around each peak."""
    size = int(np.prod(grid))
    sums = []
    for values in (weights, weights * np.log(widths)):
        plane = np.bincount(index, values, minlength=size).reshape(grid).astype(np.float32)
        sums.append(ndimage.uniform_filter(plane, 5, mode="constant")[tuple(peaks.T)])
    total, log_width = sums
    # A peak between its votes may have none in reach: then they are the plane's.
    usual = float(np.log(widths).mean())
    return np.exp(np.where(total > 1e-6, log_width / np.maximum(total, 1e-6), usual))


def thin(modes: Modes) -> Modes:
    """Of modes whose lines are less than 45 degrees apart, keep the one with most votes."""
    if len(modes.mass) < 2:
        return modes
    order = np.argsort(-modes.mass, kind="stable")
    places, widths = modes.places[order], modes.widths[order]
    tree = cKDTree(places)
    pairs = tree.query_pairs(FLAT_KERNEL * float(widths.max()), output_type="ndarray")
    first, second = pairs.min(1), pairs.max(1)
    apart = np.linalg.norm(places[first] - places[second], axis=1)
    near = apart <= FLAT_KERNEL * (widths[first] + widths[second]) / 2
    keep = np.ones(len(order), bool)
    for a, b in sorted(zip(first[near].tolist(), second[near].tolist(), strict=True)):
        if keep[a]:
            keep[b] = False
    chosen = order[keep]
    return Modes(modes.places[chosen], modes.widths[chosen], modes.mass[chosen])


def assign(votes: Floats, modes: Modes) -> tuple[NDArray[np.int32], Floats]:
    """Assign votes (P, D) to the most parallel line; returns cluster and similarity, (P,)."""
    n = len(modes.widths)
    if n == 0 or not len(votes):
        return np.zeros(len(votes), np.int32), np.zeros(len(votes), np.float32)
    k = min(4, n)
    distance, index = cKDTree(modes.places).query(votes, k=k)
    distance, index = distance.reshape(-1, k), index.reshape(-1, k)
    relative = distance / modes.widths[index]
    best = relative.argmin(1)[:, None]
    nearest = np.take_along_axis(relative, best, 1)[:, 0]
    cluster = np.where(nearest <= REACH, np.take_along_axis(index, best, 1)[:, 0] + 1, 0)
    similarity = np.where(cluster > 0, np.exp(-0.5 * nearest**2), 0)
    return cluster.astype(np.int32), similarity.astype(np.float32)


def assign_all(votes: Floats, modes: Modes) -> tuple[NDArray[np.int32], Floats]:
    """Assign many votes; those in one cell, an eighth of the finest width wide, go together."""
    if not len(votes) or not len(modes.widths):
        return assign(votes, modes)
    step = np.float32(modes.widths.min() / 8)
    cells = np.rint(votes / step).astype(np.int64)
    cells -= cells.min(0)
    index = np.ravel_multi_index(tuple(cells.T), tuple(cells.max(0) + 1))
    _, first, inverse = np.unique(index, return_index=True, return_inverse=True)
    cluster, similarity = assign(votes[first], modes)
    return cluster[inverse], similarity[inverse]


def find_pieces(maps: Maps, threshold: float = 0.5, fill: bool = True) -> InstanceMap:
    """Segment one plane from its maps, before the object filter."""
    shape = maps.foreground.shape
    mask = maps.foreground >= threshold
    votes, width = maps.votes[mask], maps.width[mask]
    modes = find_modes(votes, width, maps.foreground[mask], (shape[0], shape[1]))
    cluster, similarity = assign_all(votes, modes)
    plane = np.zeros(shape, np.int32)
    plane[mask] = cluster
    labels = split_pieces(plane, mask, modes)
    if fill:
        labels = fill_holes(labels)
    quality = np.zeros(shape, np.float32)
    quality[mask] = similarity * maps.foreground[mask]
    return InstanceMap(labels, quality, maps.foreground, maps.width)


def usual_size(width: NDArray[np.float64], axes: int = 2) -> NDArray[np.float64]:
    """Return the area, or the volume, of entities with a predicted kernel width."""
    ball = {2: np.pi / 4, 3: np.pi / 6}
    return np.asarray(ball[axes] * (width / WIDTH_PER_DIAMETER) ** axes)


def split_pieces(clusters: Labels, mask: NDArray[np.bool_], modes: Modes) -> Labels:
    """Split clusters into connected pieces and give fragments to the neighbour they touch.

    A piece is an entity of its own when it has at least a quarter of its cluster's usual area;
    smaller fragments, and foreground without a mode, go to the nearest entity of the same patch
    of foreground.  A patch without any entity becomes one when nothing in it voted well.
    """
    instances = label(clusters, background=0, connectivity=1).astype(np.int32)
    count = int(instances.max())
    areas = np.bincount(instances.ravel(), minlength=count + 1)
    owner = np.zeros(count + 1, np.int64)
    owner[instances.ravel()] = clusters.ravel()
    usual = np.zeros(len(modes.widths) + 1)
    usual[1:] = usual_size(modes.widths)
    largest = np.zeros(len(usual))
    np.maximum.at(largest, owner[1:], areas[1:])
    whole = areas >= np.maximum(0.25 * np.minimum(usual, largest)[owner], 1)
    whole[0] = False
    entities = np.where(whole[instances], instances, 0)
    loose = mask & (entities == 0)
    if not loose.any():
        return entities
    labels = spread(entities, loose)
    orphan = label(mask & (labels == 0), background=0, connectivity=1)
    return np.where(orphan > 0, orphan + count, labels).astype(np.int32)


def spread(labels: Labels, free: NDArray[np.bool_]) -> Labels:
    """Give free pixels to the entity that reaches them first, step by step over free pixels."""
    padded = np.pad(labels, 1)
    flat = padded.ravel()
    width = padded.shape[1]
    waiting = np.flatnonzero(np.pad(free & (labels == 0), 1))
    while len(waiting):
        found = flat[waiting - width]
        for step in (-1, 1, width):
            found = np.where(found > 0, found, flat[waiting + step])
        reached = found > 0
        if not reached.any():
            break
        flat[waiting[reached]] = found[reached]
        waiting = waiting[~reached]
    return padded[1:-1, 1:-1].copy()


def fill_holes(labels: Labels) -> Labels:
    """Give each hole (4-connected background inside one entity only) to that entity."""
    holes = label(labels == 0, background=0, connectivity=1)
    count = int(holes.max())
    enclosed = np.ones(count + 1, bool)
    enclosed[0] = False
    for side in (holes[0], holes[-1], holes[:, 0], holes[:, -1]):
        enclosed[side] = False
    if not enclosed.any():
        return labels
    highest = np.zeros(count + 1, np.int64)
    lowest = np.full(count + 1, np.iinfo(np.int64).max)
    inner = enclosed[holes]
    place = np.flatnonzero(inner)
    hole = holes.ravel()[place]
    for step in (-1, 1, -labels.shape[1], labels.shape[1]):
        neighbour = labels.ravel()[place + step]  # a hole never lies at the plane's edge
        touching = neighbour > 0
        np.maximum.at(highest, hole[touching], neighbour[touching])
        np.minimum.at(lowest, hole[touching], neighbour[touching])
    inside = enclosed & (highest == lowest)
    return np.where(inside[holes], highest[holes], labels).astype(np.int32)


def numbered(labels: NDArray[Any], keep: NDArray[np.bool_]) -> Labels:
    """Return labels (H, W) numbered 1 … N in their order; without ``keep`` (K + 1,), background."""
    keep[0] = False
    return np.asarray(np.where(keep, np.cumsum(keep), 0).astype(np.int32)[labels])


def number(labels: Labels, keep: NDArray[np.bool_], scores: Floats) -> tuple[Labels, Floats]:
    """Return labels (H, W) of the entities to ``keep`` (K,), 1 … N row by row, and scores (N,)."""
    first = np.full(len(keep) + 1, labels.size)
    flat = labels.ravel()
    first[flat[::-1]] = np.arange(labels.size)[::-1]
    order = np.argsort(first[1:], kind="stable")
    order = order[keep[order]]
    new = np.zeros(len(keep) + 1, np.int32)
    new[order + 1] = np.arange(1, len(order) + 1)
    return new[labels], scores[order].astype(np.float32)
