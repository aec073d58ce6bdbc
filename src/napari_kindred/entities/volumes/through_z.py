"""Labels of slices become objects of a stack: overlap with assignment, gaps healed, waists cut.

1. Sections of two neighbouring slices may be of one object if the smaller one lies in the other, to
   a share of ``SHARE``; of all such pairs those are taken that overlap most, each section once to
   either side.
2. Where an object has a waist, narrower than ``WAIST`` of its widest section on either side, two
   objects lie on top of each other, and are cut there.
3. An object ends where its brightness falls below ``DIM`` of its brightest section's: above and
   below a bright object its light is still seen.
4. An end that has none to go on with is compared with those two slices further: a gap of one slice
   is healed, and the object drawn in between.
5. A section on its own is attached to an object that has half of its pixels in a neighbouring
   slice and none of its own in this one; otherwise it is left out, unless the usual object has
   fewer than ``SPAN`` slices.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from scipy.optimize import linear_sum_assignment

from ...results.metrics import contingency

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHARE = 0.85
"""Share of the smaller of two sections that lies in the other one if they are of one object."""

HALF = 0.5
"""Share of a section on its own that lies in an object if it belongs to it."""

WAIST = 0.9
"""Area of a waist over the smaller of the widest sections on its two sides."""

SMOOTH = 0.07
"""Standard deviation, in diameters, with which areas are smoothed before waists are looked for."""

DIM = 0.5
"""Brightness of an object's end over that of its brightest section."""

SPAN = 3
"""Number of slices of the usual object from which a section on its own is left out."""


@dataclass
class _Sections:
    """Sections of all slices, numbered from 1 through the stack; entry 0 stands for background."""

    slices: list[int] = field(default_factory=lambda: [-1])
    area: list[float] = field(default_factory=lambda: [0.0])
    brightness: list[float] = field(default_factory=lambda: [0.0])
    scores: list[float] = field(default_factory=lambda: [0.0])


@dataclass(frozen=True, slots=True)
class Filling:
    """A slice in which an object is drawn between two of its sections, given by their ids."""

    slice: int
    below: int
    above: int


@dataclass(frozen=True, slots=True)
class StackObjects:
    """Objects of a stack.

    Attributes
    ----------
    ids : ndarray of int32, (sections + 1,)
        Object of each section, 1 … N in the order of their first slices; 0 for those left out.
    scores : ndarray of float32, (N,)
        Mean of the sections' scores, weighted by area.
    fillings : list of Filling
    """

    ids: NDArray[np.int32]
    scores: NDArray[np.float32]
    fillings: list[Filling]


