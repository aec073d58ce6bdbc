"""The dock widget in a real napari window, with grey values in place of a network's features."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from napari.layers import Labels
from napari.utils._proxies import PublicOnlyProxy

import napari_kindred
from napari_kindred._napari.common.layers import KEY
from napari_kindred.clusters.config import ClusterConfig
from napari_kindred.core.events import Progress, finish
from napari_kindred.results.recipe import recipe_of

if TYPE_CHECKING:
    from pathlib import Path

    from napari_kindred._napari.clusters.widget import ClustersWidget

WIDGET = "clusters_widget"


def type_into(widget: ClustersWidget, name: str) -> None:
    box = widget.encoder.choice.native
    box.setEditText(name)
    box.lineEdit().editingFinished.emit()


# -- before a run ----------------------------------------------------------------------------


def test_the_encoder_is_shown_with_licence_and_whereabouts(
    widget: ClustersWidget, opened_steps: Any
) -> None:
    assert widget.encoder.choice.value == "kindred"
    assert widget.encoder.about.value == "Installed; licence BSD-3-Clause."
    widget.encoder.choice.value = "sam_vit_b"
    assert "(375 MB); licence Apache-2.0" in widget.encoder.about.value
    assert widget.run.enabled
    assert widget.check().encoder == "sam_vit_b"


def test_an_encoder_that_there_is_not_turns_red_and_run_is_off(
    widget: ClustersWidget, opened_steps: Any
) -> None:
    for name in ("nonsense", "/nowhere/sam.pth"):
        type_into(widget, name)
        assert name in widget.encoder.about.value
        assert "background-color" in widget.encoder.choice.native.styleSheet()
        assert not widget.run.enabled
    type_into(widget, "efficientnet")
    assert widget.encoder.choice.native.styleSheet() == ""
    assert widget.run.enabled


def test_a_name_that_a_large_library_knows_is_looked_up_beside_the_window(
    widget: ClustersWidget, until: Any, opened_steps: Any
) -> None:
    type_into(widget, "timm:no_such_model")
    assert not widget.run.enabled
    until(lambda: "no_such_model" in widget.encoder.about.value, timeout=60000)
    assert not widget.run.enabled
    type_into(widget, "kindred")
    assert widget.run.enabled


def test_clusters_are_a_number_or_auto(widget: ClustersWidget, opened_steps: Any) -> None:
    entry = widget.form.inputs["n_clusters"]
    for text, value in (("7", 7), ("auto", "auto"), ("", ClusterConfig().n_clusters)):
        entry.value = text
        assert widget.check().n_clusters == value
    for text in ("1", "some", "2.5"):
        entry.value = text
        assert not widget.run.enabled
        assert "Clusters: " in widget.about.value


# -- a run -----------------------------------------------------------------------------------


def test_the_result_is_a_layer_on_the_image_with_a_row_per_cluster(
    viewer: Any, widget: ClustersWidget, run: Any, steps: np.ndarray
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
    labels_layers: Any, widget: ClustersWidget, greys: Any, until: Any, opened_steps: Any
) -> None:
    first, final = greys.gates[2], greys.gates[6] = threading.Event(), threading.Event()
    widget.run.native.click()
    until(lambda: "2 of 4 frames done" in widget.status.value)
    assert "Encoding" in widget.status.value
    (layer,) = labels_layers()
    assert [bool(frame.any()) for frame in layer.data] == [True, True, False, False]
    provisional = layer.data[0].copy()
    first.set()
    until(lambda: "Refining the outlines, 2 of 4 frames done" in widget.status.value)
    assert (layer.data[0] != provisional).any()
    final.set()
    until(lambda: widget.run.enabled)
    assert layer.data.min() == 1


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the clock of a run shows, in seconds."""
    clock = [0.0]
    monkeypatch.setattr("napari_kindred._napari.common.job_view.monotonic", lambda: clock[0])
    return clock


