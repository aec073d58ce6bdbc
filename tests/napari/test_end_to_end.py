"""From the menu to the layer with the real network and the shipped weights."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from napari_kindred._napari.common.layers import KEY
from napari_kindred._napari.results.layer_storage import result_of
from napari_kindred.entities.predict import segment_entities
from napari_kindred.models.download import file_sha256
from napari_kindred.models.weights import resolve
from napari_kindred.results.tables import track_summary

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def widget(viewer: Any) -> Any:
    """The widget as napari's menu opens it."""
    _, widget = viewer.window.add_plugin_dock_widget("napari-kindred", "Cells and nuclei")
    widget.form.inputs["scale"].value = "1"
    return widget


def test_window_library_and_copied_code_find_the_same(
    viewer: Any, widget: Any, run: Any, movie: np.ndarray
) -> None:
    viewer.add_image(movie, name="discs", axis_labels=("t", "y", "x"), scale=(1, 0.5, 0.5))
    run()
    assert [layer.name for layer in viewer.layers] == ["discs", "discs entities"]
    layer = viewer.layers["discs entities"]
    expected = segment_entities(movie, axes="TYX", scale=1.0)
    assert [frame.max() > 0 for frame in expected.labels] == [True] * 4
    np.testing.assert_array_equal(layer.data, expected.labels)
    rows = layer.features.iloc[1:].reset_index(drop=True)
    tracks = track_summary(expected.table)
    assert len(tracks) < len(expected.table)
    for column in tracks:
        np.testing.assert_allclose(rows[column], tracks[column])
    saved = result_of(layer.data, layer.as_layer_data_tuple()[1])
    pd.testing.assert_frame_equal(saved.tracks, expected.tracks)
    pd.testing.assert_frame_equal(saved.table, expected.table)

    entry = layer.metadata[KEY]
    assert entry["weights"]["sha256"] == file_sha256(resolve("kindred-entities"))
    assert entry["complete"] is True
    json.dumps(entry)

    space: dict[str, Any] = {"viewer": viewer}
    exec(widget.python(), space)  # noqa: S102  (what the user does with it)
    np.testing.assert_array_equal(space["labels"], layer.data)


def test_the_scale_that_was_chosen_is_shown(
    viewer: Any, widget: Any, run: Any, movie: np.ndarray
) -> None:
    widget.form.inputs["scale"].value = "auto"
    viewer.add_image(movie[0], name="discs")
    run()
    assert "Found" in widget.status.value
    assert "scale" in widget.status.value.lower()
    assert "scale_used" in viewer.layers["discs entities"].metadata[KEY]


def test_cancel_keeps_the_frames_that_are_done(
    viewer: Any, widget: Any, until: Any, movie: np.ndarray
) -> None:
    viewer.add_image(np.concatenate([movie] * 30), name="discs", axis_labels=("t", "y", "x"))
    widget.run.native.click()
    until(lambda: "discs entities" in viewer.layers, timeout=60000)
    widget.cancel.native.click()
    until(lambda: widget.run.enabled)
    entry = viewer.layers["discs entities"].metadata[KEY]
    assert entry["complete"] is False
    assert 1 <= entry["frames_done"] < 120
    assert f"{entry['frames_done']} of 120 frames are in" in widget.status.value


def test_weights_that_are_missing_or_damaged_get_one_sentence_and_no_layer(
    viewer: Any, labels_layers: Any, widget: Any, run: Any, movie: np.ndarray, tmp_path: Path
) -> None:
    half = tmp_path / "half.safetensors"
    half.write_bytes(resolve("kindred-entities").read_bytes()[:100_000])
    viewer.add_image(movie[0])
    for weights, words in (("nowhere.safetensors", "nowhere.safetensors"), (half, "cut short")):
        widget.form.inputs["weights"].value = str(weights)
        run()
        assert words in widget.status.value
    assert "half.safetensors" in widget.status.value
    assert labels_layers() == []
