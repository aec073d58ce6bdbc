"""The dock widget in a real napari window, with a threshold in place of the network."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr

import napari_kindred
from napari_kindred._napari.common.layers import KEY
from napari_kindred.core.events import finish
from napari_kindred.entities.config import EntityConfig

if TYPE_CHECKING:
    from napari_kindred._napari.entities.widget import EntitiesWidget

WIDGET = "entities_widget"


# -- a run -----------------------------------------------------------------------------------


def test_the_result_is_a_layer_that_lies_on_the_image_with_table_and_provenance(
    viewer: Any, labels_layers: Any, widget: EntitiesWidget, run: Any, movie: np.ndarray
) -> None:
    image = viewer.add_image(
        movie,
        name="cells",
        scale=(1, 0.5, 0.25),
        translate=(0, 10, 20),
        units=("pixel", "um", "um"),
        axis_labels=("t", "y", "x"),
    )
    before = movie.copy()
    run()
    (labels,) = labels_layers()
    assert labels.name == "cells entities"
    for name in ("scale", "translate"):
        np.testing.assert_array_equal(getattr(labels, name), getattr(image, name))
    assert labels.units == image.units
    assert labels.axis_labels == ("t", "y", "x")
    assert labels.data.max() == 6 + 6 + 6 + 5
    rows = labels.features.iloc[1:]
    assert list(rows["index"]) == list(range(1, 24))
    assert {"frame", "area", "centroid_y", "centroid_x", "mean_intensity", "score"} <= set(rows)
    entry = labels.metadata[KEY]
    assert entry["source_layer"] == "cells"
    assert entry["config"]["axes"] == "TYX"
    assert {"version", "weights", "input", "seconds", "arguments"} <= set(entry)
    assert "Found 23 objects in 4 frames" in widget.status.value
    assert "Scale 1.25: entities are about 24 pixels across." in widget.status.value
    np.testing.assert_array_equal(image.data, before)


def test_data_and_name_that_changed_since_the_layer_was_chosen_are_taken(
    viewer: Any, widget: EntitiesWidget, run: Any, movie: np.ndarray
) -> None:
    layer = viewer.add_image(np.zeros_like(movie), name="old", axis_labels=("t", "y", "x"))
    layer.data, layer.name = movie, "new"
    run()
    assert viewer.layers["new entities"].data.any()


def test_a_result_too_large_for_memory_is_a_layer_on_disk(
    labels_layers: Any,
    widget: EntitiesWidget,
    run: Any,
    monkeypatch: pytest.MonkeyPatch,
    opened_movie: Any,
) -> None:
    monkeypatch.setattr("napari_kindred.results.assembly.IN_MEMORY", 1000)
    monkeypatch.setattr("napari_kindred.results.assembly.room_for_labels", lambda *_: 1000)
    run()
    (labels,) = labels_layers()
    assert isinstance(labels.data, zarr.Array)
    assert np.asarray(labels.data[3]).max() == len(labels.features) - 1 == 23


def test_frames_appear_as_they_are_done_and_the_window_answers_meanwhile(
    labels_layers: Any, widget: EntitiesWidget, threshold: Any, until: Any, opened_movie: Any
) -> None:
    gate = threshold.gates[2] = threading.Event()
    widget.run.native.click()
    until(lambda: len(labels_layers()) == 1)
    assert not widget.run.enabled
    pressed = []
    widget.form.more.native.clicked.connect(lambda: pressed.append(threshold.closed))
    widget.form.more.native.click()
    assert pressed == [False]
    assert widget.form.more.text.startswith("▾")
    assert threshold.thread != threading.current_thread().name
    until(lambda: "2 of 4 frames done" in widget.status.value)
    (labels,) = labels_layers()
    assert [bool(frame.any()) for frame in labels.data] == [True, True, False, False]
    gate.set()
    until(lambda: widget.run.enabled)
    assert all(frame.any() for frame in labels.data)


def test_cancel_keeps_the_frames_that_are_done(
    labels_layers: Any, widget: EntitiesWidget, threshold: Any, until: Any, opened_movie: Any
) -> None:
    threshold.gates[2] = threading.Event()
    widget.run.native.click()
    until(lambda: "2 of 4 frames done" in widget.status.value)
    widget.cancel.native.click()
    until(lambda: widget.run.enabled, timeout=1000)
    assert threshold.closed
    (labels,) = labels_layers()
    assert [bool(frame.any()) for frame in labels.data] == [True, True, False, False]
    assert list(labels.features["index"]) == list(range(13))
    assert labels.metadata[KEY]["complete"] is False
    assert labels.metadata[KEY]["frames_done"] == 2
    assert "2 of 4 frames are in the layer 'cells entities'" in widget.status.value


def test_cancel_before_the_first_frame_leaves_no_layer(
    labels_layers: Any, widget: EntitiesWidget, threshold: Any, until: Any, opened_movie: Any
) -> None:
    threshold.gates[0] = threading.Event()
    widget.run.native.click()
    until(lambda: "0 of 4 frames done" in widget.status.value)
    widget.cancel.native.click()
    until(lambda: widget.run.enabled)
    assert labels_layers() == []
    assert "there is no result" in widget.status.value


def test_what_the_job_says_of_a_frame_is_shown(
    viewer: Any, labels_layers: Any, widget: EntitiesWidget, run: Any, movie: np.ndarray
) -> None:
    movie[1] = 7
    viewer.add_image(movie, axis_labels=("t", "y", "x"))
    run()
    assert "Frame T=1 has the same value" in widget.status.value
    notes = labels_layers()[0].metadata[KEY]["notes"]
    assert any("same value" in note for note in notes)


def test_a_window_that_is_closed_stops_its_job(
    labels_layers: Any, widget: EntitiesWidget, threshold: Any, until: Any, opened_movie: Any
) -> None:
    threshold.gates[1] = threading.Event()
    widget.run.native.click()
    until(lambda: len(labels_layers()) == 1)
    widget.native.deleteLater()
    until(lambda: threshold.closed)


# -- afterwards ------------------------------------------------------------------------------


def test_the_features_table_opens_with_the_result(
    viewer: Any, widget: EntitiesWidget, run: Any, discs: tuple[np.ndarray, np.ndarray]
) -> None:
    viewer.add_image(discs[0], name="a")
    run()
    viewer.layers.selection.active = viewer.layers["a"]
    widget.table.native.click()
    assert viewer.layers.selection.active is viewer.layers["a entities"]
    table = next(w for name, w in viewer.window.dock_widgets.items() if "Features" in name)
    assert 'Features of "a entities"' in table.info.text()


def test_copy_as_python_gives_the_options_of_the_selected_result(
    viewer: Any, widget: EntitiesWidget, run: Any, discs: tuple[np.ndarray, np.ndarray], qapp: Any
) -> None:
    viewer.add_image(discs[0], name="a")
    widget.form.inputs["threshold"].value = 0.3
    run()
    widget.form.inputs["threshold"].value = 0.9
    widget.copy.native.click()
    code = qapp.clipboard().text()
    assert "threshold=0.3" in code
    viewer.layers.selection.active = None
    viewer.layers.clear()
    assert "threshold=0.3" in widget.python()


@pytest.mark.parametrize("kind", ["picture", "movie", "channels", "multiscale", "colour"])
def test_the_copied_code_runs_and_computes_the_same_labels(
    viewer: Any,
    labels_layers: Any,
    widget: EntitiesWidget,
    threshold: Any,
    run: Any,
    movie: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    def segment_entities(image: Any, **options: Any) -> Any:
        return finish(threshold(image, config=EntityConfig(**options)))

    monkeypatch.setattr(napari_kindred, "segment_entities", segment_entities, raising=False)
    if kind == "channels":
        viewer.add_image(np.stack([movie // 9, movie], axis=1), axis_labels=tuple("tcyx"))
        widget.channel.value = 1
    elif kind == "multiscale":
        viewer.add_image([movie[0], movie[0, ::2, ::2]], multiscale=True)
    elif kind == "colour":
        viewer.add_image(np.repeat(movie[0, ..., None], 3, axis=-1), rgb=True)
    else:
        viewer.add_image(movie[0] if kind == "picture" else movie)
        widget.axes.value = "YX" if kind == "picture" else "TYX"
    run()
    space: dict[str, Any] = {"viewer": viewer}
    exec(widget.python(), space)  # noqa: S102  (what the user does with it)
    (layer,) = labels_layers()
    assert layer.data.max() > 0
    np.testing.assert_array_equal(np.squeeze(layer.data), space["labels"])


def test_only_the_shown_frame_is_run(
    entities_widget: Any, viewer: Any, opened_movie: Any, until: Any
) -> None:
    from napari_kindred._napari.entities.edit_layer import ShownPlane

    opened_movie.translate = (10, 0, 0)
    opened_movie.scale = (2, 1, 1)
    viewer.dims.set_point(0, 14)  # frame 2
    widget = entities_widget
    widget.start_frame()
    until(lambda: not widget.busy and widget.result is not None)
    alone = widget.result
    assert alone.data.shape[0] == 1
    assert alone.data_to_world((0, 0, 0))[0] == 14
    assert "Only T 2 of the image" in widget.status.value
    assert ShownPlane.of(viewer, alone).frame_index("TYX") == (2,)
    widget.start()
    until(lambda: not widget.busy and widget.result is not alone)
    whole = np.asarray(widget.result.data[2]) > 0
    np.testing.assert_array_equal(np.asarray(alone.data[0]) > 0, whole)


def test_a_single_image_has_no_frame_to_choose(entities_widget: Any, viewer: Any) -> None:
    viewer.add_image(np.zeros((20, 30), np.uint8))
    assert not entities_widget.this_frame.enabled
