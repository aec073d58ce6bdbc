"""Base of the dock widgets of methods whose labels stand for kinds: a panel changes the result."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from ..core.errors import KindredError
from .common.dialogs import ask_where_to_save, folder_of, save_as
from .method_widget import MethodWidget, Segment

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import napari.viewer
    from magicgui.widgets.bases import Widget

    from .common.job_view import JobView
    from .common.label_panel import LabelPanel

WIDTH = 350
"""Pixels that the dock's title needs, and that buttons need to show their texts."""


class LabelWidget(MethodWidget):
    """A method's widget with a panel for the selected result, else for the last one."""

    panel: LabelPanel

    def __init__(self, viewer: napari.viewer.Viewer, segment: Segment | None = None) -> None:
        super().__init__(viewer, segment)
        self.min_width = WIDTH
        viewer.layers.selection.events.active.connect(self._take_result)
        viewer.layers.events.removed.connect(self._take_result)
        self._take_result()

    @abstractmethod
    def make_panel(self) -> LabelPanel:
        """Return the panel; its widgets are connected by the caller."""

    def own_outputs(self) -> list[Widget]:
        self.panel = self.make_panel()
        return [self.panel]

    def ended(self, run: JobView, result: Any) -> None:
        super().ended(run, result)
        if self.panel.state_of(run.layer) is not None and run.layer in self._viewer.layers:
            self._viewer.layers.selection.active = run.layer
            self.panel.take(run.layer)
            self.check()

    def _take_result(self, *_: Any) -> None:
        """Show the selected result in the panel, else the one before."""
        layer, now = self._layer_to_change(), self.panel.layer
        if layer is None or now is None or layer.unique_id != now.unique_id:
            self.panel.take(layer)
            self.check()

    def _layer_to_change(self) -> Any:
        """Return the selected layer if it can be changed, else the one before, else the result."""
        active, before, last = (
            self._viewer.layers.selection.active,
            self.panel.layer,
            self.result,
        )
        if active is not None and last is not None and active.unique_id == last.unique_id:
            before = None  # a run that was stopped is selected, so the one before is not meant
        for layer in (active, before, last):
            if self.panel.state_of(layer) is not None and layer in self._viewer.layers:
                return layer
        return None

    def save_file(
        self,
        what: str,
        name: str,
        write: Callable[[Path], Any],
        path: Path | None = None,
        note: str = "",
    ) -> None:
        """Save what a result was made with, asking for the file if no path is given."""
        suffix = f".{name.rpartition('.')[2]}"
        if path is None:
            folder = folder_of(self._viewer, self.panel.layer or self.image.value)
            kind = f"{what.capitalize()} (*{suffix})"
            path, _ = ask_where_to_save(self.native, f"Save {what}", name, [kind], folder)
            if path is None:
                return
        try:
            named = save_as(path, suffix, write)
        except (KindredError, OSError) as error:
            self.controls.show_message(str(error), wrong=True)
            return
        self.controls.show_message(f"Saved the {what} to {str(named)!r}{note}.")
