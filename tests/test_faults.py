"""What goes wrong in mid-run: one sentence, what is done is kept, and the next run works."""

from __future__ import annotations

import gc
import re
import shutil
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import pytest
import tifffile
import torch
import zarr

import napari_kindred as nk
from mute import MuteError
from napari_kindred.cli import main as cli
from napari_kindred.cli.batch import process_file, process_folder
from napari_kindred.cli.tasks import EntityTask, run_task
from napari_kindred.core.errors import InputError, KindredError, as_sentence, reason_of
from napari_kindred.core.events import Event, Partial
from napari_kindred.entities.config import EntityConfig
from napari_kindred.entities.network import EntityNetwork
from napari_kindred.images.readers import ImageFile, read_image
from napari_kindred.load import load_segmentation
from napari_kindred.results.segmentation import Segmentation

if TYPE_CHECKING:
    from collections.abc import Callable

METHODS: dict[str, Callable[[Any], Segmentation]] = {
    "entities": lambda image: nk.segment_entities(image, scale=1.0, axes="YX"),
    "clusters": lambda image: nk.cluster_stack(image, n_clusters=2, axes="YX"),
    "classes": lambda image: nk.segment_classes(image, "nucleus", axes="YX"),
}


@pytest.fixture
def movie(discs: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    return np.stack([discs[0]] * 4)


@pytest.fixture
def task() -> EntityTask:
    return EntityTask(EntityConfig(scale=1.0, axes="TYX"))


@pytest.fixture(autouse=True)
def temporary(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of temporary files, of which none may be left."""
    folder = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def after(count: int, act: Callable[[], object]) -> Callable[[Event], None]:
    """A report that does something once so many frames are done."""
    seen: list[Event] = []

    def report(event: Event, **_: int) -> None:
        if isinstance(event, Partial):
            seen.append(event)
            if len(seen) == count:
                act()

    return report


def ignore(*_: object, **__: object) -> None:
    pass


# -- memory -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "error"),
    [
        ("entities", torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")),
        ("clusters", RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)")),
        ("classes", MemoryError()),
    ],
)
def test_memory_that_is_never_enough_is_one_sentence_and_the_next_run_works(
    discs: tuple[np.ndarray, np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
    temporary: Path,
    method: str,
    error: Exception,
) -> None:
    def starve(*_: object) -> None:
        raise error

    picture = discs[0]
    with monkeypatch.context() as patch:
        patch.setattr(torch.nn.Conv2d, "forward", starve)
        # What earlier tests left in the cache would need no network.
        with pytest.raises(KindredError, match=r"[Mm]emory") as caught:
            METHODS[method](np.flipud(picture) + 3)
    assert "\n" not in str(caught.value)
    assert METHODS[method](np.flipud(picture) + 3).labels.shape == picture.shape
    gc.collect()
    assert list(temporary.iterdir()) == []


# -- the image goes away ------------------------------------------------------------------------


def as_zarr(path: Path, movie: np.ndarray) -> Path:
    zarr.create_array(path.with_suffix(".zarr"), data=movie, chunks=(1, *movie.shape[1:]))
    return path.with_suffix(".zarr")


def as_tiff(path: Path, movie: np.ndarray) -> Path:
    tifffile.imwrite(path.with_suffix(".tif"), movie, compression="zlib", metadata={"axes": "TYX"})
    return path.with_suffix(".tif")


def as_npy(path: Path, movie: np.ndarray) -> Path:
    np.save(path.with_suffix(".npy"), movie)
    return path.with_suffix(".npy")


def shorten(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 3)


@pytest.mark.parametrize(
    ("write", "harm", "words"),
    [
        (as_zarr, shutil.rmtree, "is gone"),
        (as_npy, shorten, "has become shorter"),
        (as_tiff, shorten, "cannot be read"),
    ],
)
def test_frames_done_before_the_image_goes_away_are_kept(
    tmp_path: Path,
    movie: np.ndarray,
    task: EntityTask,
    temporary: Path,
    write: Callable[[Path, np.ndarray], Path],
    harm: Callable[[Path], None],
    words: str,
) -> None:
    path, out = write(tmp_path / "movie", movie), tmp_path / "out" / "cells.tif"
    with pytest.raises(InputError, match=words) as caught:
        process_file(path, out, task, after(2, lambda: harm(path)))
    assert "\n" not in str(caught.value)
    kept = load_segmentation(out)
    assert kept.provenance["complete"] is False
    done = kept.provenance["frames_done"]
    assert 2 <= done < 4
    assert [frame.max() for frame in kept.labels] == [6] * done + [0] * (4 - done)
    again = write(tmp_path / "again", movie)
    assert process_file(again, out, task, ignore, overwrite=True).frames == 4
    gc.collect()
    assert list(temporary.iterdir()) == []
    assert {file.name for file in out.parent.iterdir()} == {"cells.tif", "cells.csv", "cells.json"}


def test_an_image_of_a_folder_that_goes_away_does_not_stop_the_others(
    tmp_path: Path, movie: np.ndarray
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, frame in enumerate(movie):
        tifffile.imwrite(folder / f"p{number}.tif", frame)
    task = EntityTask(EntityConfig(scale=1.0))
    report = after(1, (folder / "p2.tif").unlink)
    outcome = process_folder(folder, tmp_path / "out", task, report)
    assert outcome.done == 3
    assert list(outcome.failed) == ["p2.tif"]


@pytest.mark.parametrize(
    "error",
    [RuntimeError("the\nstage"), StopIteration(), MemoryError(), MuteError(), OSError(5, "I/O")],
)
@pytest.mark.parametrize("scheduler", [None, "threads"])
def test_a_dask_graph_that_raises_keeps_the_frames_before(
    movie: np.ndarray, error: Exception, scheduler: str | None
) -> None:
    def block(block_info: Any = None) -> np.ndarray:
        place = block_info[None]["chunk-location"][0]
        if place == 2:
            raise error
        return movie[None, place]

    lazy = da.map_blocks(block, chunks=((1,) * 4, (96,), (128,)), dtype=movie.dtype, meta=movie)
    kept: list[Segmentation] = []
    task = EntityTask(EntityConfig(scale=1.0, axes="TYX"), scheduler)
    with pytest.raises(InputError, match="Frame T=2 cannot be read") as caught:
        run_task(task, ImageFile(lazy), ignore, kept.append)
    assert "\n" not in str(caught.value)
    # Threads read ahead of the frame that is at hand.
    assert [result.provenance["frames_done"] for result in kept] == [2] if scheduler is None else 1
    assert nk.segment_entities(movie[:1], axes="TYX", scale=1.0).labels.max() == 6


def test_a_source_that_gives_something_else_than_it_said_is_refused(movie: np.ndarray) -> None:
    class Liar:
        shape, dtype = movie.shape, movie.dtype

        def __init__(self, answer: Any) -> None:
            self.answer = answer

        def __getitem__(self, _: Any) -> Any:
            return self.answer

    for answer in (np.zeros((3, 3)), None, "pixels", movie, np.full((96, 128), None)):
        with pytest.raises(InputError, match="cannot be read"):
            nk.segment_entities(Liar(answer), axes="TYX", scale=1.0)


# -- workers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [KeyError("a"), StopIteration(), MuteError(), AssertionError()])
def test_whatever_a_unit_raises_in_a_thread_is_one_sentence(
    movie: np.ndarray, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    forward = EntityNetwork.forward

    def fail(*given: Any) -> Any:
        if threading.current_thread() is threading.main_thread():
            return forward(*given)
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(EntityNetwork, "forward", fail)
        with pytest.raises(KindredError, match="A task failed") as caught:
            nk.segment_entities(movie, axes="TYX", scale=1.0, scheduler="threads")
    assert "\n" not in str(caught.value)
    assert nk.segment_entities(movie[0], axes="YX", scale=1.0).labels.max() == 6


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "There is not enough memory; use less."),
        (RuntimeError("CUDA out of memory. Tried …"), "There is not enough memory; use less."),
        (KeyError("a"), "The job stopped with KeyError: 'a'; look."),
        (ValueError("one\n  two."), "The job stopped with ValueError: one two; look."),
        (MuteError(), "The job stopped with MuteError; look."),
        (SystemExit(3), "The job stopped with SystemExit: 3; look."),
        (KindredError("Mine."), "Mine."),
    ],
)
def test_every_error_becomes_a_sentence(error: BaseException, words: str) -> None:
    assert str(as_sentence(error, "use less", "look")) == words


def test_the_reason_of_an_error_is_short_and_on_one_line() -> None:
    assert reason_of(ValueError("a\n\n b" + "c" * 1000)) == "a b" + "c" * 117
    assert reason_of(OSError(28, "No space left on device", "/a/file")) == "No space left on device"
    assert reason_of(MuteError()) == "MuteError"


def test_the_command_line_says_what_was_not_foreseen_in_its_last_line(
    tmp_path: Path,
    movie: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = as_tiff(tmp_path / "movie", movie)
    arguments = ["entities", str(path), "--out", str(tmp_path / "out.tif")]
    for error, words in ((KeyError("a"), "KeyError: 'a'"), (MemoryError(), "--memory")):

        def fail(*_: object, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr("napari_kindred.cli.batch.process_file", fail)
        assert cli.main(arguments) == 1
        lines = capsys.readouterr().err.splitlines()
        assert lines[-1].startswith("napari-kindred: ")
        assert words in lines[-1]
    assert len(lines) == 1  # of memory there is no more to say


# -- clocks and cancels -------------------------------------------------------------------------


class Backwards(ModuleType):
    """A clock on which every look is a minute earlier."""

    def __init__(self) -> None:
        super().__init__("time")
        self.now = 1e9
        self.sleep = time.sleep

    def time(self) -> float:
        self.now -= 60.0
        return self.now

    perf_counter = monotonic = time

    def time_ns(self) -> int:
        return int(1e9 * self.time())


@pytest.fixture
def backwards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let all of the package look at a clock that goes backwards."""
    clock = Backwards()
    ours = [module for name, module in sys.modules.items() if name.startswith("napari_kindred")]
    for module in ours:
        if getattr(module, "time", None) is time:
            monkeypatch.setattr(module, "time", clock)


@pytest.mark.usefixtures("backwards")
def test_a_clock_that_goes_backwards_is_no_reason_to_stop(
    tmp_path: Path,
    movie: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    path, folder = as_tiff(Path("movie"), movie), Path("pictures")
    folder.mkdir()
    tifffile.imwrite(folder / "a.tif", movie[0])
    for command, source in (("entities", path), ("entities", folder), ("clusters", path)):
        out = Path(f"{command} {source.name}")
        assert cli.main([command, str(source), "--out", str(out)]) == 0
        told = capsys.readouterr()
        assert not re.search(r"-\d", told.out + told.err)
    facts = load_segmentation("entities movie.tif").provenance
    assert facts["seconds"] == 0.0


def test_a_cancel_while_the_result_is_written_keeps_it(
    tmp_path: Path, movie: np.ndarray, task: EntityTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, calls = Segmentation.save, []

    def interrupted(self: Segmentation, path: Path, overwrite: bool = False) -> Path:
        calls.append(path)
        if len(calls) == 1:
            self = replace(self, table=Interrupting(self.table))
        return save(self, path, overwrite)

    monkeypatch.setattr(Segmentation, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        process_file(as_tiff(tmp_path / "movie", movie), tmp_path / "out.tif", task, ignore)
    assert load_segmentation(tmp_path / "out.tif").provenance["complete"] is True
    assert not [file for file in tmp_path.iterdir() if file.name.startswith(".")]


def Interrupting(table: Any) -> Any:  # noqa: N802 - a table by nature
    """Return a table during whose writing somebody presses Ctrl-C."""

    class Table(type(table)):  # type: ignore[misc]
        def to_csv(self, *_: object, **__: object) -> None:
            raise KeyboardInterrupt

    return Table(table)


def test_a_damaged_file_beside_good_ones_is_told_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(b"II*\0")
    with pytest.raises(InputError, match=r"'a\.tif'"):
        read_image(path)