class ZStitcher:
    """Takes the slices of a stack in their order.

    Parameters
    ----------
    anisotropy : float
        Step along z over the step in the plane.
    """

    def __init__(self, anisotropy: float = 1.0) -> None:
        self._anisotropy, self._depth = anisotropy, 0
        self._sections = _Sections()
        self._before: list[NDArray[np.int32]] = []
        self._pairs: dict[int, list[NDArray[np.float64]]] = {1: [], 2: []}

    def add(
        self,
        labels: NDArray[np.int32],
        scores: NDArray[np.float32],
        grey: NDArray[np.float32] | None = None,
    ) -> NDArray[np.int32]:
        """Add the next slice, its sections numbered 1 … n.

        ``grey`` (Y, X) is its brightness above the background, compared between slices; without it
        no object is ended for being dim.  Returns the slice with ids of the stack's sections.
        """
        known = self._sections
        offset, count = len(known.area) - 1, len(scores)
        area = np.bincount(labels.ravel(), minlength=count + 1)[1:]
        light = np.ones(count)
        if grey is not None:
            sums = np.bincount(labels.ravel(), grey.ravel(), minlength=count + 1)[1:]
            light = sums / np.maximum(area, 1)
        known.slices += [self._depth] * count
        known.area += area.tolist()
        known.brightness += light.tolist()
        known.scores += scores.tolist()
        moved = np.where(labels > 0, labels + np.int32(offset), 0).astype(np.int32)
        for far, before in enumerate(reversed(self._before), start=1):
            self._pairs[far].append(_overlapping(before, moved))
        self._before = [*self._before[-1:], moved]
        self._depth += 1
        return moved

    def finish(self) -> StackObjects:
        """Return the objects of all slices."""
        area = np.array(self._sections.area)
        chains = _chains(self._links(1, np.ones(len(area), bool), np.ones(len(area), bool)), area)
        chains = [part for chain in chains for part in self._cut(chain, area)]
        whole, chains = chains, [self._without_dim_ends(chain) for chain in chains]
        dim = {section for chain in whole for section in chain} - {s for c in chains for s in c}
        chains, fillings = self._healed(chains)
        return self._objects(chains, fillings, dim)

    def _links(
        self, far: int, ending: NDArray[np.bool_], beginning: NDArray[np.bool_]
    ) -> NDArray[np.int64]:
        """Return pairs of sections ``far`` slices apart that are of one object, each once."""
        pairs = np.concatenate([*self._pairs[far], np.zeros((0, 4))])
        first, second = pairs[:, 0].astype(np.int64), pairs[:, 1].astype(np.int64)
        keep = (pairs[:, 3] >= SHARE) & ending[first] & beginning[second]
        return _assigned(first[keep], second[keep], pairs[keep, 2])

    def _cut(self, chain: list[int], area: NDArray[np.float64]) -> list[list[int]]:
        """Cut a chain of sections at its waists."""
        sizes = area[chain]
        diameter = np.sqrt(4 / np.pi * np.median(sizes)) / self._anisotropy
        smooth = SMOOTH * diameter
        if smooth > 0.3:  # less changes nothing
            sizes = ndimage.gaussian_filter1d(sizes, smooth, mode="nearest")
        return _cut_at_waists(chain, sizes)

    def _without_dim_ends(self, chain: list[int]) -> list[int]:
        """Return a chain of sections without those at its ends that only shine from the others."""
        light = np.array(self._sections.brightness)[chain]
        bright = np.flatnonzero(light >= DIM * light.max())
        return chain[int(bright[0]) : int(bright[-1]) + 1]

    def _healed(self, chains: list[list[int]]) -> tuple[list[list[int]], list[Filling]]:
        """Join chains between which one slice is missing."""
        count = len(self._sections.area)
        ending, beginning = np.zeros(count, bool), np.zeros(count, bool)
        ending[[chain[-1] for chain in chains]] = True
        beginning[[chain[0] for chain in chains]] = True
        links = self._links(2, ending, beginning)
        following = {int(a): int(b) for a, b in links}
        of_first = {chain[0]: chain for chain in chains}
        joined, fillings = [], []
        later = set(following.values())
        for chain in chains:
            if chain[0] in later:
                continue
            whole = list(chain)
            while whole[-1] in following:
                above = following[whole[-1]]
                fillings.append(Filling(self._sections.slices[above] - 1, whole[-1], above))
                whole += of_first[above]
            joined.append(whole)
        return joined, fillings

    def _objects(
        self, chains: list[list[int]], fillings: list[Filling], dim: set[int]
    ) -> StackObjects:
        """Return the objects, single sections being attached or left out."""
        known = self._sections
        owner = np.zeros(len(known.area), np.int64)
        spans = [len(chain) for chain in chains if len(chain) > 1]
        thin = not spans or np.median([len(chain) for chain in chains]) < SPAN
        long = [chain for chain in chains if len(chain) > 1 or thin]
        for number, chain in enumerate(long, start=1):
            owner[chain] = number
        present = {(int(owner[s]), known.slices[s]) for chain in long for s in chain}
        for section in np.flatnonzero(owner == 0)[1:]:
            host = 0 if int(section) in dim else self._host(int(section), owner)
            if host and (host, known.slices[section]) not in present:
                owner[section] = host
                present.add((host, known.slices[section]))
        order: dict[int, int] = {}
        for section in np.flatnonzero(owner):
            order.setdefault(int(owner[section]), len(order) + 1)
        ids = np.array([order.get(int(number), 0) for number in owner], np.int32)
        area = np.array(known.area)
        total = np.bincount(ids, area, minlength=len(order) + 1)[1:]
        sums = np.bincount(ids, area * np.array(known.scores), minlength=len(order) + 1)[1:]
        scores = (sums / np.maximum(total, 1)).astype(np.float32)
        return StackObjects(ids, scores, fillings)

    def _host(self, section: int, owner: NDArray[np.int64]) -> int:
        """Return the object over or under which half of a section lies, 0 for none."""
        best, host = HALF, 0
        for pairs in self._pairs[1]:
            for mine, other in ((0, 1), (1, 0)):
                for row in pairs[pairs[:, mine] == section]:
                    theirs = int(row[other])
                    union = self._sections.area[section] + self._sections.area[theirs]
                    shared = row[2] * union / (1 + row[2])
                    if owner[theirs] and shared >= best * self._sections.area[section]:
                        best, host = shared / self._sections.area[section], int(owner[theirs])
        return host


