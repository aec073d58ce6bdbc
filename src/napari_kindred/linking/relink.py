"""Linking again from a frame on, after labels were corrected."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.events import Progress
from .movie import LinkedMovie

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    import pandas as pd

    from .config import LinkConfig


@dataclass(frozen=True)
class Relinked:
    """New ids of a movie's objects.

    Attributes
    ----------
    ids : dict of int to Series
        For each frame whose ids change, the new id of each old one.
    parents : dict of int to int
        The parent of each track that has one, over the whole movie.
    """

    ids: dict[int, pd.Series]
    parents: dict[int, int]


def iter_relink(
    labels: Any,
    start: int,
    last: int,
    parents: Mapping[int, int],
    config: LinkConfig,
    spacing: Sequence[float] | None = None,
) -> Generator[Progress, None, Relinked]:
    """Link the frames from ``start`` on; earlier ones, and tracks that come from them, stay.

    ``labels`` (T, Y, X) or (T, Z, Y, X) have ids up to ``last``; ``parents`` are as in
    :class:`Relinked`.
    """
    first, count = max(start - 1, 0), labels.shape[0]
    movie = LinkedMovie(config, spacing)
    before: set[int] = set()
    for frame in range(count):
        yield Progress(frame, count, "linking", frame, count)
        plane = np.asarray(labels[frame])
        if frame < start:
            before |= set(np.unique(plane).tolist()) - {0}
        if frame >= first:
            movie.add(plane)
    tracks = movie.tracks_by_frame()
    number: dict[int, int] = {}
    if start > 0:
        kept = tracks.pop((0,))["track"]
        number = dict(zip(kept.to_list(), kept.index.to_list(), strict=True))
    found = {one: parent for one, parent in parents.items() if one in before}
    ids: dict[int, pd.Series] = {}
    for (frame,), given in tracks.items():
        for track, parent in zip(given["track"], given["parent"], strict=True):
            if track not in number:
                last += 1
                number[track] = last
                if parent:
                    found[last] = number[parent]
        ids[frame + first] = given["track"].map(number)
    return Relinked(ids, found)
