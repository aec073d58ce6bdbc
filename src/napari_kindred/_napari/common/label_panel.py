"""Base of the panels that change a layer of clusters or classes."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from magicgui.widgets import Container
from qtpy.QtCore import QTimer

from .label_state import LabelState, state_of
from .layers import copy_painted
from .proxies import unwrap_proxy

if TYPE_CHECKING:
    from collections.abc import Callable


class LabelPanel(Container):
    """Changes one Labels layer whose labels have names and colours.

    A subclass shows the layer's state (:meth:`refresh`) and selected label (:meth:`follow`), and
    relabels the layer when its slider rests (:meth:`relabel`).
    """

    kind: ClassVar[type[LabelState]]
    rest: ClassVar[int]
    """Milliseconds without a move of the slider after which the layer follows it."""

    def __init__(self, show_message: Callable[..., None], viewer: Any) -> None:
        super().__init__(labels=False)
        self.margins = (0, 0, 0, 0)
        self.show_message, self._viewer = show_message, viewer
        self._layer: Any = None
        self._painted = False
        self.timer = QTimer(self.native)
        self.timer.setSingleShot(True)
        self.timer.setInterval(self.rest)
        self.timer.timeout.connect(self.relabel)

    @classmethod
    def state_of(cls, layer: Any) -> Any:
        """Return the state of a layer, None if this panel cannot change it."""
        found = state_of(layer)
        return found if isinstance(found, cls.kind) else None

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
            copy = copy_painted(self._viewer, self._layer)
            self.show_message(f"What you painted is in the layer {copy!r}.")
            self._painted = False
