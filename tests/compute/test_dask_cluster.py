"""Units of work in this process, in threads and on the workers of a Dask cluster."""

from __future__ import annotations

import json
import multiprocessing
import re
import sys
import threading
import time
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import pytest
import torch

import remote_tasks as tasks
from napari_kindred.compute.dask_cluster import open_workers
from napari_kindred.compute.tasks import Call, FrameAt, RunSettings, forget
from napari_kindred.core.errors import InputError, KindredError, OptionError
from napari_kindred.core.events import Notice, finish
from napari_kindred.images.stack import ImageStack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(scope="module")
def processes() -> Iterator[Executor]:
    """An executor of the standard library with two processes."""
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        yield pool


@pytest.fixture(params=[None, "threads", "processes", "client"])
def scheduler(request: pytest.FixtureRequest) -> Any:
    """Each of the ways to work."""
    fixture = request.param in ("processes", "client")
    return request.getfixturevalue(request.param) if fixture else request.param


@pytest.fixture(params=["threads", "cluster"])
def ahead(request: pytest.FixtureRequest) -> Any:
    """The ways that work ahead."""
    return request.getfixturevalue("client") if request.param == "cluster" else request.param


def results(scheduler: Any, task: Callable[..., Any], calls: Any) -> list[Any]:
    with open_workers(scheduler, "cpu") as workers:
        return [finish(job) for job in workers.jobs(task, 10, tasks.opened, calls)]


# -- results ------------------------------------------------------------------------------------


def test_results_come_in_the_order_of_their_tasks(scheduler: Any) -> None:
    calls = ((number,) for number in range(12))
    assert results(scheduler, tasks.add, calls) == list(range(10, 22))


def test_tasks_are_taken_a_few_ahead_and_never_all_at_once(scheduler: Any) -> None:
    taken = []

    def calls() -> Iterator[tuple[int]]:
        for number in range(40):
            taken.append(number)
            yield (number,)

    lead = []
    with open_workers(scheduler, "cpu") as workers:
        jobs = workers.jobs(tasks.add, 10, tasks.opened, calls())
        for done, job in enumerate(jobs):
            lead.append(len(taken) - done)
            finish(job)
    assert len(lead) == 40
    assert max(lead) <= (1 if scheduler is None else 6)


def test_what_a_unit_says_is_heard_where_the_run_was_started(scheduler: Any) -> None:
    heard: list[Any] = []
    with open_workers(scheduler, "cpu") as workers:
        for job in workers.jobs(tasks.add, 10, tasks.opened, [(7,), (8,)]):
            finish(job, heard.append)
    notices = [event.text for event in heard if isinstance(event, Notice)]
    assert notices == ["7 was added.", "8 was added."]


def test_a_process_that_dies_is_one_sentence(tmp_path: Path) -> None:
    with (
        ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool,
        pytest.raises(KindredError, match="A worker died"),
    ):
        results(pool, tasks.die_once, [(3, tmp_path / "died")])


def test_provenance_says_who_worked(client: Any) -> None:
    with open_workers(client, "cpu") as workers:
        for job in workers.jobs(tasks.add, 10, tasks.opened, [(n,) for n in range(8)]):
            finish(job)
        assert re.fullmatch(r"cpu \(.*, 1 Dask worker|cpu \(.*, 2 Dask workers", workers.describe())


# -- the same everywhere ------------------------------------------------------------------------


def test_workers_compute_with_as_many_threads_as_the_process_that_asks(ahead: Any) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        settings = RunSettings.here("cpu")
        assert results(ahead, tasks.threads, [()] * 4) == [(3, settings.blas)] * 4
    finally:
        torch.set_num_threads(before)


def test_a_lazy_image_is_computed_by_the_unit_that_reads_it(client: Any) -> None:
    images = [da.full((8, 8), number, chunks=4) for number in range(4)]
    sums = results(client, tasks.total, [(image,) for image in images])
    assert sums == [64 * number for number in range(4)]


def test_every_thread_opens_a_context_of_its_own_and_keeps_it_until_the_run_is_over() -> None:
    opened = []

    def opener() -> int:
        opened.append(threading.get_ident())
        return len(opened)

    def work(number: int = 0) -> None:
        call = Call("run", opener, tasks.add, (number,), RunSettings.here("cpu"))
        done = call.work(lambda: False)
        assert done is not None
        seen.append(done.result)

    seen: list[int] = []
    work()
    work()
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [1, 1, 2]
    assert len(set(opened)) == 2
    forget("run")
    work()
    assert seen[-1] == 3
    forget("run")


