"""Tables follow what is painted, compared with measuring the whole stack again."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from napari.components import ViewerModel
from napari.layers import Labels

import napari_kindred
from napari_kindred._napari.common.layers import KEY, layer_features
from napari_kindred._napari.results.layer_storage import layer_data, save_layer, table_of
from napari_kindred._napari.results.painting import settle, watch
from napari_kindred.results.segmentation import measure


@pytest.fixture
def stack() -> tuple[np.ndarray, np.ndarray]:
    """Three frames (3, 24, 32) of noise, and labels of two things in each, ids counting on."""
    labels = np.zeros((3, 24, 32), np.int32)
    for frame in range(3):
        labels[frame, 2:10, 2:10] = 2 * frame + 1
        labels[frame, 12:20, 14 + frame : 26] = 2 * frame + 2
    return np.random.default_rng(0).random(labels.shape).astype(np.float32), labels


def rows_of(image: np.ndarray | None, labels: np.ndarray) -> pd.DataFrame:
    """A row per thing, measured frame by frame."""
    rows = [
        measure(here, None if image is None else image[frame], frame=frame)
        for frame, here in enumerate(labels)
    ]
    return pd.concat(rows, ignore_index=True).assign(score=0.9)


@pytest.fixture
def viewer_model() -> ViewerModel:
    return ViewerModel()


@pytest.fixture
def layer(viewer_model: ViewerModel, stack: tuple[np.ndarray, np.ndarray]) -> Labels:
    image, labels = stack
    viewer_model.add_image(image, name="noise", axis_labels=("t", "y", "x"))
    entry = {"method": "entities", "source_layer": "noise", "axes": "TYX", "channel": None}
    watch(viewer_model)
    watch(viewer_model)  # as every widget does
    return viewer_model.add_labels(
        labels.copy(),
        axis_labels=("t", "y", "x"),
        features=layer_features(rows_of(image, labels)),
        metadata={KEY: entry},
    )


def assert_measured(layer: Labels, image: np.ndarray | None) -> None:
    """Check the table against one of the whole stack, measured again."""
    settle(layer)
    expected = rows_of(image, np.asarray(layer.data)).drop(columns="score").set_index("index")
    found = table_of(layer.features).set_index("index")
    assert found.index.tolist() == expected.index.tolist()
    for column in expected:
        np.testing.assert_allclose(found[column], expected[column], rtol=1e-5)


def scores(layer: Labels) -> dict[int, float]:
    rows = table_of(layer.features)
    return dict(zip(rows["index"], rows["score"], strict=True))


def test_painting_changes_the_rows_of_what_was_touched_and_no_others(
    layer: Labels, stack: tuple[np.ndarray, np.ndarray]
) -> None:
    layer.brush_size = 5
    layer.paint((1, 10, 10), 3)
    layer.paint((1, 14, 16), 3)  # over 4
    assert_measured(layer, stack[0])
    known = scores(layer)
    assert [label for label, score in known.items() if np.isnan(score)] == [3, 4]
    assert layer.metadata[KEY]["edited"] == {"labels": [3, 4], "frames": [1]}


def test_new_things_get_a_row_and_erased_ones_lose_theirs(
    layer: Labels, stack: tuple[np.ndarray, np.ndarray]
) -> None:
    layer.fill((0, 5, 5), 0)
    layer.fill((2, 15, 20), 9)
    assert_measured(layer, stack[0])
    assert scores(layer).keys() == {2, 3, 4, 5, 9}
    # napari's table finds a label by its row
    assert layer.features["index"].tolist() == list(range(10))
    assert np.isnan(layer.features["area"][1])


def test_undo_brings_the_row_back_as_it_was_and_redo_takes_it_again(
    layer: Labels, stack: tuple[np.ndarray, np.ndarray]
) -> None:
    before = layer.features.copy()
    layer.paint((1, 10, 10), 3)
    layer.fill((1, 15, 20), 0)
    settle(layer)
    after = layer.features.copy()
    layer.undo()
    assert_measured(layer, stack[0])
    layer.undo()
    settle(layer)
    pd.testing.assert_frame_equal(layer.features, before, check_dtype=False)
    assert "edited" not in layer.metadata[KEY]
    layer.redo()
    layer.redo()
    settle(layer)
    pd.testing.assert_frame_equal(layer.features, after)
    assert_measured(layer, stack[0])


def test_a_stroke_of_many_mouse_moves_counts_once_and_whole(
    layer: Labels, stack: tuple[np.ndarray, np.ndarray]
) -> None:
    seen = []
    layer.events.features.connect(lambda _: seen.append(1))
    with layer.block_history():
        for column in range(5, 25):
            layer.paint((0, 11, column), 1)
    settle(layer)
    assert len(seen) == 1
    assert_measured(layer, stack[0])


def test_one_id_in_two_frames_is_one_row_over_both(layer: Labels) -> None:
    layer.paint((2, 22, 5), 1)
    settle(layer)
    row = table_of(layer.features).set_index("index").loc[1]
    frames, y, _ = np.nonzero(np.asarray(layer.data) == 1)
    assert row["area"] == len(y)
    assert row["centroid_y"] == pytest.approx(y.mean())
    assert row["frame"] == frames.min()


def test_without_its_image_intensities_are_unknown_and_the_rest_is_right(
    viewer_model: ViewerModel, layer: Labels
) -> None:
    viewer_model.layers.remove("noise")
    layer.paint((1, 10, 10), 3)
    settle(layer)
    rows = table_of(layer.features).set_index("index")
    assert np.isnan(rows.loc[3, "mean_intensity"])
    assert not np.isnan(rows.loc[5, "mean_intensity"])
    areas = rows_of(None, np.asarray(layer.data)).set_index("index")["area"]
    assert rows["area"].to_dict() == areas.to_dict()


def test_a_table_that_is_set_anew_keeps_what_was_painted(
    layer: Labels, stack: tuple[np.ndarray, np.ndarray]
) -> None:
    before = layer.features.copy()
    layer.paint((1, 10, 10), 3)
    settle(layer)
    layer.features = before.assign(name="cell")
    assert_measured(layer, stack[0])
    assert set(layer.features["name"]) == {"cell"}


def test_other_data_have_no_edits(layer: Labels, stack: tuple[np.ndarray, np.ndarray]) -> None:
    layer.paint((1, 10, 10), 3)
    settle(layer)
    layer.data = stack[1].copy()
    assert "edited" not in layer.metadata[KEY]
    layer.features = layer_features(rows_of(*stack))
    layer.undo()
    settle(layer)
    assert not table_of(layer.features)["score"].isna().any()


@pytest.mark.parametrize("suffix", [".tif", ".ome.zarr"])
def test_what_was_painted_is_saved_and_said(
    layer: Labels, stack: tuple[np.ndarray, np.ndarray], tmp_path: Path, suffix: str
) -> None:
    layer.fill((0, 5, 5), 0)
    layer.paint((1, 10, 10), 3)
    data, options, _ = layer_data(save_layer(layer, tmp_path / f"edited{suffix}"))
    np.testing.assert_array_equal(data, layer.data)
    assert options["metadata"][KEY]["edited"] == {"labels": [1, 3, 4], "frames": [0, 1]}
    again = Labels(data, **options)
    assert_measured(again, stack[0])


def test_layers_of_others_are_left_alone(viewer_model: ViewerModel) -> None:
    watch(viewer_model)
    other = viewer_model.add_labels(np.zeros((8, 8), int), features={"index": [1], "mine": ["x"]})
    other.paint((4, 4), 1)
    assert list(other.features) == ["index", "mine"]


# -- in the window -----------------------------------------------------------------------------


def test_the_table_follows_by_itself_a_moment_after_strokes_undo_and_redo(
    viewer: Any, stack: tuple[np.ndarray, np.ndarray], until: Any
) -> None:
    image, labels = stack
    entry = {"method": "entities", "source_layer": "none", "axes": "TYX", "channel": None}
    layer = viewer.add_labels(
        labels.copy(), features=layer_features(rows_of(image, labels)), metadata={KEY: entry}
    )
    watch(viewer)
    viewer.dims.set_point(0, 2)

    def area_of(label: int) -> float:
        return float(layer.features.set_index("index")["area"].get(label, np.nan))

    layer.fill((2, 5, 5), 7)
    until(lambda: area_of(7) == 64)
    layer.undo()
    until(lambda: np.isnan(area_of(7)) and area_of(5) == 64)
    viewer.dims.set_point(0, 0)  # what is redone is not shown
    layer.redo()
    until(lambda: area_of(7) == 64)
    layer.n_edit_dimensions = 3
    layer.contiguous = False
    layer.fill((0, 15, 20), 0)
    until(lambda: np.isnan(area_of(2)))


def test_napari_is_used_through_its_public_names_only() -> None:
    private = re.compile(r"\b(?:layer|layers|labels|image|viewer|dims|window|event)\._[a-z]\w*")
    folder = Path(napari_kindred.__file__).parent / "_napari"
    found = {hit for file in folder.rglob("*.py") for hit in private.findall(file.read_text())}
    assert found == set()


# -- clusters and classes ---------------------------------------------------------------------


@pytest.mark.parametrize("name", ["clusters_widget", "classes_widget"])
def test_the_rows_of_clusters_and_classes_follow_too(
    shades: Any,
    request: pytest.FixtureRequest,
    name: str,
    until: Any,
) -> None:
    widget = request.getfixturevalue(name)
    viewer = request.getfixturevalue("viewer")
    image = request.getfixturevalue("steps" if name == "clusters_widget" else "shaded")
    viewer.add_image(image, name="image", axis_labels=("t", "y", "x"))
    if name == "classes_widget":
        widget.names.names = ("bright", "dim")
    watch(viewer)
    widget.run.native.click()
    until(lambda: widget.run.enabled and widget.result is not None)
    layer = widget.result
    layer.paint((1, 20, 20), 2)
    layer.paint((1, 20, 30), 7)
    settle(layer)
    data = np.asarray(layer.data)
    rows = table_of(layer.features).set_index("index")
    assert rows["area"].to_dict() == {
        label: int((data == label).sum()) for label in np.unique(data[data > 0])
    }
    np.testing.assert_allclose(rows["share"], rows["area"] / data.size)
    if name == "clusters_widget":
        for label in rows.index:
            there = [frame for frame in range(len(data)) if (data[frame] == label).any()]
            found = rows.loc[label, ["first_frame", "last_frame", "frames"]].tolist()
            assert found == [there[0], there[-1], len(there)]
            assert rows.loc[label, "mean_intensity"] == pytest.approx(image[data == label].mean())
        layer.selected_label = 1
        widget.panel.toggle_background()
        before = table_of(layer.features).set_index("index").loc[1]
        layer.paint((1, 20, 20), 2)
        settle(layer)
        pd.testing.assert_series_equal(table_of(layer.features).set_index("index").loc[1], before)
        assert 2 in layer.metadata[KEY]["edited"]["labels"]
    else:
        assert np.isnan(rows.loc[2, "mean_score"])
