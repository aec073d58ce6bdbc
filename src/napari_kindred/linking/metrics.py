"""How well tracks agree with ground truth: links, divisions, and the scores of the CTC."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..results.metrics import contingency, match, overlaps

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

Node = tuple[int, int]
"""Frame and track id of an object."""


@dataclass
class TrackGraph:
    """Objects and their links.

    Attributes
    ----------
    nodes : list of (frame, id)
    links : dict of (node, node) to bool
        From an object to its next; true from a mother to a daughter.
    """

    nodes: list[Node] = field(default_factory=list)
    links: dict[tuple[Node, Node], bool] = field(default_factory=dict)

    def divisions(self) -> dict[Node, frozenset[Node]]:
        """Return mothers with their daughters, two or more."""
        daughters: dict[Node, set[Node]] = defaultdict(set)
        for (before, after), division in self.links.items():
            if division:
                daughters[before].add(after)
        return {mother: frozenset(found) for mother, found in daughters.items() if len(found) > 1}


def graph_of(frames: Iterable[Iterable[int]], parents: Mapping[int, int]) -> TrackGraph:
    """Return the graph of tracks.

    Parameters
    ----------
    frames : iterable of iterable of int
        The track ids that each frame holds.
    parents : mapping of int to int
        The track that a track divided from, 0 for none; may lack tracks without.
    """
    graph, last, begin = TrackGraph(), dict[int, Node](), dict[int, Node]()
    for frame, ids in enumerate(frames):
        for track in sorted(int(one) for one in ids):
            node = (frame, track)
            graph.nodes.append(node)
            if track in last:
                graph.links[last[track], node] = False
            else:
                begin[track] = node
            last[track] = node
    for track, parent in parents.items():
        if parent in last and track in begin and last[parent][0] < begin[track][0]:
            graph.links[last[parent], begin[track]] = True
    return graph


class TrackScores:
    """Counts of matches between true and found objects, frame by frame, and scores at the end."""

    def __init__(self) -> None:
        self._truth: list[NDArray[np.int64]] = []
        self._found: list[NDArray[np.int64]] = []
        self._same: dict[Node, Node] = {}
        """True to found objects that overlap with an IoU of at least one half."""
        self._covers: dict[Node, list[Node]] = defaultdict(list)
        """Found objects with the true ones of which they cover more than half."""
        self._jaccard: list[float] = []

    def add(self, truth: NDArray[Any], found: NDArray[Any]) -> None:
        """Add the labels of a frame, whose ids are those of tracks."""
        frame = len(self._truth)
        self._truth.append(_ids(truth))
        self._found.append(_ids(found))
        pairs = overlaps(truth, found)
        for place in match(pairs, 0.5):
            self._same[frame, int(pairs.first[place])] = frame, int(pairs.second[place])
        first, second, pixels = contingency(truth, found)
        area: dict[int, int] = defaultdict(int)
        other: dict[int, int] = defaultdict(int)
        for a, b, n in zip(first.tolist(), second.tolist(), pixels.tolist(), strict=True):
            area[a] += n
            other[b] += n
        covered = dict.fromkeys((a for a in area if a), 0.0)
        for a, b, n in zip(first.tolist(), second.tolist(), pixels.tolist(), strict=True):
            if a and b and 2 * n > area[a]:
                self._covers[frame, b].append((frame, a))
                covered[a] = n / (area[a] + other[b] - n)
        self._jaccard += covered.values()

    def scores(
        self, true_parents: Mapping[int, int], parents: Mapping[int, int]
    ) -> dict[str, float]:
        """Return the scores of links and divisions, and those of the CTC."""
        truth, found = graph_of(self._truth, true_parents), graph_of(self._found, parents)
        ctc = ctc_scores(truth, found, self._covers)
        seg = float(np.mean(self._jaccard)) if self._jaccard else 0.0
        return {
            **link_scores(truth, found, self._same),
            **division_scores(truth, found, self._same),
            **ctc,
            "SEG": seg,
        }


def _ids(labels: NDArray[Any]) -> NDArray[np.int64]:
    ids = np.unique(labels).astype(np.int64)
    return ids[ids > 0]


def link_scores(
    truth: TrackGraph, found: TrackGraph, same: Mapping[Node, Node]
) -> dict[str, float]:
    """Score links, those from mothers to daughters included.

    Returns
    -------
    dict
        ``link_recall`` of all true links; ``link_found_recall`` of those whose two objects were
        found; ``link_precision`` of found links between objects that are true; ``link_F1`` of
        recall and precision.
    """
    back = {b: a for a, b in same.items()}
    both = [link for link in truth.links if link[0] in same and link[1] in same]
    right = sum((same[a], same[b]) in found.links for a, b in both)
    judged = sum(a in back and b in back for a, b in found.links)
    recall, precision = right / max(len(truth.links), 1), right / max(judged, 1)
    return {
        "link_recall": recall,
        "link_found_recall": right / max(len(both), 1),
        "link_precision": precision,
        "link_F1": 2 * recall * precision / max(recall + precision, 1e-12),
        "links": float(len(truth.links)),
    }


def division_scores(
    truth: TrackGraph, found: TrackGraph, same: Mapping[Node, Node]
) -> dict[str, float]:
    """Score divisions: mother and all daughters must be the same, in the same frames.

    Found divisions count as wrong where their mother and daughters are true objects.
    """
    back = {b: a for a, b in same.items()}
    true, made = truth.divisions(), found.divisions()
    right = sum(
        mother in same
        and made.get(same[mother]) == frozenset(same.get(one, (-1, -1)) for one in daughters)
        for mother, daughters in true.items()
    )
    judged = sum(mother in back and daughters <= back.keys() for mother, daughters in made.items())
    recall, precision = right / max(len(true), 1), right / max(judged, 1)
    return {
        "division_recall": recall,
        "division_precision": precision,
        "division_F1": 2 * recall * precision / max(recall + precision, 1e-12),
        "divisions": float(len(true)),
        "divisions_found": float(judged),
    }


COSTS = {"NS": 5.0, "FN": 10.0, "FP": 1.0, "ED": 1.0, "EA": 1.5, "EC": 1.0}
"""Costs of the operations that make the found graph the true one (Matula et al. 2015)."""


def ctc_scores(
    truth: TrackGraph, found: TrackGraph, covers: Mapping[Node, list[Node]]
) -> dict[str, float]:
    """Return TRA and LNK of the Cell Tracking Challenge.

    Parameters
    ----------
    truth, found : TrackGraph
    covers : mapping
        For each found object the true ones of which it covers more than half.
    """
    found_by = {node: own for own, nodes in covers.items() for node in nodes}
    single = {own for own, nodes in covers.items() if len(nodes) == 1}
    count = {
        "NS": sum(len(nodes) - 1 for nodes in covers.values()),
        "FN": sum(node not in found_by for node in truth.nodes),
        "FP": sum(node not in covers for node in found.nodes),
        "EA": 0,
        "ED": 0,
        "EC": 0,
    }
    for (a, b), division in truth.links.items():
        own = found_by.get(a), found_by.get(b)
        if own[0] in single and own[1] in single and own in found.links:
            count["EC"] += found.links[own] != division
        else:
            count["EA"] += 1
    for a, b in found.links:
        if a in single and b in single:
            count["ED"] += (covers[a][0], covers[b][0]) not in truth.links
    edges = sum(COSTS[name] * count[name] for name in ("ED", "EA", "EC"))
    nodes = sum(COSTS[name] * count[name] for name in ("NS", "FN", "FP"))
    no_edges, no_nodes = COSTS["EA"] * len(truth.links), COSTS["FN"] * len(truth.nodes)
    return {
        "TRA": _share_kept(nodes + edges, no_nodes + no_edges),
        "DET": _share_kept(nodes, no_nodes),
        "LNK": _share_kept(edges, no_edges),
    }


def _share_kept(cost: float, nothing: float) -> float:
    """Return one minus the cost as a share of that of making the graph from nothing."""
    return 1.0 if not nothing else 1.0 - min(cost, nothing) / nothing
