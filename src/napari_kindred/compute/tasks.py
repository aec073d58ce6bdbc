"""A task as it is handed to a thread or sent to a worker, and what comes back of it.

A task is a generator function: it takes a tool, which is opened once and used again and again,
and what is to be worked on; it yields events and returns its result.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .._version import __version__
from ..core.errors import KindredError
from ..core.events import Notice

if TYPE_CHECKING:
    from ..images.stack import FrameData, ImageStack

Opened = TypeVar("Opened")
Result = TypeVar("Result")
Task = Callable[..., Generator[Any, None, Result]]


class Tool(Generic[Opened]):
    """What tasks of one run need again and again; opened where and when it is first used.

    Every thread opens its own, for networks may be changed while they are used, by hooks for
    example.  Pickled, it is only what opens it.

    Parameters
    ----------
    opener : callable
        Opens it; small when pickled.
    """

    def __init__(self, opener: Callable[[], Opened]) -> None:
        self._opener = opener
        self._opened = threading.local()

    def __reduce__(self) -> tuple[Any, ...]:
        return Tool, (self._opener,)

    def get(self) -> Opened:
        """Return it, opened."""
        if not hasattr(self._opened, "value"):
            self._opened.value = self._opener()
        kept: Opened = self._opened.value
        return kept


@dataclass(frozen=True)
class FrameAt:
    """A frame as a task takes it.

    Attributes
    ----------
    index : tuple of int
        Position on the leading axes.
    raw : FrameData or None
        The frame itself, where a worker could not read it from the image.
    """

    index: tuple[int, ...]
    raw: FrameData | None = None

    def read(self, frames: ImageStack | None) -> FrameData:
        """Return the frame, read from the image unless it came along."""
        if self.raw is not None:
            return self.raw
        if frames is None:
            raise KindredError("This frame came without its image; give the whole image.")
        return frames.read(self.index)


@dataclass(frozen=True)
class RunSettings:
    """What must be the same wherever a run's tasks are worked on, for results to be the same.

    Attributes
    ----------
    device : str
        As in the run's options; each worker chooses its own for ``"auto"``.
    version : str
        Of this package.
    threads, blas : int
        Of PyTorch and of the library of linear algebra: their number changes the order of sums,
        and with it the last bits.
    """

    device: str
    version: str
    threads: int
    blas: int

    @classmethod
    def here(cls, device: str) -> RunSettings:
        """Return those of this process."""
        import torch

        return cls(device, __version__, torch.get_num_threads(), _blas_threads())

    def accept(self) -> None:
        """Let this process work with these settings.

        Raises
        ------
        KindredError
            When it runs another version.
        """
        if self.version != __version__:
            raise KindredError(
                f"A worker has napari-kindred {__version__}, but the run was started with "
                f"{self.version}; install the same version everywhere."
            )
        import torch

        # Not put back: tasks beside this one, in other threads, work with the same settings.
        if torch.get_num_threads() != self.threads:
            torch.set_num_threads(self.threads)
        if _blas_threads() != self.blas:
            from threadpoolctl import threadpool_limits

            threadpool_limits(self.blas, user_api="blas")


@dataclass(frozen=True)
class Place:
    """Where a task was worked on: address of the worker, its device, its version of PyTorch."""

    worker: str
    device: str
    torch: str


@dataclass(frozen=True)
class Done(Generic[Result]):
    """What a worker sends back of a task."""

    result: Result
    notices: list[Notice]
    place: Place


def work(
    tool: Tool[Any],
    task: Task[Result],
    arguments: tuple[Any, ...],
    settings: RunSettings,
    unwanted: Callable[[], bool],
    worker: str,
) -> Done[Result] | None:
    """Work on a task to its end, in a thread or on a worker; None when it is not wanted any more.

    Parameters
    ----------
    tool : Tool
    task : callable
        The generator function, called with the opened tool and the arguments.
    arguments : tuple
    settings : RunSettings
    unwanted : callable
        Tells between two events whether to leave it.
    worker : str
        Who works, for the provenance.
    """
    import torch

    from .device import describe, select

    settings.accept()
    place = Place(worker, describe(select(settings.device)), torch.__version__)
    notices: list[Notice] = []
    job = task(tool.get(), *arguments)
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


def _blas_threads() -> int:
    from threadpoolctl import threadpool_info

    found = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
    return int(found[0]) if found else 1
