"""Tasks as they are submitted to a thread or another process, and their results.

A task is a generator function of a module.  It takes a context, which is opened once per thread and
run, and what to work on; it yields events and returns its result.
"""

from __future__ import annotations

import os
import platform
import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .._version import __version__
from ..core.errors import KindredError
from ..core.events import Notice

if TYPE_CHECKING:
    from ..images.stack import FrameData, ImageStack

Result = TypeVar("Result")
Task = Callable[..., Generator[Any, None, Result]]


@dataclass(frozen=True)
class FrameAt:
    """A frame as an argument of a task."""

    index: tuple[int, ...]
    """Position on the leading axes."""
    raw: FrameData | None = None
    """The frame itself, if a worker cannot read it from the image."""

    def read(self, frames: ImageStack | None) -> FrameData:
        """Return the frame, read from the image unless it came along."""
        if self.raw is not None:
            return self.raw
        if frames is None:
            raise KindredError("This frame came without its image; give the whole image.")
        return frames.read(self.index)


@dataclass(frozen=True)
class RunSettings:
    """Settings that must be the same on all workers, so that results are the same."""

    device: str
    """As in the run's options; each worker chooses its own for ``"auto"``."""
    version: str
    threads: int
    blas: int
    """Threads of PyTorch and of the linear algebra library: their number changes the order of sums,
    and with it the last bits."""

    @classmethod
    def here(cls, device: str) -> RunSettings:
        """Return the settings of this process."""
        import torch

        return cls(device, __version__, torch.get_num_threads(), _blas_threads())

    def accept(self) -> None:
        """Apply these settings to this process; KindredError if it runs another version."""
        if self.version != __version__:
            raise KindredError(
                f"A worker has napari-kindred {__version__}, but the run was started with "
                f"{self.version}; install the same version everywhere."
            )
        import torch

        # Not undone: tasks in other threads of this process use the same settings.
        if torch.get_num_threads() != self.threads:
            torch.set_num_threads(self.threads)
        if _blas_threads() != self.blas:
            from threadpoolctl import threadpool_limits

            threadpool_limits(self.blas, user_api="blas")


@dataclass(frozen=True)
class Place:
    """Where a task was computed: name of the worker, its device, its version of PyTorch."""

    worker: str
    device: str
    torch: str


@dataclass(frozen=True)
class Done(Generic[Result]):
    """A finished task as a worker sends it back."""

    result: Result
    notices: list[Notice]
    place: Place


@dataclass(frozen=True)
class Call(Generic[Result]):
    """A task with its arguments; small when pickled except for the arguments."""

    run: str
    """Name of the run, so that its context is opened once per thread."""
    opener: Callable[[], Any]
    """Returns the context."""
    task: Task[Result]
    arguments: tuple[Any, ...]
    """After the context."""
    settings: RunSettings

    def work(self, unwanted: Callable[[], bool], worker: str = "") -> Done[Result] | None:
        """Compute the task; None if ``unwanted`` says so between two events."""
        import torch

        from .device import describe, select

        self.settings.accept()
        worker = worker or f"{platform.node()} {os.getpid()} {threading.current_thread().name}"
        place = Place(worker, describe(select(self.settings.device)), torch.__version__)
        notices: list[Notice] = []
        job = self.task(_context(self.run, self.opener), *self.arguments)
        while True:
            try:
                event = next(job)
            except StopIteration as stop:
                return Done(stop.value, notices, place)
            if unwanted():
                job.close()
                return None
            if isinstance(event, Notice):
                notices.append(event)


_contexts: dict[tuple[str, int], Any] = {}
"""Contexts by run and thread; each thread has its own, for networks may be changed while they are
used, by hooks for example."""


def _context(run: str, opener: Callable[[], Any]) -> Any:
    thread = threading.get_ident()
    if (run, thread) not in _contexts:
        for key in list(_contexts):  # those of runs that this thread worked on before
            if key[1] == thread:
                _drop(key)
        _contexts[run, thread] = opener()
    return _contexts[run, thread]


def forget(run: str) -> None:
    """Release the contexts of a run in this process."""
    for key in list(_contexts):
        if key[0] == run:
            _drop(key)


def _drop(key: tuple[str, int]) -> None:
    """Release a context, and let it close what it opened."""
    close = getattr(_contexts.pop(key, None), "close", None)
    if close is not None:
        close()


def _blas_threads() -> int:
    from threadpoolctl import threadpool_info

    found = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
    return int(found[0]) if found else 1
