"""Results that cannot be, to be written or to be read: one sentence, and nothing half-written."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import tifffile
import zarr

from napari_kindred.core.errors import OutputError
from napari_kindred.load import load_segmentation
from napari_kindred.results import label_tiff
from napari_kindred.results.base import KEY
from napari_kindred.results.segmentation import Segmentation, measure

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

SUFFIXES = [".tif", ".ome.tif", ".ome.zarr"]


@pytest.fixture
def result() -> Segmentation:
    labels = np.zeros((20, 30), np.int32)
    labels[2:9, 3:9], labels[11:15, 11:25] = 1, 2
    facts = {"method": "entities", "complete": True}
    return Segmentation(labels, measure(labels, None), facts, "YX", (0.5, 0.5), ("micrometer",) * 2)


def refusal(path: Path) -> str:
    """The sentence with which a result is refused."""
    with pytest.raises(OutputError) as caught:
        load_segmentation(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def everything(folder: Path) -> dict[str, bytes]:
    """What is in a folder, by path."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


# -- to be written ------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"axes": "TYX"}, "axes 'TYX'"),
        ({"axes": "YY"}, "axes 'YY'"),
        ({"axes": "YQ"}, "axes 'YQ'"),
        ({"axes": 2}, "axes 2"),
        ({"scale": (0.5, float("nan"))}, "scale"),
        ({"scale": (0.5, -1.0)}, "scale"),
        ({"scale": (0.5,)}, "scale"),
        ({"units": ("micrometer",)}, "units"),
        ({"units": "px"}, "units"),
        ({"labels": np.zeros((3, 3))}, "whole numbers"),
        ({"labels": np.zeros((0, 3), int)}, "whole numbers"),
        ({"labels": np.zeros(3, int)}, "whole numbers"),
        ({"labels": None}, "whole numbers"),
        ({"labels": np.full((20, 30), 2**40)}, "number the labels anew"),
        ({"table": pd.DataFrame([[1, 2]], columns=["a", "a"])}, "two columns"),
        ({"provenance": [1]}, "provenance"),
    ],
)
def test_what_is_no_result_is_not_written(
    tmp_path: Path, result: Segmentation, suffix: str, change: dict[str, Any], words: str
) -> None:
    with pytest.raises(OutputError, match=words):
        replace(result, **change).save(tmp_path / f"a{suffix}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("dtype", ["uint8", "int64", ">i4", "bool"])
def test_labels_of_any_whole_numbers_are_kept(
    tmp_path: Path, result: Segmentation, suffix: str, dtype: str
) -> None:
    labels = np.minimum(result.labels, 1).astype(dtype)
    path = replace(result, labels=labels).save(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(load_segmentation(path).labels, labels)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_labels_below_nothing_are_kept(tmp_path: Path, result: Segmentation, suffix: str) -> None:
    path = replace(result, labels=-result.labels).save(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(load_segmentation(path).labels, -result.labels)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_columns_of_any_name_and_type_come_back(
    tmp_path: Path, result: Segmentation, suffix: str
) -> None:
    table = result.table.assign(
        **{
            "area (µm²/px)": [0.5, 1.5],
            "../../up": [1, 2],
            "": ["a", "b"],
            "zarr.json": [True, False],
        }
    )
    loaded = load_segmentation(replace(result, table=table).save(tmp_path / f"a{suffix}")).table
    assert loaded["area (µm²/px)"].tolist() == [0.5, 1.5]
    assert loaded["../../up"].tolist() == [1, 2]
    assert loaded["zarr.json"].tolist() == [True, False]
    assert {path.parent for path in tmp_path.iterdir()} == {tmp_path}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_names_of_files_that_are_no_text_are_written_down_all_the_same(
    tmp_path: Path, result: Segmentation, suffix: str
) -> None:
    name = os.fsdecode(b"caf\xe9.tif") if os.name != "nt" else "caf\udce9.tif"
    result.provenance["image"] = name
    table = result.table.assign(name=[name, "other"])
    loaded = load_segmentation(replace(result, table=table).save(tmp_path / f"a{suffix}"))
    assert loaded.provenance["image"] == loaded.table["name"][0] == "caf\\udce9.tif"


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), KeyboardInterrupt(), MemoryError()]
)
def test_a_save_that_ends_early_leaves_all_files_as_they_were(
    tmp_path: Path,
    result: Segmentation,
    monkeypatch: pytest.MonkeyPatch,
    suffix: str,
    there: bool,
    error: BaseException,
) -> None:
    path = tmp_path / f"a{suffix}"
    if there:
        result.save(path)
    before = everything(tmp_path)

    def fail(*_: object) -> Any:
        raise error

    changed = replace(result, labels=result.labels * 2, provenance={"method": "another"})
    with monkeypatch.context() as patch:
        # The labels of both formats, which come last, pass through this.
        patch.setattr(label_tiff, "as_ids", fail)
        patch.setattr("napari_kindred.results.storage.as_ids", fail)
        with pytest.raises(OutputError if isinstance(error, OSError) else type(error)):
            changed.save(path, overwrite=True)
    assert everything(tmp_path) == before
    changed.save(path, overwrite=True)
    assert load_segmentation(path).provenance["method"] == "another"


