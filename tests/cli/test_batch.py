"""Files and folders, with a simple threshold in place of the network."""

from __future__ import annotations

import json
import tracemalloc
from typing import TYPE_CHECKING, Any

import dask.array as da
import imageio.v3 as iio
import numpy as np
import pandas as pd
import pytest
import tifffile

from bright_things import BrightThings
from napari_kindred.cli.batch import process_file, process_folder
from napari_kindred.cli.tasks import EntityTask, run_task
from napari_kindred.core.errors import InputError, OutputError, WeightsError
from napari_kindred.core.events import Event, Partial
from napari_kindred.entities.config import EntityConfig
from napari_kindred.images.readers import ImageFile
from napari_kindred.load import load_segmentation
from napari_kindred.results.segmentation import Segmentation
from napari_kindred.results.storage import PROVENANCE

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path


@pytest.fixture
def task() -> BrightThings:
    return BrightThings(EntityConfig())


@pytest.fixture
def movie(tmp_path: Path, discs: tuple[np.ndarray, np.ndarray]) -> Path:
    path = tmp_path / "movie.ome.tif"
    stack = np.stack([discs[0]] * 5)
    size = {"PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "µm"}
    tifffile.imwrite(path, stack, metadata={"axes": "TYX", **size})
    return path


@pytest.fixture
def folder(tmp_path: Path, discs: tuple[np.ndarray, np.ndarray]) -> Path:
    path = tmp_path / "pictures"
    path.mkdir()
    for number in range(4):
        iio.imwrite(path / f"p{number}.png", np.roll(discs[0], 2 * number, axis=1))
    return path


def ignore(*_: object, **__: object) -> None:
    pass


def stop_after(count: int) -> Any:
    """A report that acts like a user pressing Ctrl-C once so many frames are done."""
    seen = []

    def report(event: Event, **_: int) -> None:
        if isinstance(event, Partial):
            seen.append(event)
        if len(seen) == count:
            raise KeyboardInterrupt

    return report


# -- one file ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["out.tif", "out.ome.zarr"])
def test_a_file_becomes_a_result_with_the_files_pixel_size(
    tmp_path: Path, movie: Path, task: EntityTask, name: str
) -> None:
    outcome = process_file(movie, tmp_path / name, task, ignore)
    assert (outcome.object_counts["entities"][0], outcome.frames) == (30, 5)
    result = load_segmentation(tmp_path / name)
    assert result.labels.shape == (5, 96, 128)
    assert result.labels.max() == 6
    assert result.scale == (1.0, 1.0, 0.5)
    assert result.units == ("pixel", "pixel", "micrometer")
    assert result.provenance["complete"] is True
    assert result.provenance["image"] == "movie"


def test_a_folder_as_output_gets_the_images_name(
    tmp_path: Path, movie: Path, task: EntityTask
) -> None:
    outcome = process_file(movie, tmp_path / "new", task, ignore)
    assert outcome.out == tmp_path / "new" / "movie.tif"
    assert outcome.out.exists()


def test_frames_done_before_a_cancel_are_kept(
    tmp_path: Path, movie: Path, task: EntityTask
) -> None:
    with pytest.raises(KeyboardInterrupt):
        process_file(movie, tmp_path / "out.tif", task, stop_after(2))
    result = load_segmentation(tmp_path / "out.tif")
    assert result.labels.any(axis=(1, 2)).tolist() == [True, True, False, False, False]
    assert result.table["frame"].unique().tolist() == [0, 1]
    assert result.provenance["complete"] is False
    assert result.provenance["frames_done"] == 2
    assert result.provenance["notes"] == ["stopped: cancelled"]


class Fails(BrightThings):
    """Does one frame."""

    def iterate(
        self, image: Any, metadata_axes: str | None
    ) -> Generator[Event, None, Segmentation]:
        yield next(super().iterate(image, metadata_axes))
        raise InputError("Frame T=1 cannot be read.")


def test_frames_done_before_an_error_are_kept(tmp_path: Path, movie: Path) -> None:
    with pytest.raises(InputError, match="T=1"):
        process_file(movie, tmp_path / "out.tif", Fails(EntityConfig()), ignore)
    result = load_segmentation(tmp_path / "out.tif")
    assert result.provenance["frames_done"] == 1
    assert "T=1" in result.provenance["notes"][0]


class Never(BrightThings):
    """Must not be asked for anything."""

    def iterate(
        self, image: Any, metadata_axes: str | None
    ) -> Generator[Event, None, Segmentation]:
        raise AssertionError("work was begun")


def test_output_is_checked_before_any_work(tmp_path: Path, movie: Path) -> None:
    (tmp_path / "there.tif").touch()
    for out, complaint in (
        (tmp_path / "there.tif", "there already"),
        (tmp_path / "a.mp4", "name it"),
        (movie / "below" / "a.tif", "choose another"),
        (movie, "input itself"),
    ):
        with pytest.raises(OutputError, match=complaint):
            process_file(movie, out, Never(EntityConfig()), ignore)


# -- folders ----------------------------------------------------------------------------------


def test_a_folder_becomes_a_folder_of_labels_tables_and_one_provenance(
    tmp_path: Path, folder: Path, task: EntityTask
) -> None:
    out = tmp_path / "out"
    outcome = process_folder(folder, out, task, ignore)
    assert (outcome.done, outcome.object_counts["entities"][0]) == (4, 24)
    names = sorted(path.name for path in out.iterdir())
    own = [f"p{n}.{s}" for n in range(4) for s in ("tif", "csv")]
    assert names == sorted([*own, PROVENANCE, "summary.csv"])
    for number in range(4):
        labels = tifffile.imread(out / f"p{number}.tif")
        assert labels.dtype == np.uint16
        assert labels.max() == 6
    facts = json.loads((out / PROVENANCE).read_text())
    assert facts["complete"] is True
    assert facts["config"]["threshold"] == EntityConfig().threshold
    assert facts["images"]["p2"]["input"]["shape"] == [96, 128]


def test_what_all_images_need_is_loaded_once(
    tmp_path: Path, folder: Path, task: BrightThings
) -> None:
    process_folder(folder, tmp_path / "out", task, ignore)
    assert task.prepared == 1
    process_folder(folder, tmp_path / "out", task, ignore, resume=True)
    assert task.prepared == 1, "nothing was left to do"


def test_options_that_cannot_work_leave_the_folder_free_for_others(
    tmp_path: Path, folder: Path, task: BrightThings
) -> None:
    wrong = EntityTask(EntityConfig(weights="none.safetensors"))
    with pytest.raises(WeightsError, match=r"none\.safetensors"):
        process_folder(folder, tmp_path / "out", wrong, ignore)
    assert process_folder(folder, tmp_path / "out", task, ignore).done == 4


def test_a_bad_image_does_not_stop_the_others(
    tmp_path: Path, folder: Path, task: EntityTask
) -> None:
    (folder / "p1.png").write_bytes(b"not a picture")
    outcome = process_folder(folder, tmp_path / "out", task, ignore)
    assert outcome.done == 3
    assert list(outcome.failed) == ["p1.png"]
    facts = json.loads((tmp_path / "out" / PROVENANCE).read_text())
    assert facts["complete"] is False
    assert "damaged" in facts["failed"]["p1.png"]


def test_a_stopped_run_goes_on_where_it_was(tmp_path: Path, folder: Path, task: EntityTask) -> None:
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        process_folder(folder, out, task, stop_after(3))
    assert sorted(path.name for path in out.glob("*.tif")) == ["p0.tif", "p1.tif", "p2.tif"]
    with pytest.raises(OutputError, match="there already"):
        process_folder(folder, out, task, ignore)
    with pytest.raises(OutputError, match="other options"):
        process_folder(folder, out, BrightThings(EntityConfig(threshold=0.2)), ignore, resume=True)
    outcome = process_folder(folder, out, task, ignore, resume=True)
    assert (outcome.skipped, outcome.done) == (3, 1)
    facts = json.loads((out / PROVENANCE).read_text())
    assert sorted(facts["images"]) == ["p0", "p1", "p2", "p3"]
    assert facts["complete"] is True


def test_overwriting_has_to_be_asked_for(tmp_path: Path, folder: Path, task: EntityTask) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "p2.csv").write_text("precious")
    with pytest.raises(OutputError, match=r"p2\.csv"):
        process_folder(folder, out, task, ignore)
    assert [path.name for path in out.iterdir()] == ["p2.csv"]
    process_folder(folder, out, task, ignore, overwrite=True)
    assert (out / "p2.csv").read_text() != "precious"


