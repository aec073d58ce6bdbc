"""A form built from a config dataclass: one row per field, described by the field's metadata."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from magicgui.widgets import (
    CheckBox,
    ComboBox,
    Container,
    FloatSpinBox,
    Label,
    LineEdit,
    PushButton,
    SpinBox,
)
from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtGui import QColor, QIcon, QPalette, QPixmap
from qtpy.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QHeaderView,
    QScrollArea,
    QSizePolicy,
    QTableWidget,
    QWidget,
)

from ...core.errors import OptionError
from ...core.options import visible

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from magicgui.widgets.bases import ValueWidget, Widget

WRONG = "border: 1px solid #e0625e; background-color: #6b2320; color: white;"
"""Style of an invalid entry."""


RED_ON_DARK, RED_ON_LIGHT = "#f08a85", "#b3261e"
"""Colours of error messages."""

SWATCH = 12
"""Side, in pixels, of the coloured square in front of a name."""

LABEL_WIDTH = 104
SCROLL_BAR = 20
"""Pixels left for the scroll bar."""

LIST_WIDTH = 76
"""Least width of a list of choices, whose longer names are cut off."""

WRAPPED = 34
"""Letters from which on the text of a button takes two lines."""


def mark(widget: ValueWidget, *, wrong: bool) -> None:
    """Paint a widget red, or as usual."""
    widget.native.setStyleSheet(WRONG if wrong else "")


def front_label(text: str, tooltip: str) -> Label:
    """Return a label of the common width; a longer text wraps."""
    label = Label(value=text, tooltip=tooltip)
    label.min_width = label.max_width = LABEL_WIDTH
    label.native.setWordWrap(True)
    return label


def labelled(widget: ValueWidget) -> Container:
    """Return a widget with its label in front, all labels of one width."""
    return row(front_label(widget.label, widget.tooltip), widget)


def make_input(item: dataclasses.Field[Any]) -> ValueWidget:
    """Return the widget for one config field."""
    meta, kind = item.metadata, str(item.type)
    options: dict[str, Any] = {"name": item.name, "label": meta["label"], "tooltip": meta["help"]}
    if "choices" in meta:
        choice = ComboBox(value=item.default, choices=list(meta["choices"]), **options)
        narrow(choice)
        return choice
    if kind == "bool":
        box = CheckBox(value=item.default, **options)
        box.text = ""
        return box
    if kind in ("int", "float"):
        options["min"] = meta.get("minimum", -(2**31))
        options["max"] = meta.get("maximum", 2**31 - 1)
        options["step"] = meta.get("step", 1 if kind == "int" else 0.1)
        return (SpinBox if kind == "int" else FloatSpinBox)(value=item.default, **options)
    # Text, and numbers that may also be a word: 'auto'.
    return LineEdit(value="" if item.default is None else str(item.default), **options)


def sentence(lines: int = 0) -> Label:
    """Return a label for sentences, which wrap instead of widening the window.

    With ``lines`` it always has room for so many, and what is below it stays where it is; what
    does not fit is in its tooltip.
    """
    label = Label(value="")
    label.native.setWordWrap(True)
    if lines:
        label.native.setFixedHeight(lines * label.native.fontMetrics().lineSpacing() + 2)
        label.native.setAlignment(Qt.AlignmentFlag.AlignTop)
    # Its minimum height is estimated for a narrow window, and would leave empty space.
    label.native.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
    return label


def show_message(label: Label, text: str, *, wrong: bool) -> None:
    """Show a message, errors in a red that is readable on the theme."""
    label.value = text
    around = label.native.parentWidget() or label.native
    dark = around.palette().color(QPalette.ColorRole.WindowText).lightness() > 127
    label.native.setStyleSheet(f"color: {RED_ON_DARK if dark else RED_ON_LIGHT};" if wrong else "")


def heading(text: str) -> Label:
    """Return the title of a group of rows."""
    label = Label(value=text)
    label.native.setStyleSheet("font-weight: bold;")
    return label


def row(*widgets: Widget) -> Container:
    """Return widgets side by side."""
    side = Container(widgets=list(widgets), layout="horizontal", labels=False)
    side.margins = (0, 0, 0, 0)
    return side


def column(*widgets: Widget) -> Container:
    """Return widgets one above the other."""
    block = Container(widgets=list(widgets), labels=False)
    block.margins = (0, 0, 0, 0)
    return block


def narrow(choice: ComboBox) -> QComboBox:
    """Shorten long names in a list so that they do not widen the window; returns its Qt widget."""
    box: QComboBox = choice.native
    box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    box.setMinimumContentsLength(6)
    box.setMinimumWidth(LIST_WIDTH)
    return box


def in_two_lines(text: str) -> str:
    """Break a long text of a button after its comma."""
    return text.replace(", ", ",\n", 1) if len(text) > WRAPPED else text


def native_row(widget: QWidget, label: str = "", tooltip: str = "") -> Container:
    """Return a row with a widget of Qt's own, with or without a label in front."""
    side = row()
    if label:
        front = front_label(label, tooltip)
        side.append(front)
        side.native.layout().setAlignment(front.native, Qt.AlignmentFlag.AlignTop)
    side.native.layout().addWidget(widget)
    return side


