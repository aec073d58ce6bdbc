"""Tools for any result: its table, code, command, files and plot."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from magicgui.widgets import PushButton
from qtpy.QtWidgets import QApplication

from ...core.errors import KindredError
from ...results.exports import FORMATS, Format
from ...results.recipe import recipe_of
from ...results.tables import kinds_of
from ..common.dialogs import ask_where_to_save, folder_of, save_as
from ..common.following import Following
from ..common.form import row
from ..common.layers import KEY, read_layer
from ..common.shortcuts import NEXT, PREVIOUS, jump, movie_of, shortcut_hint
from ..common.worker import Job
from .folder_run import START, FolderRun
from .layer_storage import result_of, save_layer
from .painting import settle, watch
from .plot_panel import PlotPanel

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from magicgui.widgets import Container
    from napari.layers import Labels

    from ...images.readers import ImageFile

FEATURES_TABLE = "Features table widget"
"""napari's name of the widget that shows a layer's features."""

RESULTS = {"OME-Zarr (*.ome.zarr)": ".ome.zarr", "TIFF with CSV and JSON (*.tif)": ".tif"}
"""Files that a result is saved as, and how their names end."""

EXPORTS = {
    f"{entry.about[:1].upper()}{entry.about[1:]} (*{entry.suffix})": entry
    for entry in FORMATS.values()
}
"""Files for other programs, as the dialog lists them."""


class ResultTools:
    """Buttons and a plot for the selected result, else the last one."""

    def __init__(
        self,
        viewer: Any,
        result: Callable[[], Labels | None],
        entries_code: Callable[[], str],
        show_message: Callable[..., None],
    ) -> None:
        self._viewer, self._result = viewer, result
        self._entries_code, self._show_message = entries_code, show_message
        self._saving: Job | None = None
        self._faults: list[tuple[PushButton, str, Callable[[], str]]] = []
        self._make_buttons()
        self.plot_panel = PlotPanel(viewer)
        self.plot = self.plot_panel.plot
        watch(viewer)
        self._following = Following(viewer, self.update)

    def _make_buttons(self) -> None:
        self.copy = self._button(
            "Copy as Python",
            "Copy Python code that computes the selected result again.",
            self.copy_python,
            lambda: "",
        )
        self.command = self._button(
            "Copy as command line",
            "Copy a command that computes the selected result from its image file, in a terminal "
            "or on a cluster.",
            self.copy_command,
        )
        self.table = self._button(
            "Features table",
            "Show the measurements of each label in napari's table.",
            self.show_table,
        )
        self.export = self._button(
            "Export …",
            "Save a table of the selected result, or a file for Fiji, QuPath or training; the "
            "dialog lists the formats.",
            self.ask_export,
            lambda: self._fault() or self._fault_in_saving(),
        )
        self.save = self._button(
            "Save …",
            "Save the selected result with its table and provenance. Drag the file into napari to "
            "open it again.",
            self.ask_save,
            lambda: self._fault() or self._fault_in_saving(),
        )
        self.folder = self._button(
            START,
            "Compute the same as the selected result, with its options and weights, for every "
            "image of a folder.",
            lambda: self.folder_run.press(self.layer),
            self._fault_in_folder,
        )
        self.folder_run = FolderRun(self.folder, self._show_message)
        to_frame = "Go to the {} frame in which a label appears or disappears."
        self.previous = self._button(
            "◂ Previous change",
            to_frame.format("previous") + shortcut_hint(PREVIOUS),
            lambda: jump(self._viewer, -1),
            self._fault_in_jumping,
        )
        self.next = self._button(
            "Next change ▸",
            to_frame.format("next") + shortcut_hint(NEXT),
            lambda: jump(self._viewer, 1),
            self._fault_in_jumping,
        )

    def _button(
        self,
        text: str,
        tooltip: str,
        action: Callable[[], Any],
        fault: Callable[[], str] | None = None,
    ) -> PushButton:
        """Return a button that is disabled, with the fault in its tooltip, while there is one."""
        button = PushButton(text=text, tooltip=tooltip)
        button.changed.connect(lambda *_: action())
        self._faults.append((button, tooltip, fault or self._fault))
        return button

    def _fault(self) -> str:
        return "" if self.layer is not None else "There is no result yet: press Run first."

    def _fault_in_folder(self) -> str:
        return "" if self.folder_run.busy else self._fault()

    def _fault_in_saving(self) -> str:
        return "A result is being saved." if self._saving else ""

    def _fault_in_jumping(self) -> str:
        movie = movie_of(self._viewer)
        return "" if movie is not None else "There is no Labels layer with several frames yet."

    def rows(self) -> list[Container]:
        """Return what is shown, from top to bottom."""
        return [
            row(self.copy, self.table),
            row(self.command, self.save),
            row(self.folder, self.export),
            row(self.previous, self.next),
            self.plot_panel.row,
        ]

    def settle(self) -> None:
        """Show what there is; to be called once after the rows are laid out."""
        self.plot_panel.row.visible = False
        self.update()

    def update(self, *_: Any) -> None:
        """Follow the result that is selected now."""
        self._enable_buttons()
        self.plot_panel.follow(self.layer)

    def _enable_buttons(self) -> None:
        for button, tooltip, fault in self._faults:
            why = fault()
            button.enabled = not why
            button.tooltip = f"{tooltip} {why}".rstrip()

    def abandon(self) -> None:
        """Follow nothing any more: the dock or the window is being closed."""
        self._following.stop()
        self.plot_panel.abandon()
        self.folder_run.abandon()
        if self._saving is not None:
            self._saving.abandon()

    @property
    def layer(self) -> Any:
        """The selected result, else the last one, else None."""
        for layer in (self._viewer.layers.selection.active, self._result()):
            if layer is None or layer not in self._viewer.layers:
                continue
            if hasattr(layer, "selected_label") and KEY in layer.metadata:
                return layer
        return None

    # -- table, code and command -----------------------------------------------------------

    def show_table(self) -> None:
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

    def python(self) -> str:
        """Return the code for the selected result, else the last one, else the entries."""
        for layer in (self._viewer.layers.selection.active, self._result()):
            entry = {} if layer is None else layer.metadata.get(KEY, {})
            with suppress(KindredError):  # of other labels
                return recipe_of(entry).to_python()
        return self._entries_code()

    def copy_python(self) -> None:
        """Put the code on the clipboard, or show why there is none."""
        code = self.python()
        if not code:
            self._show_message("There is nothing to copy yet: choose an image and valid options.")
            return
        QApplication.clipboard().setText(code)
        note = self._note_on_painting()
        self._show_message(f"Copied the code; paste it into napari's console.{note}")

    def copy_command(self) -> None:
        """Put the command on the clipboard that computes the result, or show why there is none."""
        try:
            text = recipe_of(self.layer.metadata[KEY]).to_command()
        except KindredError as error:
            self._show_message(str(error))
            return
        QApplication.clipboard().setText(text)
        self._show_message(f"Copied the command.{self._note_on_painting()}")

    def _note_on_painting(self) -> str:
        layer = self.layer
        settle(layer)
        painted = layer is not None and "edited" in layer.metadata[KEY]
        return " It does not include what you painted." if painted else ""

    # -- files -----------------------------------------------------------------------------

    def ask_save(self) -> None:
        """Ask for a file, and save the result."""
        layer, folder = self.layer, folder_of(self._viewer, self.layer)
        name = f"{layer.name}.ome.zarr"
        path, kind = ask_where_to_save(self.plot, "Save result", name, list(RESULTS), folder)
        if path is not None:
            self.save_result(path, RESULTS.get(kind, ".ome.zarr"))

    def save_result(self, path: Path, suffix: str = ".ome.zarr") -> None:
        """Save the result in another thread; the dialog has asked whether to replace a file."""
        layer = self.layer
        settle(layer)
        overwrite = path.is_file()
        if not path.name.lower().endswith((".ome.zarr", ".tif", ".tiff")):
            path, overwrite = path.with_name(f"{path.name}{suffix}"), False
        self._show_message(f"Saving {layer.name!r} …")
        self._saving = Job(
            partial(save_layer, layer, path, overwrite),
            f"Saving {layer.name}",
            on_success=lambda place: self._saved(f"Saved {layer.name!r} to {str(place)!r}."),
            on_failure=lambda error: self._saved(str(error), wrong=True),
            on_cancel=lambda: self._saved("Nothing was saved."),
        )
        self._enable_buttons()

    def _saved(self, text: str, *, wrong: bool = False) -> None:
        self._saving = None
        self._enable_buttons()
        self._show_message(text, wrong=wrong)

    def ask_export(self) -> None:
        """Ask for a file and the kind of table, and save it."""
        layer = self.layer
        folder = folder_of(self._viewer, layer)
        result = _result_of(layer)
        kinds = {f"Table per {kind} (*.csv)": kind for kind in kinds_of(result)}
        filters = [*kinds, *(kind for kind, entry in EXPORTS.items() if entry.fits(result))]
        path, kind = ask_where_to_save(self.plot, "Export", layer.name, filters, folder)
        if path is None:
            return
        if kind in EXPORTS:
            self.export_file(path, EXPORTS[kind])
        else:
            self.export_table(path, kinds.get(kind))

    def export_file(self, path: Path, entry: Format) -> None:
        """Write a file for another program in another thread; see :data:`.FORMATS`."""
        layer = self.layer
        settle(layer)
        self._show_message(f"Exporting {layer.name!r} …")
        image = _image_of(self._viewer, layer) if entry.name == "csv" else None
        self._saving = Job(
            partial(_export, layer, path, entry, image),
            f"Exporting {layer.name}",
            on_success=lambda place: self._saved(f"Exported {layer.name!r} to {str(place)!r}."),
            on_failure=lambda error: self._saved(str(error), wrong=True),
            on_cancel=lambda: self._saved("Nothing was exported."),
        )
        self._enable_buttons()

    def export_table(self, path: Path, per: str | None = None) -> None:
        """Save a table of the result as CSV; see :meth:`napari_kindred.Segmentation.save_table`."""
        write = partial(_result_of(self.layer).save_table, per=per, overwrite=True)
        try:
            named = save_as(path, ".csv", write)
        except KindredError as error:
            self._show_message(str(error), wrong=True)
            return
        self._show_message(f"Saved the table to {str(named)!r}.")


def _export(layer: Any, path: Path, entry: Format, image: ImageFile | None) -> Path:
    """Write a layer in a format; returns the file."""
    result = _result_of(layer)
    write = partial(result.export, format=entry.name, image=image, overwrite=True)
    return save_as(path, entry.suffix, write)


def _image_of(viewer: Any, layer: Any) -> ImageFile | None:
    """Return the image that a result was made of, None if it is no longer open."""
    name = layer.metadata[KEY].get("source_layer")
    images = [each for each in viewer.layers if each.name == name and hasattr(each, "rgb")]
    return read_layer(images[0]).file if images else None


def _result_of(layer: Any) -> Any:
    data, about, _kind = layer.as_layer_data_tuple()
    return result_of(data, about)