def test_folders_that_would_lose_something_are_refused(
    tmp_path: Path, folder: Path, task: EntityTask
) -> None:
    with pytest.raises(OutputError, match="input folder"):
        process_folder(folder, folder, task, ignore)
    with pytest.raises(OutputError, match="name a folder"):
        process_folder(folder, tmp_path / "out.tif", task, ignore)
    iio.imwrite(folder / "p1.jpg", np.zeros((20, 30), np.uint8))
    with pytest.raises(InputError, match="rename one"):
        process_folder(folder, tmp_path / "out", task, ignore)


def test_labels_are_in_memory_once(task: EntityTask) -> None:
    """Large enough that a second copy would not hide among the rest."""
    movie = da.zeros((60, 512, 512), np.uint8, chunks=(1, 512, 512))
    kept: list[Segmentation] = []
    tracemalloc.start()
    run_task(task, ImageFile(movie, "TYX", name="movie"), ignore, kept.append)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    size = kept[0].labels.nbytes
    assert size <= most < 1.5 * size


# -- nothing is deleted that is not ours, and no result is lost -------------------------------


def test_an_output_that_holds_the_input_or_is_it_by_another_name_is_refused(
    tmp_path: Path, discs: tuple[np.ndarray, np.ndarray]
) -> None:
    inside = tmp_path / "day1.zarr" / "raw.tif"
    inside.parent.mkdir()
    tifffile.imwrite(inside, discs[0])
    (tmp_path / "link.tif").hardlink_to(inside)
    for out, words in (
        (inside.parent, "contains the input"),
        (tmp_path / "link.tif", "input itself"),
    ):
        with pytest.raises(OutputError, match=words):
            process_file(inside, out, Never(EntityConfig()), ignore, overwrite=True)
    assert tifffile.imread(inside).shape == discs[0].shape


