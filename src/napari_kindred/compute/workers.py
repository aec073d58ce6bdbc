"""Who works on the tasks of a run: this process itself, or its threads; see :mod:`.dask_cluster`.

Results come in order, whoever was first, and no more than a few tasks are under way at a time, so
that memory does not grow with the number of frames.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from ..core.errors import KindredError, reason_of
from ..core.events import Event, Notice, Progress
from .tasks import Done, FrameAt, Opened, Place, Result, RunSettings, Task, Tool, work

if TYPE_CHECKING:
    import torch

    from ..images.stack import ImageStack

Job = Generator[Event, None, Result]

MOST_THREADS = 4
"""Each thread opens its own networks, so there are no more, however many cores there are."""

BETWEEN_LOOKS = 0.05
"""Seconds between two looks at a task that is not finished."""


class Workers(ABC):
    """Who works on the tasks of a run; made by :func:`open_workers`.

    Parameters
    ----------
    device : str
        As in the run's options.

    Attributes
    ----------
    elsewhere : bool
        Whether tasks are worked on beside this thread.
    remote : bool
        Whether that is in other processes.
    device : torch.device
        Where this process computes what it does itself.
    """

    elsewhere = False
    remote = False

    def __init__(self, device: str) -> None:
        from .device import select

        self.device: torch.device = select(device)

    @abstractmethod
    def jobs(
        self,
        task: Task[Result],
        tool: Any,
        opener: Callable[[], Any],
        calls: Iterable[tuple[Any, ...]],
    ) -> Iterator[Job[Result]]:
        """Yield a job for each call, in their order.

        A job yields events and returns the task's result.  Each is run to its end before the next
        one is asked for.  Calls are taken a few ahead of the job at hand, never all at once.

        Parameters
        ----------
        task : callable
            A generator function of a module, called with the tool and the call's arguments.
        tool : object
            Opened in this process.
        opener : callable
            Opens the like elsewhere; small when pickled.
        calls : iterable of tuple
        """

    @abstractmethod
    def describe(self) -> str:
        """Return one line on where tasks were worked on, for the provenance."""

    def frame(self, frames: ImageStack, index: tuple[int, ...]) -> FrameAt:
        """Return a frame as a call holds it: with its pixels, where workers cannot read them."""
        return FrameAt(index, frames.read(index) if self.sends(frames) else None)

    def image(self, frames: ImageStack) -> ImageStack | None:
        """Return an image as a tool holds it: None, where its frames come with the calls."""
        return None if self.sends(frames) else frames

    def sends(self, frames: ImageStack) -> bool:  # noqa: ARG002
        """Tell whether an image's pixels go along with the calls."""
        return False

    def close(self) -> None:  # noqa: B027
        """Leave what is not finished."""


class SerialWorkers(Workers):
    """The process itself, one task after the other."""

    def jobs(
        self,
        task: Task[Result],
        tool: Any,
        opener: Callable[[], Any],  # noqa: ARG002
        calls: Iterable[tuple[Any, ...]],
    ) -> Iterator[Job[Result]]:
        """Yield the tasks themselves; see :meth:`Workers.jobs`."""
        for arguments in calls:
            yield task(tool, *arguments)

    def describe(self) -> str:
        """Return the device."""
        from .device import describe

        return describe(self.device)


