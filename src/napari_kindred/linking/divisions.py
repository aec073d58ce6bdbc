"""Divisions: two objects that together are what one was before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .matching import UNLINKED

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .cost import Candidates
    from .ends import Ends
    from .objects import FrameObjects


@dataclass(frozen=True, slots=True)
class DivisionWeights:
    """Weights of a division's cost, chosen with ``benchmarks/linking_settings.py``."""

    smaller: float = 0.078
    """Of the logarithm of the mother's area as a multiple of her daughters', …"""
    larger: float = 0.32
    """… or theirs of hers."""
    symmetry: float = 0.4
    """Of the logarithm of the ratio of the daughters' areas."""
    middle: float = 0.6
    """Of the distance between the mother and the middle of the daughters, in her diameters."""
    overlap: float = 0.1
    """Of the mother's share that no daughter covers."""
    distance: float = 0.12
    """Of the distance between the daughters beyond one diameter of the mother."""
    gap: float = 0.12
    """Of each frame in which the mother was missing."""
    gain: float = 2.0
    """Gain of a division of no cost, where that of a link of no cost is 1, …"""
    change: float = 0.16
    """What is taken off for two daughters that already come from an object each."""
    parting: float = 0.5
    """How much farther than a link daughters may be from their mother, in diameters."""
    trust: float = 0.4
    """… and what is added for each e-fold by which fewer objects than usual are missed."""


MISSED = 0.03
"""Share of objects that are usually missed in a frame."""


@dataclass(frozen=True)
class Divisions:
    """Divisions of mothers, shape (K,): places of ends, and of the objects that are daughters."""

    mother: NDArray[np.int64]
    first: NDArray[np.int64]
    second: NDArray[np.int64]

    @classmethod
    def none(cls) -> Divisions:
        """Return no division."""
        return cls(*(np.zeros(0, np.int64) for _ in range(3)))


def find_divisions(
    pairs: Candidates,
    ends: Ends,
    objects: FrameObjects,
    partner: NDArray[np.int64],
    cost: NDArray[np.float64],
    missed: float,
    weights: DivisionWeights,
) -> Divisions:
    """Return the divisions that explain more than the links that they break.

    ``partner`` (m,) is the object each end was linked to, -1 for none, at ``cost`` (m,).  The
    smaller the share of objects that are ``missed``, the less likely is a new object one that was.
    """
    found = _hypotheses(pairs)
    mother, a, b = pairs.first[found[0]], pairs.second[found[0]], pairs.second[found[1]]
    shared = pairs.shared[found[0]] + pairs.shared[found[1]]
    gain = weights.gain * (1 - _cost(ends, mother, objects, (a, b), shared, weights))
    saved = UNLINKED - cost
    owner = np.full(len(objects), -1)
    linked = np.flatnonzero(partner >= 0)
    owner[partner[linked]] = linked
    taken = np.zeros(len(objects))
    taken[partner[linked]] = saved[linked]
    lost = np.where(partner[mother] >= 0, saved[mother], 0.0)
    for one in (a, b):
        lost += np.where((owner[one] >= 0) & (owner[one] != mother), taken[one], 0.0)
    net = gain - lost
    used, divided = np.zeros(len(objects), bool), np.zeros(len(ends), bool)
    chosen = []
    # A division explains an object that comes from nowhere; two that come from elsewhere need none.
    explains = (owner[a] < 0) | (owner[b] < 0)
    net += np.where(explains, weights.trust * np.log(MISSED / missed), -weights.change)
    good = np.flatnonzero((net > 0) & (gain > 0))
    for place in good[np.argsort(-net[good], kind="stable")].tolist():
        if divided[mother[place]] or used[a[place]] or used[b[place]]:
            continue
        divided[mother[place]] = used[a[place]] = used[b[place]] = True
        chosen.append(place)
    kept = np.array(chosen, np.int64)
    return Divisions(mother[kept], a[kept], b[kept])


def _hypotheses(pairs: Candidates) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return places of all two candidates of the same end."""
    one, two = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    step = 1
    while True:
        same = np.flatnonzero(pairs.first[:-step] == pairs.first[step:])
        if not len(same):
            return np.concatenate(one), np.concatenate(two)
        one.append(same)
        two.append(same + step)
        step += 1


def _cost(
    ends: Ends,
    mother: NDArray[np.int64],
    objects: FrameObjects,
    daughters: tuple[NDArray[np.int64], NDArray[np.int64]],
    shared: NDArray[np.float64],
    weights: DivisionWeights,
) -> NDArray[np.float64]:
    a, b = daughters
    area = ends.area[mother]
    # A mother condenses before she divides, so that her own diameter may be too small a measure.
    mean = (objects.diameter[a] + objects.diameter[b]) / 2
    size = np.maximum(ends.diameter[mother], mean)
    middle = (objects.centroid[a] + objects.centroid[b]) / 2 - ends.places[mother]
    apart = np.linalg.norm(objects.centroid[a] - objects.centroid[b], axis=1) / size
    ratio = np.log((objects.area[a] + objects.area[b]) / area)
    return np.asarray(
        np.where(ratio < 0, -weights.smaller * ratio, weights.larger * ratio)
        + weights.symmetry * np.abs(np.log(objects.area[a] / objects.area[b]))
        + weights.middle * np.linalg.norm(middle, axis=1) / size
        + weights.overlap * (1 - shared / area)
        + weights.distance * np.maximum(apart - 1, 0)
        + weights.gap * (ends.age[mother] - 1)
    )
