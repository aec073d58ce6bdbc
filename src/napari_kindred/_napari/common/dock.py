"""Docking: our widgets share tabs, and are notified when their dock is closed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent, QObject, QTimer
from qtpy.QtWidgets import QDockWidget, QMainWindow, QWidget

if TYPE_CHECKING:
    from collections.abc import Callable


class Dock(QObject):
    """Follows a widget's dock, which becomes a tab of our docks in the same area when it opens."""

    def __init__(
        self,
        widget: QWidget,
        on_close: Callable[[], Any],
        on_show: Callable[[], Any] | None = None,
    ) -> None:
        super().__init__(widget)
        self._on_close, self._on_show = on_close, on_show
        self._soon: QTimer | None = QTimer(self)  # napari is not done with the dock yet
        self._soon.setSingleShot(True)
        self._soon.timeout.connect(self._join)
        widget.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 - Qt's name
        """Look for the dock's first and last moments; every event goes on its way."""
        if event.type() == QEvent.Type.ParentChange and watched.parent() is None:
            self._on_close()
        elif event.type() == QEvent.Type.Show and self._soon is not None:
            self._soon.start(0)
        return False

    def _visibility_changed(self, visible: bool) -> None:
        if visible and self._on_show is not None:
            self._on_show()

    def _join(self) -> None:
        """Move into the tabs of our other widgets."""
        dock = _dock_of(self.parent())
        if dock is None:
            return
        self._soon = None
        dock.visibilityChanged.connect(self._visibility_changed)
        window = dock.parent()
        if not isinstance(window, QMainWindow) or dock.isFloating():
            return
        place = window.dockWidgetArea(dock)
        for known in window.findChildren(Dock):
            other = _dock_of(known)
            if other is None or other is dock or known._soon is not None:
                continue
            if other.isHidden() or other.isFloating() or window.dockWidgetArea(other) != place:
                continue
            window.tabifyDockWidget(other, dock)
            dock.raise_()
            return


def _dock_of(one: Any) -> QDockWidget | None:
    """Return the dock of a widget."""
    while one is not None and not isinstance(one, QDockWidget):
        one = one.parent()
    return one
