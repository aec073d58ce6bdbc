"""Shared pictures, drawn in a few lines, and the rule that CI skips no GUI test."""

from __future__ import annotations

import gc
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import tifffile

from napari_kindred.core.events import Event, Notice, Progress
from napari_kindred.images.stack import ImageStack
from napari_kindred.results.segmentation import provenance

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Generator

    from napari_kindred.clusters.config import ClusterConfig
    from napari_kindred.clusters.result import ClusterSegmentation
    from napari_kindred.results.segmentation import Segmentation


def pytest_configure(config: pytest.Config) -> None:
    if getattr(config.option, "numprocesses", None):  # workers share the processors
        os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_finish() -> None:
    # napari looks for garbage at the end of each test and when a layer goes, which takes half a
    # second where all that the libraries made when they were imported is looked through too.
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    gc.unfreeze()


def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if not os.environ.get("CI") or reporter is None:
        return
    skipped = [
        report.nodeid
        for report in reporter.stats.get("skipped", [])
        if report.nodeid.startswith("tests/napari")
    ]
    if skipped:
        reporter.write_line(f"GUI tests were skipped: {', '.join(sorted(set(skipped)))}", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session", autouse=True)
def _own_folders(tmp_path_factory: pytest.TempPathFactory) -> Generator[None]:
    """No test reads or fills the cache of whoever runs it, or sees the files of tests beside it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NAPARI_KINDRED_CACHE", str(tmp_path_factory.mktemp("cache")))
        folder = str(tmp_path_factory.mktemp("tmp"))
        patch.setenv("TMPDIR", folder)
        patch.setattr(tempfile, "tempdir", folder)
        yield


@pytest.fixture(autouse=True, scope="session")
def _automatic_engine() -> Generator[None]:
    """What a test expects does not depend on the engines that happen to be installed."""
    from napari_kindred.entities import engine

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "installed", lambda: False)
        yield


@pytest.fixture
def preferring() -> Generator[Callable[..., None]]:
    """Prefer something in this process, as the window's settings do."""
    from napari_kindred.core.settings import Preferences, prefer

    yield lambda **chosen: prefer(Preferences(**chosen))
    prefer(Preferences())


@contextmanager
def _files_up_to(count: int) -> Generator[None]:
    """Let no file grow beyond so many bytes, as where a disk has no room for more."""
    resource: Any = pytest.importorskip("resource", reason="Windows has no such limit")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (count, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.fixture
def files_up_to() -> Callable[[int], AbstractContextManager[None]]:
    return _files_up_to


@pytest.fixture(scope="session")
def client(_own_folders: None) -> Generator[Any]:
    """A client of a Dask cluster of two processes on this machine, one for all tests."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            dashboard_address=":0",
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture
def discs() -> tuple[np.ndarray, np.ndarray]:
    """A uint8 picture (96, 128) of six bright discs on a dark ground, and their labels."""
    rows, columns = np.mgrid[:96, :128]
    labels = np.zeros((96, 128), np.int32)
    centres = [(24, 20), (24, 64), (24, 108), (72, 20), (72, 64), (72, 108)]
    for number, (y, x) in enumerate(centres, start=1):
        labels[(rows - y) ** 2 + (columns - x) ** 2 < 12**2] = number
    noise = np.random.default_rng(0).integers(0, 20, labels.shape)
    return ((labels > 0) * 180 + 20 + noise).astype(np.uint8), labels


LEVELS = np.array([10, 20, 30, 105, 115, 125, 230, 240, 250])
"""Grey values of the picture that follows: three kinds with three shades each."""


@pytest.fixture
def steps() -> np.ndarray:
    """Nine shades of grey, each of its own area, that move from frame to frame; (4, 48, 64)."""
    frame = np.full((48, 64), LEVELS[0], np.uint8)
    corners = [(2, 2), (2, 24), (2, 44), (18, 2), (18, 22), (18, 42), (34, 2), (34, 24)]
    for number, (grey, (top, left)) in enumerate(zip(LEVELS[1:], corners, strict=True)):
        frame[top : top + 12, left : left + 18 - number] = grey
    return np.stack([np.roll(frame, (time, -time), axis=(0, 1)) for time in range(4)])


class Greys:
    """Clusters movies by their grey values, with the events and the result of the real job.

    Attributes
    ----------
    gates : dict
        Steps, by number, before which the job waits for an event to be set: a movie of n frames
        takes n steps to be encoded, and n more to be labelled.
    errors : dict
        Steps, by number, in place of which an error is raised.
    """

    def __init__(self) -> None:
        self.gates: dict[int, threading.Event] = {}
        self.errors: dict[int, BaseException] = {}

    def __call__(
        self,
        image: Any,
        *,
        config: ClusterConfig,
        model: Any = None,
        metadata_axes: str | None = None,
        scheduler: Any = None,
    ) -> Generator[Event, None, ClusterSegmentation]:
        from napari_kindred.clusters.assembly import ClusterAssembly
        from napari_kindred.clusters.kmeans import nearest
        from napari_kindred.clusters.model import HierarchicalClustering

        frames = ImageStack.open(image, config.axes, config.channel, metadata_axes)
        count, greys = len(frames), []
        notes = [note for note in frames.notes if not note.startswith("Axes ")]
        for note in notes:
            yield Notice(note)
        assembly = ClusterAssembly(frames)
        assembly.facts = lambda: provenance(
            method="clusters", config=config, frames=frames, device="cpu", notes=notes
        )
        for number, index in enumerate(frames.indices()):
            yield from self._wait(number, Progress(number, 2 * count, "encoding", number, count))
            greys.append(frames.read(index).pixels.mean(-1))
            if model is None:
                kind = 3 - abs(greys[-1][..., None] - LEVELS).argmin(-1) // 3
                yield assembly.add_provisional(index, kind.astype(np.int32), pd.DataFrame())
            yield Progress(number + 1, 2 * count, "encoding", number + 1, count)
        tokens = np.stack([np.stack([grey, grey**2 / 255], -1) for grey in greys]) / 255
        if model is None:
            model = HierarchicalClustering(config.n_clusters, n_local=len(LEVELS)).fit(tokens)
        elif isinstance(model, str | Path):
            model = HierarchicalClustering.load(model)
        assembly.begin(model)
        for number, index in enumerate(frames.indices()):
            step = count + number
            yield from self._wait(step, Progress(step, 2 * count, "labelling", number, count))
            leaves = nearest(model.reduce(tokens[number]), model.leaves_)
            yield assembly.add(index, leaves, greys[number])
            yield Progress(step + 1, 2 * count, "labelling", number + 1, count)
        return assembly.result()

    def _wait(self, step: int, event: Progress) -> Generator[Event, None, None]:
        gate = self.gates.get(step)
        while gate is not None and not gate.wait(0.01):
            yield event
        if step in self.errors:
            raise self.errors[step]


@pytest.fixture
def greys() -> Greys:
    return Greys()


@pytest.fixture
def terminated(tmp_path: Path) -> Callable[..., Segmentation]:
    """Run a command on a movie of 50 frames in a real process; signal it after the third.

    Takes the command and the Python lines that put a function in the real one's place, which
    prints each frame's number; returns what the command left in its output.
    """
    from napari_kindred.load import load_segmentation

    if sys.platform == "win32":
        pytest.skip("Windows ends a process without telling it")
    movie, out = tmp_path / "movie.tif", tmp_path / "out.tif"
    tifffile.imwrite(movie, np.zeros((50, 20, 30), np.uint8) + np.arange(30))

    def terminate(command: str, lines: str, *numbers: int) -> Segmentation:
        arguments = [command, str(movie), "--axes", "TYX", "--out", str(out)]
        program = f"import sys\n{lines}\nfrom napari_kindred.cli import main as cli\n"
        program += f"sys.exit(cli.main({arguments!r}))"
        running = subprocess.Popen(
            [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert running.stdout is not None
        with running.stdout:
            while running.stdout.readline().strip() != b"2":
                assert running.poll() is None
            start = time.monotonic()
            for number in numbers or (signal.SIGTERM,):
                os.kill(running.pid, number)
                time.sleep(0.05)
            assert running.wait(timeout=20) == 130
            assert running.stderr is not None
            with running.stderr:
                assert "Traceback" not in running.stderr.read().decode()
        assert time.monotonic() - start < 5
        return load_segmentation(out)

    return terminate
