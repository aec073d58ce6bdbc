"""Links between objects, decided frame by frame."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from .config import LinkConfig
from .cost import Weights, find_candidates, link_cost
from .divisions import MISSED, Divisions, DivisionWeights, find_divisions
from .drift import CLEAR, FEWEST, common_motion, estimate_drift, mean_place
from .ends import Ends
from .matching import UNLINKED, match_pairs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .cost import Candidates
    from .objects import FrameObjects


COVERED = 0.5
"""Share of the objects that ends cover after the middle of all moved as they did."""

FIRST = 200
"""Number of objects from which on the movie itself tells how many are missed."""


@dataclass
class Links:
    """Which object comes from which, over all frames so far.

    Attributes
    ----------
    counts : list of int
        Number of objects of each frame; objects are numbered through all frames, from 0.
    source : list of ndarray of int, shape (n,)
        For each frame, the number of the object that each object comes from, -1 for none. Two
        objects that come from the same are its daughters.
    """

    counts: list[int] = field(default_factory=list)
    source: list[NDArray[np.int64]] = field(default_factory=list)

    def add(self, source: NDArray[np.int64]) -> None:
        """Add a frame."""
        self.counts.append(len(source))
        self.source.append(source)


class Linker:
    """Links the frames of a movie, one after the other.

    Only the previous frame and the ends of tracks that are missing are held.

    Parameters
    ----------
    config : LinkConfig
    weights, division_weights
        Of the costs.

    Attributes
    ----------
    links : Links
        Of the frames that were added.
    """

    def __init__(
        self,
        config: LinkConfig | None = None,
        weights: Weights | None = None,
        division_weights: DivisionWeights | None = None,
    ) -> None:
        self.config = config or LinkConfig()
        self.weights = weights or Weights()
        self.division_weights = division_weights or DivisionWeights()
        self.links = Links()
        self._ends: Ends | None = None
        self._nodes = 0
        self._pace, self._first = 0.5, True
        self._lost = self._followed = 0

    def add(self, objects: FrameObjects) -> NDArray[np.int64]:
        """Link a frame to those before it; returns its part of :attr:`Links.source`."""
        source = np.full(len(objects), -1, np.int64)
        new = Ends.of(objects, self._nodes)
        kept = None
        if self._ends is not None and len(self._ends):
            ends = self._ends
            if len(objects):
                ends = self._drifted(ends, objects)
                still = ends.places
                ends = ends.moved(self.weights.inertia * ends.velocity)
                ends, partner, divided = self._decide(ends, objects)
                found = partner >= 0
                way = objects.centroid[partner[found]] - still[found]
                new.velocity[partner[found]] = way / ends.age[found, None]
                source[partner[found]] = ends.node[found]
                source[divided.first] = source[divided.second] = ends.node[divided.mother]
                found[divided.mother] = True
                ends = ends.where(~found)
            kept = ends.where(ends.age <= self.config.max_gap).older()
        self._ends = new if kept is None else kept.followed_by(new)
        self._nodes += len(objects)
        self.links.add(source)
        return source

    @staticmethod
    def _drifted(ends: Ends, objects: FrameObjects) -> Ends:
        """Return ends moved by the drift after which they cover most of the objects.

        Votes of single objects mislead where all cells of a colony divide at once, for half of
        each then moves the same way; the middle of all is where it was.
        """
        voted = ends.moved(estimate_drift(ends.places, ends.area, objects))
        way = mean_place(objects.centroid, objects.area) - mean_place(ends.places, ends.area)
        together = ends.moved(way)
        still, most, whole = (one.coverage(objects) for one in (ends, voted, together))
        if whole > max(CLEAR * still, most, COVERED * len(objects)):
            return together
        return voted if most >= still else ends

    def _decide(
        self, ends: Ends, objects: FrameObjects
    ) -> tuple[Ends, NDArray[np.int64], Divisions]:
        """Return ends where they are expected, the object of each, -1 for none, and divisions."""
        pairs, cost = self._candidates(ends, objects)
        partner, paid = _match(pairs, cost, len(ends))
        sure = np.flatnonzero((partner >= 0) & (paid < self.weights.sure))
        if len(sure) >= FEWEST:
            way = objects.centroid[partner[sure]] - ends.places[sure]
            moved = ends.moved(common_motion(ends.places, sure, way))
            if moved.coverage(objects) >= ends.coverage(objects):
                ends = moved
            self._follow_pace(ends, objects, partner)
            pairs, cost = self._candidates(ends, objects)
            partner, paid = _match(pairs, cost, len(ends))
        divided = Divisions.none()
        if self.config.divisions:
            missed = self._share_missed(ends, partner)
            divided = find_divisions(
                pairs, ends, objects, partner, paid, missed, self.division_weights
            )
        if len(divided.mother):
            taken = np.isin(pairs.first, divided.mother)
            taken |= np.isin(pairs.second, [divided.first, divided.second])
            partner, _ = _match(pairs, np.where(taken, UNLINKED, cost), len(ends))
        return ends, partner, divided

    def _follow_pace(self, ends: Ends, objects: FrameObjects, partner: NDArray[np.int64]) -> None:
        """Learn from links how far objects move from frame to frame."""
        found = partner >= 0
        way = objects.centroid[partner[found]] - ends.places[found]
        share = np.linalg.norm(way, axis=1) / ends.diameter[found] / np.sqrt(ends.age[found])
        pace = float(np.median(share))
        self._pace = pace if self._first else (self._pace + pace) / 2
        self._first = False

    def _share_missed(self, ends: Ends, partner: NDArray[np.int64]) -> float:
        """Return the share of objects, up to now, that were in one frame and not in the next."""
        latest = ends.age == 1
        self._lost += int((partner[latest] < 0).sum())
        self._followed += int(latest.sum())
        return (self._lost + MISSED * FIRST) / (self._followed + FIRST)

    def _candidates(
        self, ends: Ends, objects: FrameObjects
    ) -> tuple[Candidates, NDArray[np.float64]]:
        """Return all pairs that may be the same object, and their costs."""
        reach = self.weights.still + self.weights.moving * self._pace
        reach = min(self.config.max_distance, reach)
        wide = reach + self.division_weights.parting * self.config.divisions
        pairs = find_candidates(ends, objects, wide)
        return pairs, link_cost(pairs, ends, objects, reach, self.weights)


def _match(
    pairs: Candidates, cost: NDArray[np.float64], count: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the object of each of the ``count`` ends, -1 for none, and the cost of that link."""
    chosen = match_pairs(pairs.first, pairs.second, cost, count)
    partner, paid = np.full(count, -1, np.int64), np.full(count, UNLINKED)
    partner[pairs.first[chosen]] = pairs.second[chosen]
    paid[pairs.first[chosen]] = cost[chosen]
    return partner, paid
