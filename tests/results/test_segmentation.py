from __future__ import annotations

import json
import tracemalloc
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import tifffile
import zarr
from ome_zarr_models import open_ome_zarr
from ome_zarr_models.v05 import ImageLabel
from skimage.measure import regionprops_table

from napari_kindred.core.errors import OptionError, OutputError
from napari_kindred.core.events import Partial
from napari_kindred.entities.assembly import EntityAssembly
from napari_kindred.entities.config import EntityConfig
from napari_kindred.images import arrays
from napari_kindred.images.stack import ImageStack, read_image
from napari_kindred.load import load_segmentation
from napari_kindred.results import label_tiff, storage
from napari_kindred.results.assembly import make_labels
from napari_kindred.results.segmentation import (
    Segmentation,
    empty_table,
    measure,
    provenance,
)

if TYPE_CHECKING:
    from pathlib import Path

SUFFIXES = [".tif", ".ome.tif", ".ome.zarr"]


@pytest.fixture
def movie_result() -> Segmentation:
    labels = np.zeros((3, 40, 50), np.int32)
    labels[0, 2:9, 3:9] = 5
    labels[0, 20:30, 20:30] = 9
    labels[2, 5:9, 5:9] = 1
    pixels = np.random.default_rng(0).random((3, 40, 50, 1)).astype("float32")
    tables = [measure(labels[t], pixels[t], frame=t) for t in range(3)]
    table = pd.concat(tables, ignore_index=True)
    facts = provenance(method="entities", config=EntityConfig(), device="cpu", scale_used=0.5)
    size, units = (2.0, 0.5, 0.5), ("second", "micrometer", "micrometer")
    return Segmentation(labels, table, facts, "TYX", size, units)


# -- to disk and back -------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_saved_is_what_is_loaded(
    tmp_path: Path, movie_result: Segmentation, suffix: str
) -> None:
    path = movie_result.save(tmp_path / f"cells{suffix}")
    loaded = load_segmentation(path)
    np.testing.assert_array_equal(loaded.labels, movie_result.labels)
    assert loaded.labels.dtype == np.int32
    pd.testing.assert_frame_equal(loaded.table, movie_result.table)
    assert loaded.provenance == movie_result.provenance
    assert (loaded.axes, loaded.scale, loaded.units) == (
        "TYX",
        (2.0, 0.5, 0.5),
        ("second", "micrometer", "micrometer"),
    )


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_empty_result_survives_too(tmp_path: Path, suffix: str) -> None:
    result = Segmentation(np.zeros((20, 30), np.int32), empty_table())
    loaded = load_segmentation(result.save(tmp_path / f"none{suffix}"))
    assert loaded.labels.shape == (20, 30)
    assert list(loaded.table.columns) == list(empty_table().columns)
    assert len(loaded.table) == 0


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_text_columns_and_missing_text_survive(
    tmp_path: Path, movie_result: Segmentation, suffix: str
) -> None:
    movie_result.table["class"] = ["nucleus", None, "débris"]
    loaded = load_segmentation(movie_result.save(tmp_path / f"a{suffix}"))
    assert loaded.table["class"].iloc[[0, 2]].tolist() == ["nucleus", "débris"]
    assert loaded.table["class"].isna().tolist() == [False, True, False]


def test_other_software_finds_axes_and_pixel_size(
    tmp_path: Path, movie_result: Segmentation
) -> None:
    for suffix in (".ome.tif", ".ome.zarr"):
        image = read_image(movie_result.save(tmp_path / f"cells{suffix}"))
        assert image.axes == "TYX"
        assert image.scale == (2.0, 0.5, 0.5)
        assert image.units == ("second", "micrometer", "micrometer")
    assert "image-label" in zarr.open_group(tmp_path / "cells.ome.zarr").attrs["ome"]


def test_label_ids_above_65535_are_kept(tmp_path: Path) -> None:
    labels = np.array([[0, 70_000], [3, 0]], np.int32)
    result = Segmentation(labels, empty_table())
    path = result.save(tmp_path / "a.tif")
    np.testing.assert_array_equal(tifffile.imread(path), labels)


def test_files_are_compressed(tmp_path: Path, movie_result: Segmentation) -> None:
    movie_result.labels = np.repeat(movie_result.labels, 50, axis=0)
    for suffix in (".tif", ".ome.zarr"):
        path = movie_result.save(tmp_path / f"big{suffix}")
        files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
        assert sum(file.stat().st_size for file in files) < movie_result.labels.nbytes / 5


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_labels_on_disk_are_saved_like_those_in_memory(
    tmp_path: Path, movie_result: Segmentation, suffix: str
) -> None:
    expected = movie_result.labels
    movie_result.labels = zarr.create_array(tmp_path / "labels.zarr", data=expected)
    loaded = load_segmentation(movie_result.save(tmp_path / f"a{suffix}"))
    np.testing.assert_array_equal(loaded.labels, expected)


