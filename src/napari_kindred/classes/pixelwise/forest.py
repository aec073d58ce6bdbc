"""A forest of decision trees as arrays: grown by scikit-learn, evaluated and stored without it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

TREES = 32
"""Trees of a forest."""

DEPTH = 10
"""Deepest node of a tree."""

BLOCK = 8192
"""Vectors that go through a tree together, so that they stay in the cache."""


@dataclass(frozen=True, eq=False)
class Forest:
    """Trees, one after the other, whose nodes are numbered within all of them.

    ``roots`` (T,) are the trees' first nodes.  Of M nodes, ``feature`` (M,) is the value that is
    compared, ``threshold`` (M,) the largest that goes to the node ``following`` (M,), larger ones
    to the one after it; a leaf leads to itself.  ``shares`` (M, C) are a leaf's probabilities.
    """

    roots: NDArray[np.int32]
    feature: NDArray[np.int32]
    threshold: NDArray[np.float32]
    following: NDArray[np.int32]
    shares: NDArray[np.float32]
    depth: int

    def probabilities(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the mean of the trees' probabilities (N, C) for vectors (N, D)."""
        found = np.zeros((len(vectors), self.shares.shape[1]), np.float32)
        following = self.following.astype(np.intp)
        for start in range(0, len(vectors), BLOCK):
            part = np.asarray(vectors[start : start + BLOCK], np.float32)
            # One value of all vectors after the other, so that few lines of the cache are read.
            count, values = len(part), np.ascontiguousarray(part.T).ravel()
            first, rows = self.feature.astype(np.intp) * count, np.arange(count)
            for root in self.roots.tolist():
                node: NDArray[np.intp] = np.full(count, root, np.intp)
                for _ in range(self.depth):
                    larger = values.take(first.take(node) + rows) > self.threshold.take(node)
                    node = following.take(node) + larger
                found[start : start + BLOCK] += self.shares.take(node, 0)
        return found / np.float32(len(self.roots))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all of it as arrays; see :meth:`from_arrays`."""
        names = ("roots", "feature", "threshold", "following", "shares")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], width: int, classes: int) -> Forest:
        """Build a forest for vectors of a length; ValueError if the arrays are none."""
        roots, feature, following = (
            arrays[name].astype(np.int32) for name in ("roots", "feature", "following")
        )
        threshold = arrays["threshold"].astype(np.float32)
        shares = arrays["shares"].astype(np.float32)
        count = len(feature)
        fits = (
            feature.shape == threshold.shape == following.shape == (count,)
            and shares.shape == (count, classes)
            and roots.ndim == 1
            and len(roots) > 0
            and bool(np.isin(roots, np.arange(count)).all())
        )
        if not fits or feature.min() < 0 or feature.max() >= width or np.isnan(threshold).any():
            raise ValueError("a forest's shapes")
        places = np.arange(count)
        leaf = following == places
        if not (leaf | ((following > places) & (following + 1 < count))).all():
            raise ValueError("a forest's nodes")
        # Larger than the largest is nothing, so that a leaf never leads on.
        threshold[leaf] = np.inf
        if not np.isfinite(shares).all():
            raise ValueError("a forest's probabilities")
        return cls(roots, feature, threshold, following, shares, _depth(roots, following))


def _depth(roots: NDArray[np.int32], following: NDArray[np.int32]) -> int:
    """Return the number of steps from the roots to the farthest leaf."""
    nodes, depth = roots, 0
    while True:
        inner = nodes[following[nodes] != nodes]
        if not len(inner):
            return depth
        nodes, depth = np.unique([following[inner], following[inner] + 1]), depth + 1


def grow(
    vectors: NDArray[np.float32],
    codes: NDArray[np.integer],
    weights: NDArray[np.float32],
    classes: int,
    seed: int,
) -> Forest:
    """Grow trees on vectors (N, D) of classes (N,): half of them random, half of them best splits.

    The former are better at colours, the latter at textures.
    """
    from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier

    trees = []
    for kind in (ExtraTreesClassifier, RandomForestClassifier):
        grown = kind(TREES // 2, max_depth=DEPTH, random_state=seed)
        trees += grown.fit(vectors, codes, weights).estimators_
    seen = grown.classes_.astype(int)
    parts: list[dict[str, NDArray[Any]]] = []
    roots, first = [], 0
    for tree in trees:
        parts.append(_tree(tree.tree_, first, seen, classes))
        roots.append(first)
        first += len(parts[-1]["feature"])
    arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    arrays["roots"] = np.array(roots, np.int32)
    return Forest.from_arrays(arrays, vectors.shape[1], classes)


def _tree(tree: Any, first: int, seen: NDArray[np.intp], classes: int) -> dict[str, NDArray[Any]]:
    """Return one of scikit-learn's trees, breadth first, so that siblings are neighbours."""
    order, following, place = [0], [], 0
    while place < len(order):
        node = order[place]
        left, right = int(tree.children_left[node]), int(tree.children_right[node])
        following.append(first + (place if left < 0 else len(order)))
        order += [] if left < 0 else [left, right]
        place += 1
    shares = np.zeros((len(order), classes), np.float32)
    values = tree.value[order, 0]
    shares[:, seen] = values / values.sum(1, keepdims=True)
    # Vectors are float32: the largest of them that is not above the threshold is the same bound.
    threshold = tree.threshold[order].astype(np.float32)
    above = threshold > tree.threshold[order]
    threshold[above] = np.nextafter(threshold[above], np.float32(-np.inf))
    return {
        "feature": np.maximum(tree.feature[order], 0).astype(np.int32),
        "threshold": threshold,
        "following": np.array(following, np.int32),
        "shares": shares,
    }
