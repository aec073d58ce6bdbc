"""What there is to do with named classes that are there, in a real napari window."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from qtpy.QtWidgets import QInputDialog

from napari_kindred._napari.classes.layer import classes_of
from napari_kindred._napari.common.layers import KEY

if TYPE_CHECKING:
    from pathlib import Path

    from napari_kindred._napari.classes.widget import ClassesWidget


@pytest.fixture
def widget(classes_widget: ClassesWidget, viewer: Any, shaded: np.ndarray) -> ClassesWidget:
    viewer.add_image(shaded, name="smear", axis_labels=("t", "y", "x"))
    classes_widget.names.names = ("dim", "grey", "bright")
    return classes_widget


@pytest.fixture
def layer(widget: ClassesWidget, run: Any) -> Any:
    return run()


def select(widget: ClassesWidget, *rows: int) -> None:
    table = widget.panel.table
    table.clearSelection()
    for row in rows:
        table.setRangeSelected(_row(row, table.columnCount()), True)


def _row(row: int, columns: int) -> Any:
    from qtpy.QtWidgets import QTableWidgetSelectionRange

    return QTableWidgetSelectionRange(row, 0, row, columns - 1)


def test_without_a_result_only_the_threshold_is_there(widget: ClassesWidget) -> None:
    assert widget.panel._legend.native.isHidden()
    assert not widget.panel.slider.native.isHidden()
    widget.panel.slider.value = 0.4
    assert widget.check().threshold == 0.4
    widget.panel.auto.value = True
    assert widget.check().threshold == "auto"


def test_the_layer_follows_the_threshold_and_nothing_is_looked_at_again(
    widget: ClassesWidget, layer: Any, brightness: Any, until: Any
) -> None:
    scores = layer.features["mean_score"][1:]
    between = float(np.mean(sorted(scores)[:2]))
    brightness.looks = 0
    widget.panel.slider.value = between
    until(lambda: not (layer.data == np.argmin(scores) + 1).any())
    assert brightness.looks == 0
    assert (np.unique(layer.data) > 0).sum() == 2
    assert layer.features["count"][1 + np.argmin(scores)] == 0
    assert layer.metadata[KEY]["config"]["threshold"] == pytest.approx(between, abs=0.006)
    widget.panel.auto.value = True
    until(lambda: len(np.unique(layer.data)) == 4)


def test_of_a_fast_hand_the_last_threshold_counts(
    widget: ClassesWidget, layer: Any, until: Any
) -> None:
    for value in (0.9, 0.999, 0.5):
        widget.panel.slider.value = value
        widget.panel.relabel()
    until(lambda: classes_of(layer).threshold == 0.5)
    assert len(np.unique(layer.data)) == 4


def test_the_entry_follows_the_layer_that_is_selected(
    viewer: Any, widget: ClassesWidget, layer: Any, run: Any
) -> None:
    widget.panel.slider.value = 0.5
    widget.panel.relabel()
    second = run()
    assert widget.panel.threshold == 0.5
    viewer.layers.selection.active = layer
    assert widget.panel.layer.unique_id == layer.unique_id
    viewer.layers.selection.active = viewer.layers["smear"]
    assert widget.panel.layer.unique_id == layer.unique_id
    for result in (layer, second):
        viewer.layers.remove(result.name)
    assert widget.panel._legend.native.isHidden()


def test_classes_become_one_under_a_new_name(
    widget: ClassesWidget,
    layer: Any,
    until: Any,
    shaded: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(QInputDialog, "getText", lambda *_, **__: ("faint", True))
    select(widget, 0)
    assert not widget.panel.group.enabled
    select(widget, 0, 1)
    assert widget.panel.group.enabled
    widget.panel.group.native.click()
    until(lambda: "faint" in list(layer.features["name"]), timeout=60000)
    faint = np.isin(shaded, (90, 150))
    np.testing.assert_array_equal(layer.data, np.where(faint, 1, np.where(shaded == 250, 2, 0)))
    assert widget.names.names == ("faint", "bright")
    assert widget.classifier.vocabulary.choice.value == "faint (shades)"
    assert widget.run.enabled
    assert widget.status.value == "Merged dim, grey into 'faint'."


def test_a_regrouped_vocabulary_has_the_first_colour_and_can_be_run_and_saved(
    widget: ClassesWidget, run: Any, until: Any, tmp_path: Path
) -> None:
    from napari_kindred import Vocabulary

    widget.names.names = ("grey", "dim", "bright")
    layer = run()
    widget.panel.merge(["dim", "grey"], "faint")
    until(lambda: layer.data.max() == 2, timeout=60000)
    assert widget.names.colours() == tuple(layer.features["colour"][1:]) == ("#999999", "#ffee00")
    np.testing.assert_array_equal(run().data, layer.data)
    widget.save_shown(path=tmp_path / "coarse")
    assert Vocabulary.load(tmp_path / "coarse.kindred").names == ("faint", "bright")
    assert "coarse.kindred" in widget.status.value
    assert "was not measured" in widget.status.value
    widget.save_shown(path=tmp_path / "coarse")
    assert "already" in widget.status.value


@pytest.mark.parametrize(
    ("name", "said"), [("bright", "twice"), ("!", "no name"), (" ", "no name")]
)
def test_a_name_that_cannot_be_is_one_sentence(
    widget: ClassesWidget, layer: Any, until: Any, name: str, said: str
) -> None:
    before = layer.data.copy()
    widget.panel.merge(["dim", "grey"], name)
    until(lambda: said in widget.status.value)
    assert "color" in widget.status.native.styleSheet()
    np.testing.assert_array_equal(layer.data, before)


def test_other_names_are_shown_without_another_look(
    widget: ClassesWidget, layer: Any, brightness: Any, until: Any, shaded: np.ndarray
) -> None:
    brightness.looks = 0
    widget.names.names = ("bright", "gray")
    widget.panel.rename.native.click()
    until(lambda: layer.data.max() == 2)
    np.testing.assert_array_equal(layer.data, np.select([shaded == 250, shaded == 150], [1, 2], 0))
    assert list(layer.features["name"]) == ["background", "bright", "gray"]
    assert brightness.looks == 0
    widget.names.names = ("shiny",)
    widget.panel.rename.native.click()
    until(lambda: "shiny" in widget.status.value)


def test_the_class_selected_in_the_table_is_the_layers_and_the_other_way_round(
    widget: ClassesWidget, layer: Any
) -> None:
    select(widget, 2)
    assert layer.selected_label == 3
    layer.selected_label = 1
    assert widget.panel.selected() == ["dim"]


def test_what_was_painted_is_kept_before_the_layer_changes(
    viewer: Any, widget: ClassesWidget, layer: Any, until: Any
) -> None:
    layer.selected_label = 2
    layer.paint((0, 30, 30), 2)
    painted = layer.data.copy()
    widget.panel.slider.value = 0.999
    until(lambda: "smear classes painted" in viewer.layers)
    np.testing.assert_array_equal(viewer.layers["smear classes painted"].data, painted)
    assert viewer.layers.selection.active.name == "smear classes"


def test_all_of_it_fits_a_small_screen(
    viewer: Any, widget: ClassesWidget, layer: Any, qtbot: Any
) -> None:
    widget.form.more.native.click()
    for kind in ("vocabulary", "examples", "clip"):
        widget.classifier.kind.value = kind
        assert widget.native.minimumSizeHint().width() <= 400
        assert widget.native.minimumSizeHint().height() <= 400