def test_an_old_zarr_comes_back_when_the_new_one_cannot_take_its_place(
    tmp_path: Path, result: Segmentation, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = result.save(tmp_path / "a.ome.zarr")
    before, replace = everything(tmp_path), Path.replace

    def fail(self: Path, target: Path) -> Path:
        if self.parent.name.startswith(".napari-kindred-"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OutputError, match="Cannot write"):
        result.save(path, overwrite=True)
    assert everything(tmp_path) == before


@pytest.fixture
def small_disk(tmp_path: Path) -> Generator[Path]:
    """A folder that is a disk of its own of 64 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount, unmount = shutil.which("mount"), shutil.which("umount")
    command = [mount or "mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    if not mount or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only an administrator can make a small disk")
    yield place
    subprocess.run([unmount or "umount", str(place)], check=True)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_disk_that_is_really_full_is_told_and_left_clean(
    small_disk: Path, result: Segmentation, suffix: str
) -> None:
    result.save(small_disk / f"a{suffix}")
    before = everything(small_disk)
    noise = np.random.default_rng(0).integers(0, 2**30, (300, 300))
    with pytest.raises(OutputError, match="No space left"):
        replace(result, labels=noise).save(small_disk / f"b{suffix}")
    assert everything(small_disk) == before


# -- to be read ---------------------------------------------------------------------------------


def rewrite(path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """Change what a result says of itself, in either format."""
    if path.suffix == ".zarr":
        group = zarr.open_group(path, mode="r+")
        about: Any = group.attrs[KEY]
        change(about)
        group.attrs[KEY] = about
        return path
    text = path.with_name(path.name.split(".")[0] + ".json")
    about = json.loads(text.read_text("utf-8"))
    change(about)
    text.write_text(json.dumps(about), "utf-8")
    return path


@pytest.mark.parametrize("suffix", [".tif", ".ome.zarr"])
@pytest.mark.parametrize(
    "wrong",
    [
        {"axes": "TYX"},
        {"axes": ["Y", "X"]},
        {"axes": None},
        {"scale": [-0.5, 0.5]},
        {"scale": [0, 0.5]},
        {"scale": ["a", "b"]},
        {"scale": [0.5]},
        {"units": [1, 2]},
        {"ids": "movie"},
        {"ids": ["frame"]},
        {"provenance": "none"},
        {"provenance": None},
    ],
)
def test_a_result_that_says_what_cannot_be_is_refused(
    tmp_path: Path, result: Segmentation, suffix: str, wrong: dict[str, Any]
) -> None:
    path = rewrite(result.save(tmp_path / f"a{suffix}"), lambda about: about.update(wrong))
    assert "damaged" in refusal(path)


@pytest.mark.parametrize("suffix", [".tif", ".ome.zarr"])
def test_what_a_result_says_beyond_that_is_ignored(
    tmp_path: Path, result: Segmentation, suffix: str
) -> None:
    more = {"labels": [[7]], "table": "none", "seen": 1}
    path = rewrite(result.save(tmp_path / f"a{suffix}"), lambda about: about.update(more))
    np.testing.assert_array_equal(load_segmentation(path).labels, result.labels)


@pytest.mark.parametrize("suffix", [".tif", ".ome.zarr"])
def test_a_result_that_lacks_something_is_refused(
    tmp_path: Path, result: Segmentation, suffix: str
) -> None:
    for number, name in enumerate(("axes", "scale", "units", "provenance")):
        path = result.save(tmp_path / f"a{number}{suffix}")
        rewrite(path, lambda about, name=name: about.pop(name))
        assert "damaged" in refusal(path)


@pytest.mark.parametrize("suffix", [".tif", ".ome.zarr"])
def test_a_deep_or_endless_text_is_refused(
    tmp_path: Path, result: Segmentation, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = result.save(tmp_path / f"a{suffix}")
    text = path / "zarr.json" if path.is_dir() else path.with_suffix(".json")
    whole = text.read_text("utf-8")
    for wrong in ("[" * 100_000, whole[:-20], '"' + "x" * 1000, "\0", "NaN", ""):
        text.write_text(wrong, "utf-8")
        assert "damaged" in refusal(path)
    text.write_text(whole + " " * 5000, "utf-8")
    monkeypatch.setattr("napari_kindred.results.storage._LONGEST_TEXT", 4000)
    assert "damaged" in refusal(path)


def test_labels_of_an_absurd_size_are_refused_or_left_on_disk(
    tmp_path: Path, result: Segmentation
) -> None:
    path = result.save(tmp_path / "a.ome.zarr")
    text = path / "0" / "zarr.json"
    about = json.loads(text.read_text("utf-8"))
    for shape in ([-1, 30], [2**70, 30], [0, 30], ["a", 30], [20, 30, 40]):
        text.write_text(json.dumps({**about, "shape": shape}), "utf-8")
        assert "damaged" in refusal(path)
    text.write_text(json.dumps({**about, "shape": [2**30, 2**30]}), "utf-8")
    assert isinstance(load_segmentation(path).labels, zarr.Array)


def test_a_column_of_an_absurd_length_is_refused(tmp_path: Path, result: Segmentation) -> None:
    path = result.save(tmp_path / "a.ome.zarr")
    text = path / "table" / "area" / "zarr.json"
    about = json.loads(text.read_text("utf-8"))
    text.write_text(json.dumps({**about, "shape": [2**40]}), "utf-8")
    assert "damaged" in refusal(path)


def test_a_tiff_that_claims_more_than_it_can_hold_is_refused(
    tmp_path: Path, result: Segmentation
) -> None:
    path = result.save(tmp_path / "a.tif")
    with tifffile.TiffFile(path, mode="r+b") as tif:
        for name in ("ImageLength", "ImageWidth"):
            tif.pages[0].tags[name].overwrite(60_000)
    assert "damaged" in refusal(path)


@pytest.mark.parametrize("suffix", [".tif", ".ome.zarr"])
def test_a_result_cut_short_anywhere_is_refused_or_whole(
    tmp_path: Path, result: Segmentation, suffix: str
) -> None:
    path = result.save(tmp_path / f"a{suffix}")
    for file in [file for file in tmp_path.rglob("*") if file.is_file()]:
        whole = file.read_bytes()
        for length in (0, 1, len(whole) // 2, len(whole) - 1):
            file.write_bytes(whole[:length])
            with suppress(OutputError):
                assert load_segmentation(path).labels.shape == result.labels.shape
        file.write_bytes(whole)
    np.testing.assert_array_equal(load_segmentation(path).labels, result.labels)


def test_a_link_that_leads_out_of_a_zarr_is_no_way_to_write(
    tmp_path: Path, result: Segmentation
) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "file").write_text("mine")
    path = result.save(tmp_path / "a.ome.zarr")
    shutil.rmtree(path / "table")
    (path / "table").symlink_to(secret, target_is_directory=True)
    assert "damaged" in refusal(path)
    result.save(path, overwrite=True)
    assert (secret / "file").read_text() == "mine"
