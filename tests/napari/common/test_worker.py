"""The thread beside the window: every end of a job is told, in the window's thread."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from napari_kindred._napari.common.worker import Job, as_kindred
from napari_kindred.core.errors import InputError, KindredError
from napari_kindred.core.events import Event, Notice

if TYPE_CHECKING:
    from collections.abc import Callable, Generator


class Ear:
    """Writes down what a job tells, and in which thread."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.threads: set[int] = set()

    def __call__(self, *what: Any) -> None:
        self.heard.append(what[0] if what else "cancelled")
        self.threads.add(threading.get_ident())

    def listen(self, start: Callable[[], Generator[Event, None, Any]]) -> Job:
        return Job(start, "test", on_event=self, on_success=self, on_failure=self, on_cancel=self)


@pytest.fixture
def ear(qapp: Any) -> Ear:
    return Ear()


def test_events_and_result_arrive_in_order_in_the_windows_thread(ear: Ear, until: Any) -> None:
    def work() -> Generator[Event, None, Any]:
        yield Notice("one")
        yield Notice(str(threading.get_ident()))
        return "result"

    ear.listen(work)
    until(lambda: "result" in ear.heard)
    assert ear.heard[0] == Notice("one")
    assert ear.heard[1] != Notice(str(threading.get_ident()))
    assert ear.threads == {threading.get_ident()}


@pytest.mark.parametrize(
    "error", [RuntimeError("CUDA error"), ValueError("odd"), InputError("The image is empty.")]
)
def test_every_exception_becomes_one_sentence_for_the_user(
    ear: Ear, until: Any, error: Exception
) -> None:
    def work() -> Generator[Event, None, Any]:
        yield Notice("one")
        raise error

    ear.listen(work)
    until(lambda: len(ear.heard) == 2)
    assert isinstance(ear.heard[1], KindredError)
    assert str(error) in str(ear.heard[1])


def test_an_error_before_the_first_event_is_told_too(ear: Ear, until: Any) -> None:
    def start() -> Generator[Event, None, Any]:
        raise RuntimeError("no such device")

    ear.listen(start)
    until(lambda: bool(ear.heard))
    assert "no such device" in str(ear.heard[0])


def test_running_out_of_memory_names_the_tile_as_the_way_out() -> None:
    for error in (MemoryError(), RuntimeError("CUDA out of memory. Tried to allocate 20 GiB")):
        assert "less memory" in str(as_kindred(error))


def test_cancel_closes_the_job_in_its_own_thread_and_tells_once(ear: Ear, until: Any) -> None:
    seen: dict[str, int] = {}

    def work() -> Generator[Event, None, Any]:
        seen["began"] = threading.get_ident()
        try:
            while True:
                yield Notice("on")
        finally:
            seen["closed"] = threading.get_ident()

    job = ear.listen(work)
    until(lambda: bool(ear.heard))
    job.cancel()
    until(lambda: "cancelled" in ear.heard)
    assert ear.heard.count("cancelled") == 1
    assert seen["closed"] == seen["began"]


def test_an_abandoned_job_stops_and_calls_nobody(ear: Ear, until: Any, qtbot: Any) -> None:
    closed = threading.Event()

    def work() -> Generator[Event, None, Any]:
        try:
            while True:
                yield Notice("on")
        finally:
            closed.set()

    job = ear.listen(work)
    until(lambda: bool(ear.heard))
    job.abandon()
    told = len(ear.heard)
    until(closed.is_set)
    qtbot.wait(50)
    assert len(ear.heard) == told
