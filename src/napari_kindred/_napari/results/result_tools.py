"""Tools for any result: its table, and the code that computes it again."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from magicgui.widgets import PushButton
from qtpy.QtWidgets import QApplication

from ...core.errors import KindredError
from ...results.recipe import recipe_of
from ..common.form import row
from ..common.layers import KEY
from ..common.shortcuts import NEXT, PREVIOUS, jump, movie_of, shortcut_hint
from .export_panel import ExportPanel

if TYPE_CHECKING:
    from collections.abc import Callable

    from magicgui.widgets import Container
    from napari.layers import Labels

FEATURES_TABLE = "Features table widget"
"""napari's name of the widget that shows a layer's features."""


class ResultTools:
    """Buttons for the selected, or the last, result."""

    def __init__(
        self,
        viewer: Any,
        result: Callable[[], Labels | None],
        entries: Callable[[], str],
        show_message: Callable[[str], None],
    ) -> None:
        self._viewer, self._result, self._entries, self._show_message = (
            viewer,
            result,
            entries,
            show_message,
        )
        self.table = PushButton(
            text="Features table", tooltip="Show the measurements of each label in napari's table."
        )
        self.copy = PushButton(
            text="Copy as Python",
            tooltip="Copy Python code that computes the selected result again.",
        )
        self.previous = PushButton(
            text="◂ Previous change",
            tooltip="Go to the previous frame in which a label appears or disappears."
            + shortcut_hint(PREVIOUS),
        )
        self.next = PushButton(
            text="Next change ▸",
            tooltip="Go to the next frame in which a label appears or disappears."
            + shortcut_hint(NEXT),
        )
        self.export_panel = ExportPanel(viewer, result, show_message)
        self.previous.changed.connect(lambda: jump(viewer, -1))
        self.next.changed.connect(lambda: jump(viewer, 1))
        self.table.changed.connect(self.show_table)
        self.copy.changed.connect(self.copy_python)
        self.export_panel.needs(self.table)
        for button in (self.previous, self.next):
            self.export_panel.needs(button, self._fault_in_jumping)

    def rows(self) -> list[Container]:
        """Return what is shown, from top to bottom."""
        return [
            row(self.copy, self.export_panel.command),
            row(self.table, self.export_panel.export, self.export_panel.save),
            row(self.previous, self.next),
            self.export_panel.plot_row(),
        ]

    def _fault_in_jumping(self) -> str:
        return (
            ""
            if movie_of(self._viewer) is not None
            else "There is no Labels layer with several frames yet."
        )

    def show_table(self, *_: Any) -> None:
        """Open napari's own table of the selected layer's features."""
        result = self._result()
        if result is not None and result in self._viewer.layers:
            self._viewer.layers.selection.active = result
        try:
            self._viewer.window.add_plugin_dock_widget("napari", FEATURES_TABLE, tabify=True)
        except ValueError:
            self._show_message(
                "This napari has no features table; save the layer's features instead."
            )

    def copy_python(self, *_: Any) -> None:
        """Put the call on the clipboard that computes the selected, or the last, result again."""
        code = self.python()
        if code:
            QApplication.clipboard().setText(code)
            painted = self.export_panel.painted_note()
            self._show_message(f"Copied the code; paste it into napari's console.{painted}")
        else:
            self._show_message("There is nothing to copy yet: choose an image and valid options.")

    def python(self) -> str:
        """Return the code for the selected result, else the last one, else the entries."""
        active = self._viewer.layers.selection.active
        for layer in (active, self._result()):
            entry = {} if layer is None else layer.metadata.get(KEY, {})
            with suppress(KindredError):  # of other labels
                return recipe_of(entry).to_python()
        return self._entries()
