"""Whole objects: small patches of one rough kind take one label, remembered as they move.

Between two clusters of a kind, say bright nuclei and brighter ones, a token decides by its noise.
So tokens of one patch vote together, and the votes of the patches that it lay on in the frames
before and after count as well; clusters that lie side by side in most patches are parts of one
object, and vote as one.  Only labels within the patch's kind are voted on: outlines stay where they
are, and what moves keeps its label because its patch overlaps with itself.

A cluster that lies around others of its kind, the halo of a nucleus, is a *rim*: no variant of the
object, but its outskirts.  Rims have no vote.  They keep their label, except in objects so small
that the rim outweighs what it surrounds; these would change their label as they shrink and grow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from skimage.measure import label

from ..results.spill import SpillStore

SMALL = 0.01
"""Patches with less than this share of a frame are objects; larger ones are ground."""

MEMORY = 0.9
"""Weight of the frames before (and after) against that of the frame itself."""

RIM = 0.25
"""Where the clusters of a kind differ by more than this in the share of their tokens that lie at
the border of patches, those in the upper half of the range are rims."""

CORE = 0.5
"""A kind of which less than this share lies inside is mostly rim, and its rims never change."""

INSIDE = 0.5
"""An object of which less than this share lies inside takes its rim along."""

PARTS = 0.5
"""Share of common patches above which clusters are parts of one object."""

IN_MEMORY = 1 << 23
"""Bytes of votes, and of mixed ones, that are held in memory; more go to disk."""

Ints = NDArray[np.intp]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Patches:
    """The N patches of one frame."""

    places: Ints
    """Patch of each token, 0 … N - 1, (h, w)."""
    kinds: Ints
    sizes: Ints

    @property
    def small(self) -> Flags:
        """Which patches are objects, (N,)."""
        few: Flags = self.sizes < SMALL * self.places.size
        return few


def find_patches(kinds: Ints) -> Patches:
    """Find the connected patches of one kind in a frame (h, w)."""
    places = label(kinds, background=-1, connectivity=1).astype(np.intp) - 1
    first = np.unique(places, return_index=True)[1]
    return Patches(places, kinds.ravel()[first], np.bincount(places.ravel()))


@dataclass(frozen=True)
class Decisions:
    """Decisions on the objects of a movie, frame by frame."""

    labels: list[NDArray[np.int16]]
    """Label of each patch, (N,); -1 if its tokens keep theirs."""
    whole: list[Flags]
    """Whether the patch's rims take that label too, (N,)."""
    rims: Flags
    """Which labels are rims, (n_labels,)."""

    def concerned(self, number: int, patches: Patches, labels: Ints) -> Flags:
        """Which tokens (h, w) of a frame take the decided label."""
        places = patches.places
        decided = self.labels[number][places] >= 0
        concerned: Flags = decided & (~self.rims[labels] | self.whole[number][places])
        return concerned

    def apply(self, number: int, patches: Patches, labels: Ints) -> Ints:
        """Return a frame's labels (h, w), those of objects replaced by the decided ones."""
        chosen = self.labels[number][patches.places]
        return np.where(self.concerned(number, patches, labels), chosen, labels)