def make_table(columns: Sequence[str]) -> QTableWidget:
    """Return a table whose rows can be selected but not edited; its first column is the widest."""
    table = QTableWidget(0, len(columns))
    table.setHorizontalHeaderLabels(columns)
    table.verticalHeader().hide()
    table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    table.setShowGrid(False)
    header = table.horizontalHeader()
    header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
    header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
    return table


def swatch(colour: QColor) -> QIcon:
    """Return a square in a colour."""
    square = QPixmap(SWATCH, SWATCH)
    square.fill(colour)
    icon = QIcon(square)
    icon.addPixmap(square, QIcon.Mode.Selected)  # else it is tinted if its row is selected
    return icon


class Scrolled(QScrollArea):
    """Scrolls up and down only, and is never narrower than what is inside."""

    def __init__(self) -> None:
        super().__init__()
        self.setWidgetResizable(True)
        self.setFrameShape(QScrollArea.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)

    def fit(self) -> None:
        """Widen to the width that the content needs."""
        self.setMinimumWidth(self.widget().minimumSizeHint().width() + SCROLL_BAR)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 - Qt's name
        """Follow what is inside; every event goes on its way."""
        if event.type() == QEvent.Type.LayoutRequest and watched is self.widget():
            self.fit()
        return bool(super().eventFilter(watched, event))


def scrolled(outer: Container, rows: list[Widget]) -> Container:
    """Put rows into a container so that they scroll if the screen is too low for them."""
    # magicgui's own scrolling is lost in a dock of napari, which takes what is inside of it.
    inner = Container(widgets=rows, labels=False)
    inner.native.layout().addStretch(1)
    area = Scrolled()
    area.setWidget(inner.native)
    area.fit()
    outer.native.layout().addWidget(area)
    return inner


class Form:
    """One input per field of a config; those marked ``advanced`` are folded away."""

    def __init__(
        self,
        config_class: type,
        leave_out: tuple[str, ...] = (),
        folded: Sequence[Widget] = (),
        inputs: Mapping[str, ValueWidget] | None = None,
    ) -> None:
        self._config_class = config_class
        self._fields = {
            item.name: item for item in visible(config_class) if item.name not in leave_out
        }
        own = inputs or {}
        self.inputs = {
            name: own[name] if name in own else make_input(item)
            for name, item in self._fields.items()
        }
        self._rows = {name: labelled(widget) for name, widget in self.inputs.items()}
        self._advanced = [
            name for name, item in self._fields.items() if item.metadata.get("advanced")
        ]
        self._folded: list[Widget] = [*(self._rows[name] for name in self._advanced), *folded]
        self._unfolded = False
        for name in self._advanced:
            self.inputs[name].changed.connect(self._entitle)
        self.more = PushButton(text="", tooltip="Options that rarely need to be changed.")
        self.more.native.setCheckable(True)
        self.more.native.toggled.connect(self.unfold)

    def rows(self) -> list[Widget]:
        """Return all rows, from top to bottom."""
        plain = [row for row in self._rows.values() if row not in self._folded]
        return [*plain, self.more, *self._folded]

    def unfold(self, show: bool) -> None:
        """Show or hide the advanced inputs; to be called once after the rows are laid out."""
        for row in self._folded:
            row.visible = show
        self._unfolded = show
        self._entitle()

    def _entitle(self, *_: Any) -> None:
        """Show on the button how many of the hidden options were changed."""
        unusual = sum(self._value(name) != self._fields[name].default for name in self._advanced)
        text = "▾ Fewer options" if self._unfolded else "▸ More options"
        self.more.text = text + (f" ({unusual} changed)" if unusual else "")

    def restore(self, options: Mapping[str, Any]) -> None:
        """Enter options, and the defaults of those that are not named or cannot be used."""
        for name, widget in self.inputs.items():
            default = self._fields[name].default
            value = options.get(name, default)
            alike = isinstance(value, bool) == isinstance(default, bool)
            single = value is None or isinstance(value, str | int | float)
            if not (alike and single and self._fits(name, value)):
                value = default
            if isinstance(widget, LineEdit):
                value = "" if value is None else str(value)
            widget.value = value

    def config(self, **others: Any) -> Any:
        """Return the config that is entered; an entry that stands in its way turns red."""
        values = {name: self._value(name) for name in self.inputs}
        for name, widget in self.inputs.items():
            mark(widget, wrong=not self._fits(name, values[name]))
        try:
            return self._config_class(**values, **others)
        except OptionError as error:
            raise OptionError(self._worded(str(error))) from error

    def _worded(self, text: str) -> str:
        """Return a sentence about an option with the name that it has on the form."""
        name, equals, rest = text.partition("=")
        item = self._fields.get(name)
        return f"{item.metadata['label']}: {rest}" if equals and item else text

    def _fits(self, name: str, value: Any) -> bool:
        try:
            self._config_class(**{name: value})
        except OptionError:
            return False
        return True

    def _value(self, name: str) -> Any:
        value, item = self.inputs[name].value, self._fields[name]
        if not isinstance(value, str) or "choices" in item.metadata:
            return value
        text, kind = value.strip(), str(item.type)
        number = float if "float" in kind else int if "int" in kind else str
        try:
            return number(text) if text else item.default
        except ValueError:
            return text  # a word such as 'auto', or a mistake, which the config will name
