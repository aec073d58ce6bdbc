"""Levels of the hierarchy: the same leaves under fewer or more labels, without encoding again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.errors import OptionError
from .merge_tree import cut

if TYPE_CHECKING:
    from numpy.typing import NDArray

LAZY = 1 << 28
"""Labels of more bytes than this are looked up lazily, frame by frame."""


def lut(
    merges: NDArray[np.int32], areas: NDArray[np.float64], background: str, n: int
) -> NDArray[np.int32]:
    """Return the label of each leaf, (n_leaves,), at a level of ``n`` clusters.

    ``background`` tells what is label 0: the cluster of the first leaf ("objects"), the largest
    one ("largest"), or none; the others are numbered by their area.
    """
    leaves = len(areas)
    if not 2 <= n <= leaves:
        raise OptionError(f"There is no level of {n} clusters; choose one from 2 to {leaves}.")
    owner = cut(merges, n)
    totals = np.bincount(owner, areas, minlength=n)
    if background == "objects":
        totals[owner[0]] = np.inf
    rank = np.empty(n, np.int32)
    rank[np.argsort(-totals, kind="stable")] = np.arange(n, dtype=np.int32)
    labels: NDArray[np.int32] = rank[owner] + np.int32(background not in ("largest", "objects"))
    return labels


def relabel(leaves: Any, table: NDArray[np.int32]) -> Any:
    """Look up labels of leaves by :func:`lut`: lazily, in dask, if they are large or on disk."""
    if isinstance(leaves, np.ndarray) and leaves.size * 4 <= LAZY:
        return table[leaves]
    import dask.array as da

    chunks = getattr(leaves, "chunks", None) or (1,) * (leaves.ndim - 2) + tuple(leaves.shape[-2:])
    blocks = da.from_array(leaves, chunks=chunks, name=False)  # a name would read them all
    return blocks.map_blocks(lambda block: table[block], dtype=np.int32)