def test_frames_are_sent_with_their_pixels_unless_workers_can_read_them(
    client: Any, processes: Executor
) -> None:
    pixels = np.arange(2 * 8 * 8, dtype=np.uint8).reshape(2, 8, 8)
    held = ImageStack.open(pixels, "TYX")
    lazy = ImageStack.open(da.ones((2, 8, 8), chunks=(1, 8, 8)), "TYX")
    for scheduler in (client, processes):
        with open_workers(scheduler, "cpu") as workers:
            assert workers.image(held) is None
            sent = workers.frame(held, (1,)).read(None).pixels[..., 0]
            np.testing.assert_array_equal(sent, pixels[1])
            assert workers.image(lazy) is lazy
            assert workers.frame(lazy, (1,)).raw is None
    assert results(processes, tasks.add, [(1,)]) == [11], "an executor is left open"
    with ThreadPoolExecutor(1) as pool:
        for scheduler in ("threads", pool):  # one thread reads, whatever the source
            with open_workers(scheduler, "cpu") as workers:
                assert workers.image(lazy) is None
                assert workers.frame(lazy, (1,)).raw is not None
    with open_workers(None, "cpu") as workers:
        assert workers.image(held) is held
        assert workers.frame(held, (1,)) == FrameAt((1,))


# -- what goes wrong ----------------------------------------------------------------------------


def test_an_error_that_a_unit_raises_on_purpose_arrives_as_it_is(scheduler: Any) -> None:
    with pytest.raises(InputError, match=r"^Frame 0 is damaged; copy it again\.$"):
        results(scheduler, tasks.refuse, [(0,)])


def test_another_error_arrives_as_one_sentence(ahead: Any) -> None:
    with pytest.raises(KindredError, match="ZeroDivisionError: division") as caught:
        results(ahead, tasks.stumble, [(0,)])
    assert "\n" not in str(caught.value)


def test_a_worker_that_dies_is_survived(client: Any, tmp_path: Path) -> None:
    calls = [(number, tmp_path / "died") for number in range(10)]
    assert results(client, tasks.die_once, calls) == list(range(10, 20))
    assert (tmp_path / "died").exists()


def test_closing_leaves_what_is_not_begun_and_stops_what_is(ahead: Any, tmp_path: Path) -> None:
    with open_workers(ahead, "cpu") as workers:
        calls = ((number, tmp_path) for number in range(100))
        job = next(workers.jobs(tasks.write_down, 10, tasks.opened, calls))
        while not list(tmp_path.iterdir()):
            next(job)
        job.close()
    time.sleep(0.5)
    begun = set(tmp_path.iterdir())
    assert len(begun) <= 6
    assert results(ahead, tasks.add, [(1,)]) == [11]  # they are free for others
    assert {path.name.split()[0] for path in begun | set(tmp_path.iterdir())} == {"begun"}


def test_a_cluster_without_workers_says_so_and_one_that_is_lost_too() -> None:
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=0, processes=False, dashboard_address=":0") as cluster,
        Client(cluster, set_as_default=False) as own,
    ):
        with open_workers(own, "cpu") as workers:
            job = next(workers.jobs(tasks.add, 10, tasks.opened, [(1,)]))
            told = next(event for event in job if isinstance(event, Notice))
            assert f"start one: dask worker {cluster.scheduler_address}" in told.text
            own.close()
            with pytest.raises(KindredError, match="scheduler was lost"):
                finish(job)
        with pytest.raises(OptionError, match="closed"), open_workers(own, "cpu"):
            pass


def test_another_version_is_told_both_numbers(client: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("napari_kindred.compute.tasks.__version__", "0.0.7")
    with pytest.raises(KindredError, match=r"has napari-kindred \d.*, .* started with 0\.0\.7"):
        results(client, tasks.add, [(1,)])


def test_a_unit_nobody_waits_for_is_left_at_its_next_event() -> None:
    steps = iter([False, True])
    call = Call("run", tasks.opened, tasks.add, (1,), RunSettings.here("cpu"))
    assert call.work(lambda: next(steps), "me") is None


@pytest.mark.parametrize(
    ("scheduler", "kind", "sentence"),
    [
        (5, OptionError, "scheduler=5 is not a scheduler; use 'threads', an address"),
        ("processes", OptionError, "scheduler='processes' is not a scheduler"),
        ("tcp://127.0.0.1:9", KindredError, r"No Dask scheduler answers at tcp://127\.0\.0\.1:9"),
        ("tcp://127.0.0.1:99999", KindredError, "No Dask scheduler answers"),
        (Path("no-such-file.json"), OptionError, "is not a scheduler"),
        (Path(__file__), OptionError, "is not a scheduler file"),
    ],
)
def test_a_scheduler_that_is_none_is_answered_in_one_sentence(
    scheduler: Any, kind: type[Exception], sentence: str
) -> None:
    with pytest.raises(kind, match=sentence) as caught, open_workers(scheduler, "cpu"):
        pass
    assert "\n" not in str(caught.value)


def test_without_distributed_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with (
        pytest.raises(OptionError, match=r"pip install 'napari-kindred\[dask\]'"),
        open_workers("tcp://127.0.0.1:9", "cpu"),
    ):
        pass


def test_an_address_and_a_scheduler_file_lead_to_the_same_cluster(
    client: Any, tmp_path: Path
) -> None:
    file = tmp_path / "scheduler.json"
    file.write_text(json.dumps({"type": "Scheduler", "address": client.scheduler.address}))
    for way in (client.scheduler.address, file):
        assert results(way, tasks.add, [(1,), (2,)]) == [11, 12]
    assert client.status == "running"
