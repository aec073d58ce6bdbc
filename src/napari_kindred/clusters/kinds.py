"""Kinds of objects: the tree above and below them, and how many there are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from sklearn.metrics import silhouette_score

from .kmeans import different, nearest, squared_distances
from .merge_tree import cut, grow_leaves, ward_merges

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from .foreground import FrameObjects
    from .kmeans import Floats

FEW = 3
"""Provisional number of kinds if their number is to be chosen."""

MOST = 8
"""Largest number of kinds that ``kinds="auto"`` chooses."""

SPECKS = 0.5
"""A kind is one of specks, and background, if its objects are this much less likely to be objects
than those of the likeliest kind."""

JUDGED = 2000
"""Objects on which a number of kinds is judged."""

SAMPLED = 1500
"""Tokens inside objects that are sampled of each frame."""

LARGEST_SAMPLE = 60_000
"""Tokens inside objects above which their sample is thinned to half."""


def thinned(samples: list[Floats]) -> list[Floats]:
    """Return samples of tokens, every other token of each if they are many."""
    while sum(map(len, samples)) > LARGEST_SAMPLE:
        samples = [one[::2] for one in samples]
    return samples


def tokens_inside(
    objects: FrameObjects,
    values: Floats,
    means: Floats,
    step: tuple[float, float],
    seed: tuple[int, int],
) -> Floats:
    """Sample tokens (h, w, n) inside objects, each next to the mean token (N, n) of its object."""
    grid = (values.shape[0], values.shape[1])
    share = objects.tokens(step, grid).tocoo()
    places, owners = share.coords[1], share.coords[0]
    chosen = np.arange(len(places))
    if len(places) > SAMPLED:
        random = np.random.default_rng(seed)
        chosen = np.sort(random.choice(len(places), SAMPLED, replace=False))
    tokens = values.reshape(-1, values.shape[-1])[places[chosen]]
    return np.concatenate([tokens, means[owners[chosen]]], 1)


def groups(centres: Floats, count: int) -> NDArray[np.intp]:
    """Return the group, 0 … count - 1, of each centre (K, n) when ``count`` are left."""
    merges, _ = ward_merges(centres, np.ones(len(centres)), np.zeros(len(centres), np.intp))
    return cut(merges, min(count, len(centres)))


def count_kinds(asked: int | Literal["auto"], prototypes: Floats, means: Floats) -> int:
    """Return the number of kinds among objects, whose mean tokens are (N, n).

    As many as asked if there are as many different objects; "auto" is where the tree of prototypes
    (M, n) has the largest silhouette.
    """
    if asked != "auto":
        return min(asked, len(prototypes), different(means, asked))
    judged = means[:: -(-len(means) // JUDGED)]
    owner = nearest(judged, prototypes)
    best, scores = 1, [0.0]
    for count in range(2, min(MOST, len(prototypes)) + 1):
        labels = groups(prototypes, count)[owner]
        if not 2 <= len(np.unique(labels)) < len(judged):
            continue
        score = float(silhouette_score(judged, labels))
        if score > max(scores):
            best = count
        scores.append(score)
    return best


def kinds_and_specks(
    cluster: Callable[[int], Floats],
    prototypes: Floats,
    scores: NDArray[np.float64],
    sizes: NDArray[np.int64],
    counts: range,
) -> tuple[Floats, int]:
    """Return kinds (K, n) of objects, those of specks first, and how many are of specks.

    ``cluster`` returns a number of kinds; ``prototypes`` (M, n) stand for ``sizes`` (M,) objects of
    mean probability ``scores`` (M,) of being one.  The first of ``counts`` is asked for, and specks
    do not count.
    """
    centres = cluster(counts[0])
    dust = _are_specks(centres, prototypes, scores, sizes)
    if dust.any() and len(counts) > 1:
        centres = cluster(min(counts[0] + int(dust.sum()), counts[-1]))
        dust = _are_specks(centres, prototypes, scores, sizes)
    return np.concatenate([centres[dust], centres[~dust]]), int(dust.sum())


def _are_specks(
    centres: Floats, prototypes: Floats, scores: NDArray[np.float64], sizes: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Which kinds are much less likely objects than the likeliest, (K,)."""
    owner, count = nearest(prototypes, centres), len(centres)
    objects = np.bincount(owner, sizes, minlength=count)
    mean = np.bincount(owner, sizes * scores, minlength=count) / np.maximum(objects, 1)
    specks: NDArray[np.bool_] = (objects > 0) & (mean < SPECKS * mean.max())
    return specks


@dataclass(frozen=True)
class KindTree:
    """The background, kinds of objects, and their parts; the background is first, merges last.

    Kinds of specks are parts of the background: leaves of it.
    """

    centres: Floats
    leaves: Floats
    parents: NDArray[np.intp]
    areas: NDArray[np.float64]
    merges: NDArray[np.int32]
    spread: float
    """Mean squared distance of tokens inside objects to the nearest kind."""


def grow(centres: Floats, inside: Floats, seed: int, specks: int = 0) -> KindTree:
    """Grow the tree of kinds (K, n) of objects, of which the first ``specks`` are background.

    ``inside`` (S, 2 n) are tokens within objects, each next to the mean token of its object.
    """
    size = centres.shape[1]
    owner = nearest(inside[:, size:], centres) - specks
    tokens, owner = inside[owner >= 0, :size], owner[owner >= 0]
    dust, centres = centres[:specks], centres[specks:]
    leaves, parents, areas = grow_leaves(tokens, centres, seed, owner=owner)
    merges, _ = ward_merges(leaves, np.ones(len(leaves)), parents)
    # The first of two merged leaves stands for both; specks merge last of what is within a kind.
    below, merges = len(leaves) - len(centres), merges + 1 + specks
    into_nothing = [[0, 1 + number] for number in range(specks)]
    ordered = [*merges[:below], *into_nothing, *merges[below:], [0, 1 + specks]]
    nothing = np.zeros((1, size), np.float32)
    return KindTree(
        np.concatenate([nothing, centres]),
        np.concatenate([nothing, dust, leaves]),
        np.concatenate([np.zeros(1 + specks, np.intp), parents + 1]),
        np.concatenate([np.ones(1 + specks), areas]),
        np.array(ordered, np.int32),
        float(squared_distances(tokens, centres).min(1).mean()),
    )
