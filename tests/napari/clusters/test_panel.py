"""What there is to do with clusters that are there, in a real napari window."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kindred._napari.clusters.layer import clusters_of

if TYPE_CHECKING:
    from napari_kindred._napari.clusters.widget import ClustersWidget

WIDGET = "clusters_widget"


def test_without_clusters_there_is_nothing_to_change(widget: ClustersWidget) -> None:
    assert widget.panel.native.isHidden()
    assert widget.more.native.isHidden()
    widget.start_applying()
    widget.save_model()
    assert widget.status.value == ""


def test_the_slider_shows_the_movie_with_more_or_fewer_clusters(
    widget: ClustersWidget, run: Any, until: Any, opened_steps: Any
) -> None:
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
    widget: ClustersWidget, run: Any, steps: np.ndarray, opened_steps: Any
) -> None:
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
    widget: ClustersWidget, run: Any, opened_steps: Any
) -> None:
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


def test_the_cluster_selected_in_the_picture_is_the_one_that_is_changed(
    widget: ClustersWidget, run: Any, opened_steps: Any
) -> None:
    layer = run()
    layer.selected_label = 2
    assert widget.panel.cluster.value == 2
    widget.panel.cluster.value = 3
    assert layer.selected_label == 3
    layer.selected_label = 99
    assert not widget.panel.name.enabled
    assert not widget.panel.background.enabled


def test_colours_stay_with_their_clusters_when_others_split(
    widget: ClustersWidget, run: Any, steps: np.ndarray, opened_steps: Any
) -> None:
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
    widget: ClustersWidget, run: Any, opened_steps: Any
) -> None:
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
    viewer: Any, labels_layers: Any, widget: ClustersWidget, run: Any, opened_steps: Any
) -> None:
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
    assert len(labels_layers()) == 2


def test_the_panel_follows_the_selected_layer(
    viewer: Any, widget: ClustersWidget, run: Any, steps: np.ndarray
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
    viewer: Any, widget: ClustersWidget, run: Any, opened_steps: Any
) -> None:
    layer = run()
    data, options, kind = layer.as_layer_data_tuple()
    copy = viewer._add_layer_from_data(data.copy(), {**options, "name": "copy"}, kind)[0]
    viewer.layers.selection.active = copy
    widget.panel.level.value = 5
    widget.panel.relabel()
    assert (copy.data.max(), layer.data.max()) == (5, 3)
    assert clusters_of(layer).level == 3


def test_a_movie_with_channels_gets_labels_that_lie_on_it_at_every_level(
    viewer: Any, widget: ClustersWidget, run: Any, steps: np.ndarray
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
