"""Tokens made small: principal components, nearest centres, soft memberships."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA

from ..errors import InputError

Floats = NDArray[np.float32]

FITTED = 40_000
"""At most so many tokens are looked at to find components or centres; all of them are assigned."""


@dataclass(frozen=True)
class Basis:
    """Principal components.

    Attributes
    ----------
    mean : ndarray of float32, shape (D,)
    components : ndarray of float32, shape (n, D)
    """

    mean: Floats
    components: Floats

    def reduce(self, tokens: Floats) -> Floats:
        """Project tokens (…, D) to (…, n)."""
        reduced = (tokens - self.mean) @ self.components.T
        return np.asarray(reduced, np.float32)


def fit_basis(tokens: Floats, n_components: int) -> Basis:
    """Find the principal components of tokens (N, D), at most ``min(n_components, N - 1, D)``."""
    count = max(1, min(n_components, len(tokens) - 1, tokens.shape[1]))
    solver = "covariance_eigh" if len(tokens) > tokens.shape[1] else "full"
    fitted = PCA(count, svd_solver=solver).fit(tokens.astype(np.float64))
    return Basis(fitted.mean_.astype(np.float32), fitted.components_.astype(np.float32))


def sample(tokens: Floats, count: int, random: np.random.Generator) -> Floats:
    """Return ``count`` of the tokens (N, D) in their order, or all of them when there are fewer."""
    if len(tokens) <= count:
        return tokens
    return tokens[np.sort(random.choice(len(tokens), count, replace=False))]


def fit_centres(
    tokens: Floats,
    count: int,
    seed: int,
    *,
    start: Floats | None = None,
    weights: NDArray[np.float64] | None = None,
    tries: int = 1,
) -> Floats:
    """Find centres by k-means.

    Parameters
    ----------
    tokens : ndarray, (N, n)
    count : int
        Number of centres.
    start : ndarray, (count, n), optional
        Where to begin; k-means++ when left out.
    weights : ndarray, (N,), optional
    tries : int
        How often k-means++ begins anew; the best result is kept.

    Raises
    ------
    InputError
        When there are fewer different tokens than centres.
    """
    different = len(np.unique(tokens, axis=0)) if len(tokens) < FITTED else len(tokens)
    if different < count:
        raise InputError(
            f"The movie has only {different} different tokens, too few for {count} clusters; ask "
            "for fewer clusters, or a finer stride."
        )
    fitted = KMeans(
        count,
        init="k-means++" if start is None else start,
        n_init=1 if start is not None else tries,
        random_state=seed,
    ).fit(tokens, sample_weight=weights)
    centres: Floats = fitted.cluster_centers_.astype(np.float32)
    return centres


def squared_distances(tokens: Floats, centres: Floats) -> Floats:
    """Squared Euclidean distances (…, K) of tokens (…, n) to centres (K, n)."""
    square = (tokens * tokens).sum(-1)[..., None] + (centres * centres).sum(-1)
    distances: Floats = np.maximum(square - 2 * (tokens @ centres.T), 0)
    return distances


def nearest(tokens: Floats, centres: Floats) -> NDArray[np.intp]:
    """Index (…) of the centre (K, n) next to each token (…, n)."""
    # The token's own square is the same for all centres.
    closest: NDArray[np.intp] = ((centres * centres).sum(-1) - 2 * (tokens @ centres.T)).argmin(-1)
    return closest


def memberships(tokens: Floats, centres: Floats, temperature: float) -> Floats:
    """Soft assignment (…, K): softmax of the negative squared distances over ``temperature``."""
    distances = squared_distances(tokens, centres)
    distances -= distances.min(-1, keepdims=True)
    soft = np.exp(-distances / max(temperature, 1e-12))
    normed: Floats = soft / soft.sum(-1, keepdims=True)
    return normed


def means(tokens: Floats, labels: NDArray[np.intp], count: int) -> tuple[Floats, NDArray[np.int64]]:
    """Mean token (count, D) and number of tokens (count,) of each label; zeros without tokens."""
    sizes = np.bincount(labels, minlength=count)
    order = np.argsort(labels, kind="stable")
    filled = np.flatnonzero(sizes)
    total = np.zeros((count, tokens.shape[1]))
    starts = np.cumsum(sizes)[filled] - sizes[filled]
    total[filled] = np.add.reduceat(tokens[order], starts, axis=0, dtype=np.float64)
    return (total / np.maximum(sizes, 1)[:, None]).astype(np.float32), sizes
