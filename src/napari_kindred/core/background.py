"""Long steps that cannot yield, such as opening a network, in a thread next to their job.

The job yields meanwhile, so that it reports the progress of downloads and can be cancelled.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from .events import Progress

Result = TypeVar("Result")
Report = Callable[[int, int], None]
"""Told the bytes done and in total, 0 when that is unknown."""

BETWEEN_LOOKS = 0.1
"""Seconds between two looks at a step that is not finished."""

_listener: ContextVar[Report | None] = ContextVar("listener", default=None)


class Left(BaseException):
    """Nobody waits for this step any more; no error, so that nothing takes it for one."""


def listener() -> Report | None:
    """Return the function that is told the bytes downloaded, done and in total, if there is one.

    It raises :class:`Left` if nobody waits any more.
    """
    return _listener.get()


@contextmanager
def reporting(report: Report) -> Iterator[None]:
    """Let a function be told the bytes that are downloaded meanwhile."""
    before = _listener.set(report)
    try:
        yield
    finally:
        _listener.reset(before)


def iter_in_background(step: Callable[[], Result], what: str) -> Generator[Progress, None, Result]:
    """Run a step in a thread of its own, and yield while it lasts.

    Closing the generator leaves the step behind: a download ends, to be resumed another time, and
    anything else goes on to its end, which nobody sees.

    Parameters
    ----------
    step : callable
    what : str
        What it does, ``"loading the weights"``; a download is added to that.

    Yields
    ------
    Progress
        Bytes, while something is downloaded whose size is known; else nothing done of one.

    Raises
    ------
    BaseException
        What the step raises.
    """
    over, left = threading.Event(), threading.Event()
    bytes_now = (0, 0)
    outcome: list[tuple[bool, Any]] = []

    def report(done: int, total: int) -> None:
        nonlocal bytes_now
        if left.is_set():
            raise Left
        bytes_now = (done, total)

    def work() -> None:
        try:
            with reporting(report):
                outcome.append((True, step()))
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            outcome.append((False, error))
        finally:
            over.set()

    yield Progress(0, 1, what)
    # No process waits for it at its end.
    threading.Thread(target=work, name="napari-kindred aside", daemon=True).start()
    try:
        while not over.wait(BETWEEN_LOOKS):
            yield _progress(what, *bytes_now)
    finally:
        left.set()
    well, value = outcome.pop()
    if not well:
        raise value
    return value  # type: ignore[no-any-return]


def _progress(what: str, done: int, total: int) -> Progress:
    if not done:
        return Progress(0, 1, what)
    if total <= done:  # of unknown size, or read already
        return Progress(0, 1, f"{what}, {done / 1e6:.0f} MB downloaded")
    return Progress(done, total, f"{what}, {done / 1e6:.0f} of {total / 1e6:.0f} MB downloaded")
