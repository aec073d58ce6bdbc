"""What can be done without the mouse."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from qtpy.QtCore import Qt

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_kindred._napari.clusters.widget import ClustersWidget
    from napari_kindred._napari.entities.widget import EntitiesWidget

CTRL, ALT = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.AltModifier

WIDGET = "entities_widget"


@pytest.fixture
def press(viewer: Any, qtbot: Any) -> Callable[[Any, Any], None]:
    """Press a key, with another one held, in napari's window."""
    return lambda key, held: qtbot.keyClick(viewer.window._qt_window, key, held)


@pytest.fixture
def appearing(viewer: Any) -> Any:
    """Labels of 6 frames; one more appears in the third, one vanishes in the fifth."""
    data = np.zeros((6, 8, 8), np.int32)
    data[:, 0, :4], data[:, 2, :4], data[2:, 4, :4] = 1, 2, 3
    data[4:, 2] = 0
    return viewer.add_labels(data, scale=(2, 1, 1), translate=(10, 0, 0), name="found")


def test_run_and_cancel_have_keys_that_their_tooltips_tell(
    widget: EntitiesWidget, threshold: Any, press: Any, until: Any, opened_movie: Any
) -> None:
    threshold.gates[1] = threading.Event()
    press(Qt.Key.Key_Return, CTRL)
    until(lambda: "1 of 4 frames done" in widget.status.value)
    press(Qt.Key.Key_Period, CTRL)
    until(lambda: not widget.controls.busy)
    assert "1 of 4 frames are in" in widget.status.value
    assert widget.run.tooltip.endswith("(Ctrl+Enter)")
    assert widget.cancel.tooltip.endswith("(Ctrl+.)")


def test_the_key_for_run_runs_even_if_a_button_has_the_focus(
    viewer: Any, widget: EntitiesWidget, qtbot: Any, until: Any, opened_movie: Any
) -> None:
    viewer.window._qt_window.show()
    widget.form.more.native.click()
    widget.form.inputs["min_area"].value = 40
    button = widget.defaults.native
    button.setAutoDefault(True)  # Enter presses it, as on some desktops
    qtbot.waitUntil(button.isVisible)
    viewer.window._qt_window.activateWindow()
    button.setFocus()
    qtbot.waitUntil(button.hasFocus)
    qtbot.keyClick(button, Qt.Key.Key_Return, CTRL)
    until(lambda: "Found" in widget.status.value)
    assert widget.form.inputs["min_area"].value == 40


def test_the_keys_work_on_the_widget_that_was_used_last(
    widget: EntitiesWidget,
    clusters_widget: ClustersWidget,
    press: Any,
    until: Any,
    labels_layers: Any,
    opened_movie: Any,
) -> None:
    press(Qt.Key.Key_Return, CTRL)
    until(lambda: bool(labels_layers()) and not clusters_widget.controls.busy)
    assert [layer.name for layer in labels_layers()] == ["cells clusters"]
    clusters_widget.native.parent().destroyOnClose()
    press(Qt.Key.Key_Return, CTRL)
    until(lambda: len(labels_layers()) == 2 and not widget.controls.busy)
    assert labels_layers()[1].name == "cells entities"


def test_keys_go_from_change_to_change_and_back(
    viewer: Any, widget: EntitiesWidget, press: Any, until: Any, appearing: Any
) -> None:
    viewer.dims.set_current_step(0, 0)
    seen = []
    for key in (Qt.Key.Key_Right, Qt.Key.Key_Right, Qt.Key.Key_Left):
        press(key, ALT)
        until(lambda: viewer.dims.current_step[0] not in [0, *seen[-1:]])
        seen.append(viewer.dims.current_step[0])
    assert seen == [2, 4, 2]
    assert "Frame 2 of 'found'" in viewer.status
    press(Qt.Key.Key_Left, ALT)
    until(lambda: "No label appears or disappears in a" in viewer.status)
    assert viewer.dims.current_step[0] == 2


def test_buttons_do_the_same(
    viewer: Any, widget: EntitiesWidget, until: Any, appearing: Any
) -> None:
    viewer.dims.set_current_step(0, 5)
    widget.more_tools.previous.native.click()
    until(lambda: viewer.dims.current_step[0] == 4)
    widget.more_tools.previous.native.click()
    until(lambda: viewer.dims.current_step[0] == 2)
    widget.more_tools.next.native.click()
    until(lambda: viewer.dims.current_step[0] == 4)


def test_without_frames_the_keys_say_what_they_need(
    viewer: Any, widget: EntitiesWidget, press: Any
) -> None:
    viewer.add_labels(np.ones((8, 8), np.int32))
    press(Qt.Key.Key_Right, ALT)
    assert "Select a Labels layer with several frames" in viewer.status


def test_a_key_that_somebody_has_bound_stays_theirs(
    viewer: Any, threshold: Any, press: Any
) -> None:
    from napari_kindred._napari.entities.widget import EntitiesWidget

    pressed = []
    viewer.bind_key("Alt-Right", lambda _: pressed.append(1))
    EntitiesWidget(viewer, segment=threshold)
    press(Qt.Key.Key_Right, ALT)
    assert pressed == [1]
