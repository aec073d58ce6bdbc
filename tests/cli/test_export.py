"""Results for other programs from the command line."""

from __future__ import annotations

import json
import zipfile
from typing import TYPE_CHECKING

import imageio.v3 as iio
import numpy as np
import pandas as pd
import pytest

from bright_things import BrightThings
from napari_kindred.cli import main as cli
from napari_kindred.cli.batch import process_file, process_folder
from napari_kindred.entities.config import EntityConfig
from napari_kindred.results.exports import FORMATS

if TYPE_CHECKING:
    from pathlib import Path


def ignore(*_: object, **__: object) -> None:
    pass


@pytest.fixture
def folder(tmp_path: Path, discs: tuple[np.ndarray, np.ndarray]) -> Path:
    """Results of three images of six discs each."""
    (tmp_path / "in").mkdir()
    for number in range(3):
        iio.imwrite(tmp_path / "in" / f"p{number}.png", np.roll(discs[0], number, axis=1))
    process_folder(tmp_path / "in", tmp_path / "out", BrightThings(EntityConfig()), ignore)
    return tmp_path / "out"


@pytest.fixture
def result(tmp_path: Path, discs: tuple[np.ndarray, np.ndarray]) -> Path:
    iio.imwrite(tmp_path / "cells.png", discs[0])
    out = tmp_path / "cells.ome.zarr"
    process_file(tmp_path / "cells.png", out, BrightThings(EntityConfig()), ignore)
    return out


@pytest.mark.parametrize("name", [key for key, entry in FORMATS.items() if not entry.of_tracks])
def test_a_result_is_exported_as_its_name_ends(
    tmp_path: Path, result: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / f"exported{FORMATS[name].suffix}"
    assert cli.main(["export", str(result), "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}: 6 rows\n"
    written = out.read_bytes()
    assert cli.main(["export", str(result), "--out", str(out), "--to", name]) == 1
    assert "there already" in capsys.readouterr().err
    arguments = ["export", str(result), "--out", str(out), "--to", name, "--overwrite"]
    assert cli.main(arguments) == 0
    assert len(out.read_bytes()) == len(written)


def test_the_image_is_found_where_it_was_and_properties_are_chosen(
    tmp_path: Path, result: Path, discs: tuple[np.ndarray, np.ndarray]
) -> None:
    out = tmp_path / "table.csv"
    names = "area, intensity_mean"
    assert cli.main(["export", str(result), "--out", str(out), "--properties", names]) == 0
    table = pd.read_csv(out)
    assert list(table.columns) == ["index", "area [px]", "intensity_mean", "score"]
    image = tmp_path / "moved.png"
    (tmp_path / "cells.png").rename(image)
    arguments = ["export", str(result), "--out", str(out), "--properties", names, "--overwrite"]
    assert cli.main(arguments) == 1
    assert cli.main([*arguments, "--image", str(image)]) == 0
    pd.testing.assert_frame_equal(pd.read_csv(out), table)


def test_a_folder_becomes_a_file_each_or_one_for_training(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rois = tmp_path / "rois"
    assert cli.main(["export", str(folder), "--to", "roi", "--out", str(rois)]) == 0
    assert sorted(path.name for path in rois.iterdir()) == ["p0.zip", "p1.zip", "p2.zip"]
    coco = tmp_path / "coco.json"
    assert cli.main(["export", str(folder), "--to", "coco", "--out", str(coco)]) == 0
    content = json.loads(coco.read_text())
    assert [image["file_name"] for image in content["images"]] == ["p0.png", "p1.png", "p2.png"]
    assert len(content["annotations"]) == 18
    assert f"{coco}: 18 rows of 3 images" in capsys.readouterr().out
    yolo = tmp_path / "train.yolo.zip"
    assert cli.main(["export", str(folder), "--out", str(yolo)]) == 0
    with zipfile.ZipFile(yolo) as file:
        assert sorted(file.namelist())[1:] == [f"labels/p{number}.txt" for number in range(3)]


def test_what_cannot_be_exported_is_said_in_one_sentence(
    tmp_path: Path, folder: Path, result: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, words in (
        ([str(folder), "--to", "roi", "--out", str(tmp_path / "a.zip")], "name a folder"),
        ([str(result), "--out", str(tmp_path / "a.docx")], "choose one of roi"),
        ([str(tmp_path / "in"), "--to", "roi", "--out", str(tmp_path / "b")], "no result"),
        ([str(tmp_path / "none.tif"), "--out", str(tmp_path / "a.zip")], "check the path"),
        ([str(folder), "--to", "csv", "--out", str(tmp_path / "c"), "--image", "x"], "leave"),
    ):
        assert cli.main(["export", *arguments]) == 1
        told = capsys.readouterr().err
        assert words in told
        assert told.count("\n") == 1