@pytest.fixture
def begun(viewer: Any, widget: ClustersWidget, steps: np.ndarray, clock: list[float]) -> Any:
    """A run that begins when the clock shows 0."""
    image = viewer.add_image(steps, axis_labels=("t", "y", "x"))
    return widget.run_of(image, widget.layer_image, widget.check())


def test_the_time_left_does_not_count_what_was_loaded_first(begun: Any, clock: list[float]) -> None:
    clock[0] = 60.0
    assert begun.progress(Progress(0, 1, "loading the encoder")) == "Loading the encoder."
    clock[0] = 70.0
    assert "about 40 s left" in begun.progress(Progress(2, 10, "encoding", 0, 4))


def test_the_time_left_does_not_count_what_was_known(begun: Any, clock: list[float]) -> None:
    clock[0] = 3.0
    known = begun.progress(Progress(5, 10, "cached", 5, 10))
    assert known == "Loading cached features, 5 of 10 frames done."
    clock[0] = 13.0  # a frame in ten seconds, and four more to go
    assert "about 40 s left" in begun.progress(Progress(6, 10, "encoding", 6, 10))


def test_cancel_while_it_encodes_keeps_the_frames_that_are_there(
    labels_layers: Any, widget: ClustersWidget, greys: Any, until: Any, opened_steps: Any
) -> None:
    greys.gates[2] = threading.Event()
    widget.run.native.click()
    until(lambda: "2 of 4 frames done" in widget.status.value)
    widget.cancel.native.click()
    until(lambda: widget.run.enabled)
    (layer,) = labels_layers()
    assert [bool(frame.any()) for frame in layer.data] == [True, True, False, False]
    assert "2 of 4 frames are in the layer 'cells clusters'" in widget.status.value
    assert layer.metadata[KEY]["complete"] is False
    assert "are provisional" in widget.status.value
    assert layer.metadata[KEY]["notes"] == ["Labels and outlines are provisional."]
    assert widget.panel.native.isHidden()
    rows = layer.features.iloc[1:]
    assert list(rows["area"]) == [(layer.data == label).sum() for label in rows["index"]]


def test_cancel_while_it_labels_gives_every_frame_the_same_numbering(
    labels_layers: Any,
    widget: ClustersWidget,
    greys: Any,
    until: Any,
    steps: np.ndarray,
    opened_steps: Any,
) -> None:
    """Provisional and final labels have other numbers; a layer with both would be worthless."""
    greys.gates[6] = threading.Event()
    widget.run.native.click()
    until(lambda: "Refining the outlines, 2 of 4 frames done" in widget.status.value)
    widget.cancel.native.click()
    until(lambda: widget.run.enabled)
    (layer,) = labels_layers()
    for grey in np.unique(steps):
        assert len(np.unique(layer.data[steps == grey])) == 1


def test_an_error_halfway_is_one_sentence_and_keeps_the_frames(
    widget: ClustersWidget, greys: Any, run: Any, opened_steps: Any
) -> None:
    greys.errors[3] = RuntimeError("CUDA out of memory")
    run()
    assert "not enough memory" in widget.status.value
    assert "3 of 4 frames are in" in widget.status.value


# -- afterwards ------------------------------------------------------------------------------


def test_the_image_shows_through_and_an_earlier_result_gives_way(
    viewer: Any, widget: ClustersWidget, run: Any, steps: np.ndarray, opened_steps: Any
) -> None:
    other = viewer.add_labels(np.ones(steps.shape, int), name="my own")
    first = run()
    assert 0.2 < first.opacity < 0.8
    second = run()
    assert (first.visible, second.visible, other.visible) == (False, True, True)


def test_a_result_is_visible_where_napari_hands_out_proxies(
    viewer: Any, greys: Any, until: Any, opened_steps: Any
) -> None:
    """From the menu a widget gets a proxy of the viewer, and a new one of a layer each time."""
    from napari_kindred._napari.clusters.widget import ClustersWidget

    widget = ClustersWidget(PublicOnlyProxy(viewer), segment=greys)
    viewer.window.add_dock_widget(widget, name="Consistent clusters")
    widget.form.inputs["n_clusters"].value = "3"
    until(lambda: widget.run.enabled)
    for count in (1, 2):
        widget.start()
        until(lambda: not widget.controls.busy)
        results = [layer for layer in viewer.layers if isinstance(layer, Labels)]
        assert [layer.visible for layer in results] == [False, True][2 - count :]