def test_a_result_that_finds_no_room_goes_to_a_second_place(
    tmp_path: Path, movie: Path, task: BrightThings, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = tmp_path / "full"
    save = Segmentation.save

    def no_room(self: Segmentation, path: Path, overwrite: bool = False) -> Path:
        if path.parent == full:
            raise OutputError(f"Cannot write {str(path)!r} (No space left); choose another place.")
        return save(self, path, overwrite)

    monkeypatch.setattr(Segmentation, "save", no_room)
    with pytest.raises(OutputError, match="No space left") as caught:
        process_file(movie, full / "cells.tif", task, ignore)
    place = tmp_path / "cells.tif"
    assert str(caught.value).endswith(f"the result is in {str(place)!r} instead.")
    assert load_segmentation(place).labels.max() == 6
    with pytest.raises(OutputError, match=r"cells 2\.tif"):
        process_file(movie, full / "cells.tif", task, ignore)


def test_an_image_with_the_longest_name_is_done_and_one_without_room_for_tables_is_told(
    tmp_path: Path, discs: tuple[np.ndarray, np.ndarray]
) -> None:
    class TwoTables(BrightThings):
        ends = ("csv", "entities.csv")

        def tables(self, result: Segmentation) -> Any:
            return result.table, result.table

    folder = tmp_path / "in"
    folder.mkdir()
    for length in (3, 242, 243):
        iio.imwrite(folder / f"{'n' * length}.png", discs[0])
    outcome = process_folder(folder, tmp_path / "out", TwoTables(EntityConfig()), ignore)
    assert outcome.done == 2
    assert list(outcome.failed) == [f"{'n' * 243}.png"]
    assert "choose a shorter name" in outcome.failed[f"{'n' * 243}.png"]


@pytest.mark.parametrize("inside", [False, True])
def test_a_plate_is_a_folder_of_its_images(
    tmp_path: Path, task: BrightThings, discs: tuple[np.ndarray, np.ndarray], inside: bool
) -> None:
    import zarr

    folder = tmp_path / "in"
    root = zarr.create_group(folder / "p.ome.zarr")
    names = ("A/1", "A/10", "B/2")
    root.attrs["ome"] = {"version": "0.5", "plate": {"wells": [{"path": one} for one in names]}}
    steps = [{"type": "scale", "scale": [0.5, 0.5]}]
    axes = [{"name": one, "type": "space", "unit": "micrometer"} for one in "yx"]
    for well in names[:2]:  # the third was never acquired
        group = root.create_group(well)
        group.attrs["ome"] = {"version": "0.5", "well": {"images": [{"path": "0"}, {"path": "1"}]}}
        for field in "01":
            image = group.create_group(field)
            image.create_array("0", data=discs[0])
            image.attrs["ome"] = {
                "version": "0.5",
                "multiscales": [
                    {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": steps}]}
                ],
            }
    source = folder if inside else folder / "p.ome.zarr"
    if inside:
        tifffile.imwrite(folder / "z.tif", discs[0])
    outcome = process_folder(source, tmp_path / "out", task, lambda *_, **__: None)
    wells = ["p_A_1_0", "p_A_1_1", "p_A_10_0", "p_A_10_1"] + ["z"] * inside
    assert outcome.done == len(wells)
    assert not outcome.failed
    table = pd.read_csv(tmp_path / "out" / "summary.csv")
    assert table["image"].tolist() == wells
    result = load_segmentation(tmp_path / "out" / "p_A_10_1.tif")
    assert result.scale == (0.5, 0.5)
    assert result.provenance["file"]["path"] == str(folder / "p.ome.zarr" / "A" / "10" / "1")
    again = process_folder(source, tmp_path / "out", task, lambda *_, **__: None, resume=True)
    assert again.skipped == len(wells)
    with pytest.raises(OutputError, match="name a folder for the output") as caught:
        process_folder(source, tmp_path / "one.tif", task, lambda *_, **__: None)
    assert inside or "such as" in str(caught.value)
