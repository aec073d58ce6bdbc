"""Names of classes, one per line, each with a square in its colour that a click changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QRect, QSize, Qt
from qtpy.QtGui import QColor, QMouseEvent, QPainter, QPaintEvent, QResizeEvent
from qtpy.QtWidgets import QColorDialog, QPlainTextEdit, QWidget

from ...classes.names import key, split_names
from ...core.colors import hexadecimal, stands_out
from ..common.form import SWATCH, WRONG

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

GUTTER = SWATCH + 12
LINES = 4
"""Names that are seen without scrolling."""


class NamesEditor(QPlainTextEdit):
    """A text box for names, with their colours in the margin."""

    def __init__(self, on_change: Callable[[], Any]) -> None:
        super().__init__()
        self._on_change = on_change
        self._suggested: dict[str, str] = {}
        self._chosen: dict[str, str] = {}
        self._shades: Sequence[Sequence[float]] = ()
        self._gutter = _Gutter(self)
        self._usual = ""
        self.setPlaceholderText("one name per line")
        self.setToolTip(
            "Classes to segment, one name per line: the first is label 1, and so on. "
            "Click on a square to change its colour."
        )
        self.setViewportMargins(GUTTER, 0, 0, 0)
        self.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self.setTabChangesFocus(True)
        self.setFixedHeight(LINES * self.fontMetrics().lineSpacing() + 14)
        self.updateRequest.connect(lambda *_: self._gutter.update())
        self.textChanged.connect(on_change)

    @property
    def names(self) -> tuple[str, ...]:
        """The names as they are written, unchecked."""
        return split_names(self.toPlainText())

    @names.setter
    def names(self, names: tuple[str, ...]) -> None:
        self.setPlainText("\n".join(names))

    def add(self, name: str) -> None:
        """Write a name below the others, unless it is there."""
        if key(name) not in map(key, self.names):
            self.names = (*self.names, name)

    def suggest(self, colours: Mapping[str, str]) -> None:
        """Set default ``#rrggbb`` colours by name."""
        self._suggested = {key(name): colour for name, colour in colours.items()}
        self._gutter.update()

    def avoid(self, shades: Sequence[Sequence[float]]) -> None:
        """Replace colours that cannot be seen on these; those that the user chose stay."""
        self._shades = shades
        self._gutter.update()

    def keep_colours(self) -> None:
        """Keep the names' colours, as a result has them now, whatever names come and go."""
        pairs = zip(map(key, self.names), self.colours(), strict=True)
        self._suggested = {**self._suggested, **dict(pairs)}

    def colours(self) -> tuple[str, ...]:
        """Return the names' colours, ``#rrggbb``, distinct unless the user chose the same twice."""
        taken = {self._colour_given(name) for name in self.names} - {None}
        free = (
            colour
            for colour in map(hexadecimal, range(10_000))
            if colour not in taken and stands_out(colour, self._shades)
        )
        return tuple(self._colour_given(name) or next(free) for name in self.names)

    def _colour_given(self, name: str) -> str | None:
        suggested = self._suggested.get(key(name))
        if suggested is not None and not stands_out(suggested, self._shades):
            suggested = None
        return self._chosen.get(key(name), suggested)

    def chosen(self) -> dict[str, str]:
        """Return the colours that the user chose, by :func:`~napari_kindred.classes.names.key`."""
        return dict(self._chosen)

    def set_colour(self, name: str, colour: str) -> None:
        """Change the colour of a name, ``#rrggbb``."""
        self._chosen[key(name)] = colour
        self._gutter.update()
        self._on_change()

    def ask_colour(self, name: str) -> None:
        """Ask the user for the colour of a name."""
        now = dict(zip(self.names, self.colours(), strict=True))[name]
        chosen = QColorDialog.getColor(QColor(now), self, f"Colour of {name!r}")
        if chosen.isValid():
            self.set_colour(name, chosen.name())

    def follow_theme(self, theme: str) -> None:
        """Look like the other entries of one of napari's themes, which knows no such box."""
        from napari.utils.theme import get_theme

        colours = get_theme(theme)
        self._usual = (
            f"background-color: {colours.primary.as_hex()}; color: {colours.text.as_hex()}; "
            "border-radius: 2px; padding: 2px;"
        )
        self.mark(wrong=False)

    def mark(self, *, wrong: bool) -> None:
        """Paint the box red, or as usual."""
        self.setStyleSheet(f"QPlainTextEdit {{ {WRONG if wrong else self._usual} }}")

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802 - Qt's name
        """Keep the margin as high as the box."""
        super().resizeEvent(event)
        inner = self.contentsRect()
        self._gutter.setGeometry(QRect(inner.left(), inner.top(), GUTTER, inner.height()))

    def swatches(self) -> list[tuple[str, str, QRect]]:
        """Return name, colour and place in the margin of every line that holds one name."""
        colours = dict(zip(self.names, self.colours(), strict=True))
        block, places = self.firstVisibleBlock(), []
        while block.isValid():
            box = self.blockBoundingGeometry(block).translated(self.contentOffset())
            written = split_names(block.text())
            if len(written) == 1:
                top = round(box.center().y() - SWATCH / 2)
                place = QRect((GUTTER - SWATCH) // 2, top, SWATCH, SWATCH)
                places.append((written[0], colours[written[0]], place))
            block = block.next()
        return places


class _Gutter(QWidget):
    """The margin of a :class:`NamesEditor`."""

    def __init__(self, box: NamesEditor) -> None:
        super().__init__(box)
        self._box = box
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setToolTip("Click on a square to change its colour.")

    def sizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        return QSize(GUTTER, 0)

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802, ARG002 - Qt's name
        painter = QPainter(self)
        for _name, colour, place in self._box.swatches():
            painter.fillRect(place, QColor(colour))

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802 - Qt's name
        for name, _colour, place in self._box.swatches():
            if place.adjusted(-4, -3, 4, 3).contains(event.pos()):
                self._box.ask_colour(name)
                return
