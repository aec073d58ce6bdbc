"""Training reads images and labels as everything else does: right, or refused in one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_kindred.classes.escnet.dataset import load_class_data
from napari_kindred.classes.vocabulary.examples import read_examples
from napari_kindred.core.errors import InputError
from napari_kindred.images.label_files import read_labels
from napari_kindred.models.training_data import (
    Example,
    TrainingArrays,
    array_examples,
    load_examples,
    notes_on,
)

TRUTH = np.zeros((48, 64), np.int32)
for number, (y, x) in enumerate([(2, 2), (2, 30), (26, 12), (30, 40)], 1):
    TRUTH[y : y + 12, x : x + 14] = number
GREY = (TRUTH > 0) * 90 + np.random.default_rng(0).integers(0, 20, TRUTH.shape)
GREY = GREY.astype(np.uint8)


def folder_with(path: Path, labels: Any, image: Any = GREY, end: str = ".tif", **more: str) -> Path:
    for part in ("images", "labels"):
        (path / part).mkdir(parents=True)
    for name in ("a0", "a1"):
        tifffile.imwrite(path / "images" / f"{name}.tif", image)
        place = path / "labels" / f"{name}{end}"
        if end == ".tif":
            tifffile.imwrite(place, labels)
        else:
            Image.fromarray(labels).save(place)
    for name, text in more.items():
        (path / f"{name}.csv").write_text(text)
    return path


def first(folder: Path) -> Example:
    return load_examples([folder], "train")[0]


def test_labels_beyond_32_bits_are_numbered_anew(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, TRUTH.astype(np.uint64) << 33)
    np.testing.assert_array_equal(first(folder).labels, TRUTH)


@pytest.mark.parametrize(
    "labels",
    [
        np.where(TRUTH, TRUTH, -1).astype(np.int32),
        TRUTH.astype(np.float32),
        TRUTH[None].astype(np.uint16),
    ],
)
def test_labels_that_are_clear_are_taken(tmp_path: Path, labels: np.ndarray) -> None:
    np.testing.assert_array_equal(first(folder_with(tmp_path, labels)).labels, TRUTH)


@pytest.mark.parametrize(
    ("labels", "end", "complaint"),
    [
        ((TRUTH > 0) * np.float32(0.9), ".tif", "not whole numbers"),
        (np.where(TRUTH, np.nan, 0).astype(np.float32), ".tif", "not whole numbers"),
        ((TRUTH * 50).astype(np.uint8), ".jpg", "JPEG"),
        (TRUTH - 2, ".tif", "go down to -2"),
        (np.stack([TRUTH * 50, TRUTH, TRUTH * 9], -1).astype(np.uint8), ".png", "colours"),
    ],
)
def test_labels_that_cannot_be_meant_are_refused(
    tmp_path: Path, labels: np.ndarray, end: str, complaint: str
) -> None:
    folder = folder_with(tmp_path, labels, end=end)
    with pytest.raises(InputError, match=complaint):
        first(folder)


def test_the_indices_of_a_palette_are_labels_whatever_its_colours(tmp_path: Path) -> None:
    image = Image.fromarray(TRUTH.astype(np.uint8))
    image.putpalette(np.random.default_rng(1).integers(0, 256, 768).astype(np.uint8).tobytes())
    for name in ("a.png", "a.tif"):
        image.save(tmp_path / name)
        np.testing.assert_array_equal(read_labels(tmp_path / name), TRUTH)


def test_masks_are_told_and_labels_of_objects_are_not(tmp_path: Path) -> None:
    mask = folder_with(tmp_path / "a", ((TRUTH > 0) * 255).astype(np.uint8))
    (note,) = notes_on(load_examples([mask], "train"))
    assert "a0, a1" in note
    assert "one number for several separate pieces" in note
    objects = folder_with(tmp_path / "b", TRUTH.astype(np.uint16))
    assert notes_on(load_examples([objects], "train")) == []


def test_a_value_that_is_not_finite_does_not_darken_the_image(tmp_path: Path) -> None:
    image = GREY.astype(np.float32)
    image[4:6, 4:6] = np.nan
    example = first(folder_with(tmp_path, TRUTH.astype(np.uint16), image))
    assert example.pyramid[0].max() >= 1
    assert "NaN" in example.note


@pytest.mark.parametrize("place", [0, -1])
def test_the_shape_of_the_labels_tells_where_channels_are(tmp_path: Path, place: int) -> None:
    channels = np.stack([GREY, 255 - GREY], place)
    example = first(folder_with(tmp_path, TRUTH.astype(np.uint16), channels))
    assert example.grey
    bright = example.pyramid[0][0][TRUTH > 0].mean()
    assert bright > example.pyramid[0][0][TRUTH == 0].mean()
    assert "Channel 0 of 2" in example.note
    (other,) = array_examples(TrainingArrays([channels], [TRUTH]), "train")
    assert other.grey


@pytest.mark.parametrize(
    "index",
    [
        "name,split,complete\na0.tif,train,0\na1.tif,val,1\n",
        "id;split;complete\na0;train;0\na1;val;1\n",
        "id\tsplit\tcomplete\na0\ttrain\t0\na1\tval\t1\n",
    ],
)
def test_the_index_is_read_with_suffixes_and_other_separators(tmp_path: Path, index: str) -> None:
    folder = folder_with(tmp_path, TRUTH.astype(np.uint16), index=index)
    (example,) = load_examples([folder], "train")
    assert not example.complete


@pytest.mark.parametrize(
    ("index", "complaint"),
    [("name,split\nb7,train\n", "names 'b7'"), ("image,split\na0,train\n", "needs a column id")],
)
def test_a_row_that_is_no_image_s_is_refused(tmp_path: Path, index: str, complaint: str) -> None:
    folder = folder_with(tmp_path, TRUTH.astype(np.uint16), index=index)
    with pytest.raises(InputError, match=complaint):
        first(folder)


def test_two_images_of_one_stem_are_refused(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, TRUTH.astype(np.uint16))
    Image.fromarray(GREY).save(folder / "images" / "a0.png")
    with pytest.raises(InputError, match="two images of one name"):
        first(folder)


@pytest.mark.parametrize("table", ["id,name\n1,cell\n2,dust\n", "value;name\n1;cell\n2;dust\n"])
def test_teaching_and_training_take_the_same_table(tmp_path: Path, table: str) -> None:
    folder = folder_with(tmp_path, (TRUTH % 3).astype(np.uint8), classes=table)
    assert load_class_data(folder).names == ("cell", "dust")
    assert read_examples(folder)[0].label_names == {1: "cell", 2: "dust"}


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16", "utf-8-sig"])
def test_the_index_is_read_as_a_spreadsheet_saves_it(tmp_path: Path, encoding: str) -> None:
    folder = folder_with(tmp_path / "data", TRUTH.astype(np.uint16))
    text = "id;split;who\na0;Train;Müller\na1;VAL;Müller\n"
    (folder / "index.csv").write_bytes(text.encode(encoding))
    assert [one.name for one in load_examples([folder], "train")] == ["a0"]
    assert [one.name for one in load_examples([folder], "val")] == ["a1"]


def test_a_few_frames_are_learnt_frame_by_frame(tmp_path: Path) -> None:
    movie, truth = np.stack([GREY] * 5), np.stack([TRUTH] * 5).astype(np.uint16)
    found = load_examples([folder_with(tmp_path / "data", truth, movie)], "train")
    assert [one.labels.shape for one in found] == [TRUTH.shape] * 10


def test_an_axis_of_one_channel_of_labels_is_left_out(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", TRUTH.astype(np.uint16)[..., None])
    np.testing.assert_array_equal(read_labels(tmp_path / "a.tif"), TRUTH)
