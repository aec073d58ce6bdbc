"""Tracks: chains of links, numbered, with the track that each came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .linker import Links

PERSISTENCE = 2
"""Frames that both daughters must be followed for; else one was a piece of the other."""


@dataclass(frozen=True)
class Tracks:
    """Which track each object belongs to.

    Attributes
    ----------
    track : ndarray of int, shape (n,)
        For each object of all frames, numbered from 1 in the order in which they begin.
    frame : ndarray of int, shape (n,)
    parent : ndarray of int, shape (tracks + 1,)
        For each track the one it divided from, 0 for none; number 0 is no track.
    """

    track: NDArray[np.int64]
    frame: NDArray[np.int64]
    parent: NDArray[np.int64]

    def table(self) -> pd.DataFrame:
        """Return a row per track: ``track``, ``parent``, ``first`` and ``last`` frame."""
        number = len(self.parent)
        first = np.full(number, np.iinfo(np.int64).max)
        np.minimum.at(first, self.track, self.frame)
        last = np.zeros(number, np.int64)
        np.maximum.at(last, self.track, self.frame)
        return pd.DataFrame(
            {
                "track": np.arange(1, number),
                "parent": self.parent[1:],
                "first": first[1:],
                "last": last[1:],
            }
        )


class TrackNumbers:
    """Ids of tracks, given as they begin."""

    def __init__(self) -> None:
        self._track: list[int] = []
        self.last = 0

    def add(self, source: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the tracks of a frame's objects; see :class:`.Links` for their sources."""
        origins, count = np.unique(source[source >= 0], return_counts=True)
        divided = set(origins[count > 1].tolist())
        own = []
        for origin in source.tolist():
            if origin < 0 or origin in divided:
                self.last += 1
                own.append(self.last)
            else:
                own.append(self._track[origin])
        self._track += own
        return np.array(own, np.int64)


def make_tracks(links: Links) -> Tracks:
    """Return the tracks of all links; a division whose daughter does not persist is none."""
    counts = np.array(links.counts, np.int64)
    frame = np.repeat(np.arange(len(counts)), counts)
    source = np.concatenate([*links.source, np.zeros(0, np.int64)])
    source = _without_pieces(source, frame, len(counts))
    track, parent = np.zeros(len(source), np.int64), [0]
    children = np.bincount(source[source >= 0], minlength=len(source))
    for node, origin in enumerate(source.tolist()):
        if origin >= 0 and children[origin] == 1:
            track[node] = track[origin]
        else:
            track[node] = len(parent)
            parent.append(int(track[origin]) if origin >= 0 else 0)
    return Tracks(track, frame, np.array(parent, np.int64))


def _without_pieces(
    source: NDArray[np.int64], frame: NDArray[np.int64], frames: int
) -> NDArray[np.int64]:
    """Cut the links of daughters that vanish at once, unless the movie ends there."""
    source = source.copy()
    followers = np.bincount(source[source >= 0], minlength=len(source))
    divided = np.flatnonzero((source >= 0) & (followers[np.maximum(source, 0)] > 1))
    if not len(divided):
        return source
    # Frames for which each object is followed, counted from the end.
    life = np.ones(len(source), np.int64)
    for node in range(len(source) - 1, -1, -1):
        if source[node] >= 0:
            life[source[node]] = max(life[source[node]], life[node] + 1)
    for node in divided.tolist():
        brief = life[node] < PERSISTENCE and frame[node] + PERSISTENCE <= frames - 1
        if brief:
            source[node] = -1
    return source