class ObjectMemory:
    """Votes of a movie's patches, frame by frame, on disk if there are many."""

    def __init__(self, kinds: Ints) -> None:
        self._kinds = kinds  # rough kind of each label
        self._frames = SpillStore(IN_MEMORY)
        self._last: Patches | None = None
        self._inside, self._border = np.zeros(len(kinds)), np.zeros(len(kinds))
        self._shared = np.zeros((len(kinds), len(kinds)))

    def add(self, patches: Patches, labels: Ints) -> None:
        """Add the next frame's patches and its labels (h, w), 0 … n_labels - 1."""
        count, n = len(patches.sizes), len(self._kinds)
        votes = np.bincount((patches.places * n + labels).ravel(), minlength=count * n)
        shares = votes.reshape(count, n) / patches.sizes[:, None]
        frame = {"votes": shares.astype(np.float32), "small": patches.small}
        inside = votes.reshape(count, n)[patches.small]
        self._shared += np.minimum(inside[:, :, None], inside[:, None]).sum(0)
        in_object = patches.small[patches.places]
        at_border = in_object & _at_border(patches.places)
        self._inside += np.bincount(labels[in_object], minlength=n)
        self._border += np.bincount(labels[at_border], minlength=n)
        if self._last is not None:
            link = _overlaps(patches, self._last)
            frame |= {"data": link.data, "indices": link.indices, "indptr": link.indptr}
            frame["width"] = np.array(link.shape[1])
        self._frames.put(len(self._frames), frame)
        self._last = patches

    def decide(self) -> Decisions:
        """Decide for each patch of each frame; ground keeps its labels."""
        rims, joined = self._rims()
        parts = self._parts(rims)
        count, backward = len(self._frames), SpillStore(IN_MEMORY)
        mixed = link = None
        for number in reversed(range(count)):
            frame = self._frames.get(number)
            mixed = self._mix((frame["votes"] * ~rims) @ parts, link, mixed)
            backward.put(number, {"votes": mixed})
            link = _link_of(frame)
            link = None if link is None else link.T.tocsr()
        decided, whole, mixed = [], [], None
        for number in range(count):
            frame = self._frames.get(number)
            mixed = self._mix((frame["votes"] * ~rims) @ parts, _link_of(frame), mixed)
            total = mixed + backward.get(number)["votes"]
            label_of = np.where(frame["small"] & total.any(1), total.argmax(1), -1)
            decided.append(label_of.astype(np.int16))
            whole.append((frame["votes"] * (rims & joined)).sum(1) > 1 - INSIDE)
        return Decisions(decided, whole, rims)

    def _parts(self, rims: Flags) -> NDArray[np.float32]:
        """For which label each label votes, a matrix (n_labels, n_labels) of 0 and 1.

        Halves of a nucleus vote for the half that is larger in the whole movie.
        """
        size = self._inside * ~rims
        smaller = np.maximum(np.minimum(size[:, None], size), 1)
        alike = (self._shared > PARTS * smaller) & (self._kinds[:, None] == self._kinds)
        alike &= ~rims[:, None] & ~rims
        group = sparse.csgraph.connected_components(alike)[1]
        parts = np.zeros((len(size), len(size)), np.float32)
        for part, one in enumerate(group):
            members = np.flatnonzero(group == one)
            parts[part, members[size[members].argmax()]] = 1
        return parts

    def _rims(self) -> tuple[Flags, Flags]:
        """Which labels are rims, and which belong to a kind that is mostly not rim."""
        share = self._border / np.maximum(self._inside, 1)
        rims, joined = np.zeros((2, len(share)), bool)
        for kind in np.unique(self._kinds[self._inside > 0]):
            of_kind = (self._kinds == kind) & (self._inside > 0)
            low, high = share[of_kind].min(), share[of_kind].max()
            rim = of_kind & (share > (low + high) / 2) & (high - low > RIM)
            rims |= rim
            if self._inside[of_kind & ~rim].sum() >= CORE * self._inside[of_kind].sum():
                joined |= of_kind
        return rims, joined

    def _mix(
        self, own: NDArray[np.float32], link: Any, before: NDArray[np.float32] | None
    ) -> NDArray[np.float32]:
        """Mix a frame's votes with those remembered of the frame before it."""
        now = own.copy()
        if link is not None:
            total = np.asarray(link.sum(1)).ravel()
            linked = total > 0
            remembered = (link @ before)[linked] / total[linked, None]
            now[linked] = (1 - MEMORY) * own[linked] + MEMORY * remembered
        return now


def _link_of(frame: dict[str, NDArray[Any]]) -> Any:
    """Return the overlaps of a frame with the one before it, None for the first."""
    if "indptr" not in frame:
        return None
    shape = (len(frame["votes"]), int(frame["width"]))
    return sparse.csr_array((frame["data"], frame["indices"], frame["indptr"]), shape)


def _overlaps(now: Patches, before: Patches) -> Any:
    """Tokens that objects of one kind share between two frames, a sparse (N, M) matrix."""
    pairs, tokens = np.unique(
        now.places.ravel() * len(before.sizes) + before.places.ravel(), return_counts=True
    )
    row, column = np.divmod(pairs, len(before.sizes))
    keep = now.small[row] & before.small[column] & (now.kinds[row] == before.kinds[column])
    shape = (len(now.sizes), len(before.sizes))
    return sparse.csr_array((tokens[keep].astype(np.float32), (row[keep], column[keep])), shape)


def _at_border(places: Ints) -> Flags:
    """Which tokens (h, w) have another patch next to them, above or below."""
    border: Flags = np.zeros(places.shape, bool)
    across, down = places[:, 1:] != places[:, :-1], places[1:] != places[:-1]
    border[:, 1:] |= across
    border[:, :-1] |= across
    border[1:] |= down
    border[:-1] |= down
    return border
