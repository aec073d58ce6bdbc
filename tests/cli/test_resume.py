"""A folder that is resumed: done is what is whole, of this very image, by these very options."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import imageio.v3 as iio
import numpy as np
import pandas as pd
import pytest
import tifffile

from bright_things import BrightThings
from napari_kindred.cli.batch import process_folder
from napari_kindred.core.errors import OutputError
from napari_kindred.entities.config import EntityConfig
from napari_kindred.load import load_segmentation
from napari_kindred.models.weights import resolve
from napari_kindred.results.storage import PROVENANCE

if TYPE_CHECKING:
    from pathlib import Path

    from napari_kindred.cli.batch import Outcome


@pytest.fixture
def task() -> BrightThings:
    return BrightThings(EntityConfig())


@pytest.fixture
def folder(tmp_path: Path, discs: tuple[np.ndarray, np.ndarray]) -> Path:
    path = tmp_path / "pictures"
    path.mkdir()
    for number in range(3):
        iio.imwrite(path / f"p{number}.png", np.roll(discs[0], 2 * number, axis=1))
    return path


def ignore(*_: object, **__: object) -> None:
    pass


def resume(folder: Path, out: Path, task: BrightThings, overwrite: bool = False) -> Outcome:
    return process_folder(folder, out, task, ignore, overwrite=overwrite, resume=True)


def labels_of(out: Path) -> list[np.ndarray]:
    return [tifffile.imread(path) for path in sorted(out.glob("*.tif"))]


def test_an_image_that_was_replaced_is_worked_on_again(
    tmp_path: Path, folder: Path, task: BrightThings
) -> None:
    out = tmp_path / "out"
    process_folder(folder, out, task, ignore)
    iio.imwrite(folder / "p1.png", np.zeros((30, 40), np.uint8))
    outcome = resume(folder, out, task)
    assert (outcome.skipped, outcome.done) == (2, 1)
    assert tifffile.imread(out / "p1.tif").shape == (30, 40)


def test_results_of_other_images_of_the_same_names_are_not_taken_for_done(
    tmp_path: Path, folder: Path, task: BrightThings
) -> None:
    out, other = tmp_path / "out", tmp_path / "others"
    process_folder(folder, out, task, ignore)
    other.mkdir()
    for number in range(3):
        iio.imwrite(other / f"p{number}.png", np.zeros((30, 40), np.uint8))
    before = labels_of(out)
    with pytest.raises(OutputError, match=r"of another image, .*pictures.*choose another"):
        resume(other, out, task)
    assert all(np.array_equal(*pair) for pair in zip(before, labels_of(out), strict=True))
    assert resume(other, out, task, overwrite=True).done == 3
    # The same images in another place are the same.
    moved = folder.rename(tmp_path / "moved")
    elsewhere = tmp_path / "elsewhere"
    process_folder(moved, elsewhere, task, ignore)
    assert resume(moved.rename(tmp_path / "again"), elsewhere, task).skipped == 3


@pytest.mark.parametrize(
    ("name", "harm"),
    [
        ("p1.tif", lambda path: path.write_bytes(path.read_bytes()[:100])),
        ("p1.csv", lambda path: path.write_text("")),
        ("p1.csv", lambda path: path.write_bytes(path.read_bytes()[:150])),
        ("p1.tif", lambda path: path.unlink()),
    ],
)
def test_a_file_that_is_cut_or_empty_is_written_again(
    tmp_path: Path, folder: Path, task: BrightThings, name: str, harm: object
) -> None:
    out = tmp_path / "out"
    process_folder(folder, out, task, ignore)
    before = (out / name).read_bytes()
    harm(out / name)  # type: ignore[operator]
    outcome = resume(folder, out, task)
    assert (outcome.skipped, outcome.done) == (2, 1)
    assert (out / name).read_bytes() == before


def test_labels_that_were_corrected_by_hand_stay(
    tmp_path: Path, folder: Path, task: BrightThings
) -> None:
    out = tmp_path / "out"
    process_folder(folder, out, task, ignore)
    corrected = tifffile.imread(out / "p1.tif")
    corrected[corrected == 3] = 0
    tifffile.imwrite(out / "p1.tif", corrected)
    assert resume(folder, out, task).skipped == 3
    np.testing.assert_array_equal(tifffile.imread(out / "p1.tif"), corrected)


def test_weights_that_changed_at_the_same_path_are_refused(tmp_path: Path, folder: Path) -> None:
    weights, out = tmp_path / "mine.safetensors", tmp_path / "out"
    weights.write_bytes(resolve("kindred-entities").read_bytes())
    task = BrightThings(EntityConfig(weights=str(weights)))
    process_folder(folder, out, task, ignore)
    assert resume(folder, out, task).skipped == 3
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1  # of a weight
    weights.write_bytes(content)
    with pytest.raises(OutputError, match="begun with other weights"):
        resume(folder, out, task)


def test_files_that_no_earlier_run_announced_are_not_replaced(
    tmp_path: Path, folder: Path, task: BrightThings, discs: tuple[np.ndarray, np.ndarray]
) -> None:
    out = tmp_path / "out"
    process_folder(folder, out, task, ignore)
    iio.imwrite(folder / "p3.png", discs[0])
    (out / "p3.csv").write_text("precious")
    with pytest.raises(OutputError, match=r"p3\.csv.*there already"):
        resume(folder, out, task)
    # What a killed run wrote after its last log is announced by it.
    log = out / PROVENANCE
    content = json.loads(log.read_text())
    content["planned"].append("p3")
    log.write_text(json.dumps(content))
    assert resume(folder, out, task).done == 1


def test_a_result_in_a_folder_is_a_result_with_its_pixel_size(
    tmp_path: Path, task: BrightThings, discs: tuple[np.ndarray, np.ndarray]
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    size = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    tifffile.imwrite(folder / "a.ome.tif", discs[0], metadata={"axes": "YX", **size})
    process_folder(folder, out, task, ignore)
    result = load_segmentation(out / "a.tif")
    assert (result.scale, result.units) == ((0.5, 0.5), ("micrometer", "micrometer"))
    assert result.provenance["image"] == "a"
    assert result.provenance["method"] == "entities"
    assert "planned" not in result.provenance
    assert len(result.table) == result.labels.max() == 6


def test_a_table_sums_up_all_images_those_done_before_as_well(
    tmp_path: Path, task: BrightThings, discs: tuple[np.ndarray, np.ndarray]
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    size = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    tifffile.imwrite(folder / "a.ome.tif", discs[0], metadata={"axes": "YX", **size})
    process_folder(folder, out, task, ignore)
    iio.imwrite(folder / "b.png", np.zeros_like(discs[0]))
    resume(folder, out, task)
    table = pd.read_csv(out / "summary.csv", index_col="image")
    own = pd.read_csv(out / "a.csv")
    assert table["count"].to_dict() == {"a": 6, "b": 0}
    assert table.loc["a", "area [px]"] == own["area"].sum()
    assert table.loc["a", "area [µm²]"] == own["area"].sum() / 4
    assert table.loc["a", "mean_area [px]"] == pytest.approx(own["area"].mean())
    assert table.loc["b", "share"] == 0
