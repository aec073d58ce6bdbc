"""The hierarchy of clusters: leaves below, merged by Ward's criterion, cut at any number."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .kmeans import fit_centres, nearest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .kmeans import Floats

LEAVES = 3
"""Largest number of leaves of a cluster."""

SPLITTABLE = 50
"""Tokens that a cluster must have in the sample for each of its leaves."""

FEWEST, MOST = 4, 24
"""``n_clusters="auto"`` chooses in this range."""

NOTHING = 1e-3
"""Merges that add less than this share of all variance are as good as free.

Prototypes of one object in several batches nearly coincide, in a still movie exactly; compared with
those, the first merge of two objects would be the largest gap, however alike they are.
"""


def ward_merges(
    centres: Floats, sizes: NDArray[np.float64], groups: NDArray[np.intp]
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Merge centres (L, n) two by two until one is left, first the pair that adds least variance.

    Centres of one of the ``groups`` (L,) are merged before others.  Returns ``merges`` (L - 1, 2)
    int32, ``costs`` (L - 1,).
    """
    places, weight = centres.astype(np.float64), np.maximum(sizes.astype(np.float64), 1e-9)
    alive = np.arange(len(places))
    group = groups.copy()
    merges, costs = [], []
    while len(alive) > 1:
        here, mass = places[alive], weight[alive]
        apart = np.square(here[:, None] - here[None]).sum(-1)
        cost = apart * (mass[:, None] * mass[None] / (mass[:, None] + mass[None]))
        np.fill_diagonal(cost, np.inf)
        same = group[alive][:, None] == group[alive][None]
        if (same.sum(1) > 1).any():
            cost = np.where(same, cost, np.inf)
        first, second = np.sort(np.unravel_index(int(cost.argmin()), cost.shape))
        costs.append(float(cost[first, second]))
        i, j = alive[first], alive[second]
        places[i] = (weight[i] * places[i] + weight[j] * places[j]) / (weight[i] + weight[j])
        weight[i] += weight[j]
        merges.append((i, j))
        alive = np.delete(alive, second)
    return np.array(merges, np.int32).reshape(-1, 2), np.array(costs)


def cut(merges: NDArray[np.int32], count: int) -> NDArray[np.intp]:
    """Return the cluster, 0 … count - 1, of each of the L leaves when ``count`` are left."""
    owner = np.arange(len(merges) + 1)
    for first, second in merges[: max(0, len(owner) - count)]:
        owner[owner == second] = first
    return np.unique(owner, return_inverse=True)[1]


def grow_leaves(
    tokens: Floats,
    centres: Floats,
    seed: int,
    weights: NDArray[np.int64] | None = None,
    owner: NDArray[np.intp] | None = None,
) -> tuple[Floats, NDArray[np.intp], NDArray[np.float64]]:
    """Split clusters (K, n) as far as their tokens allow: leaves (L, n), parents, sizes (L,).

    ``owner`` is the cluster of each token, the nearest one if left out.
    """
    owner = nearest(tokens, centres) if owner is None else owner
    weights = np.ones(len(tokens), np.int64) if weights is None else weights
    leaves, parents, sizes = [], [], []
    for cluster, centre in enumerate(centres):
        inside = tokens[owner == cluster]
        count = min(LEAVES, len(inside) // SPLITTABLE)
        if count > 1 and len(np.unique(inside, axis=0)) >= count:
            parts = fit_centres(inside, count, seed)
            place = nearest(inside, parts)
        else:
            parts, place = centre[None], np.zeros(len(inside), np.intp)
        number = np.bincount(place, weights[owner == cluster], minlength=len(parts))
        leaves.append(parts)
        parents += [cluster] * len(parts)
        sizes.append(np.maximum(number, 1))
    return np.concatenate(leaves), np.array(parents), np.concatenate(sizes)


def best_count(centres: Floats, sizes: NDArray[np.float64]) -> int:
    """Return the number of clusters at the largest gap in the hierarchy of prototypes."""
    _, costs = ward_merges(centres, sizes, np.zeros(len(centres), np.intp))
    counts = [k for k in range(FEWEST, MOST + 1) if 2 <= k < len(centres)]
    if not counts:
        return min(len(centres), FEWEST)
    # With k clusters left, costs[-(k - 1)] is the next merge and costs[-k] the one before.
    least = max(NOTHING * costs.sum(), 1e-12)
    gaps = [costs[len(costs) - k + 1] / max(costs[len(costs) - k], least) for k in counts]
    return counts[int(np.argmax(gaps))]
