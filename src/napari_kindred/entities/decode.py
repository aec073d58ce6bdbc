"""From dense positional maps to labels: mean-shift in the plane the pixels point into.

Positional lines are parallel where votes fall on one place, so mean-shift with the 45° flat
kernel on the projective sphere is mean-shift of votes with a radius that follows each entity's
own width (:mod:`napari_kindred.entities.lines`).  Its modes are found as peaks of the votes'
density on a grid, for all entities at once, and pixels are assigned with a k-d tree.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage.measure import label

from .lines import WIDTH_PER_DIAMETER

Floats = NDArray[np.float32]
Labels = NDArray[np.int32]

FLAT_KERNEL = float(np.sqrt(np.log(2)))
"""45 degrees between lines of equal width: ``exp(-d^2 / 2 w^2) >= sqrt(1/2)``, d in widths."""

REACH = 2.5
"""Votes further from every mode than so many widths join none."""


@dataclass(frozen=True)
class Maps:
    """Dense maps of one plane at its full size.

    Attributes
    ----------
    foreground : ndarray, (H, W) float32
        Squared cosine with the plane orthogonal to the background line, 0 … 1.
    votes : ndarray, (H, W, 2) float32
        Place (y, x) each pixel points to.
    width : ndarray, (H, W) float32
        Kernel width of each pixel's entity, pixels.
    """

    foreground: Floats
    votes: Floats
    width: Floats


@dataclass(frozen=True)
class Modes:
    """Modes of the votes: places (N, 2), kernel widths (N,), shares of an entity's votes (N,)."""

    places: NDArray[np.float64]
    widths: NDArray[np.float64]
    mass: NDArray[np.float64]


