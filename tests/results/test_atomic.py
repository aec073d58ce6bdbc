"""Files that are put in place together, whoever else writes there, and nothing else deleted."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_kindred.core.errors import OutputError
from napari_kindred.load import load_segmentation
from napari_kindred.results import atomic
from napari_kindred.results.segmentation import Segmentation, measure

if TYPE_CHECKING:
    from pathlib import Path


def result_of(count: int) -> Segmentation:
    labels = np.zeros((64, 64), np.int32)
    labels[:count] = np.arange(1, count + 1)[:, None]
    return Segmentation(labels, measure(labels, None), {"mark": count})


@pytest.mark.parametrize("name", ["a.tif", "a.ome.zarr"])
def test_threads_that_save_to_one_name_never_mix_their_files(tmp_path: Path, name: str) -> None:
    errors: list[Exception] = []

    def save(count: int) -> None:
        try:
            for _ in range(5):
                result_of(count).save(tmp_path / name, overwrite=True)
        except Exception as error:  # noqa: BLE001 - told below
            errors.append(error)

    threads = [threading.Thread(target=save, args=(count,)) for count in (3, 40, 64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    found = load_segmentation(tmp_path / name)
    assert len(found.table) == found.labels.max() == found.provenance["mark"]
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_parts_have_names_of_their_own_whatever_the_number_of_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two containers that share a folder may both be process 1."""
    monkeypatch.setattr("os.getpid", lambda: 1)
    with atomic.replacing(tmp_path / "a.txt") as one, atomic.replacing(tmp_path / "a.txt") as two:
        assert one != two
        one.write_text("one")
        two.write_text("two")
    assert (tmp_path / "a.txt").read_text() == "one"


def test_what_another_saved_meanwhile_is_not_replaced_unasked(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"

    def write(part: Path) -> None:
        part.write_text("mine")
        path.write_text("another's")

    with pytest.raises(OutputError, match="there already"):
        atomic.write_together({path: write}, overwrite=False)
    assert path.read_text() == "another's"


def test_files_are_replaced_together_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result_of(3).save(tmp_path / "a.tif")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    replace = type(tmp_path).replace

    def fail(self: Path, target: Path) -> Path:
        if target.suffix == ".csv":
            raise PermissionError(13, "in use")
        return replace(self, target)

    monkeypatch.setattr(type(tmp_path), "replace", fail)
    with pytest.raises(OutputError, match="in use"):
        result_of(9).save(tmp_path / "a.tif", overwrite=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("name", ["x.zarr", "f.csv"])
def test_a_folder_of_others_is_never_replaced(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "thesis.txt").write_text("precious")
    out = tmp_path / ("x.zarr" if name == "x.zarr" else "f.tif")
    with pytest.raises(OutputError, match="did not write"):
        result_of(3).save(out, overwrite=True)
    assert (tmp_path / name / "thesis.txt").read_text() == "precious"


def test_our_own_container_is_replaced(tmp_path: Path) -> None:
    path = result_of(3).save(tmp_path / "x.ome.zarr")
    result_of(9).save(path, overwrite=True)
    assert load_segmentation(path).labels.max() == 9
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.ome.zarr"]


def test_names_of_any_length_that_the_disk_takes_can_be_written(tmp_path: Path) -> None:
    path = result_of(3).save(tmp_path / f"{'n' * 243}.tif")
    assert load_segmentation(path).labels.max() == 3
    with pytest.raises(OutputError, match="choose a shorter name"):
        result_of(3).save(tmp_path / f"{'n' * 252}.tif")


def test_a_lock_that_a_killed_process_left_is_no_reason_to_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(atomic, "_PATIENCE", 0.05)
    (tmp_path / ".napari-kindred.lock").write_text("1")
    result_of(3).save(tmp_path / "a.tif")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "a.json", "a.tif"]


def test_what_a_killed_process_left_half_written_is_deleted_a_day_later(tmp_path: Path) -> None:
    for name, age in (("old", 90_000), ("new", 60)):
        left = tmp_path / f".napari-kindred-{name}"
        left.mkdir()
        (left / "new0.tif").write_bytes(b"half")
        os.utime(left, (time.time() - age,) * 2)
    atomic.check_folder(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".napari-kindred-new"]


def test_a_folder_that_another_deletes_at_this_moment_is_no_reason_to_refuse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / ".napari-kindred-gone"
    monkeypatch.setattr(type(tmp_path), "glob", lambda *_: iter([gone]))
    atomic.check_folder(tmp_path)
