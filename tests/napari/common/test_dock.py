"""Docks of ours that are opened one after the other are tabs, not slices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication

from napari_kindred._napari.method_widget import MethodWidget
from napari_kindred._napari.results.compare_widget import CompareWidget

if TYPE_CHECKING:
    from collections.abc import Callable

    from qtpy.QtWidgets import QDockWidget

OURS = ("Cells and nuclei", "Consistent clusters", "Classes by name", "Compare results")


def opened(viewer: Any, name: str) -> tuple[QDockWidget, Any]:
    return viewer.window.add_plugin_dock_widget("napari-kindred", name)


def in_front(dock: QDockWidget) -> bool:
    return not dock.visibleRegion().isEmpty()


def test_what_is_opened_is_a_tab_in_front_of_the_others(viewer: Any, until: Callable) -> None:
    window = viewer.window._qt_window
    window.resize(1366, 768)
    window.show()
    docks = []
    for name in OURS:
        docks.append(opened(viewer, name)[0])
        until(lambda: in_front(docks[-1]))
        until(lambda: set(window.tabifiedDockWidgets(docks[0])) == set(docks[1:]))
    assert [in_front(dock) for dock in docks] == [False, False, False, True]
    assert docks[-1].height() > 500


def test_those_opened_at_once_are_tabs_too(viewer: Any, until: Callable) -> None:
    window = viewer.window._qt_window
    window.show()
    docks = [opened(viewer, name)[0] for name in OURS]
    until(lambda: set(window.tabifiedDockWidgets(docks[0])) == set(docks[1:]))
    until(lambda: in_front(docks[-1]))


def test_a_dock_that_was_moved_away_stays_alone(viewer: Any, until: Callable) -> None:
    window = viewer.window._qt_window
    window.show()
    alone, _ = opened(viewer, "Cells and nuclei")
    until(lambda: in_front(alone))
    window.addDockWidget(Qt.DockWidgetArea.LeftDockWidgetArea, alone)
    second, _ = opened(viewer, "Classes by name")
    until(lambda: in_front(second))
    second.setFloating(True)
    third, _ = opened(viewer, "Compare results")
    until(lambda: in_front(third))
    assert [window.tabifiedDockWidgets(dock) for dock in (alone, third)] == [[], []]


def test_keys_work_on_the_tab_in_front(
    viewer: Any, until: Callable, qtbot: Any, threshold: Any, monkeypatch: Any
) -> None:
    window = viewer.window._qt_window
    window.show()
    viewer.add_image(np.zeros((32, 32), np.uint8), name="one")
    started: list[str] = []
    monkeypatch.setattr(MethodWidget, "start", lambda widget: started.append(type(widget).__name__))
    docks = []
    for name in OURS[:2]:
        docks.append(opened(viewer, name)[0])
        until(lambda: in_front(docks[-1]))
    until(lambda: not in_front(docks[0]))
    for dock in (docks[0], docks[1]):
        dock.raise_()
        until(lambda: in_front(dock))  # noqa: B023 - asked at once
        qtbot.keyClick(window, Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier)
    assert started == ["EntitiesWidget", "ClustersWidget"]


def test_a_widget_that_is_shown_before_it_has_a_dock_still_becomes_a_tab(
    viewer: Any, until: Callable
) -> None:
    window = viewer.window._qt_window
    window.show()
    first, _ = opened(viewer, "Cells and nuclei")
    until(lambda: in_front(first))
    widget = CompareWidget(viewer)
    widget.native.show()
    until(lambda: widget.native.isVisible())
    QApplication.processEvents()
    later = viewer.window.add_dock_widget(widget, name="Compare")
    until(lambda: window.tabifiedDockWidgets(first) == [later])