def _overlapping(below: NDArray[np.int32], above: NDArray[np.int32]) -> NDArray[np.float64]:
    """Return pairs of sections that overlap: ids, IoU and share of the smaller one, (N, 4)."""
    a, b, shared = contingency(below, above)
    area_a, area_b = (
        np.bincount(part.ravel(), minlength=int(ids.max(initial=0)) + 1)[ids]
        for part, ids in ((below, a), (above, b))
    )
    keep = (a > 0) & (b > 0)
    iou = shared / (area_a + area_b - shared)
    return np.stack([a, b, iou, shared / np.minimum(area_a, area_b)], 1)[keep].astype(np.float64)


def _assigned(
    first: NDArray[np.int64], second: NDArray[np.int64], gain: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Return the pairs (N, 2) whose gains add up to most, each id at most once on its side."""
    rows, row = np.unique(first, return_inverse=True)
    columns, column = np.unique(second, return_inverse=True)
    rival = (np.bincount(row)[row] > 1) | (np.bincount(column)[column] > 1) if len(row) else row > 0
    chosen = list(np.flatnonzero(~rival))
    contested = np.flatnonzero(rival)
    if len(contested):
        r, row_of = np.unique(row[contested], return_inverse=True)
        c, column_of = np.unique(column[contested], return_inverse=True)
        matrix = np.zeros((len(r), len(c)))
        matrix[row_of, column_of] = gain[contested]
        taken = np.zeros(matrix.shape, bool)
        taken[linear_sum_assignment(matrix, maximize=True)] = True
        chosen += list(contested[taken[row_of, column_of]])
    chosen = sorted(chosen)
    return np.stack([rows[row[chosen]], columns[column[chosen]]], 1).astype(np.int64)


def _chains(links: NDArray[np.int64], area: NDArray[np.float64]) -> list[list[int]]:
    """Return the sections of each object, from the first slice on."""
    following = {int(a): int(b) for a, b in links}
    later = set(following.values())
    chains = []
    for section in range(1, len(area)):
        if section in later:
            continue
        chain = [section]
        while chain[-1] in following:
            chain.append(following[chain[-1]])
        chains.append(chain)
    return chains


def _cut_at_waists(chain: list[int], sizes: NDArray[np.float64]) -> list[list[int]]:
    """Cut a chain where it is narrower than on both sides; the waist goes to the wider side."""
    if len(chain) < 3:
        return [chain]
    left = np.maximum.accumulate(sizes)[:-2]
    right = np.maximum.accumulate(sizes[::-1])[::-1][2:]
    waist = sizes[1:-1] / np.minimum(left, right)
    place = int(np.argmin(waist)) + 1
    if waist[place - 1] >= WAIST:
        return [chain]
    place += bool(sizes[place - 1] > sizes[place + 1])
    return [
        *_cut_at_waists(chain[:place], sizes[:place]),
        *_cut_at_waists(chain[place:], sizes[place:]),
    ]


def drawn_between(below: NDArray[np.bool_], above: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the shape halfway between two, by the mean of their signed distances."""
    distance = sum(
        ndimage.distance_transform_edt(part) - ndimage.distance_transform_edt(~part)
        for part in (below, above)
    )
    return np.asarray(distance > 0)
