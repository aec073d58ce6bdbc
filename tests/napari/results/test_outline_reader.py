"""Outlines that are dragged into napari."""

from __future__ import annotations

import json
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from napari.layers import Image

from napari_kindred._napari.common.layers import KEY
from napari_kindred._napari.results.outline_reader import get_reader, layer_data
from napari_kindred.results.segmentation import Segmentation, measure

if TYPE_CHECKING:
    from pathlib import Path


def result() -> Segmentation:
    labels = np.zeros((3, 20, 30), np.int32)
    labels[0, 2:9, 3:9] = 4
    labels[2, 12:19, 13:29] = 4
    tables = [measure(frame, None, frame=number) for number, frame in enumerate(labels)]
    return Segmentation(labels, pd.concat(tables, ignore_index=True), {}, "TYX")


@pytest.mark.parametrize("name", ["cells.zip", "cells.geojson"])
def test_outlines_lie_on_the_image_that_is_open(viewer: Any, tmp_path: Path, name: str) -> None:
    path = result().export(tmp_path / name)
    image = viewer.add_image(
        np.zeros((3, 20, 30)), name="movie", scale=(2, 0.5, 0.5), translate=(0, 7, 9),
        axis_labels=("t", "y", "x"),
    )  # fmt: skip
    (layer,) = viewer.open(str(path), plugin="napari-kindred")
    np.testing.assert_array_equal(layer.data > 0, result().labels > 0)
    np.testing.assert_array_equal(np.unique(layer.data), layer.features["index"])
    np.testing.assert_allclose(layer.scale, image.scale)
    np.testing.assert_allclose(layer.translate, image.translate)
    assert layer.metadata[KEY]["source_layer"] == "movie"
    assert layer.features["area"].iloc[-1] == 7 * 16


def test_outlines_without_an_image_or_of_another_one_are_as_large_as_need_be(
    tmp_path: Path,
) -> None:
    path = result().export(tmp_path / "cells.zip")
    for image in (None, Image(np.zeros((2, 20, 30)), axis_labels=("t", "y", "x"))):
        data, about, kind = layer_data(path, image)
        assert (data.shape, kind) == ((3, 19, 29), "labels")
        assert "source_layer" not in about["metadata"][KEY]


def test_channels_of_the_image_are_passed_over(tmp_path: Path) -> None:
    image = Image(np.zeros((3, 2, 20, 30)), axis_labels=("t", "c", "y", "x"))
    data, about, _ = layer_data(result().export(tmp_path / "cells.geojson"), image)
    assert data.shape == (3, 1, 20, 30)
    np.testing.assert_array_equal(data[:, 0] > 0, result().labels > 0)
    assert len(about["features"]) == 3


def test_other_files_are_left_to_others(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as file:
        file.writestr("a.png", b"")
    (tmp_path / "a.geojson").write_text(json.dumps({"features": []}))
    assert get_reader(str(tmp_path / "photos.zip")) is None
    assert get_reader(str(tmp_path / "none.roi")) is None
    assert get_reader([]) is None
    assert get_reader(str(tmp_path / "a.geojson")) is not None
