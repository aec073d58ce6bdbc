"""The dock widget "Compare results": what differs between two results, one after the other."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from magicgui.widgets import ComboBox, Container, FloatSpinBox, PushButton
from napari.layers import Labels
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QAbstractItemView, QTableWidgetItem

from ...core.events import Progress
from ...methods import method_of
from ...results.compare import CHANGED, KINDS, ONLY_A, SAME, iter_compare
from ..common.dock import Dock
from ..common.form import (
    labelled,
    make_table,
    native_row,
    row,
    scrolled,
    sentence,
    show_message,
    swatch,
)
from ..common.layers import KEY
from ..common.proxies import level_0, unwrap_proxy
from ..common.worker import Job
from .compare_layers import COLOURS, add_outlines, is_comparison, show_change

if TYPE_CHECKING:
    import napari.viewer

    from ...core.events import Event
from ...results.compare import Changes

NEXT, PREVIOUS = "Alt-Down", "Alt-Up"
LISTED = 1000
"""Differences that the table lists; Next and Previous go to all of them."""

COLUMNS = ("What", "Frame", "A", "B", "Overlap")
TALL = 190
WIDTH = 350


class CompareWidget(Container):
    """Asks for two results of one image, and shows what differs between them."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__(labels=False)
        self._viewer = viewer
        self._job: Job | None = None
        self._pair: tuple[Any, Any] = (None, None)
        self._place = -1
        self._bound: list[str] = []
        self.changes: Changes | None = None
        self.overlay: Any = None
        self._make_inputs()
        self._make_outputs()
        self.margins = (0, 0, 0, 0)
        self.min_width = WIDTH
        self._rows = scrolled(
            self,
            [
                *(labelled(widget) for widget in (self.first, self.second, self.same)),
                *(self.compare, self.status, self._list, self._steps),
            ],
        )
        self._list.visible = self._steps.visible = False
        self._bind()
        self._dock = Dock(self.native, self._closed)
        self.native.destroyed.connect(self._abandon)
        self.reset_choices()

    # -- what is on it ---------------------------------------------------------------------

    def _make_inputs(self) -> None:
        self.first = ComboBox(
            label="A", choices=self._results, tooltip="The first result, for example the older one."
        )
        self.second = ComboBox(
            label="B", choices=self._results, tooltip="The second result, of the same image."
        )
        self.same = FloatSpinBox(
            label="Minimum overlap",
            value=SAME,
            min=0.5,
            max=1.0,
            step=0.01,
            tooltip="Objects whose IoU is at least this count as the same.",
        )
        self.compare = PushButton(
            text="Compare", tooltip="Outline the differences between A and B in a new layer."
        )
        self.status = sentence()
        self.first.changed.connect(self._check)
        self.second.changed.connect(self._check)
        self.compare.changed.connect(self.start)

    def _make_outputs(self) -> None:
        self.table = make_table(COLUMNS)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.table.setMinimumHeight(TALL)
        self.table.cellClicked.connect(lambda at, _: self.go_to(at))
        self.table.setToolTip("Click on a row to show that difference.")
        self.previous = PushButton(
            text="◂ Previous", tooltip="Show the previous difference (Alt+Up)."
        )
        self.next = PushButton(text="Next ▸", tooltip="Show the next difference (Alt+Down).")
        self.previous.changed.connect(lambda: self.step(-1))
        self.next.changed.connect(lambda: self.step(1))
        self._list = native_row(self.table)
        self._steps = row(self.previous, self.next)

    def _results(self, *_: Any) -> list[tuple[str, Labels]]:
        return [
            (layer.name, layer)
            for layer in self._viewer.layers
            if isinstance(layer, Labels) and not is_comparison(layer)
        ]

    def reset_choices(self, *_: Any) -> None:
        """Follow the layer list; napari calls this whenever layers come, go or are renamed."""
        chosen = [_id_of(box.value) for box in (self.first, self.second)]
        layers = [layer for _, layer in self._results()]
        ours = [layer for layer in layers if KEY in layer.metadata]
        guess = (ours if len(ours) > 1 else layers)[-2:]
        for place, box in enumerate((self.first, self.second)):
            with box.changed.blocked():
                box.reset_choices()
                kept = [layer for layer in box.choices if _id_of(layer) == chosen[place]]
                meant = guess[place : place + 1] if self.changes is None else kept
                for layer in kept[:1] if chosen[0] != chosen[1] and kept else meant:
                    box.value = next(one for one in box.choices if _id_of(one) == _id_of(layer))
        self._check()

    def _check(self, *_: Any) -> None:
        """Enable Compare if two results of one shape are chosen, else show what is missing."""
        first, second = self.first.value, self.second.value
        fault = ""
        if first is None or second is None or _id_of(first) == _id_of(second):
            fault = "Choose two results of the same image: run twice, or open a saved one."
        elif tuple(level_0(first).shape) != tuple(level_0(second).shape):
            fault = "These are results of different images; choose two of the same."
        self.compare.enabled = not fault and self._job is None
        if fault or self.changes is None:
            self._show_message(
                fault or f"{_different_kinds(first, second)} Press Compare.".lstrip()
            )

    def _show_message(self, text: str, *, wrong: bool = False) -> None:
        show_message(self.status, text, wrong=wrong)

    # -- comparing -------------------------------------------------------------------------

    def start(self, *_: Any) -> None:
        """Compare the two results in another thread."""
        if not self.compare.enabled:
            return
        self._pair = self.first.value, self.second.value
        self.compare.enabled = False
        first, second = (level_0(layer) for layer in self._pair)
        self._job = Job(
            partial(iter_compare, first, second, float(self.same.value)),
            f"Comparing {self._pair[0].name} and {self._pair[1].name}",
            on_event=self._event,
            on_success=self._done,
            on_failure=lambda error: self._ended(str(error), wrong=True),
            on_cancel=lambda: self._ended("Cancelled."),
        )

    def _event(self, event: Event) -> None:
        if isinstance(event, Progress):
            self._show_message(f"Comparing, {event.frame} of {event.frames} frames done.")

    def _ended(self, text: str = "", *, wrong: bool = False) -> None:
        self._job = None
        self.compare.enabled = True
        self._show_message(text, wrong=wrong)

    def _done(self, changes: Changes) -> None:
        self._ended()
        first, second = self._pair
        if any(layer not in self._viewer.layers for layer in self._pair):
            self._show_message("One of the results was removed; choose another.")
            return
        self.changes, self._place = changes, -1
        if self.overlay is not None and self.overlay in self._viewer.layers:
            self._viewer.layers.remove(self.overlay)
        self.overlay = None
        if not changes.table.empty:
            self.overlay = add_outlines(self._viewer, first, second, changes)
        self._fill()
        more = len(changes.table) - LISTED
        note = f"The table lists the first {LISTED}." if more > 0 else ""
        summary = (changes.sentence(first.name, second.name), note, _different_kinds(first, second))
        self._show_message(" ".join(filter(None, summary)))

    def _fill(self) -> None:
        assert self.changes is not None  # noqa: S101 - called once there are
        rows = self.changes.table.head(LISTED)
        self._list.visible = self._steps.visible = len(rows) > 0
        self.table.setRowCount(len(rows))
        for place, (_, found) in enumerate(rows.iterrows()):
            overlap = f"{100 * found['iou']:.0f} %" if found["kind"] == CHANGED else ""
            texts = [found["kind"], found["frame"], found["id_a"] or "", found["id_b"] or ""]
            for column, text in enumerate([*texts, overlap]):
                item = QTableWidgetItem(str(text))
                if column == 0:
                    item.setIcon(swatch(QColor(COLOURS[KINDS.index(text)])))
                self.table.setItem(place, column, item)

    # -- going to them ---------------------------------------------------------------------

    def step(self, step: int) -> None:
        """Show the next (1) or previous (-1) difference, beginning anew after the last one."""
        if self.changes is not None and len(self.changes.table):
            start = 0 if self._place < 0 and step < 0 else self._place
            self.go_to((start + step) % len(self.changes.table))

    def go_to(self, place: int) -> None:
        """Show a difference, by its row."""
        first, second = self._pair
        if self.changes is None or any(layer not in self._viewer.layers for layer in self._pair):
            self._show_message("One of the results was removed; compare two others.")
            return
        self._place = place
        found = self.changes.table.iloc[place]
        for layer, number in ((first, found["id_a"]), (second, found["id_b"])):
            if number:
                layer.selected_label = int(number)
        show_change(self._viewer, first if found["kind"] == ONLY_A else second, found)
        if place < self.table.rowCount():
            self.table.selectRow(place)
        self._show_message(f"{place + 1} of {len(self.changes.table)}: {_described(found)}.")

    # -- keys, and the end -----------------------------------------------------------------

    def _bind(self) -> None:
        viewer = unwrap_proxy(self._viewer)
        for key, step in ((NEXT, 1), (PREVIOUS, -1)):
            with suppress(ValueError):  # a key that is bound already stays as it is
                viewer.bind_key(key, lambda _, step=step: self.step(step))
                self._bound.append(key)

    def _closed(self) -> None:
        """Unbind the keys: the dock was closed, the viewer stays."""
        viewer = unwrap_proxy(self._viewer)
        while self._bound:
            viewer.bind_key(self._bound.pop(), None)
        self._abandon()

    def _abandon(self, *_: Any) -> None:
        if self._job is not None:
            self._job.abandon()
            self._job = None


def _different_kinds(first: Any, second: Any) -> str:
    """Return a note if one result has a label per object and the other one per kind."""
    methods = [method_of(layer.metadata.get(KEY, {})) for layer in (first, second)]
    counting = [method.counts_objects for method in methods if method is not None]
    if sorted(counting) != [False, True]:
        return ""
    each, kinds = (first, second) if counting[0] else (second, first)
    return (
        f"{each.name!r} has one label per object, {kinds.name!r} one for all objects of a "
        "kind, so only an object that is alone of its kind in a frame can be the same in both."
    )


def _described(found: Any) -> str:
    if found["kind"] == CHANGED:
        text = (
            f"{found['id_a']} in A is {found['id_b']} in B, they share {100 * found['iou']:.0f} %"
        )
        return f"{text} of their area, {found['area_a']} and {found['area_b']} pixels"
    name, where = ("id_a", "A") if found["kind"] == ONLY_A else ("id_b", "B")
    return f"{found[name]} is only in {where}"


def _id_of(layer: Any) -> Any:
    """Return what tells layers apart; napari hands plugins a new proxy each time."""
    return None if layer is None else layer.unique_id