@pytest.mark.parametrize("suffix", [".tif", ".ome.tif"])
def test_large_frames_are_written_in_tiles(
    tmp_path: Path, movie_result: Segmentation, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(label_tiff, "_WHOLE", 1000)
    monkeypatch.setattr(label_tiff, "_TILE", 16)
    path = movie_result.save(tmp_path / f"a{suffix}")
    with tifffile.TiffFile(path) as file:
        assert file.pages[0].is_tiled
    np.testing.assert_array_equal(load_segmentation(path).labels, movie_result.labels)
    assert read_image(path).data.shape == (3, 40, 50)


@pytest.mark.parametrize("name", ["a.ome.zarr", "a.tif"])
def test_labels_on_disk_are_saved_without_holding_a_frame(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(label_tiff, "_WHOLE", 1000)
    monkeypatch.setattr(arrays, "_BLOCK", 1 << 22)
    labels = make_labels((4000, 4000), in_memory=0)
    labels[1000:1100, 2000:2100] = 7
    tracemalloc.start()
    path = Segmentation(labels, empty_table()).save(tmp_path / name)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < labels.nbytes / 2
    loaded = load_segmentation(path).labels
    assert loaded[1050, 2050] == 7
    assert np.count_nonzero(loaded) == 100 * 100


def test_a_saved_result_is_a_valid_ome_zarr(tmp_path: Path, movie_result: Segmentation) -> None:
    path = movie_result.save(tmp_path / "a.ome.zarr")
    image = open_ome_zarr(zarr.open_group(path, mode="r"), version="0.5")
    assert isinstance(image, ImageLabel)


def test_large_labels_stay_on_disk_when_loaded(
    tmp_path: Path, movie_result: Segmentation, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = movie_result.save(tmp_path / "a.ome.zarr")
    monkeypatch.setattr(storage, "IN_MEMORY", 1000)
    loaded = load_segmentation(path).labels
    assert isinstance(loaded, zarr.Array)
    np.testing.assert_array_equal(loaded[2], movie_result.labels[2])


# -- what can go wrong ------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_nothing_is_overwritten_unless_asked(
    tmp_path: Path, movie_result: Segmentation, suffix: str
) -> None:
    path = movie_result.save(tmp_path / f"a{suffix}")
    movie_result.labels = np.zeros_like(movie_result.labels)
    with pytest.raises(OutputError, match="there already"):
        movie_result.save(path)
    assert np.any(load_segmentation(path).labels)
    movie_result.save(path, overwrite=True)
    assert not np.any(load_segmentation(path).labels)


def test_a_table_in_the_way_is_not_overwritten_either(
    tmp_path: Path, movie_result: Segmentation
) -> None:
    (tmp_path / "a.csv").write_text("precious")
    with pytest.raises(OutputError, match=r"a\.csv"):
        movie_result.save(tmp_path / "a.tif")
    assert (tmp_path / "a.csv").read_text() == "precious"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_failure_while_writing_leaves_the_old_result_and_no_rubbish(
    tmp_path: Path, movie_result: Segmentation, suffix: str
) -> None:
    class FailingLabels:
        shape, dtype = (3, 40, 50), np.dtype("int32")

        def __getitem__(self, index: tuple[int, ...]) -> np.ndarray:
            if index[0] == 2:
                raise OSError(28, "No space left on device")
            return np.zeros((40, 50), np.int32)[index[1:]]

    path = movie_result.save(tmp_path / f"a{suffix}")
    before = sorted(p.name for p in tmp_path.iterdir())
    broken = Segmentation(FailingLabels(), movie_result.table, {}, "TYX")
    with pytest.raises((OutputError, OSError), match="No space left"):
        broken.save(path, overwrite=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == before
    np.testing.assert_array_equal(load_segmentation(path).labels, movie_result.labels)


def test_an_unwritable_place_is_told(tmp_path: Path, movie_result: Segmentation) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="choose another"):
        movie_result.save(tmp_path / "file" / "a.tif")


def test_an_unknown_suffix_is_refused_naming_the_known_ones(
    tmp_path: Path, movie_result: Segmentation
) -> None:
    with pytest.raises(OutputError, match=r"\.ome\.zarr or \.tif"):
        movie_result.save(tmp_path / "a.mp4")


def test_missing_and_damaged_results_are_told(tmp_path: Path, movie_result: Segmentation) -> None:
    with pytest.raises(OutputError, match="check the path"):
        load_segmentation(tmp_path / "none.tif")
    path = movie_result.save(tmp_path / "a.tif")
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(OutputError, match="damaged"):
        load_segmentation(path)
    (tmp_path / "a.json").unlink()
    with pytest.raises(OutputError, match=r"'a\.json'"):
        load_segmentation(path)
    zarr.create_group(tmp_path / "other.zarr")
    with pytest.raises(OutputError, match="not written by napari-kindred"):
        load_segmentation(tmp_path / "other.zarr")


# -- measuring --------------------------------------------------------------------------------


def test_measurements_agree_with_scikit_image(discs: tuple[np.ndarray, np.ndarray]) -> None:
    image, labels = discs
    labels = labels * 3  # ids need not be consecutive
    expected = regionprops_table(
        labels, image, properties=["label", "area", "centroid", "intensity_mean"]
    )
    table = measure(labels, image[..., None].astype("float32"), scores=np.arange(6) / 10)
    assert table["index"].tolist() == expected["label"].tolist()
    np.testing.assert_array_equal(table["area"], expected["area"])
    np.testing.assert_allclose(table["centroid_y"], expected["centroid-0"])
    np.testing.assert_allclose(table["centroid_x"], expected["centroid-1"])
    np.testing.assert_allclose(table["mean_intensity"], expected["intensity_mean"], rtol=1e-6)
    np.testing.assert_allclose(table["score"], np.arange(6) / 10)


def test_colour_is_measured_as_the_mean_of_its_channels() -> None:
    labels = np.ones((4, 4), np.int32)
    colour = np.broadcast_to(np.array([3, 6, 9], "float32"), (4, 4, 3))
    assert measure(labels, colour)["mean_intensity"].tolist() == [6.0]


def test_a_frame_without_labels_has_an_empty_table_of_the_same_columns() -> None:
    nothing = np.zeros((4, 4), np.int32)
    pd.testing.assert_frame_equal(measure(nothing, nothing), empty_table())
    pd.testing.assert_frame_equal(measure(nothing, nothing, frame=3), empty_table(stack=True))


# -- provenance and assembly ------------------------------------------------------------------


def test_provenance_is_plain_data_that_says_what_was_done() -> None:
    frames = ImageStack.open(np.zeros((3, 20, 30), "uint8"), axes="CYX", channel=1)
    facts = provenance(
        method="entities",
        config=EntityConfig(threshold=0.3),
        frames=frames,
        weights={"name": "w", "sha256": "ab"},
        seconds=np.float32(1.5),
        notes=["one"],
    )
    assert json.loads(json.dumps(facts)) == facts
    assert facts["config"]["threshold"] == 0.3
    assert (facts["axes"], facts["channel"]) == ("CYX", 1)
    assert facts["input"]["shape"] == [3, 20, 30]
    assert facts["weights"]["sha256"] == "ab"


def test_frames_that_are_done_make_a_result_even_when_others_are_not() -> None:
    frames = ImageStack.open(np.zeros((4, 20, 30), "uint8"), axes="TYX")
    assembly = EntityAssembly(frames)
    labels = np.zeros((20, 30), np.int32)
    labels[3:6, 3:6] = 1
    for t in (2, 0):
        assembly.add(Partial((t,), labels, measure(labels, labels, frame=t)))
    result = assembly.result({"method": "entities"})
    assert result.axes == "TYX"
    assert result.labels.any(axis=(1, 2)).tolist() == [True, False, True, False]
    assert result.table["frame"].tolist() == [0, 2]
    assert result.provenance["complete"] is False
    assert result.provenance["frames_done"] == 2


@pytest.mark.parametrize("name", ["a.ome.zarr", "a.tif"])
@pytest.mark.parametrize("ids", ["frame", "stack", "track", "class"])
def test_the_scope_of_ids_is_kept_on_disk(tmp_path: Path, name: str, ids: Any) -> None:
    labels = np.eye(4, dtype=np.int32)
    result = Segmentation(labels, measure(labels, None), ids=ids)
    assert load_segmentation(result.save(tmp_path / name)).ids == ids


def test_entities_have_ids_of_a_frame_and_any_other_word_is_refused() -> None:
    labels = np.eye(4, dtype=np.int32)
    result = Segmentation(labels, measure(labels, None))
    assert result.ids == "frame"
    with pytest.raises(OptionError, match="ids='movie' is none of 'frame', 'stack', 'track'"):
        replace(result, ids="movie")


def test_a_result_is_shown_in_one_line(movie_result: Segmentation) -> None:
    size = " × ".join(map(str, movie_result.labels.shape))
    assert size in repr(movie_result)
    assert len(repr(movie_result)) < 100
