"""Looking through objects by score, and hiding those below one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from napari_kindred._napari.common.layers import KEY, layer_features
from napari_kindred.results.segmentation import measure

if TYPE_CHECKING:
    from napari_kindred._napari.entities.widget import EntitiesWidget

WIDGET = "entities_widget"

SCORES = [0.9, 0.4, 0.7, 0.95, 0.5, 0.8]
"""Of the discs 1 to 6."""


@pytest.fixture
def widget(entities_widget: EntitiesWidget) -> EntitiesWidget:
    return entities_widget


@pytest.fixture
def layer(widget: EntitiesWidget, viewer: Any, discs: tuple[np.ndarray, np.ndarray]) -> Any:
    """Two frames of discs, three with each; scores of their own."""
    labels = np.stack([np.where(discs[1] <= 3, discs[1], 0), np.where(discs[1] > 3, discs[1], 0)])
    rows = [measure(plane, discs[0], frame=frame) for frame, plane in enumerate(labels)]
    table = pd.concat(rows, ignore_index=True).assign(score=SCORES)
    return viewer.add_labels(
        labels.astype(np.int32),
        axis_labels=("t", "y", "x"),
        features=layer_features(table),
        metadata={KEY: {"method": "entities", "axes": "TYX"}},
    )


def stops(widget: EntitiesWidget, layer: Any, steps: int) -> list[int]:
    found = []
    for _ in range(steps):
        widget.review_panel.step(1)
        found.append(int(layer.selected_label))
    return found


def test_the_worst_come_first_each_in_its_frame_and_in_the_middle(
    widget: EntitiesWidget, layer: Any, viewer: Any
) -> None:
    assert stops(widget, layer, 2) == [2, 5]
    assert viewer.dims.current_step[0] == 1
    centre = np.argwhere(layer.data[1] == 5).mean(0)
    np.testing.assert_allclose(viewer.scene.camera.center[-2:], centre, atol=0.6)
    assert "2 of 6: label 5, score 0.50" in widget.status.value
    assert stops(widget, layer, 5) == [3, 6, 1, 4, 4]
    widget.review_panel.step(-1)
    assert layer.selected_label == 1


def test_right_is_not_shown_again_and_wrong_is_deleted(widget: EntitiesWidget, layer: Any) -> None:
    panel = widget.review_panel
    panel.step(1)
    panel.say_right()  # 2
    assert layer.metadata[KEY]["right"] == [2]
    assert layer.selected_label == 5
    panel.say_wrong()
    assert not (layer.data == 5).any()
    assert layer.selected_label == 3
    layer.undo()
    assert (layer.data == 5).any()
    panel._stop = None
    assert stops(widget, layer, 1) == [3]  # 5 is back, without a score


def test_the_slider_hides_below_a_score_and_deletes_on_demand(
    widget: EntitiesWidget, layer: Any, viewer: Any
) -> None:
    panel, colours = widget.review_panel, {one: layer.get_color(one) for one in range(1, 7)}
    panel.slider.value = 0.6
    panel._hide()
    for one, score in enumerate(SCORES, start=1):
        if score < 0.6:
            assert np.all(np.asarray(layer.colormap.map(one))[..., -1] == 0)
        else:
            np.testing.assert_allclose(layer.get_color(one), colours[one], atol=1e-3)
    assert (layer.data == 2).any()
    assert stops(widget, layer, 1) == [3]
    panel.delete_hidden()
    assert set(np.unique(layer.data)) == {0, 1, 3, 4, 6}
    np.testing.assert_allclose(layer.get_color(1), colours[1])
    layer.undo()
    assert set(np.unique(layer.data)) == set(range(7))


def test_another_result_shows_all_again(widget: EntitiesWidget, layer: Any, viewer: Any) -> None:
    before = layer.get_color(2)
    widget.review_panel.slider.value = 0.6
    widget.review_panel._hide()
    viewer.add_labels(np.ones((4, 4), np.int32), metadata={KEY: {"method": "entities"}})
    assert not widget.review_panel.next.enabled
    assert widget.review_panel.slider.value == 0
    np.testing.assert_allclose(layer.get_color(2), before)