def test_the_preview_has_the_colours_of_the_result(
    labels_layers: Any, widget: ClustersWidget, greys: Any, until: Any, opened_steps: Any
) -> None:
    gate = greys.gates[6] = threading.Event()
    widget.run.native.click()
    until(lambda: "2 of 4 frames done" in widget.status.value and len(labels_layers()) == 1)
    (layer,) = labels_layers()
    before = [layer.get_color(label) for label in (1, 2, 3)]
    gate.set()
    until(lambda: widget.run.enabled)
    np.testing.assert_allclose(before, [layer.get_color(label) for label in (1, 2, 3)])
    assert layer.get_color(99)[3] == 1  # what is painted with a new label is seen


def test_all_of_it_fits_a_small_screen(
    viewer: Any, widget: ClustersWidget, run: Any, steps: np.ndarray
) -> None:
    viewer.add_image(
        steps, name="a movie with a rather long name of forty", axis_labels=tuple("tyx")
    )
    run()
    widget.form.more.native.click()
    assert widget.native.minimumSizeHint().width() <= 400
    assert widget.native.minimumSizeHint().height() <= 400


def test_another_image_is_labelled_by_the_same_clusters_names_and_colours(
    viewer: Any, widget: ClustersWidget, run: Any, steps: np.ndarray, opened_steps: Any
) -> None:
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
    viewer: Any,
    widget: ClustersWidget,
    run: Any,
    steps: np.ndarray,
    tmp_path: Path,
    opened_steps: Any,
) -> None:
    layer = run()
    widget.save_model(path=tmp_path / "kinds")
    assert (tmp_path / "kinds.safetensors").exists()
    assert "kinds.safetensors" in widget.status.value
    widget.model.value = tmp_path / "kinds.safetensors"
    viewer.add_image(steps[:, ::-1], name="flipped", axis_labels=("t", "y", "x"))
    widget.image.value = viewer.layers["flipped"]
    result = run()
    np.testing.assert_array_equal(result.data, layer.data[:, ::-1])
    assert "kinds.safetensors" in recipe_of(result.metadata[KEY]).to_python()


def test_a_place_where_nothing_can_be_saved_is_named(
    widget: ClustersWidget, run: Any, tmp_path: Path, opened_steps: Any
) -> None:
    run()
    (tmp_path / "file").write_text("")
    widget.save_model(path=tmp_path / "file" / "kinds.safetensors")
    assert "file" in widget.status.value
    assert "color" in widget.status.native.styleSheet()


@pytest.mark.parametrize("what", ["as it came", "changed", "applied"])
def test_the_copied_code_runs_and_computes_the_same_labels(
    viewer: Any,
    widget: ClustersWidget,
    greys: Any,
    run: Any,
    steps: np.ndarray,
    changed_clusters: Any,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
    opened_steps: Any,
) -> None:
    def cluster_stack(image: Any, model: Any = None, **options: Any) -> Any:
        return finish(greys(image, config=ClusterConfig(**options), model=model))

    monkeypatch.setattr(napari_kindred, "cluster_stack", cluster_stack, raising=False)
    layer = run()
    if what == "changed":
        changed_clusters(layer)
    elif what == "applied":
        viewer.add_image(steps[:2], name="other", axis_labels=("t", "y", "x"))
        widget.image.value = viewer.layers["other"]
        layer = run(widget.apply)
    viewer.layers.selection.active = layer
    space: dict[str, Any] = {"viewer": viewer}
    exec(widget.python(), space)  # noqa: S102  (what the user does with it)
    np.testing.assert_array_equal(layer.data, space["labels"])
