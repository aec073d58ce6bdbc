"""Events of a running job: the generator protocol of every ``iter_…`` function.

An ``iter_…`` generator yields events and *returns* the finished result.  Closing the generator
cancels the job; what was yielded as ``Partial`` stays valid, and training keeps a checkpoint.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

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
    """One finished frame, or a finished block of a very large one.

    Attributes
    ----------
    index : tuple of int
        Position on the leading (``T`` or ``Z``) axes; ``()`` for a single picture.
    labels : ndarray of int32, shape (Y, X)
        The labels of this frame.  Those of a frame that came in blocks are read a part at a time:
        they may be zarr or dask.
    table : DataFrame
        The rows of this frame's entities.
    note : str
        What the user should know about this frame, for example a constant picture; else empty.
    block : tuple of two slices, or None
        Rows and columns of a block.  Its ids are unique in the frame but provisional, an entity
        between two blocks having two; the whole frame follows when all blocks are there.
    assembly : Assembly or None
        Where the run's labels are put together, this frame among them; see
        :class:`.results.assembly.Assembly`.  What is there is a result, after a cancel as well.
    """

    index: tuple[int, ...]
    labels: np.ndarray
    table: pd.DataFrame
    note: str = ""
    block: tuple[slice, slice] | None = None
    assembly: Any = None


@dataclass(frozen=True, slots=True)
class Notice:
    """Something the user should know while the job goes on, one sentence."""

    text: str


@dataclass(frozen=True, slots=True)
class Metrics:
    """Losses or scores of a training run.

    Attributes
    ----------
    step : int
        Number of optimiser steps done.
    minutes : float
        Training time up to then.
    values : mapping of str to float
    """

    step: int
    minutes: float
    values: Mapping[str, float]

    @property
    def text(self) -> str:
        """One line of a log."""
        values = "  ".join(f"{name} {value:.4f}" for name, value in self.values.items())
        return f"{self.minutes:7.1f} min  step {self.step:6d}  {values}"


Event = Progress | Partial | Notice | Metrics


def finish(
    job: Generator[Any, None, Result], report: Callable[[Any], object] | None = None
) -> Result:
    """Run a job to its end and return its result; ``report`` is called with every event.

    A job whose report raises, as on Ctrl+C, is cancelled.
    """
    try:
        while True:
            event = next(job)
            if report is not None:
                report(event)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
    finally:
        job.close()


def within_stack(
    job: Generator[Any, None, Result], number: int, total: int
) -> Generator[Any, None, Result]:
    """Count one frame's progress as that of its stack; it never goes back.

    Parameters
    ----------
    job : generator
        Works on one frame; what it yields besides :class:`Progress` passes unchanged.
    number, total : int
        The frame's number, from 0, and how many there are.
    """
    highest = 0.0
    while True:
        try:
            event = next(job)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
        if isinstance(event, Progress):
            share = event.done / event.total if event.total else 0.0
            if event.what.startswith("measuring"):  # only prepares the work
                share = 0.0
            highest = max(highest, 0.95 * share)
            event = Progress(number + highest, total, event.what, number, total)
        yield event
