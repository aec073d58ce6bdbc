"""Panel that changes a layer of classes: threshold, names and merged classes."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from magicgui.widgets import CheckBox, FloatSlider, PushButton
from qtpy.QtCore import Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QInputDialog, QTableWidgetItem

from ...classes.config import CONFIDENCE
from ...classes.names import check_names
from ...core.errors import KindredError
from ...core.events import Progress
from ..common.form import column, labelled, make_table, native_row, row, sentence, swatch
from ..common.label_panel import LabelPanel
from ..common.label_state import show
from ..common.layers import area_unit
from ..common.worker import Job
from .layer import Classes, at_threshold, iter_merged, with_names

ROWS = (2, 5)
"""Fewest and most rows that the table shows without scrolling."""

ROW = 22
"""Height of a row, in pixels."""

COLUMNS = ("Class", "Area", "Share", "Count")


Change = Callable[[Classes], Classes | Generator[Progress, None, Classes]]


class ClassPanel(LabelPanel):
    """Changes one layer of classes; only the threshold is shown while there is none."""

    kind = Classes
    rest = 60

    def __init__(
        self,
        show_message: Callable[..., None],
        viewer: Any,
        on_threshold: Callable[[], Any],
        on_merged: Callable[[Classes], Any],
    ) -> None:
        super().__init__(show_message, viewer)
        self._on_threshold, self._on_merged = on_threshold, on_merged
        self._job: Job | None = None
        self._next: Callable[[], None] | None = None
        self.slider = FloatSlider(
            label="Threshold",
            min=0.0,
            max=1.0,
            step=0.01,
            value=CONFIDENCE,
            tooltip="Minimum confidence of a class; pixels below it are background. The layer is "
            "updated at once.",
        )
        self.auto = CheckBox(
            text="measured for each class (auto)",
            value=True,
            tooltip="Use the threshold measured for each class in training.",
        )
        sure = column(labelled(self.slider), self.auto)
        self.table = make_table(COLUMNS)
        self.table.verticalHeader().setDefaultSectionSize(ROW)
        self.table.itemSelectionChanged.connect(self._select)
        self._legend = native_row(self.table)
        self.group = PushButton(
            text="Merge …",
            tooltip="Merge the classes selected in the table into one class with a new name.",
        )
        self.rename = PushButton(
            text="Relabel with these names",
            tooltip="Relabel the layer with the names entered above; nothing is computed again.",
        )
        self.save = PushButton(
            text="Save vocabulary …",
            tooltip="Save the trained classes, merged ones included, for use on other images.",
        )
        self._tools = column(row(self.group, self.save), row(self.rename))
        self.fixed = sentence()
        self.extend([sure, self.fixed, self._legend, self._tools])
        self.slider.changed.connect(self._slid)
        self.auto.changed.connect(self._wait)
        self.group.changed.connect(self.ask_group)

    @property
    def threshold(self) -> float | str:
        """The threshold that is entered."""
        return "auto" if self.auto.value else round(float(self.slider.value), 4)

    def enter(self, threshold: Any) -> None:
        """Enter a threshold of an earlier run; an invalid one is "auto"."""
        number = isinstance(threshold, float) and 0 <= threshold <= 1
        with self.slider.changed.blocked(), self.auto.changed.blocked():
            self.auto.value = not number
            self.slider.value = threshold if number else CONFIDENCE

    def take(self, layer: Any) -> None:
        self._next = None
        super().take(layer)

    def abandon(self) -> None:
        """Discard the change that is being computed."""
        if self._job is not None:
            self._job.abandon()

    # -- what is shown ---------------------------------------------------------------------

    def refresh(self) -> None:
        """Show the layer's threshold and table."""
        classes: Classes | None = self.state
        self._legend.visible = self._tools.visible = classes is not None
        self.fixed.visible = classes is not None and classes.result.observations is None
        if classes is None:
            return
        self.fixed.value = classes.result.fixed
        with self.slider.changed.blocked(), self.auto.changed.blocked():
            self.auto.value = classes.threshold == "auto"
            if classes.threshold == "auto":
                own = classes.result.provenance.get("thresholds") or [CONFIDENCE]
                self.slider.value = min(own)
            else:
                self.slider.value = float(classes.threshold)
        self._fill(classes)
        self._offer()

    def _fill(self, classes: Classes) -> None:
        unit, pixel = area_unit(self._layer)
        self.table.setHorizontalHeaderItem(1, QTableWidgetItem(f"Area ({unit})"))
        palette, rows = classes.palette(), classes.result.table
        self.table.setRowCount(len(rows))
        room = ROW * int(np.clip(len(rows), *ROWS))
        self.table.setFixedHeight(self.table.horizontalHeader().sizeHint().height() + room + 4)
        for place, (_, item) in enumerate(rows.iterrows()):
            cells = (
                str(item["name"]),
                f"{item['area'] * pixel:,.0f}",
                _percent(float(item["share"])),
                f"{item['count']:,}",
            )
            for number, text in enumerate(cells):
                cell = QTableWidgetItem(text)
                if number:
                    right = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
                    cell.setTextAlignment(right)
                else:
                    cell.setIcon(swatch(QColor(palette[int(item["index"])])))
                    cell.setToolTip(str(item["name"]))
                self.table.setItem(place, number, cell)

    def selected(self) -> list[str]:
        """Return the names that are selected in the table."""
        rows = sorted({index.row() for index in self.table.selectedIndexes()})
        return [self.table.item(place, 0).text() for place in rows]

    def _select(self) -> None:
        """Select in the layer the class that is selected in the table."""
        rows = {index.row() for index in self.table.selectedIndexes()}
        if len(rows) == 1 and self._layer is not None:
            self._layer.selected_label = rows.pop() + 1
        self._offer()

    def follow(self, *_: Any) -> None:
        """Show the class that is selected in the layer."""
        place = int(self._layer.selected_label) - 1
        if len(self.selected()) < 2 and 0 <= place < self.table.rowCount():
            self.table.selectRow(place)

    def _offer(self) -> None:
        classes: Classes | None = self.state
        groups = classes is not None and classes.can_be_merged
        self.group.enabled = groups and len(self.selected()) > 1
        self.save.enabled = classes is not None and classes.vocabulary is not None
        self.rename.enabled = classes is not None and classes.result.observations is not None

    # -- changing it -----------------------------------------------------------------------

    def _slid(self, *_: Any) -> None:
        with self.auto.changed.blocked():
            self.auto.value = False
        self._wait()

    def _wait(self, *_: Any) -> None:
        self.timer.start()
        self._on_threshold()

    def relabel(self) -> None:
        """Show the layer at the threshold that is entered."""
        self.timer.stop()
        classes, threshold = self.state, self.threshold
        if classes is not None and threshold != classes.threshold:
            self._change(partial(at_threshold, threshold=threshold))

    def show_names(self, names: tuple[str, ...]) -> None:
        """Show other names."""
        if self.state is not None:
            self._change(partial(with_names, names=names))

    def ask_group(self, *_: Any) -> None:
        """Ask for a name, and merge the selected classes under it."""
        members = self.selected()
        name, given = QInputDialog.getText(
            self.native, "Merge classes", f"Name for {', '.join(members)}:", text=members[0]
        )
        if given:
            self.merge(members, name)

    def merge(self, members: list[str], name: str) -> None:
        """Merge classes into one."""
        try:
            (clean,) = check_names([name])
        except KindredError as error:
            self.show_message(str(error), wrong=True)
            return
        self.show_message("Training the merged classes …")
        self._change(partial(iter_merged, name=clean, members=members), then=self._merged)

    def recolour(self, colours: dict[str, str]) -> None:
        """Show the colours that the user chose, by the names' keys."""
        classes: Classes | None = self.state
        if classes is None:
            return
        every = {**classes.colours, **colours}
        if every != classes.colours:
            show(self._layer, replace(classes, colours=every))
            self.refresh()

    def _merged(self, classes: Classes) -> None:
        name, members = classes.name_source.groups[-1]
        self.show_message(f"Merged {', '.join(members)} into {name!r}.")
        self._on_merged(classes)

    def _change(self, change: Change, then: Callable[[Classes], Any] | None = None) -> None:
        """Change what the layer shows, in another thread; the last of several changes counts."""
        if self._job is not None:
            self._next = partial(self._change, change, then)
            return
        layer, classes = self._layer, self.state
        if classes is None:
            return
        self._job = Job(
            partial(change, classes),
            f"Relabelling {layer.name}",
            on_success=lambda after: self._changed(layer, after, then),
            on_failure=self._failed,
        )

    def _changed(self, layer: Any, classes: Classes, then: Callable[[Classes], Any] | None) -> None:
        self._job = None
        if layer is self._layer:
            self.keep_painted()
        show(layer, classes)
        if layer is self._layer:
            self.refresh()
            if then is not None:
                then(classes)
        self._resume()

    def _failed(self, error: KindredError) -> None:
        self._job = None
        self.show_message(str(error), wrong=True)
        self.refresh()
        self._resume()

    def _resume(self) -> None:
        if self._next is not None:
            following, self._next = self._next, None
            following()


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share >= 0.001 or share == 0 else "< 0.1 %"
