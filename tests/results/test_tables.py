"""Tables per thing, kind and frame, next to counting by hand; units in the columns."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from napari_kindred.clusters.config import ClusterConfig
from napari_kindred.core.errors import OptionError, OutputError
from napari_kindred.core.events import finish
from napari_kindred.load import load_segmentation
from napari_kindred.results.segmentation import Segmentation, measure
from napari_kindred.results.tables import count_divisions, count_objects, track_summary

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def cells() -> Segmentation:
    """Two frames of cells of 6 pixels each, three in the first and none in the second."""
    labels = np.zeros((2, 8, 10), np.int32)
    for number, left in enumerate((0, 3, 7), start=1):
        labels[0, 2:5, left : left + 2] = number
    tables = [measure(here, here * 10.0, frame=frame) for frame, here in enumerate(labels)]
    return Segmentation(
        labels,
        pd.concat(tables, ignore_index=True),
        {"method": "entities"},
        "TYX",
        (30.0, 0.5, 0.5),
        ("second", "micrometer", "micrometer"),
    )


def test_per_entity_areas_and_places_are_in_pixels_and_in_the_images_units(
    cells: Segmentation, tmp_path: Path
) -> None:
    rows = pd.read_csv(cells.save_table(tmp_path / "cells.csv"))
    assert list(rows) == [
        *("index", "frame", "time [s]", "area [px]", "area [µm²]", "centroid_y [px]"),
        *("centroid_y [µm]", "centroid_x [px]", "centroid_x [µm]", "mean_intensity", "score"),
    ]
    assert rows["area [px]"].tolist() == [6, 6, 6]
    assert rows["area [µm²]"].tolist() == [1.5, 1.5, 1.5]
    assert rows["centroid_y [µm]"].tolist() == [1.5, 1.5, 1.5]
    assert rows["centroid_x [px]"].tolist() == [0.5, 3.5, 7.5]


def test_numbers_have_no_more_digits_than_were_measured(
    cells: Segmentation, tmp_path: Path
) -> None:
    cells.table["area"] = 123_456_789.0
    cells.table["score"] = 1 / 3
    text = cells.save_table(tmp_path / "cells.csv").read_text("utf-8-sig")
    assert "0.3333333," in text.replace("\n", ",")
    assert ",123456789," in text


def test_per_frame_an_empty_frame_has_a_row_too(cells: Segmentation, tmp_path: Path) -> None:
    path = cells.save_table(tmp_path / "frames.csv", per="frame")
    rows = pd.read_csv(path)
    assert rows["time [s]"].tolist() == [0, 30]
    assert rows["count"].tolist() == [3, 0]
    assert rows["area [px]"].tolist() == [18, 0]
    assert rows["mean_area [µm²]"][0] == 1.5
    assert np.isnan(rows["mean_area [px]"][1])
    assert rows["share"].tolist() == [18 / 80, 0]
    assert rows["mean_intensity"][0] == pytest.approx((10 + 20 + 30) / 3)
    assert path.read_bytes().startswith(b"\xef\xbb\xbf")  # spreadsheets take it for UTF-8


def test_an_image_without_calibration_has_pixels_alone(cells: Segmentation, tmp_path: Path) -> None:
    bare = replace(cells, scale=None, units=None)
    rows = pd.read_csv(bare.save_table(tmp_path / "bare.csv"))
    assert not [name for name in rows if "µm" in name or "time" in name]
    mixed = replace(cells, units=("pixel", "micrometer", "nanometer"))
    rows = pd.read_csv(mixed.save_table(tmp_path / "mixed.csv"))
    assert "centroid_x [nm]" in rows
    assert not [name for name in rows if "²" in name or "time" in name]


def test_a_stack_of_planes_has_depths(cells: Segmentation, tmp_path: Path) -> None:
    deep = replace(cells, axes="ZYX", units=("micrometer",) * 3)
    assert "depth [µm]" in pd.read_csv(deep.save_table(tmp_path / "deep.csv", per="frame"))


def test_clusters_have_a_row_per_cluster_and_one_for_each_in_each_frame(
    greys: Any, steps: np.ndarray, tmp_path: Path
) -> None:
    result = finish(greys(steps, config=ClusterConfig(n_clusters=3, axes="TYX")))
    assert result.table_per()["index"].tolist() == [1, 2, 3]
    rows = result.table_per("frame")
    assert rows[["frame", "index"]].to_numpy().tolist() == [
        [frame, label] for frame in range(4) for label in (1, 2, 3)
    ]
    for _, row in rows.iterrows():
        assert row["area"] == (result.labels[int(row["frame"])] == row["index"]).sum()
    loaded = load_segmentation(result.save(tmp_path / "clusters.ome.zarr"))
    again = loaded.table_per("frame")  # counted anew
    pd.testing.assert_frame_equal(again, rows[list(again)])


def test_what_was_edited_is_counted_anew(greys: Any, steps: np.ndarray) -> None:
    result = finish(greys(steps, config=ClusterConfig(n_clusters=3, axes="TYX")))
    result.provenance["edited"] = {"labels": [2], "frames": [0]}
    result.labels[0] = 2
    rows = result.table_per("frame")
    assert rows[rows["frame"] == 0][["index", "area"]].to_numpy().tolist() == [[2, 48 * 64]]


def test_tables_that_are_not_there_and_files_that_are_get_a_sentence(
    cells: Segmentation, tmp_path: Path
) -> None:
    with pytest.raises(OptionError, match="no table per 'class'; it has one per entity and frame"):
        cells.table_per("class")
    cells.save_table(tmp_path / "cells.csv")
    with pytest.raises(OutputError, match="is there already"):
        cells.save_table(tmp_path / "cells.csv", per="frame")
    cells.save_table(tmp_path / "cells.csv", per="frame", overwrite=True)
    assert len(pd.read_csv(tmp_path / "cells.csv")) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["cells.csv"]


def test_a_linked_result_has_a_table_per_track_and_counts_an_object_once() -> None:
    table = pd.DataFrame(
        {
            "index": [1, 2, 1, 3, 4],
            "frame": [0, 0, 1, 1, 1],
            "area": [4, 8, 12, 4, 4],
            "centroid_y": [1.0, 5.0, 3.0, 4.0, 6.0],
            "score": [0.5, 0.6, 0.9, 0.7, 0.8],
        }
    ).assign(track=[1, 2, 1, 3, 4], parent=[0, 0, 0, 2, 2])
    result = Segmentation(np.zeros((2, 4, 4), int), table, axes="TYX", ids="track")
    assert (count_objects(result), count_divisions(result)) == (4, 1)
    assert result.table_per("track").to_dict("list") == {
        "track": [1, 2, 3, 4],
        "parent": [0, 0, 2, 2],
        "first": [0, 0, 1, 1],
        "last": [1, 0, 1, 1],
    }
    assert result.table_per("frame")["count"].tolist() == [2, 3]
    summary = track_summary(table)
    assert summary.loc[0].to_dict() == {
        "index": 1,
        "area": 16,
        "mean_area": 8,
        "centroid_y": (1 * 4 + 3 * 12) / 16,
        "score": pytest.approx((0.5 * 4 + 0.9 * 12) / 16),
        "first_frame": 0,
        "last_frame": 1,
        "frames": 2,
        "parent": 0,
    }
