"""A debounced call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class Later:
    """Calls a function once requests for it have rested, on the thread of the window."""

    def __init__(self, function: Callable[[], None]) -> None:
        self._function = function
        self._timer: Any = None

    def ask(self, milliseconds: int) -> bool:
        """Restart the wait; False if no Qt application runs, so that no call would come."""
        try:
            from qtpy.QtCore import QCoreApplication, QTimer
        except ImportError:
            return False
        if QCoreApplication.instance() is None:
            return False
        if self._timer is None:
            self._timer = QTimer()
            self._timer.setSingleShot(True)
            self._timer.timeout.connect(self._function)
        self._timer.start(milliseconds)
        return True

    def stop(self) -> None:
        """Drop the request."""
        if self._timer is not None:
            self._timer.stop()