def find_modes(
    votes: Floats,
    widths: Floats,
    weights: Floats,
    shape: tuple[int, int],
    smallest_mass: float = 0.15,
) -> Modes:
    """Find the modes of votes whose kernel widths differ.

    Votes are counted on a grid per octave of width, smoothed with half the kernel width, and
    divided by the number of votes that an entity of that width has, so that one threshold serves
    small and large entities; the sum of all octaves' densities has its peaks at the modes.

    Parameters
    ----------
    votes : ndarray, (P, 2)
    widths, weights : ndarray, (P,)
    shape : tuple of int
        Size of the plane the votes fall into; those outside are counted at its edge.
    smallest_mass : float
        Peaks with less than this share of an entity's votes are no modes.
    """
    if not len(votes):
        return Modes(np.zeros((0, 2)), np.zeros(0), np.zeros(0))
    finest = max(float(np.percentile(widths, 2)), 1.0)
    cell = max(1, int(finest / 2))
    grid = (-(-shape[0] // cell), -(-shape[1] // cell))
    place = np.clip((votes / cell).astype(np.int64), 0, np.array(grid) - 1)
    index = place[:, 0] * grid[1] + place[:, 1]
    octave = np.rint(np.log2(widths)).astype(int)
    density = np.zeros(grid)
    strongest = np.zeros(grid)
    owner = np.zeros(grid, int)
    width_sum = np.zeros(grid)
    for o in np.unique(octave):
        inside = octave == o
        own = weights[inside]
        count = np.bincount(index[inside], own, minlength=grid[0] * grid[1]).reshape(grid)
        size = np.bincount(
            index[inside], own * np.log2(widths[inside]), minlength=grid[0] * grid[1]
        ).reshape(grid)
        width = 2.0**o
        sigma = width / 2 / cell
        area = np.pi / 4 * (width / WIDTH_PER_DIAMETER) ** 2
        gain = 2 * np.pi * sigma**2 / area
        part = ndimage.gaussian_filter(count, sigma, mode="constant") * gain
        width_sum += ndimage.gaussian_filter(size, sigma, mode="constant") * gain
        density += part
        owner = np.where(part > strongest, o, owner)
        strongest = np.maximum(strongest, part)
    found = []
    for o in np.unique(octave):
        radius = max(1, round(FLAT_KERNEL * 2.0**o / cell))
        y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
        disk = y * y + x * x <= radius * radius
        top = ndimage.maximum_filter(density, footprint=disk, mode="constant")
        found.append(np.argwhere((density == top) & (density >= smallest_mass) & (owner == o)))
    peaks = np.concatenate(found)
    mass = density[tuple(peaks.T)]
    width = 2.0 ** (width_sum[tuple(peaks.T)] / np.maximum(mass, 1e-9))
    return _thin(Modes((peaks + 0.5) * cell - 0.5, width, mass))


def _thin(modes: Modes) -> Modes:
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
    """Assign votes (P, 2) to modes: the most parallel line wins.

    Returns
    -------
    cluster : ndarray, (P,) int32
        1 … N, 0 for votes beyond ``REACH`` widths of every mode.
    similarity : ndarray, (P,) float32
        |cos| with the winner's line, 0 without one.
    """
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


def segment_maps(
    maps: Maps, threshold: float = 0.5, min_area: int = 0, fill: bool = True
) -> tuple[Labels, Floats]:
    """Segment one plane from its maps.

    Parameters
    ----------
    maps : Maps
    threshold : float
        Pixels with at least this foreground value belong to entities.
    min_area : int
        Smaller entities are left out.
    fill : bool
        Whether holes inside an entity become part of it.

    Returns
    -------
    labels : ndarray, (H, W) int32
        1 … N row by row, 0 background.
    scores : ndarray, (N,) float32
        Mean over the entity's pixels of foreground times similarity, 0 … 1.
    """
    shape = maps.foreground.shape
    mask = maps.foreground >= threshold
    votes, width = maps.votes[mask], maps.width[mask]
    modes = find_modes(votes, width, maps.foreground[mask], shape)
    cluster, similarity = assign(votes, modes)
    plane = np.zeros(shape, np.int32)
    plane[mask] = cluster
    pieces = split_pieces(plane, mask, modes, min_area)
    if fill:
        pieces = fill_holes(pieces)
    quality = np.zeros(shape, np.float32)
    quality[mask] = similarity * maps.foreground[mask]
    return finish(pieces, quality, min_area)


def split_pieces(clusters: Labels, mask: NDArray[np.bool_], modes: Modes, min_area: int) -> Labels:
    """Split clusters into connected pieces and give fragments to the neighbour they touch.

    A piece is an entity of its own when it has at least a quarter of its cluster's usual area;
    smaller fragments, and foreground without a mode, go to the nearest entity of the same patch
    of foreground.  A patch without any entity becomes one when nothing in it voted well.
    """
    pieces = label(clusters, background=0, connectivity=1).astype(np.int32)
    count = int(pieces.max())
    areas = np.bincount(pieces.ravel(), minlength=count + 1)
    owner = np.zeros(count + 1, np.int64)
    owner[pieces.ravel()] = clusters.ravel()
    usual = np.zeros(len(modes.widths) + 1)
    usual[1:] = np.pi / 4 * (modes.widths / WIDTH_PER_DIAMETER) ** 2
    largest = np.zeros(len(usual))
    np.maximum.at(largest, owner[1:], areas[1:])
    whole = areas >= np.maximum(0.25 * np.minimum(usual, largest)[owner], 1)
    whole[0] = False
    kept = np.where(whole[pieces], pieces, 0)
    loose = mask & (kept == 0)
    if not loose.any():
        return kept
    patches = label(mask, background=0, connectivity=1)
    nearest = ndimage.distance_transform_edt(kept == 0, return_distances=False, return_indices=True)
    candidate = kept[tuple(nearest)]
    same = patches[tuple(nearest)] == patches
    taken = np.where(loose & same, candidate, kept)
    orphan = label(mask & (taken == 0), background=0, connectivity=1)
    return np.where(orphan > 0, orphan + count, taken).astype(np.int32)


def fill_holes(labels: Labels) -> Labels:
    """Give each hole (4-connected background inside one entity only) to that entity."""
    holes = label(labels == 0, background=0, connectivity=1)
    count = int(holes.max())
    if count < 2:
        return labels
    highest = np.zeros(count + 1, np.int64)
    lowest = np.full(count + 1, np.iinfo(np.int64).max)
    for axis in (0, 1):
        for one, other in (
            (
                holes.take(range(holes.shape[axis] - 1), axis),
                labels.take(range(1, holes.shape[axis]), axis),
            ),
            (
                holes.take(range(1, holes.shape[axis]), axis),
                labels.take(range(holes.shape[axis] - 1), axis),
            ),
        ):
            touching = (one > 0) & (other > 0)
            np.maximum.at(highest, one[touching], other[touching])
            np.minimum.at(lowest, one[touching], other[touching])
    edge = np.unique(np.concatenate([holes[0], holes[-1], holes[:, 0], holes[:, -1]]))
    inside = highest == lowest
    inside[edge] = False
    inside[0] = False
    return np.where(inside[holes], highest[holes], labels).astype(np.int32)


def finish(labels: Labels, quality: Floats, min_area: int) -> tuple[Labels, Floats]:
    """Drop small entities, number the others 1 … N row by row, and score them."""
    areas = np.bincount(labels.ravel())
    keep = areas >= max(min_area, 1)
    keep[0] = False
    number = np.zeros(len(areas), np.int32)
    number[keep] = np.arange(1, int(keep.sum()) + 1)
    total = np.bincount(labels.ravel(), quality.ravel(), minlength=len(areas))
    scores = total[keep] / areas[keep]
    return number[labels], scores.astype(np.float32)
