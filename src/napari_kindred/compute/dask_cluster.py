"""Workers of a run, as ``scheduler=`` names them; those of a Dask cluster, by its own executor."""

from __future__ import annotations

import json
import re
import socket
import time
from concurrent.futures import CancelledError, Executor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._version import __version__
from ..core.errors import KindredError, OptionError, as_sentence, reason_of, says_no_memory
from ..core.events import Event, Notice
from .tasks import Call, Done, Result, forget
from .workers import ExecutorWorkers, SerialWorkers, Workers, threads

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

PATIENCE = 5.0
"""Seconds until a scheduler that does not answer, or has no worker, is reported."""


class DaskWorkers(ExecutorWorkers):
    """The workers of a Dask cluster; ``own`` closes the client in the end."""

    called = "Dask workers"

    def __init__(self, client: Any, device: str, own: bool) -> None:
        super().__init__(client.get_executor(pure=False), device)
        self._client, self._closes = client, own
        self._asked = -PATIENCE
        self._threads = 0
        self._reported = False

    def room(self) -> int:
        """Return two for every thread of the workers: one being computed, one waiting."""
        self._ask()
        return 2 * max(1, self._threads)

    def submit(self, call: Call[Result]) -> Future[Done[Result] | None]:
        """Send a task to the scheduler."""
        import dask

        # Frames without a file go through the scheduler, which holds them for another worker if
        # one dies; Dask would warn of each.
        with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 TB"}):
            return super().submit(call)

    def waiting(self) -> Iterator[Event]:
        """Report the wait, and once a cluster without workers."""
        yield from super().waiting()
        self._ask()
        if not self._threads and not self._reported:
            self._reported = True
            address = self._client.scheduler.address
            yield Notice(f"The cluster has no worker yet; start one: dask worker {address}")

    def fault(self, error: BaseException) -> KindredError:
        """Return the error for lost workers, a lost scheduler, and other packages."""
        from distributed import KilledWorker

        if isinstance(error, KilledWorker):
            return KindredError(
                "Workers died again and again at the same frame; give each more memory, for "
                "example with --memory-limit, or look into their logs."
            )
        if isinstance(error, CancelledError) or self._client.status != "running":
            return self._lost()
        if isinstance(error, ImportError | AttributeError):
            return KindredError(
                f"A worker does not know the work ({reason_of(error)}); install napari-kindred "
                f"{__version__} on every worker."
            )
        return super().fault(error)

    def close(self) -> None:
        """Cancel what is not finished, and close the connection if it is the run's own."""
        super().close()
        if self._closes:
            with suppress(Exception):
                self._client.close(timeout=1)

    def _leave(self) -> None:
        if self._run and self._client.status == "running":
            with suppress(Exception):  # a scheduler that is lost has no workers either
                self._client.run(forget, self._run)

    def _ask(self) -> None:
        """Count the workers' threads, now and then: workers come and go."""
        if time.monotonic() - self._asked < PATIENCE:
            return
        try:
            self._threads = sum(self._client.nthreads().values())
        except Exception as error:
            raise self._lost() from error
        self._asked = time.monotonic()

    def _lost(self) -> KindredError:
        return KindredError(
            "The Dask scheduler was lost while it worked; start it again, and the run again."
        )


@contextmanager
def open_workers(scheduler: Any, device: str) -> Iterator[Workers]:
    """Open the workers on the tasks of a run, and close them in the end.

    Parameters
    ----------
    scheduler : None, str, Path, Executor or distributed.Client
        None is this process, one task after the other; ``"threads"`` up to
        :data:`MOST_THREADS` threads of it; an executor of ``concurrent.futures``, or one like it,
        which is left open; else a Dask cluster: the address of its scheduler, for example
        ``"tcp://10.0.0.1:8786"``, the path of its scheduler file, or a client, which is left open.
    device : str
        As in the run's options.

    Raises
    ------
    OptionError
        If it is none of these, or ``distributed`` is not installed.
    KindredError
        If no scheduler answers, or the workers have too little memory.
    """
    with closing(_opened(scheduler, device)) as workers:
        try:
            yield workers
        except (MemoryError, RuntimeError) as error:
            if not says_no_memory(error):
                raise
            advice = "close other programs, or choose a smaller memory= or device='cpu'"
            raise as_sentence(error, advice, "") from error


def _opened(scheduler: Any, device: str) -> Workers:
    if scheduler is None:
        return SerialWorkers(device)
    if isinstance(scheduler, str) and scheduler == "threads":
        return threads(device)
    if isinstance(scheduler, Executor):
        return ExecutorWorkers(scheduler, device)
    try:
        from distributed import Client
    except ImportError as error:
        raise OptionError(
            "A Dask cluster needs the package distributed; install it: "
            "pip install 'napari-kindred[dask]'."
        ) from error
    if isinstance(scheduler, Client):
        if scheduler.asynchronous or scheduler.status != "running":
            raise OptionError(
                "The Dask client is closed or asynchronous; give an open one, or its address."
            )
        return DaskWorkers(scheduler, device, own=False)
    if not isinstance(scheduler, str | Path):
        raise _no_scheduler(scheduler)
    address = _address(str(scheduler))
    _check_answers(address)
    try:
        client = Client(address, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:
        raise KindredError(
            f"What answers at {address} is not a Dask scheduler of this version; check the "
            "address, and that dask is of one version everywhere."
        ) from error
    return DaskWorkers(client, device, own=True)


def _no_scheduler(scheduler: Any) -> OptionError:
    return OptionError(
        f"scheduler={scheduler!r} is not a scheduler; use 'threads', an address such as "
        "tcp://10.0.0.1:8786, a scheduler file, an Executor, or a distributed.Client."
    )


def _address(scheduler: str) -> str:
    """Return a scheduler's address, from its file if there is one."""
    if Path(scheduler).is_file():
        try:
            return str(json.loads(Path(scheduler).read_text("utf-8"))["address"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise OptionError(
                f"{scheduler!r} is not a scheduler file; give the one that 'dask scheduler "
                "--scheduler-file' wrote."
            ) from error
    if not re.fullmatch(r"(\w+://)?[^/\s]+:\d+", scheduler):
        raise _no_scheduler(scheduler)
    return scheduler


def _check_answers(address: str) -> None:
    """Raise KindredError if nothing answers, because Dask's own client would retry for ever."""
    scheme, _, rest = address.rpartition("://")
    if scheme not in ("", "tcp", "tls"):
        return
    host, _, port = rest.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE).close()
    except (OSError, OverflowError) as error:
        raise KindredError(
            f"No Dask scheduler answers at {address}; check the address, or start one: "
            "dask scheduler"
        ) from error
