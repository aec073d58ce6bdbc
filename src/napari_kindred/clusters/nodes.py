"""Nodes of the tree of clusters: what was picked in one frame, in every frame."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.errors import InputError
from .levels import relabel

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class ClusterNode:
    """A leaf of the tree of clusters, or what merged into one.

    Attributes
    ----------
    leaves : frozenset of int
        The leaves that it is made of.
    """

    leaves: frozenset[int]
    _movie: Any = field(repr=False, compare=False)  # leaf of every pixel
    _merges: NDArray[np.int32] = field(repr=False, compare=False)

    @property
    def mask(self) -> Any:
        """Where it is in every frame: bool, shape of the movie; a dask array if that is large."""
        table = np.zeros(len(self._merges) + 1, np.int32)
        table[sorted(self.leaves)] = 1
        return relabel(self._movie, table) > 0

    def wider(self) -> ClusterNode:
        """Return the node that it merges into; the root is its own."""
        larger = [node for node in all_nodes(self._merges) if node > self.leaves]
        return self._with(min(larger, key=len, default=self.leaves))

    def parts(self) -> tuple[ClusterNode, ...]:
        """Return the two nodes that it was merged from, largest number of leaves first."""
        nodes = [node for node in all_nodes(self._merges) if node < self.leaves]
        first = max(nodes, key=len, default=frozenset())
        return tuple(self._with(node) for node in (first, self.leaves - first) if first)

    def joined(self, other: ClusterNode) -> ClusterNode:
        """Return the smallest node that holds this one and another of the same tree."""
        both = self.leaves | other.leaves
        return self._with(min((n for n in all_nodes(self._merges) if n >= both), key=len))

    def _with(self, leaves: frozenset[int]) -> ClusterNode:
        return ClusterNode(leaves, self._movie, self._merges)


def all_nodes(merges: NDArray[np.int32]) -> list[frozenset[int]]:
    """Return the leaves of every node of a tree: the leaves, then each merge."""
    nodes = [frozenset([leaf]) for leaf in range(len(merges) + 1)]
    owner = dict(enumerate(nodes))
    for first, second in merges.tolist():
        owner[first] = owner[first] | owner.pop(second)
        nodes.append(owner[first])
    return nodes


def most_alike(
    merges: NDArray[np.int32], leaves: NDArray[np.integer[Any]], mask: NDArray[np.bool_]
) -> frozenset[int]:
    """Return the node whose pixels have the largest IoU with a mask in the same frames."""
    count = len(merges) + 1
    area = np.bincount(leaves.ravel(), minlength=count)
    inside = np.bincount(leaves[mask], minlength=count)

    def iou(node: frozenset[int]) -> float:
        own = sorted(node)
        shared = inside[own].sum()
        return float(shared / (area[own].sum() + inside.sum() - shared))

    return max((node for node in all_nodes(merges) if area[sorted(node)].any()), key=iou)


def frame_of(movie: Any, frame: int, y: int | None = None, x: int | None = None) -> Any:
    """Return a frame (Y, X) of a movie by its number, in which a pixel must lie if given."""
    steps = tuple(movie.shape[:-2])
    count = int(np.prod(steps))
    if not 0 <= frame < count:
        raise InputError(f"There is no frame {frame}; choose one from 0 to {count - 1}.")
    for name, place, length in zip("yx", (y, x), movie.shape[-2:], strict=True):
        if place is not None and not 0 <= place < length:
            raise InputError(f"{name}={place} lies outside of the frame; choose 0 to {length - 1}.")
    return np.asarray(movie[np.unravel_index(frame, steps)] if steps else movie)
