"""Jobs: generators of events, run in another thread. The only place with threads."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

from napari.qt.threading import GeneratorWorker, create_worker
from napari.utils.progress import cancelable_progress
from qtpy.QtCore import QThreadPool, QTimer

from ...core.errors import KindredError, as_sentence

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...core.events import Event

logger = logging.getLogger(__name__)

RELEASE = 400
"""Milliseconds after which a job that was cancelled is no longer waited for."""

STEPS = 1000
"""Number of steps of the bar in napari's activity window."""

BETWEEN_REPORTS = 0.25
"""Seconds between two changes of that bar, each of which makes napari draw itself."""


@dataclass(frozen=True, slots=True, eq=False)
class Failure:
    """End of a job with an error."""

    error: KindredError


@dataclass(frozen=True, slots=True, eq=False)
class Success:
    """End of a job with a result."""

    result: Any


def as_kindred(error: BaseException) -> KindredError:
    """Turn any exception into one sentence for the user that names the fix if there is one."""
    return as_sentence(
        error,
        "allow less memory under More options, or choose another device",
        "napari's log has the details",
    )


def _drive(
    start: Callable[[], Any],
) -> Generator[Event, None, Success | Failure]:
    """Run a job, its start included, and let no exception out.

    A RuntimeError that leaves a generator would be taken by napari's worker for a deleted window
    and dropped without a word; running out of GPU memory is one.
    """
    try:
        result = start()
        if isinstance(result, Generator):
            result = yield from result
    except GeneratorExit:
        raise
    # Whatever it is, the user hears of it: what ends a program must not end napari from a thread.
    except BaseException as error:
        if not isinstance(error, KindredError):
            logger.exception("the job stopped with an unexpected error")
        return Failure(as_kindred(error))
    return Success(result)


class _Worker(GeneratorWorker):
    """A worker that closes its generator in the thread that ran it, also when it is aborted."""

    def work(self) -> Any:
        try:
            return super().work()
        finally:
            self._gen.close()

    def run(self) -> None:
        """Run the job, silent if Python is shutting down; see above."""
        with suppress(RuntimeError):  # its signals are gone by then
            super().run()

    def _relay_warning(self, shown: tuple[Any, ...]) -> None:
        """Log what libraries warn of; what concerns the user arrives as an event."""
        logger.info("%s", shown[0])


class _Activity(cancelable_progress):
    """A job's bar in napari's activity window, whose button cancels the job."""

    def __init__(self, name: str, cancel: Callable[[], None]) -> None:
        super().__init__(desc=name, total=STEPS, leave=False)
        self._stop = cancel

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Draw nothing in the terminal, nor steps per second: the name shows the progress."""

    def cancel(self) -> None:
        """Cancel the job; called by napari's button."""
        super().cancel()
        self._stop()


_running: set[Job] = set()
"""Running jobs: Qt holds callbacks weakly, so they need a reference."""

_line: list[Job] = []
"""Jobs of which only the first runs, the others in the order in which they were asked for."""


class Job:
    """A job in another thread; all callbacks are called in the window's thread.

    ``start`` is called in the other thread, so it may import or read; it returns a generator of
    events, or the result. ``name`` is shown in napari's activity window and by jobs that wait.
    With ``on_wait``, called with the name of the job that is waited for, jobs run one at a time.
    ``on_cancel`` is called once the job has stopped after :meth:`cancel`, or does not stop in time:
    then its thread runs to its next event, and what it still yields is dropped.
    """

    def __init__(
        self,
        start: Callable[[], Any],
        name: str,
        *,
        on_success: Callable[[Any], None],
        on_failure: Callable[[KindredError], None],
        on_event: Callable[[Event], None] = lambda _: None,
        on_cancel: Callable[[], None] = lambda: None,
        on_start: Callable[[], None] = lambda: None,
        on_wait: Callable[[str], None] | None = None,
    ) -> None:
        self.name = name
        self._on_event, self._on_cancel = on_event, on_cancel
        self._on_success, self._on_failure = on_success, on_failure
        self._on_start, self._on_wait = on_start, on_wait
        self._listening = True
        self._begun = self._released = False
        self._outcome: Success | Failure | None = None
        self._activity: _Activity | None = None
        self._reported = 0.0
        self._worker = create_worker(
            _drive, start, _start_thread=False, _worker_class=_Worker, _ignore_errors=True
        )
        self._worker.yielded.connect(self._event)
        self._worker.returned.connect(self._returned)
        self._worker.finished.connect(self._finished)
        if on_wait is not None:
            _line.append(self)
        if on_wait is None or _line[0] is self:
            self._begin()
        else:
            on_wait(_line[0].name)

    def _begin(self) -> None:
        self._begun = True
        self._activity = _Activity(self.name, self.cancel)
        _running.add(self)
        self._on_start()
        self._worker.start()

    def report(self, share: float, text: str) -> None:
        """Show progress from 0 to 1 in napari's activity window, at limited rate."""
        now = monotonic()
        if self._activity is None or now < self._reported + BETWEEN_REPORTS:
            return
        self._reported = now
        bar = self._activity
        bar.update(round(STEPS * share) - bar.n)
        if self._activity is bar:  # drawing may have brought the job's end
            bar.set_description(f"{self.name}: {text}")

    def cancel(self) -> None:
        """Ask the job to stop at its next event, which is waited for less than a second."""
        self._quit()

    def abandon(self) -> None:
        """Stop the job without further callbacks: the window is being closed."""
        self._listening = False
        self._quit()

    def _quit(self) -> None:
        self._worker.quit()
        if self._begun:
            QTimer.singleShot(RELEASE, self._release)
        else:
            self._end(self._on_cancel)

    def _release(self) -> None:
        """Stop waiting for a cancelled job; its thread ends by itself."""
        if self in _running and not self._released:
            self._released = True
            # There are few threads, and this one must not keep others from beginning.
            QThreadPool.globalInstance().releaseThread()
            self._end(self._on_cancel)

    def _event(self, event: Event) -> None:
        # Events that were under way when the user pressed Cancel are still work that is done.
        if self._listening:
            self._on_event(event)

    def _returned(self, outcome: Success | Failure) -> None:
        self._outcome = outcome

    def _finished(self) -> None:
        _running.discard(self)
        if self._released:
            QThreadPool.globalInstance().reserveThread()
        elif isinstance(self._outcome, Success):
            self._end(partial(self._on_success, self._outcome.result))
        elif isinstance(self._outcome, Failure):
            self._end(partial(self._on_failure, self._outcome.error))
        else:
            self._end(self._on_cancel)

    def _end(self, tell: Callable[[], None]) -> None:
        """Report the end of the job once, and allow the next one."""
        if self._activity is not None:
            self._activity.close()
            self._activity = None
        listening, self._listening = self._listening, False
        try:
            if listening:
                tell()
        finally:
            self._leave()

    def _leave(self) -> None:
        """Leave the line; whoever is first then begins, the others wait for that one."""
        if self not in _line:
            return
        _line.remove(self)
        if _line and not _line[0]._begun:
            _line[0]._begin()
        for job in _line[1:]:
            if job._on_wait is not None:
                job._on_wait(_line[0].name)
