"""Workers on the tasks of a run: this process, or any executor; see :mod:`.dask_cluster` for Dask.

Results come in order, and no more than a few tasks are under way at a time, so that memory does not
grow with the number of frames.
"""

from __future__ import annotations

import os
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from ..core.errors import KindredError, OptionError, reason_of
from ..core.events import Event, Notice, Progress
from .tasks import Call, Done, FrameAt, Place, Result, RunSettings, Task, forget

if TYPE_CHECKING:
    import torch

    from ..images.stack import ImageStack

Job = Generator[Event, None, Result]

MOST_THREADS = 4
"""Each thread opens its own networks, so there are no more, however many cores there are."""

POLL_SECONDS = 0.05
"""Interval at which an unfinished task is checked."""


class Workers(ABC):
    """Workers on the tasks of a run; made by :func:`.dask_cluster.open_workers`."""

    elsewhere = False
    """Whether tasks are computed outside this thread."""
    remote = False
    """Whether tasks are computed in other processes."""

    def __init__(self, device: str) -> None:
        from .device import select

        self.device: torch.device = select(device)  # of this process

    @abstractmethod
    def jobs(
        self,
        task: Task[Result],
        context: Any,
        opener: Callable[[], Any],
        calls: Iterable[tuple[Any, ...]],
    ) -> Iterator[Job[Result]]:
        """Yield a job for each call, in their order.

        A job yields events and returns the task's result.  Each is run to its end before the next
        one is requested.  Calls are taken a few ahead of the current job, never all at once.

        Parameters
        ----------
        task : callable
            A generator function of a module, called with the context and the call's arguments.
        context : object
            Opened in this process.
        opener : callable
            Opens the same elsewhere, from the specs of its weights; small when pickled.
        calls : iterable of tuple
        """

    @abstractmethod
    def describe(self) -> str:
        """Return one line on where tasks were worked on, for the provenance."""

    def frame(self, frames: ImageStack, index: tuple[int, ...]) -> FrameAt:
        """Return a frame as a call holds it: with its pixels, if workers cannot read them."""
        return FrameAt(index, frames.read(index) if self.sends(frames) else None)

    def image(self, frames: ImageStack) -> ImageStack | None:
        """Return an image as a context holds it: None, if its frames come with the calls."""
        return None if self.sends(frames) else frames

    def sends(self, frames: ImageStack) -> bool:  # noqa: ARG002
        """Whether an image's pixels go along with the calls."""
        return False

    def close(self) -> None:  # noqa: B027
        """Drop unfinished tasks."""


class SerialWorkers(Workers):
    """The process itself, one task after the other."""

    def jobs(
        self,
        task: Task[Result],
        context: Any,
        opener: Callable[[], Any],  # noqa: ARG002
        calls: Iterable[tuple[Any, ...]],
    ) -> Iterator[Job[Result]]:
        """Yield the tasks themselves; see :meth:`Workers.jobs`."""
        for arguments in calls:
            yield task(context, *arguments)

    def describe(self) -> str:
        """Return the device."""
        from .device import describe

        return describe(self.device)


