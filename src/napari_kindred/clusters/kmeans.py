"""Tokens made small: principal components, nearest centres, soft memberships."""

from __future__ import annotations

import functools
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from ..core.errors import InputError

Floats = NDArray[np.float32]

FITTED = 40_000
"""Largest number of tokens from which components or centres are found; all are assigned."""

AT_ONCE = 8192
"""Number of tokens added up in single precision, before the sum continues in double."""


@dataclass(frozen=True)
class Basis:
    """Principal components."""

    mean: Floats
    """(D,)."""
    components: Floats
    """(n, D)."""

    def reduce(self, tokens: Floats) -> Floats:
        """Project tokens (…, D) to (…, n)."""
        # Projecting the mean by itself avoids a copy of the tokens, and one product of two large
        # matrices is faster than many of small ones.
        flat = tokens.reshape(-1, tokens.shape[-1]) @ self.components.T
        return self.centred(flat).reshape(*tokens.shape[:-1], -1)

    def centred(self, projected: Floats) -> Floats:
        """Return :meth:`reduce` of tokens that an encoder projected already (…, n)."""
        return np.asarray(projected - self.mean @ self.components.T, np.float32)

    def expand(self, reduced: Floats) -> Floats:
        """Return the tokens (…, D) whose projections are (…, n)."""
        return np.asarray(reduced @ self.components + self.mean, np.float32)


def fit_basis(tokens: Floats, n_components: int) -> Basis:
    """Find the principal components of tokens (N, D), at most ``min(n_components, N - 1, D)``."""
    from sklearn.decomposition import PCA  # takes a second, which opening the window need not wait

    count = max(1, min(n_components, len(tokens) - 1, tokens.shape[1]))
    solver = "covariance_eigh" if len(tokens) > tokens.shape[1] else "full"
    with np.errstate(invalid="ignore", divide="ignore"):  # equal tokens have no variance to share
        fitted = PCA(count, svd_solver=solver).fit(tokens.astype(np.float64))
    # The order in memory changes the last bits of products: that of a basis read from disk.
    components = fitted.components_.astype(np.float32, order="C")
    return Basis(fitted.mean_.astype(np.float32), components)


def sample(tokens: Floats, count: int, random: np.random.Generator) -> Floats:
    """Return ``count`` of the tokens (N, D) in their order, or all if there are fewer."""
    if len(tokens) <= count:
        return tokens
    return tokens[np.sort(random.choice(len(tokens), count, replace=False))]


def different(tokens: Floats, most: int) -> int:
    """Count the different tokens among (N, n), up to ``most``."""
    count = 0
    for every in (max(1, len(tokens) // 1000), 1):  # nearly always a few of them are enough
        count = len(np.unique(tokens[::every], axis=0))
        if count >= most:
            return most
    return count


def fit_centres(
    tokens: Floats,
    count: int,
    seed: int,
    *,
    start: Floats | None = None,
    weights: NDArray[np.float64] | None = None,
    tries: int = 1,
) -> Floats:
    """Find centres (count, n) of tokens (N, n) by k-means, from ``start`` if given."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    distinct = different(tokens, count)
    if distinct < count:
        raise InputError(
            f"The movie has only {distinct} different tokens, too few for {count} clusters; ask "
            "for fewer clusters, or a finer stride."
        )
    means = KMeans(
        count,
        init="k-means++" if start is None else start,
        n_init=1 if start is not None else tries,
        random_state=seed,
    )
    # Threads add up in any order, which changes the last bits from run to run.
    with _threads().limit(limits=1, user_api="openmp"), warnings.catch_warnings():
        # Tokens that differ in their last bits only leave some centres without tokens.
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = means.fit(tokens, sample_weight=weights)
    centres: Floats = fitted.cluster_centers_.astype(np.float32)
    return centres


@functools.cache
def _threads() -> Any:
    """Return the controller of scikit-learn's threads; finding it outlasts small fits."""
    return ThreadpoolController()


def squared_distances(tokens: Floats, centres: Floats) -> Floats:
    """Squared Euclidean distances (…, K) of tokens (…, n) to centres (K, n)."""
    square = (tokens * tokens).sum(-1)[..., None] + (centres * centres).sum(-1)
    distances: Floats = np.maximum(square - 2 * (tokens @ centres.T), 0)
    return distances


def nearest(tokens: Floats, centres: Floats) -> NDArray[np.intp]:
    """Index (…) of the centre (K, n) nearest to each token (…, n)."""
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


def means(
    frames: list[Floats], labels: NDArray[np.intp], count: int
) -> tuple[Floats, NDArray[np.int64]]:
    """Mean token (count, D) and number of tokens of each label (N,); zeros without tokens."""
    sizes = np.bincount(labels, minlength=count)
    total = np.zeros((count, frames[0].shape[1]))
    place = 0
    for tokens in frames:  # products of matrices, summed in double precision
        for first in range(0, len(tokens), AT_ONCE):
            part = tokens[first : first + AT_ONCE]
            members = np.arange(count)[:, None] == labels[place : place + len(part)]
            total += members.astype(np.float32) @ part
            place += len(part)
    return (total / np.maximum(sizes, 1)[:, None]).astype(np.float32), sizes
