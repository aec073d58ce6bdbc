"""One-to-one matching of the least cost, on sparse candidates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import min_weight_full_bipartite_matching

if TYPE_CHECKING:
    from numpy.typing import NDArray

UNLINKED = 1.0
"""Cost of an object that keeps no link; a dearer link is never made."""


def match_pairs(
    first: NDArray[np.int64], second: NDArray[np.int64], cost: NDArray[np.float64], rows: int
) -> NDArray[np.int64]:
    """Choose pairs so that no object is in two and the sum of costs is least.

    Parameters
    ----------
    first, second : ndarray of int, shape (K,)
        The candidates, no pair twice.
    cost : ndarray of float, shape (K,)
        Not negative; an object of ``first`` without a pair costs :data:`UNLINKED`.
    rows : int
        Number of objects that ``first`` counts.

    Returns
    -------
    ndarray of int, shape (M,)
        Places of the chosen pairs, ascending.
    """
    good = np.flatnonzero(cost < UNLINKED)
    if not len(good):
        return good
    columns = int(second[good].max()) + 1
    # Every object of `first` may also take a column of its own, which means no link. A constant
    # is added to all costs because the solver takes a cost of 0 for a pair that is not there.
    row = np.concatenate([first[good], np.arange(rows)])
    column = np.concatenate([second[good], columns + np.arange(rows)])
    places = (row.astype(np.int32), column.astype(np.int32))  # all that older solvers take
    weight = 1.0 + np.concatenate([cost[good], np.full(rows, UNLINKED)])
    graph = csr_array((weight, places), shape=(rows, columns + rows))
    chosen = np.full(rows, -1)
    taken, partner = min_weight_full_bipartite_matching(graph)
    chosen[taken] = partner
    return np.asarray(good[chosen[first[good]] == second[good]])
