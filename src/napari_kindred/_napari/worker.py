"""The only place with threads: drives a generator of events beside the window."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari.qt.threading import GeneratorWorker, create_worker

from ..errors import KindredError

if TYPE_CHECKING:
    from ..events import Event

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Failure:
    """How a job ends that stopped with an error."""

    error: KindredError


@dataclass(frozen=True, slots=True, eq=False)
class Success:
    """How a job ends that went through."""

    result: Any


def as_kindred(error: Exception) -> KindredError:
    """Turn any exception into one sentence for the user, which names the fix where there is one."""
    if isinstance(error, KindredError):
        return error
    text = str(error).strip().splitlines()
    reason = f"{type(error).__name__}: {text[0]}" if text else type(error).__name__
    if isinstance(error, MemoryError) or "out of memory" in reason.lower():
        message = (
            "There is not enough memory; choose a smaller tile under More options, "
            "or another device."
        )
    else:
        message = f"The job stopped with {reason}; napari's log has the details."
    kindred = KindredError(message)
    kindred.__cause__ = error
    return kindred


def _drive(
    start: Callable[[], Generator[Event, None, Any]],
) -> Generator[Event, None, Success | Failure]:
    """Run a job, its start included, and let no exception out.

    A RuntimeError that leaves a generator would be taken by napari's worker for a deleted window
    and dropped without a word; running out of GPU memory is one.
    """
    try:
        result = yield from start()
    except Exception as error:  # whatever it is, the user hears of it
        if not isinstance(error, KindredError):
            logger.exception("the job stopped with an unexpected error")
        return Failure(as_kindred(error))
    return Success(result)


class _Worker(GeneratorWorker):
    """A worker that closes its generator in the thread that ran it, also when it is aborted."""

    def work(self) -> Any:
        """Run the generator; see :class:`GeneratorWorker`."""
        try:
            return super().work()
        finally:
            self._gen.close()

    def _relay_warning(self, shown: tuple[Any, ...]) -> None:
        """Log what libraries warn of; what concerns the user arrives as an event."""
        logger.info("%s", shown[0])


_running: set[Job] = set()
"""Qt holds on to callbacks weakly, so somebody has to keep a job that nobody else keeps."""


class Job:
    """A running job; all callbacks are called in the window's thread.

    Parameters
    ----------
    start : callable
        Returns the generator; called in the other thread, so it may import or read at leisure.
    name : str
        What napari's activity window calls the job.
    on_event : callable
        Called with every event.
    on_success : callable
        Called with the result.
    on_failure : callable
        Called with a KindredError.
    on_cancel : callable
        Called once the job has stopped after :meth:`cancel`.
    """

    def __init__(
        self,
        start: Callable[[], Generator[Event, None, Any]],
        name: str,
        *,
        on_event: Callable[[Event], None],
        on_success: Callable[[Any], None],
        on_failure: Callable[[KindredError], None],
        on_cancel: Callable[[], None],
    ) -> None:
        self._listening = True
        self._on_event, self._on_cancel = on_event, on_cancel
        self._on_success, self._on_failure = on_success, on_failure
        self._outcome: Success | Failure | None = None
        self._worker = create_worker(
            _drive,
            start,
            _start_thread=False,
            _worker_class=_Worker,
            _ignore_errors=True,
            _progress={"desc": name},
        )
        self._worker.yielded.connect(self._event)
        self._worker.returned.connect(self._returned)
        self._worker.finished.connect(self._finished)
        _running.add(self)
        self._worker.start()

    def cancel(self) -> None:
        """Ask the job to stop at its next event."""
        self._worker.quit()

    def abandon(self) -> None:
        """Stop the job, and call nobody any more: the window is going away."""
        self._listening = False
        self._worker.quit()

    def _event(self, event: Event) -> None:
        # Events that were under way when the user pressed Cancel are still work that is done.
        if self._listening:
            self._on_event(event)

    def _returned(self, outcome: Success | Failure) -> None:
        self._outcome = outcome

    def _finished(self) -> None:
        _running.discard(self)
        if not self._listening:
            return
        self._listening = False
        if isinstance(self._outcome, Success):
            self._on_success(self._outcome.result)
        elif isinstance(self._outcome, Failure):
            self._on_failure(self._outcome.error)
        else:
            self._on_cancel()
