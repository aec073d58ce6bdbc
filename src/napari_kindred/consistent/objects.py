"""Whole objects: small patches of one rough kind take one label, remembered as they move.

Between two clusters of a kind, say bright nuclei and brighter ones, a token decides by its noise.
So tokens of one patch vote together, and the votes of the patches that it lay on in the frames
before and after count as well.  Only labels within the patch's kind are voted on: outlines stay
where they are, and what moves keeps its label because its patch overlaps with itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from skimage.measure import label

SMALL = 0.01
"""Patches with less than this share of a frame are objects; larger ones are ground."""

MEMORY = 0.9
"""How much the frames before (and after) count against the frame itself."""

Ints = NDArray[np.intp]


@dataclass(frozen=True)
class Patches:
    """The patches of one frame.

    Attributes
    ----------
    places : ndarray of int, (h, w)
        Patch of each token, 0 … N - 1.
    kinds : ndarray of int, (N,)
    sizes : ndarray of int, (N,)
    """

    places: Ints
    kinds: Ints
    sizes: Ints

    @property
    def small(self) -> NDArray[np.bool_]:
        """Which patches are objects, (N,)."""
        few: NDArray[np.bool_] = self.sizes < SMALL * self.places.size
        return few


def find_patches(kinds: Ints) -> Patches:
    """Find the connected patches of one kind in a frame (h, w)."""
    places = label(kinds, background=-1, connectivity=1).astype(np.intp) - 1
    first = np.unique(places, return_index=True)[1]
    return Patches(places, kinds.ravel()[first], np.bincount(places.ravel()))


class ObjectMemory:
    """Votes of a movie's patches, frame by frame; memory is that of the patches, not the tokens.

    Parameters
    ----------
    n_labels : int
    memory : float
        See :data:`MEMORY`.
    """

    def __init__(self, n_labels: int, memory: float = MEMORY) -> None:
        self._n_labels, self._memory = n_labels, memory
        self._votes: list[NDArray[np.float32]] = []
        self._small: list[NDArray[np.bool_]] = []
        self._links: list[Any] = []
        self._last: Patches | None = None

    def add(self, patches: Patches, labels: Ints) -> None:
        """Take in the next frame's patches and its labels (h, w), 0 … n_labels - 1."""
        count, n = len(patches.sizes), self._n_labels
        votes = np.bincount((patches.places * n + labels).ravel(), minlength=count * n)
        shares = votes.reshape(count, n) / patches.sizes[:, None]
        self._votes.append(shares.astype(np.float32))
        self._small.append(patches.small)
        if self._last is not None:
            self._links.append(_overlaps(patches, self._last))
        self._last = patches

    def decide(self) -> list[Ints]:
        """Return for each frame the label of each of its patches, -1 for those that are ground."""
        votes = self._votes
        onward = self._pass(votes, [None, *self._links])
        back = [None, *(link.T.tocsr() for link in reversed(self._links))]
        backward = self._pass(votes[::-1], back)[::-1]
        decided = []
        for one, other, small in zip(onward, backward, self._small, strict=True):
            decided.append(np.where(small, (one + other).argmax(1), -1))
        return decided

    def _pass(
        self, votes: list[NDArray[np.float32]], links: list[Any]
    ) -> list[NDArray[np.float32]]:
        """Mix each frame's votes with those remembered of the frame before it in the list."""
        mixed: list[NDArray[np.float32]] = []
        for own, link in zip(votes, links, strict=True):
            now = own.copy()
            if link is not None:
                total = np.asarray(link.sum(1)).ravel()
                known = total > 0
                before = (link @ mixed[-1])[known] / total[known, None]
                now[known] = (1 - self._memory) * own[known] + self._memory * before
            mixed.append(now)
        return mixed


def _overlaps(now: Patches, before: Patches) -> Any:
    """Tokens that objects of one kind share between two frames, a sparse (N, M) matrix."""
    pairs, tokens = np.unique(
        now.places.ravel() * len(before.sizes) + before.places.ravel(), return_counts=True
    )
    row, column = np.divmod(pairs, len(before.sizes))
    keep = now.small[row] & before.small[column] & (now.kinds[row] == before.kinds[column])
    shape = (len(now.sizes), len(before.sizes))
    return sparse.csr_array((tokens[keep].astype(np.float32), (row[keep], column[keep])), shape)


def apply(patches: Patches, labels: Ints, decided: Ints) -> Ints:
    """Return the labels (h, w) with those of objects replaced by what was decided."""
    chosen = decided[patches.places]
    return np.where(chosen >= 0, chosen, labels)