class ExecutorWorkers(Workers):
    """Those who work ahead while results are taken one by one.

    Attributes
    ----------
    called : str
        What they are.
    settings : RunSettings
        On which they work.
    """

    called: str
    elsewhere = True

    def __init__(self, device: str) -> None:
        super().__init__(device)
        self.settings = RunSettings.here(device)
        self._places: dict[Place, None] = {}
        self._opener: Any = None
        self._tool: Any = None

    def sends(self, frames: ImageStack) -> bool:
        """Send what workers cannot read; threads read nothing, for not every source allows it."""
        return not (self.remote and frames.portable)

    @abstractmethod
    def room(self) -> int:
        """Return how many tasks may be under way at a time."""

    @abstractmethod
    def keep(self, opener: Callable[[], Opened]) -> Any:
        """Return a tool as :meth:`submit` takes it."""

    @abstractmethod
    def submit(self, tool: Any, task: Task[Result], arguments: tuple[Any, ...]) -> Any:
        """Return a future of what :func:`.tasks.work` returns."""

    @abstractmethod
    def drop(self, future: Any) -> None:
        """Let a task go, finished or not."""

    def fault(self, error: Exception) -> KindredError:
        """Return what to tell of an error that no task raised on purpose."""
        return KindredError(
            f"A task failed ({type(error).__name__}: {reason_of(error)}); run without a "
            "scheduler to see whether it is the workers' fault."
        )

    def waiting(self) -> Iterator[Event]:
        """Yield what there is to say while a task is not finished."""
        yield Progress(0, 1, f"waiting for the {self.called}")

    def jobs(
        self,
        task: Task[Result],
        tool: Any,  # noqa: ARG002
        opener: Callable[[], Any],
        calls: Iterable[tuple[Any, ...]],
    ) -> Iterator[Job[Result]]:
        """Hand out tasks ahead of the job at hand; see :meth:`Workers.jobs`."""
        if self._opener is not opener:
            self._opener, self._tool = opener, self.keep(opener)
        kept, handed, source = self._tool, deque[Any](), iter(calls)
        try:
            while True:
                while len(handed) < self.room() and (arguments := next(source, None)) is not None:
                    handed.append(self._submitted(kept, task, arguments))
                if not handed:
                    return
                yield self._job(handed.popleft())
        finally:
            for future in handed:
                self.drop(future)

    def describe(self) -> str:
        """Return how many worked, and on which devices."""
        from .device import describe

        if not self._places:
            return describe(self.device)
        devices = dict.fromkeys(place.device for place in self._places)
        count = len({place.worker for place in self._places})
        return f"{', '.join(devices)}, {count} {self.called[: -1 if count == 1 else None]}"

    def _submitted(self, tool: Any, task: Task[Result], arguments: tuple[Any, ...]) -> Any:
        try:
            return self.submit(tool, task, arguments)
        except Exception as error:
            raise self.fault(error) from error

    def _job(self, future: Any) -> Job[Any]:
        try:
            while not future.done():
                yield from self.waiting()
                time.sleep(BETWEEN_LOOKS)
            done: Done[Any] = self._result(future)
        finally:
            self.drop(future)
        yield from self._greet(done.place)
        yield from done.notices
        return done.result

    def _result(self, future: Any) -> Any:
        from .device import is_out_of_memory

        try:
            return future.result()
        except KindredError:
            raise
        except Exception as error:
            if is_out_of_memory(error):  # who asked for it may ask for less
                raise
            raise self.fault(error) from error

    def _greet(self, place: Place) -> Iterator[Event]:
        """Take down where a task was worked on, and say so where it may matter."""
        import torch

        if place not in self._places and place.torch != torch.__version__:
            yield Notice(
                f"A worker has PyTorch {place.torch}, here it is {torch.__version__}: labels may "
                "differ a little from those of a run on one machine."
            )
        self._places[place] = None


class Threads(ExecutorWorkers):
    """Threads of this process."""

    called = "threads"

    def __init__(self, device: str) -> None:
        from dask.system import CPU_COUNT

        super().__init__(device)
        self._count = min(MOST_THREADS, CPU_COUNT)
        self._pool = ThreadPoolExecutor(self._count, "napari-kindred")
        self._over = threading.Event()

    def room(self) -> int:
        """Return one more than there are threads."""
        return self._count + 1

    def keep(self, opener: Callable[[], Opened]) -> Tool[Opened]:
        """Return the tool, of which every thread opens its own."""
        return Tool(opener)

    def submit(self, tool: Any, task: Task[Result], arguments: tuple[Any, ...]) -> Any:
        """Give a task to a thread."""
        return self._pool.submit(self._work, tool, task, arguments)

    def _work(self, tool: Any, task: Task[Result], arguments: tuple[Any, ...]) -> Any:
        name = threading.current_thread().name
        return work(tool, task, arguments, self.settings, self._over.is_set, name)

    def drop(self, future: Future[Any]) -> None:
        """Leave out a task that is not begun."""
        future.cancel()

    def close(self) -> None:
        """Let threads stop at the next event of their task."""
        self._over.set()
        self._pool.shutdown(wait=False, cancel_futures=True)
