"""Taking a result elsewhere: its command line, its files, its tables, and a plot of them."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from magicgui.widgets import PushButton
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication

from ...core.errors import KindredError
from ...methods import method_of
from ...results.recipe import recipe_of
from ...results.tables import kinds_of
from ..common.dialogs import ask_where_to_save, folder_of, save_as
from ..common.form import native_row
from ..common.layers import KEY
from ..common.worker import Job
from .charts import Chart, chart_of, counted_chart, frames_of
from .compare_layers import show_frame
from .layer_storage import result_of, save_layer
from .painting import settle, watch
from .plot_widget import PlotWidget

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from magicgui.widgets import Container
    from napari.layers import Labels

REST = 250
"""Milliseconds for which a table has to rest before the plot follows it."""

COUNTED = 1 << 28
"""Most pixels of a result that are counted for the plot; larger ones use tables only."""

NONE_YET = "There is no result yet: press Run first."

RESULTS = {"OME-Zarr (*.ome.zarr)": ".ome.zarr", "TIFF with CSV and JSON (*.tif)": ".tif"}
"""Files that a result is saved as, and how their names end."""


class ExportPanel:
    """Buttons and a plot for the selected result, else the last one."""

    def __init__(
        self, viewer: Any, result: Callable[[], Labels | None], show_message: Callable[..., None]
    ) -> None:
        self._viewer, self._result, self._show_message = viewer, result, show_message
        self._followed: Any = None
        self._charted: object = None
        self._saving: Job | None = None
        self._counting: Job | None = None
        self._faults: list[tuple[PushButton, str, Callable[[], str]]] = []
        self.command = PushButton(
            text="Copy as command line",
            tooltip="Copy a command that computes the selected result from its image file, in a "
            "terminal or on a cluster.",
        )
        self.save = PushButton(
            text="Save …",
            tooltip="Save the selected result with its table and provenance. Drag the file into "
            "napari "
            "to open it again.",
        )
        self.export = PushButton(
            text="Export table …",
            tooltip="Save a table of the selected result as CSV, with units: per object, cluster, "
            "class "
            "or frame.",
        )
        self.plot = PlotWidget(self.go_to)
        self._row = native_row(self.plot)
        self.command.changed.connect(self.copy_command)
        self.save.changed.connect(self.ask_save)
        self.export.changed.connect(self.ask_export)
        self.needs(self.command)
        self.needs(self.save, self._fault_in_saving)
        self.needs(self.export)
        self._timer = QTimer(self.plot)
        self._timer.setSingleShot(True)
        self._timer.setInterval(REST)
        self._timer.timeout.connect(self.draw)
        watch(viewer)
        layers = viewer.layers
        self._connections = [
            (layers.selection.events.active, self._take),
            (layers.events.removed, self._take),
            (layers.events.inserted, self._take),
            (viewer.dims.events.current_step, self._show_frame),
        ]
        for emitter, callback in self._connections:
            emitter.connect(callback)

    def plot_row(self) -> Container:
        """Return the row of the plot, hidden while there is nothing to plot."""
        return self._row

    def settle(self) -> None:
        """Show what there is; to be called once after the rows are laid out."""
        self._row.visible = False
        self._take()

    def needs(self, button: PushButton, fault: Callable[[], str] | None = None) -> None:
        """Enable a button only if ``fault`` returns nothing; else its tooltip shows the fault."""
        self._faults.append((button, button.tooltip, fault or self._fault))

    def _fault(self) -> str:
        return "" if self.layer is not None else NONE_YET

    def _fault_in_saving(self) -> str:
        return self._fault() or ("A result is being saved." if self._saving is not None else "")

    def _offer(self) -> None:
        for button, tooltip, fault in self._faults:
            why = fault()
            button.enabled = not why
            button.tooltip = f"{tooltip} {why}".rstrip()

    @property
    def layer(self) -> Any:
        """The selected result, else the last one, else None."""
        for layer in (self._viewer.layers.selection.active, self._result()):
            if layer is None or layer not in self._viewer.layers:
                continue
            if hasattr(layer, "selected_label") and KEY in layer.metadata:
                return layer
        return None

    # -- elsewhere -------------------------------------------------------------------------

    def painted_note(self) -> str:
        """Return what has to be known of code for a result that was painted on."""
        layer = self.layer
        settle(layer)
        painted = layer is not None and "edited" in layer.metadata[KEY]
        return " It does not include what you painted." if painted else ""

    def copy_command(self, *_: Any) -> None:
        """Put the command on the clipboard that computes the result, or say why there is none."""
        try:
            text = recipe_of(self.layer.metadata[KEY]).to_command()
        except KindredError as error:
            self._show_message(str(error))
            return
        QApplication.clipboard().setText(text)
        self._show_message(f"Copied the command.{self.painted_note()}")

    def ask_save(self, *_: Any) -> None:
        """Save the result where the user says."""
        layer, folder = self.layer, folder_of(self._viewer, self.layer)
        name = f"{layer.name}.ome.zarr"
        path, kind = ask_where_to_save(self.plot, "Save result", name, list(RESULTS), folder)
        if path is not None:
            self.save_result(path, RESULTS.get(kind, ".ome.zarr"))

    def save_result(self, path: Path, suffix: str = ".ome.zarr") -> None:
        """Save the result in another thread; the dialog has asked whether to replace a file."""
        layer = self.layer
        settle(layer)
        asked = path.is_file()
        if not path.name.lower().endswith((".ome.zarr", ".tif", ".tiff")):
            path, asked = path.with_name(f"{path.name}{suffix}"), False
        self._show_message(f"Saving {layer.name!r} …")
        self._saving = Job(
            partial(save_layer, layer, path, asked),
            f"Saving {layer.name}",
            on_success=lambda place: self._saved(f"Saved {layer.name!r} to {str(place)!r}."),
            on_failure=lambda error: self._saved(str(error), wrong=True),
            on_cancel=lambda: self._saved("Nothing was saved."),
        )
        self._offer()

    def _saved(self, text: str, *, wrong: bool = False) -> None:
        self._saving = None
        self._offer()
        self._show_message(text, wrong=wrong)

    def ask_export(self, *_: Any) -> None:
        """Save a table where the user says, of the kind that is chosen with the name."""
        layer = self.layer
        kinds = {f"Table per {kind} (*.csv)": kind for kind in kinds_of(self._result_of(layer))}
        folder, name = folder_of(self._viewer, layer), f"{layer.name}.csv"
        path, kind = ask_where_to_save(self.plot, "Export table", name, list(kinds), folder)
        if path is not None:
            self.export_table(path, kinds.get(kind))

    def export_table(self, path: Path, per: str | None = None) -> None:
        """Save a table of the result as CSV; see :meth:`napari_kindred.Segmentation.save_table`."""
        write = partial(self._result_of(self.layer).save_table, per=per, overwrite=True)
        try:
            named = save_as(path, ".csv", write)
        except KindredError as error:
            self._show_message(str(error), wrong=True)
            return
        self._show_message(f"Saved the table to {str(named)!r}.")

    @staticmethod
    def _result_of(layer: Any) -> Any:
        data, about, _kind = layer.as_layer_data_tuple()
        return result_of(data, about)

    # -- the plot --------------------------------------------------------------------------

    def _take(self, *_: Any) -> None:
        """Follow the result that is selected now."""
        self._offer()
        layer = self.layer
        now = None if self._followed is None else self._followed.unique_id
        if layer is not None and layer.unique_id == now:
            return
        self.release()
        self._followed = layer
        if layer is not None:
            layer.events.features.connect(self._wait)
            layer.events.colormap.connect(self._wait)
        self._wait()

    def release(self) -> None:
        """Follow no layer any more."""
        self._count_no_more()
        if self._followed is not None:
            self._followed.events.features.disconnect(self._wait)
            self._followed.events.colormap.disconnect(self._wait)
            self._followed = None

    def abandon(self) -> None:
        """Release everything: the dock or the window is being closed."""
        for emitter, callback in self._connections:
            emitter.disconnect(callback)
        self._connections = []
        self.release()
        with suppress(RuntimeError):  # Qt may have deleted it already
            self._timer.stop()
        if self._saving is not None:
            self._saving.abandon()

    def _count_no_more(self) -> None:
        """Discard the chart that is being computed."""
        if self._counting is not None:
            self._counting.abandon()
            self._counting = None

    def _wait(self, *_: Any) -> None:
        self._timer.start()

    def draw(self) -> None:
        """Plot the result as it is now."""
        self._timer.stop()
        self._count_no_more()
        layer = self._followed
        chart = None if layer is None else chart_of(layer)
        if chart is not None or layer is None or not _is_countable(layer):
            self._drawn(chart)
            return
        if self._charted != layer.unique_id:
            self._drawn(None)  # what is there is of another layer
        self._counting = Job(
            partial(counted_chart, layer),
            f"Counting pixels of {layer.name}",
            on_success=self._drawn,
            on_failure=lambda _: self._drawn(None),
            on_cancel=lambda: self._drawn(None),
        )

    def _drawn(self, chart: Chart | None) -> None:
        self._counting = None
        self._charted = None if self._followed is None else self._followed.unique_id
        self.plot.show_chart(chart or Chart(()))
        self._row.visible = bool(self.plot.chart.curves)
        self._show_frame()

    def _leading(self) -> list[tuple[int, int]]:
        """Return the viewer's axes along which the result has frames, and how many."""
        layer = self._followed
        offset = self._viewer.dims.ndim - layer.ndim
        sizes = enumerate(layer.data.shape[:-2])
        return [(axis + offset, size) for axis, size in sizes if size > 1]

    def _show_frame(self, *_: Any) -> None:
        if self._followed is None or not self.plot.chart.curves:
            return
        axes = self._leading()
        point = self._followed.world_to_data(self._viewer.dims.point[-self._followed.ndim :])
        offset = self._viewer.dims.ndim - self._followed.ndim
        places = [min(max(round(float(point[axis - offset])), 0), size - 1) for axis, size in axes]
        if places:
            self.plot.show_frame(int(np.ravel_multi_index(places, [size for _, size in axes])))

    def go_to(self, frame: int) -> None:
        """Show a frame of the result in the viewer."""
        if self._followed is not None:
            show_frame(self._viewer, self._followed, frame)


def _is_countable(layer: Any) -> bool:
    """Return whether a result is small enough to count its pixels for the plot."""
    entry = layer.metadata[KEY]
    method = method_of(entry)
    counts_objects = method is not None and method.counts_objects
    if layer.multiscale or frames_of(layer) < 2 or counts_objects:
        return False
    if not entry.get("complete"):  # it is still growing
        return False
    return bool(np.prod(layer.data.shape, dtype=np.int64) <= COUNTED)
