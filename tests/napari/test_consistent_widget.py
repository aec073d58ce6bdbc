"""The dock widget in a real napari window, with grey values in place of a network's features."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.layers import Labels

import napari_kindred
from napari_kindred._napari.clusters import clusters_of
from napari_kindred._napari.consistent_widget import ConsistentWidget
from napari_kindred._napari.layers import KEY
from napari_kindred.config import ConsistentConfig
from napari_kindred.events import Progress, finish


@pytest.fixture
def viewer(make_napari_viewer: Any) -> Any:
    return make_napari_viewer()


@pytest.fixture
def widget(viewer: Any, greys: Any) -> ConsistentWidget:
    widget = ConsistentWidget(viewer, segment=greys)
    viewer.window.add_dock_widget(widget, name="Consistent clusters")
    widget.form.inputs["n_clusters"].value = "3"
    return widget


@pytest.fixture
def run(widget: ConsistentWidget, until: Callable[..., None]) -> Callable[..., Any]:
    """Press Run, or another button, wait for the end, and return the layer of the result."""

    def press(button: Any = None) -> Any:
        (button or widget.run).native.click()
        until(lambda: widget.run.enabled and not widget.cancel.enabled)
        return widget.panel.layer

    return press


def labels_layers(viewer: Any) -> list[Any]:
    return [layer for layer in viewer.layers if isinstance(layer, Labels)]


def type_into(widget: ConsistentWidget, name: str) -> None:
    box = widget.encoder.choice.native
    box.setEditText(name)
    box.lineEdit().editingFinished.emit()


# -- before a run ----------------------------------------------------------------------------


def test_the_encoder_is_shown_with_licence_and_whereabouts(
    viewer: Any, widget: ConsistentWidget, steps: np.ndarray
) -> None:
    viewer.add_image(steps, axis_labels=("t", "y", "x"))
    assert widget.encoder.choice.value == "kindred"
    assert widget.encoder.about.value == "Licence BSD-3-Clause; on this machine."
    widget.encoder.choice.value = "sam_vit_b"
    assert "Apache-2.0; 375 MB to download" in widget.encoder.about.value
    assert widget.run.enabled
    assert widget.check().encoder == "sam_vit_b"


def test_an_encoder_that_there_is_not_turns_red_and_run_is_off(
    viewer: Any, widget: ConsistentWidget, steps: np.ndarray
) -> None:
    viewer.add_image(steps, axis_labels=("t", "y", "x"))
    for name in ("nonsense", "/nowhere/sam.pth"):
        type_into(widget, name)
        assert name in widget.encoder.about.value
        assert "background-color" in widget.encoder.choice.native.styleSheet()
        assert not widget.run.enabled
    type_into(widget, "efficientnet")
    assert widget.encoder.choice.native.styleSheet() == ""
    assert widget.run.enabled


def test_a_name_that_a_large_library_knows_is_looked_up_beside_the_window(
    viewer: Any, widget: ConsistentWidget, until: Any, steps: np.ndarray
) -> None:
    viewer.add_image(steps, axis_labels=("t", "y", "x"))
    type_into(widget, "timm:no_such_model")
    assert not widget.run.enabled
    until(lambda: "no_such_model" in widget.encoder.about.value, timeout=60000)
    assert not widget.run.enabled
    type_into(widget, "kindred")
    assert widget.run.enabled


def test_clusters_are_a_number_or_auto(
    viewer: Any, widget: ConsistentWidget, steps: np.ndarray
) -> None:
    viewer.add_image(steps, axis_labels=("t", "y", "x"))
    entry = widget.form.inputs["n_clusters"]
    for text, value in (("7", 7), ("auto", "auto"), ("", ConsistentConfig().n_clusters)):
        entry.value = text
        assert widget.check().n_clusters == value
    for text in ("1", "some", "2.5"):
        entry.value = text
        assert not widget.run.enabled
        assert "n_clusters=" in widget.about.value


def test_without_clusters_there_is_nothing_to_change(widget: ConsistentWidget) -> None:
    assert widget.panel.native.isHidden()
    assert widget.more.native.isHidden()
    widget.start_applying()
    widget.save_model()
    assert widget.status.value == ""


# -- a run -----------------------------------------------------------------------------------


def test_the_result_is_a_layer_on_the_image_with_a_row_per_cluster(
    viewer: Any, widget: ConsistentWidget, run: Any, steps: np.ndarray
) -> None:
    image = viewer.add_image(
        steps, name="cells", scale=(1, 0.5, 0.25), translate=(0, 10, 20), axis_labels=tuple("tyx")
    )
    layer = run()
    assert layer.name == "cells clusters"
    for name in ("scale", "translate", "units"):
        np.testing.assert_array_equal(getattr(layer, name), getattr(image, name))
    assert layer.axis_labels == ("t", "y", "x")
    rows = layer.features.iloc[1:]
    assert list(rows["index"]) == [1, 2, 3]
    assert list(rows["area"]) == [(layer.data == label).sum() for label in (1, 2, 3)]
    assert rows["share"].sum() == pytest.approx(1)
    assert set(rows["name"]) == {""}
    assert {"first_frame", "last_frame"} <= set(rows)
    assert layer.metadata[KEY]["source_layer"] == "cells"
    assert layer.metadata[KEY]["config"]["n_clusters"] == 3
    assert "Found 3 clusters in 4 frames" in widget.status.value


def test_frames_appear_while_it_works_and_again_with_their_final_labels(
    viewer: Any, widget: ConsistentWidget, greys: Any, until: Any, steps: np.ndarray
) -> None:
    first, final = greys.gates[2], greys.gates[6] = threading.Event(), threading.Event()
    viewer.add_image(steps, axis_labels=("t", "y", "x"))
    widget.run.native.click()
    until(lambda: "2 of 4 frames done" in widget.status.value)
    assert "Encoding" in widget.status.value
    (layer,) = labels_layers(viewer)
    assert [bool(frame.any()) for frame in layer.data] == [True, True, False, False]
    provisional = layer.data[0].copy()
    first.set()
    until(lambda: "Sharpening the outlines, 2 of 4 frames done" in widget.status.value)
    assert (layer.data[0] != provisional).any()
    final.set()
    until(lambda: widget.run.enabled)
    assert layer.data.min() == 1


def test_the_time_left_does_not_count_what_was_loaded_first(
    viewer: Any, widget: ConsistentWidget, steps: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr("napari_kindred._napari.run.monotonic", lambda: clock[0])
    image = viewer.add_image(steps, axis_labels=("t", "y", "x"))
    run = widget.run_of(image, widget._image, widget.check())
    clock[0] = 60.0
    assert run.progress(Progress(0, 10, "loading the encoder", 0, 4)) == "Loading the encoder."
    clock[0] = 70.0
    assert "about 40 s left" in run.progress(Progress(2, 10, "encoding", 0, 4))


def test_cancel_while_it_encodes_keeps_the_frames_that_are_there(
    viewer: Any, widget: ConsistentWidget, greys: Any, until: Any, steps: np.ndarray
) -> None:
    greys.gates[2] = threading.Event()
    viewer.add_image(steps, name="cells", axis_labels=("t", "y", "x"))
    widget.run.native.click()
    until(lambda: "2 of 4 frames done" in widget.status.value)
    widget.cancel.native.click()
    until(lambda: widget.run.enabled)
    (layer,) = labels_layers(viewer)
    assert [bool(frame.any()) for frame in layer.data] == [True, True, False, False]
    assert "2 of 4 frames are kept in 'cells clusters'" in widget.status.value
    assert layer.metadata[KEY]["complete"] is False
    assert "still provisional" in widget.status.value
    assert layer.metadata[KEY]["notes"] == ["Labels and outlines are still provisional."]
    assert widget.panel.native.isHidden()
    rows = layer.features.iloc[1:]
    assert list(rows["area"]) == [(layer.data == label).sum() for label in rows["index"]]


def test_cancel_while_it_labels_gives_every_frame_the_same_numbering(
    viewer: Any, widget: ConsistentWidget, greys: Any, until: Any, steps: np.ndarray
) -> None:
    """Provisional and final labels have other numbers; a layer with both would be worthless."""
    greys.gates[6] = threading.Event()
    viewer.add_image(steps, axis_labels=("t", "y", "x"))
    widget.run.native.click()
    until(lambda: "Sharpening the outlines, 2 of 4 frames done" in widget.status.value)
    widget.cancel.native.click()
    until(lambda: widget.run.enabled)
    (layer,) = labels_layers(viewer)
    for grey in np.unique(steps):
        assert len(np.unique(layer.data[steps == grey])) == 1


def test_the_result_removed_on_the_way_comes_back_and_the_image_may_go(
    viewer: Any, widget: ConsistentWidget, greys: Any, until: Any, steps: np.ndarray
) -> None:
    gate = greys.gates[1] = threading.Event()
    image = viewer.add_image(steps, axis_labels=("t", "y", "x"))
    widget.run.native.click()
    until(lambda: len(labels_layers(viewer)) == 1)
    viewer.layers.remove(labels_layers(viewer)[0])
    viewer.layers.remove(image)
    gate.set()
    until(lambda: not widget.cancel.enabled)
    assert labels_layers(viewer)[0].data.min() == 1
    assert not widget.panel.native.isHidden()


def test_an_error_halfway_is_one_sentence_and_keeps_the_frames(
    viewer: Any, widget: ConsistentWidget, greys: Any, run: Any, steps: np.ndarray
) -> None:
    greys.errors[3] = RuntimeError("CUDA out of memory")
    viewer.add_image(steps, axis_labels=("t", "y", "x"))
    run()
    assert "not enough memory" in widget.status.value
    assert "3 of 4 frames are kept" in widget.status.value


# -- afterwards ------------------------------------------------------------------------------


def test_the_slider_shows_the_movie_with_more_or_fewer_clusters(
    viewer: Any, widget: ConsistentWidget, run: Any, until: Any, steps: np.ndarray
) -> None:
    viewer.add_image(steps, axis_labels=("t", "y", "x"))
    layer = run()
    at_three = layer.data.copy()
    assert (widget.panel.level.min, widget.panel.level.max) == (2, 9)
    widget.panel.level.value = 6
    until(lambda: layer.data.max() == 6)
    assert len(layer.features) == 7
    pairs = np.unique(np.stack([layer.data.ravel(), at_three.ravel()]), axis=1)
    assert pairs.shape[1] == 6  # each fine cluster lies in one coarse cluster
    assert "result.at_level(6)" in widget.python()
    widget.panel.level.value = 3
    until(lambda: layer.data.max() == 3)
    np.testing.assert_array_equal(layer.data, at_three)


def test_a_name_is_in_the_features_and_stays_where_its_cluster_stays(
    viewer: Any, widget: ConsistentWidget, run: Any, steps: np.ndarray
) -> None:
    viewer.add_image(steps, axis_labels=("t", "y", "x"))
    layer = run()
    widget.panel.level.value = 6
    widget.panel.relabel()
    layer.selected_label = int(layer.data[0][steps[0] == 250][0])
    widget.panel.name.value = "mitoses"
    widget.panel.name.native.editingFinished.emit()
    where = layer.data == layer.selected_label

    def named() -> np.ndarray:
        rows = layer.features[layer.features["name"] == "mitoses"]
        return np.isin(layer.data, rows["index"])

    np.testing.assert_array_equal(named(), where)
    for level in range(5, 1, -1):
        widget.panel.level.value = level
        widget.panel.relabel()
        merged = not np.array_equal(layer.data == layer.data[where][0], where)
        np.testing.assert_array_equal(named(), where & (not merged))
    widget.panel.level.value = 6
    widget.panel.relabel()
    np.testing.assert_array_equal(named(), where)


def test_the_list_of_clusters_keeps_its_order_and_shows_their_colours(
    viewer: Any, widget: ConsistentWidget, run: Any, steps: np.ndarray
) -> None:
    viewer.add_image(steps, axis_labels=("t", "y", "x"))
    layer = run()
    widget.panel.cluster.value = 2
    widget.panel.name.value = "shade"
    widget.panel.rename()
    box = widget.panel.cluster.native
    texts = [box.itemText(place) for place in range(box.count())]
    assert [text.split(",")[0] for text in texts] == ["1", "2", "3"]
    assert texts[1].endswith("shade")
    assert widget.panel.cluster.value == 2
    for place, label in enumerate((1, 2, 3)):
        shown = box.itemIcon(place).pixmap(12, 12).toImage().pixelColor(6, 6).getRgbF()
        np.testing.assert_allclose(shown, layer.get_color(label), atol=0.01)


def test_the_image_shows_through_and_an_earlier_result_gives_way(
    viewer: Any, widget: ConsistentWidget, run: Any, steps: np.ndarray
) -> None:
    viewer.add_image(steps, name="cells", axis_labels=("t", "y", "x"))
    other = viewer.add_labels(np.ones(steps.shape, int), name="my own")
    first = run()
    assert 0.2 < first.opacity < 0.8
    second = run()
    assert (first.visible, second.visible, other.visible) == (False, True, True)


def test_the_preview_has_the_colours_of_the_result(
    viewer: Any, widget: ConsistentWidget, greys: Any, until: Any, steps: np.ndarray
) -> None:
    gate = greys.gates[6] = threading.Event()
    viewer.add_image(steps, axis_labels=("t", "y", "x"))
    widget.run.native.click()
    until(lambda: "2 of 4 frames done" in widget.status.value and len(labels_layers(viewer)) == 1)
    (layer,) = labels_layers(viewer)
    before = [layer.get_color(label) for label in (1, 2, 3)]
    gate.set()
    until(lambda: widget.run.enabled)
    np.testing.assert_allclose(before, [layer.get_color(label) for label in (1, 2, 3)])
    assert layer.get_color(99)[3] == 1  # what is painted with a new label is seen


def test_all_of_it_fits_a_small_screen(
    viewer: Any, widget: ConsistentWidget, run: Any, steps: np.ndarray
) -> None:
    viewer.add_image(
        steps, name="a movie with a rather long name of forty", axis_labels=tuple("tyx")
    )
    run()
    widget.form.more.native.click()
    assert widget.native.minimumSizeHint().width() <= 400
    assert widget.native.minimumSizeHint().height() <= 400


def test_the_cluster_selected_in_the_picture_is_the_one_that_is_changed(
    viewer: Any, widget: ConsistentWidget, run: Any, steps: np.ndarray
) -> None:
    viewer.add_image(steps, axis_labels=("t", "y", "x"))
    layer = run()
    layer.selected_label = 2
    assert widget.panel.cluster.value == 2
    widget.panel.cluster.value = 3
    assert layer.selected_label == 3
    layer.selected_label = 99
    assert not widget.panel.name.enabled
    assert not widget.panel.background.enabled


def test_colours_stay_with_their_clusters_when_others_split(
    viewer: Any, widget: ConsistentWidget, run: Any, steps: np.ndarray
) -> None:
    viewer.add_image(steps, axis_labels=("t", "y", "x"))
    layer = run()
    layer.selected_label = 3
    widget.panel.set_colour((1.0, 0.0, 1.0, 1.0))
    np.testing.assert_allclose(layer.get_color(3), (1, 0, 1, 1))
    before = {layer.data[steps == grey][0]: layer.get_color(layer.data[steps == grey][0])
              for grey in np.unique(steps)}  # fmt: skip
    sets = {label: frozenset(np.flatnonzero(layer.data == label)) for label in before}
    widget.panel.level.value = 4
    widget.panel.relabel()
    kept = 0
    for label in np.unique(layer.data):
        pixels = frozenset(np.flatnonzero(layer.data == label))
        for old, where in sets.items():
            if where == pixels:
                np.testing.assert_allclose(layer.get_color(label), before[old])
                kept += 1
    assert kept == 2  # one of three was split
    colours = {tuple(np.round(layer.get_color(label), 4)) for label in np.unique(layer.data)}
    assert len(colours) == 4


def test_background_is_label_0_until_it_is_brought_back(
    viewer: Any, widget: ConsistentWidget, run: Any, steps: np.ndarray
) -> None:
    viewer.add_image(steps, axis_labels=("t", "y", "x"))
    layer = run()
    before = layer.data.copy()
    layer.selected_label = 1
    widget.panel.background.native.click()
    np.testing.assert_array_equal(layer.data, np.where(before == 1, 0, before))
    assert layer.features["name"][1] == "background"
    assert widget.panel.background.text == "Bring back"
    widget.panel.background.native.click()
    np.testing.assert_array_equal(layer.data, before)
    widget.panel.background.native.click()
    layer.selected_label = 0
    widget.panel.background.native.click()
    np.testing.assert_array_equal(layer.data, before)
    assert not widget.panel.background.enabled


def test_what_was_painted_is_kept_before_the_movie_is_labelled_anew(
    viewer: Any, widget: ConsistentWidget, run: Any, steps: np.ndarray
) -> None:
    viewer.add_image(steps, name="cells", axis_labels=("t", "y", "x"))
    layer = run()
    layer.selected_label = 3
    layer.paint((0, 5, 5), 3)
    painted = layer.data.copy()
    widget.panel.level.value = 5
    widget.panel.relabel()
    copy = viewer.layers["cells clusters painted"]
    np.testing.assert_array_equal(copy.data, painted)
    assert "cells clusters painted" in widget.status.value
    assert layer.data.max() == 5
    widget.panel.level.value = 4
    widget.panel.relabel()
    assert len(labels_layers(viewer)) == 2


def test_another_image_is_labelled_by_the_same_clusters_names_and_colours(
    viewer: Any, widget: ConsistentWidget, run: Any, steps: np.ndarray
) -> None:
    viewer.add_image(steps, name="cells", axis_labels=("t", "y", "x"))
    layer = run()
    assert not widget.apply.enabled
    widget.panel.level.value = 5
    widget.panel.relabel()
    layer.selected_label = int(layer.data[0][steps[0] == 250][0])
    widget.panel.name.value = "bright"
    widget.panel.rename()
    other = steps[::-1, :, ::-1].copy()
    widget.image.value = viewer.add_image(other, name="other", axis_labels=("t", "y", "x"))
    assert widget.apply.text == "Apply to 'other'"
    viewer.layers.selection.active = layer
    result = run(widget.apply)
    assert result.name == "other clusters"
    np.testing.assert_array_equal(result.data, layer.data[::-1, :, ::-1])
    assert result.features["name"].tolist() == layer.features["name"].tolist()
    np.testing.assert_array_equal(layer.features["name"][layer.selected_label], "bright")


def test_a_saved_model_labels_another_movie(
    viewer: Any, widget: ConsistentWidget, run: Any, steps: np.ndarray, tmp_path: Path
) -> None:
    viewer.add_image(steps, name="cells", axis_labels=("t", "y", "x"))
    layer = run()
    widget.save_model(path=tmp_path / "kinds")
    assert (tmp_path / "kinds.safetensors").exists()
    assert "kinds.safetensors" in widget.status.value
    widget.model.value = tmp_path / "kinds.safetensors"
    viewer.add_image(steps[:, ::-1], name="flipped", axis_labels=("t", "y", "x"))
    widget.image.value = viewer.layers["flipped"]
    result = run()
    np.testing.assert_array_equal(result.data, layer.data[:, ::-1])
    assert "kinds.safetensors" in result.metadata[KEY]["python"]


def test_a_place_where_nothing_can_be_saved_is_named(
    viewer: Any, widget: ConsistentWidget, run: Any, steps: np.ndarray, tmp_path: Path
) -> None:
    viewer.add_image(steps, axis_labels=("t", "y", "x"))
    run()
    (tmp_path / "file").write_text("")
    widget.save_model(path=tmp_path / "file" / "kinds.safetensors")
    assert "file" in widget.status.value
    assert "color" in widget.status.native.styleSheet()


def test_the_panel_follows_the_selected_layer(
    viewer: Any, widget: ConsistentWidget, run: Any, steps: np.ndarray
) -> None:
    viewer.add_image(steps, name="a", axis_labels=("t", "y", "x"))
    first = run()
    second = run()
    assert widget.panel.layer.unique_id == second.unique_id != first.unique_id
    viewer.layers.selection.active = first
    assert widget.panel.layer.unique_id == first.unique_id
    viewer.layers.selection.active = viewer.layers["a"]
    assert widget.panel.layer.unique_id == first.unique_id
    viewer.layers.remove(first.name)
    viewer.layers.remove(second.name)
    assert widget.panel.native.isHidden()


def test_a_copy_of_the_layer_is_changed_by_itself(
    viewer: Any, widget: ConsistentWidget, run: Any, steps: np.ndarray
) -> None:
    viewer.add_image(steps, axis_labels=("t", "y", "x"))
    layer = run()
    data, options, kind = layer.as_layer_data_tuple()
    copy = viewer._add_layer_from_data(data.copy(), {**options, "name": "copy"}, kind)[0]
    viewer.layers.selection.active = copy
    widget.panel.level.value = 5
    widget.panel.relabel()
    assert (copy.data.max(), layer.data.max()) == (5, 3)
    assert clusters_of(layer).level == 3


@pytest.mark.parametrize("what", ["as it came", "changed", "applied"])
def test_the_copied_code_runs_and_computes_the_same_labels(
    viewer: Any,
    widget: ConsistentWidget,
    greys: Any,
    run: Any,
    steps: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
) -> None:
    def cluster_stack(image: Any, model: Any = None, **options: Any) -> Any:
        return finish(greys(image, config=ConsistentConfig(**options), model=model))

    monkeypatch.setattr(napari_kindred, "cluster_stack", cluster_stack, raising=False)
    viewer.add_image(steps, name="cells", axis_labels=("t", "y", "x"))
    layer = run()
    if what == "changed":
        widget.panel.level.value = 5
        widget.panel.relabel()
        layer.selected_label = 2
        widget.panel.toggle_background()
    elif what == "applied":
        viewer.add_image(steps[:2], name="other", axis_labels=("t", "y", "x"))
        widget.image.value = viewer.layers["other"]
        layer = run(widget.apply)
    viewer.layers.selection.active = layer
    space: dict[str, Any] = {"viewer": viewer}
    exec(widget.python(), space)  # noqa: S102  (what the user does with it)
    np.testing.assert_array_equal(layer.data, space["labels"])


def test_a_movie_with_channels_gets_labels_that_lie_on_it_at_every_level(
    viewer: Any, widget: ConsistentWidget, run: Any, steps: np.ndarray
) -> None:
    both = np.stack([np.zeros_like(steps), steps], axis=1)
    viewer.add_image(both, axis_labels=("t", "c", "y", "x"))
    widget.channel.value = 1
    layer = run()
    assert layer.data.shape == (4, 1, *steps.shape[1:])
    widget.panel.level.value = 6
    widget.panel.relabel()
    assert layer.data.shape == (4, 1, *steps.shape[1:])
    assert layer.data.max() == 6
