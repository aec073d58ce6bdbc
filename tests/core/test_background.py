"""Steps that cannot yield: the job tells how far they are, and can be left at any time."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from napari_kindred.clusters.predict import iter_cluster_stack
from napari_kindred.core.background import Left, iter_in_background, listener
from napari_kindred.core.events import Progress, finish

if TYPE_CHECKING:
    from collections.abc import Callable, Generator


@pytest.fixture
def gate() -> Generator[threading.Event]:
    gate = threading.Event()
    yield gate
    gate.set()


def told(gate: threading.Event, done: int, total: int) -> Callable[[], str]:
    """A step that downloads a part of something and then waits."""

    def step() -> str:
        report = listener()
        assert report is not None
        report(done, total)
        gate.wait(30)
        report(total, total)
        return "opened"

    return step


def test_the_result_of_the_step_is_that_of_the_job() -> None:
    assert finish(iter_in_background(lambda: 7, "counting")) == 7


def test_what_the_step_raises_the_job_raises() -> None:
    def step() -> None:
        raise ValueError("no such thing")

    with pytest.raises(ValueError, match="no such thing"):
        finish(iter_in_background(step, "looking"))


@pytest.mark.parametrize(
    ("done", "total", "event"),
    [
        (
            30_000_000,
            120_000_000,
            Progress(30e6, 120e6, "loading, 30 of 120 MB downloaded"),
        ),
        (30_000_000, 0, Progress(0, 1, "loading, 30 MB downloaded")),
    ],
)
def test_a_download_is_told_while_it_lasts(
    gate: threading.Event, done: int, total: int, event: Progress
) -> None:
    job = iter_in_background(told(gate, done, total), "loading")
    assert next(job) == Progress(0, 1, "loading")
    while next(job) != event:
        pass
    gate.set()
    assert finish(job) == "opened"


def test_outside_of_a_step_nobody_listens() -> None:
    assert listener() is None


def test_a_step_that_is_left_ends_at_its_next_report(gate: threading.Event) -> None:
    ended: list[BaseException] = []
    over = threading.Event()

    def step() -> None:
        try:
            told(gate, 1, 10)()
        except BaseException as error:
            ended.append(error)
            raise
        finally:
            over.set()

    job = iter_in_background(step, "loading")
    next(job)
    next(job)
    job.close()  # though the step still waits
    assert not over.is_set()
    gate.set()
    assert over.wait(10)
    assert [type(error) for error in ended] == [Left]


def test_a_movie_is_left_while_its_encoder_is_opened(
    gate: threading.Event, steps: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "napari_kindred.clusters.pipeline.open_encoder", lambda *_, **__: gate.wait(30)
    )
    job = iter_cluster_stack(steps, axes="TYX")
    for _ in range(3):
        event = next(job)
        while not isinstance(event, Progress):
            event = next(job)
        assert event.what == "loading the encoder"
    job.close()
    assert not gate.is_set()
