"""What a running job tells its caller: the generator protocol of every ``iter_…`` function.

An ``iter_…`` generator yields :class:`Progress` and :class:`Partial` and *returns* the finished
result.  Closing the generator cancels the job; what was yielded as ``Partial`` stays valid.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Progress:
    """Work done so far, in units that add up to ``total``.

    ``frame`` of ``frames`` counts whole frames already finished.
    """

    done: float
    total: float
    what: str
    frame: int = 0
    frames: int = 1


@dataclass(frozen=True, slots=True)
class Partial:
    """One finished frame.

    Attributes
    ----------
    index : tuple of int
        Position on the leading (``T`` or ``Z``) axes; ``()`` for a single picture.
    labels : ndarray of int32, shape (Y, X)
        The labels of this frame.
    table : DataFrame
        The rows of this frame's entities.
    note : str
        What the user should know about this frame, for example a constant picture; else empty.
    """

    index: tuple[int, ...]
    labels: np.ndarray
    table: pd.DataFrame
    note: str = ""


@dataclass(frozen=True, slots=True)
class Notice:
    """Something the user should know while the job goes on, one sentence."""

    text: str


Event = Progress | Partial | Notice


def finish(job: Generator[Any, None, Result]) -> Result:
    """Run a job to its end and return its result, its events unseen."""
    while True:
        try:
            next(job)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