class ExecutorWorkers(Workers):
    """An executor that works ahead; shut down in the end if it is the run's ``own``."""

    called = "workers"
    elsewhere = True

    def __init__(self, executor: Executor, device: str, own: bool = False) -> None:
        self.remote = not isinstance(executor, ThreadPoolExecutor)
        try:
            super().__init__(device)
        except OptionError:  # workers may have a device that this process has not
            if not self.remote:
                raise
            super().__init__("auto")
        self.settings = RunSettings.here(device)
        if not self.remote:
            self.called = "threads"
        self._executor, self._own = executor, own
        self._over = threading.Event()
        self._pending: set[Future[Any]] = set()
        self._places: dict[Place, None] = {}
        self._opener: Any = None
        self._run = ""

    def sends(self, frames: ImageStack) -> bool:
        """Send what workers cannot read; threads read nothing, for not every source allows it."""
        return not (self.remote and frames.portable)

    def room(self) -> int:
        """Return how many tasks may be under way: one more than there are workers."""
        return 1 + (getattr(self._executor, "_max_workers", None) or os.cpu_count() or 1)

    def submit(self, call: Call[Result]) -> Future[Done[Result] | None]:
        """Submit a task."""
        if self.remote:
            return self._executor.submit(work_elsewhere, call)
        return self._executor.submit(call.work, self._over.is_set)

    def fault(self, error: BaseException) -> KindredError:
        """Return the error to report for one that no task raised on purpose."""
        if isinstance(error, BrokenExecutor):
            return KindredError(
                "A worker died; use fewer of them, so that each has more memory, or run without a "
                "scheduler."
            )
        return KindredError(
            f"A task failed ({type(error).__name__}: {reason_of(error)}); run without a "
            "scheduler to see whether it is the workers' fault."
        )

    def waiting(self) -> Iterator[Event]:
        """Yield events while a task is not finished."""
        yield Progress(0, 1, f"waiting for the {self.called}")

    def jobs(
        self,
        task: Task[Result],
        context: Any,  # noqa: ARG002
        opener: Callable[[], Any],
        calls: Iterable[tuple[Any, ...]],
    ) -> Iterator[Job[Result]]:
        """Submit tasks ahead of the current job; see :meth:`Workers.jobs`."""
        if self._opener is not opener:
            self._leave()
            self._opener, self._run = opener, f"napari-kindred-{os.getpid()}-{time.time_ns():x}"
        submitted, source = deque[Any](), iter(calls)
        try:
            while True:
                while (
                    len(submitted) < self.room() and (arguments := next(source, None)) is not None
                ):
                    call = Call(self._run, opener, task, arguments, self.settings)
                    submitted.append(self._submitted(call))
                if not submitted:
                    return
                yield self._job(submitted.popleft())
        finally:
            for future in submitted:
                self._drop(future)

    def describe(self) -> str:
        """Return how many worked, and on which devices."""
        from .device import describe

        if not self._places:
            return describe(self.device)
        devices = dict.fromkeys(place.device for place in self._places)
        count = len({place.worker for place in self._places})
        return f"{', '.join(devices)}, {count} {self.called[: -1 if count == 1 else None]}"

    def close(self) -> None:
        """Stop threads at the next event of their task; leave another's executor open."""
        self._over.set()
        for future in list(self._pending):  # of jobs that were never started
            self._drop(future)
        self._leave()
        if self._own:
            self._executor.shutdown(wait=False, cancel_futures=True)

    def _leave(self) -> None:
        """Release the contexts of the run."""
        forget(self._run)

    def _submitted(self, call: Call[Any]) -> Future[Any]:
        try:
            future = self.submit(call)
        except Exception as error:
            raise self.fault(error) from error
        self._pending.add(future)
        return future

    def _drop(self, future: Future[Any]) -> None:
        """Cancel a task unless it is finished."""
        self._pending.discard(future)
        future.cancel()

    def _job(self, future: Future[Any]) -> Job[Any]:
        try:
            while not future.done():
                yield from self.waiting()
                time.sleep(POLL_SECONDS)
            done: Done[Any] = self._result(future)
        finally:
            self._drop(future)
        yield from self._record(done.place)
        yield from done.notices
        return done.result

    def _result(self, future: Future[Any]) -> Any:
        from .device import is_out_of_memory

        try:
            return future.result()
        except KindredError:
            raise
        except Exception as error:
            if is_out_of_memory(error):  # the caller may retry with less
                raise
            raise self.fault(error) from error

    def _record(self, place: Place) -> Iterator[Event]:
        """Record where a task was computed, and report another version of PyTorch."""
        import torch

        if place not in self._places and place.torch != torch.__version__:
            yield Notice(
                f"A worker has PyTorch {place.torch}, here it is {torch.__version__}: labels may "
                "differ a little from those of a run on one machine."
            )
        self._places[place] = None


def threads(device: str) -> ExecutorWorkers:
    """Return up to :data:`MOST_THREADS` threads of this process."""
    from dask.system import CPU_COUNT

    pool = ThreadPoolExecutor(min(MOST_THREADS, CPU_COUNT), "napari-kindred")
    return ExecutorWorkers(pool, device, own=True)


def work_elsewhere(call: Call[Result]) -> Done[Result] | None:
    """Compute a task in another process; a Dask worker drops it once it is unwanted."""
    import dask

    # A lazy image is computed by this very task, not by others that might wait for its thread.
    with dask.config.set(scheduler="synchronous"):
        return call.work(*_dask_task())


def _dask_task() -> tuple[Callable[[], bool], str]:
    """Return a function whether this task is unwanted, and the worker's name, if Dask runs it."""
    try:
        from distributed import get_worker

        worker = get_worker()
    except (ImportError, ValueError):
        return (lambda: False), ""
    key = worker.get_current_task()

    def unwanted() -> bool:
        task = worker.state.tasks.get(key)
        return task is None or task.state == "cancelled"

    return unwanted, str(worker.address)
