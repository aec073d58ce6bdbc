"""A plot that follows the selected result, its table and the frame that is shown."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np
from qtpy.QtCore import QTimer

from ...methods import method_of
from ..common.form import native_row
from ..common.layers import KEY
from ..common.worker import Job
from .charts import Chart, chart_of, counted_chart, frames_of
from .compare_layers import show_frame
from .plot_widget import PlotWidget

REST = 250
"""Milliseconds for which a table has to rest before the plot follows it."""

COUNTED = 1 << 28
"""Most pixels of a result that are counted for the plot; larger ones use tables only."""


class PlotPanel:
    """A row with the plot of one result, hidden while there is nothing to plot."""

    def __init__(self, viewer: Any) -> None:
        self._viewer = viewer
        self._layer: Any = None
        self._charted: object = None
        self._counting: Job | None = None
        self.plot = PlotWidget(self.go_to)
        self.row = native_row(self.plot)
        self._timer = QTimer(self.plot)
        self._timer.setSingleShot(True)
        self._timer.setInterval(REST)
        self._timer.timeout.connect(self.draw)
        viewer.dims.events.current_step.connect(self._show_frame)

    def follow(self, layer: Any) -> None:
        """Plot another result from now on, None for no plot."""
        now = None if self._layer is None else self._layer.unique_id
        if layer is not None and layer.unique_id == now:
            return
        self._release()
        self._layer = layer
        if layer is not None:
            layer.events.features.connect(self._wait)
            layer.events.colormap.connect(self._wait)
        self._wait()

    def _release(self) -> None:
        self._stop_counting()
        if self._layer is not None:
            self._layer.events.features.disconnect(self._wait)
            self._layer.events.colormap.disconnect(self._wait)
            self._layer = None

    def abandon(self) -> None:
        """Follow nothing any more: the dock or the window is being closed."""
        self._viewer.dims.events.current_step.disconnect(self._show_frame)
        self._release()
        with suppress(RuntimeError):  # Qt may have deleted it already
            self._timer.stop()

    def _stop_counting(self) -> None:
        if self._counting is not None:
            self._counting.abandon()
            self._counting = None

    def _wait(self, *_: Any) -> None:
        self._timer.start()

    def draw(self) -> None:
        """Plot the result as it is now."""
        self._timer.stop()
        self._stop_counting()
        layer = self._layer
        chart = None if layer is None else chart_of(layer)
        if chart is not None or layer is None or not _is_countable(layer):
            self._show(chart)
            return
        if self._charted != layer.unique_id:
            self._show(None)  # the chart of another layer is there
        self._counting = Job(
            partial(counted_chart, layer),
            f"Counting pixels of {layer.name}",
            on_success=self._show,
            on_failure=lambda _: self._show(None),
            on_cancel=lambda: self._show(None),
        )

    def _show(self, chart: Chart | None) -> None:
        self._counting = None
        self._charted = None if self._layer is None else self._layer.unique_id
        self.plot.show_chart(chart or Chart(()))
        self.row.visible = bool(self.plot.chart.curves)
        self._show_frame()

    def _show_frame(self, *_: Any) -> None:
        layer = self._layer
        if layer is None or not self.plot.chart.curves:
            return
        sizes = layer.data.shape[:-2]
        point = layer.world_to_data(self._viewer.dims.point[-layer.ndim :])
        # Layers have fewer axes than the viewer, whose last axes are theirs.
        places = [
            min(max(round(float(at)), 0), size - 1)
            for at, size in zip(point[:-2], sizes, strict=True)
        ]
        self.plot.show_frame(int(np.ravel_multi_index(places, sizes)))

    def go_to(self, frame: int) -> None:
        """Show a frame of the result in the viewer."""
        if self._layer is not None:
            show_frame(self._viewer, self._layer, frame)


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
