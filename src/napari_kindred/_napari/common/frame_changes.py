"""The frames of a result in which something appears or vanishes."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.events import Progress

if TYPE_CHECKING:
    from numpy.typing import NDArray


def ids_of(labels: NDArray[Any]) -> set[int]:
    """Return the labels that there are in a frame, without the background."""
    import pandas as pd

    found = set(pd.unique(np.asarray(labels).ravel()).tolist())  # by hashing: nothing is sorted
    return found - {0}


def differ(before: set[int], now: set[int]) -> bool:
    """Tell whether something appeared or vanished between two frames.

    Where ids mean the same in every frame, another set of them tells; where each frame has ids of
    its own, only another number of them can.
    """
    return before != now if before & now else len(before) != len(now)


def iter_next_jump(labels: Any, frame: int, step: int = 1) -> Generator[Progress, None, int | None]:
    """Look for the next frame whose ids differ from those of the frame before it.

    Parameters
    ----------
    labels : array-like, (T, Y, X) or more axes
        Integers; read frame by frame, so it may be lazy.
    frame : int
        Where to begin; it is not looked at itself.
    step : {1, -1}
        Whether to look at later frames or at earlier ones.

    Yields
    ------
    Progress
        After each frame.

    Returns
    -------
    int or None
        Number of the frame; None where there is none.
    """
    count = int(labels.shape[0])
    numbers = range(frame + 1, count) if step > 0 else range(frame - 1, 0, -1)
    seen: dict[int, set[int]] = {}
    for done, number in enumerate(numbers):
        for place in (number - 1, number):
            if place not in seen:
                seen[place] = ids_of(labels[place])
        if differ(seen[number - 1], seen[number]):
            return number
        seen.pop(number - 1 if step > 0 else number)
        yield Progress(done + 1, len(numbers), "looking for changes", done + 1, len(numbers))
    return None
