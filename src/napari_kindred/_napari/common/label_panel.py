"""Base of the panels that change a layer of clusters or classes."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from magicgui.widgets import Container
from qtpy.QtCore import QTimer
from qtpy.QtGui import QColor, QIcon, QPixmap

from .proxies import unwrap_proxy

if TYPE_CHECKING:
    from collections.abc import Callable

SWATCH = 12
"""Side, in pixels, of the coloured square in front of a label's name."""


class LabelPanel(Container):
    """Changes one Labels layer whose labels have names and colours.

    A subclass reads what the layer shows (:meth:`state_of`), shows it (:meth:`refresh`), follows
    the selected label (:meth:`follow`) and relabels the layer when its slider rests
    (:meth:`relabel`).

    Parameters
    ----------
    show_message : callable
        Shows a sentence to the user, in red with ``wrong=True``.
    keep : callable
        Adds a copy of a layer, called before what was painted on it would be lost.
    """

    rest: ClassVar[int]
    """Milliseconds without a move of the slider after which the layer follows it."""

    def __init__(self, show_message: Callable[..., None], keep: Callable[[Any], str]) -> None:
        super().__init__(labels=False)
        self.margins = (0, 0, 0, 0)
        self.show_message, self._keep = show_message, keep
        self._layer: Any = None
        self._painted = False
        self.timer = QTimer(self.native)
        self.timer.setSingleShot(True)
        self.timer.setInterval(self.rest)
        self.timer.timeout.connect(self.relabel)

    @staticmethod
    @abstractmethod
    def state_of(layer: Any) -> Any:
        """Return what a layer shows, None if this panel cannot change it."""

    @abstractmethod
    def refresh(self) -> None:
        """Show the state of the layer, or that there is none."""

    @abstractmethod
    def follow(self, *_: Any) -> None:
        """Show the label that is selected in the layer."""

    @abstractmethod
    def relabel(self) -> None:
        """Show the layer as the slider says."""

    @property
    def layer(self) -> Any:
        """The layer that is changed, or None."""
        return self._layer

    @property
    def state(self) -> Any:
        """The state that the layer shows."""
        return self.state_of(self._layer)

    def take(self, layer: Any) -> None:
        """Change another layer from now on; None if there is none that can be changed."""
        if self._layer is not None:
            self.timer.stop()
            self._layer.events.selected_label.disconnect(self.follow)
            self._layer.events.paint.disconnect(self._note_paint)
        self._painted = False
        self._layer = unwrap_proxy(layer) if self.state_of(layer) is not None else None
        if self._layer is not None:
            self._layer.events.selected_label.connect(self.follow)
            self._layer.events.paint.connect(self._note_paint)
        self.refresh()

    def _note_paint(self, *_: Any) -> None:
        self._painted = True

    def keep_painted(self) -> None:
        """Copy the layer if it was painted on; to be called before its labels are replaced."""
        if self._painted:
            self.show_message(f"What you painted is in the layer {self._keep(self._layer)!r}.")
            self._painted = False


def swatch(colour: QColor) -> QIcon:
    """Return a square in a colour."""
    square = QPixmap(SWATCH, SWATCH)
    square.fill(colour)
    icon = QIcon(square)
    icon.addPixmap(square, QIcon.Mode.Selected)  # else it is tinted if its row is selected
    return icon
