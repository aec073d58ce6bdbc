"""A small plot of areas or counts over time, drawn with Qt alone; a click goes to the frame."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QMouseEvent, QPainter, QPaintEvent, QPalette, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QWidget

from .charts import Chart, short_number, stretches, ticks

if TYPE_CHECKING:
    from collections.abc import Callable

    from .charts import Curve

HEIGHT = 130
"""Height of the plot, in pixels."""

LEFT, RIGHT, TOP, BOTTOM = 46, 8, 18, 30
"""Room for the numbers around it."""


class PlotWidget(QWidget):
    """Draws a chart, and the frame that is shown as a line."""

    def __init__(self, go_to: Callable[[int], None]) -> None:
        super().__init__()
        self._go_to = go_to
        self.chart = Chart(())
        self.frame = 0
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setCursor(Qt.CursorShape.PointingHandCursor)

    def sizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """Return how large it wants to be."""
        return QSize(200, HEIGHT)

    def show_chart(self, chart: Chart) -> None:
        """Draw another chart."""
        self.chart = chart
        names = ", ".join(curve.name for curve in chart.curves if curve.name)
        self.setToolTip(f"{chart.y} of {names}" if names else chart.y)
        self.update()

    def show_frame(self, frame: int) -> None:
        """Mark the frame that is shown."""
        if frame != self.frame:
            self.frame = frame
            self.update()

    # -- where things are ------------------------------------------------------------------

    @property
    def _inner(self) -> QRectF:
        return QRectF(LEFT, TOP, self.width() - LEFT - RIGHT, self.height() - TOP - BOTTOM)

    def place_of(self, frame: float, value: float) -> QPointF:
        """Return where in the widget a value lies."""
        inner, last = self._inner, max(1, self.chart.frames - 1)
        x = inner.left() + inner.width() * frame / last
        return QPointF(x, inner.bottom() - inner.height() * value / self.chart.top)

    def frame_at(self, x: float) -> int:
        """Return the frame that lies nearest to a place in the widget."""
        inner, last = self._inner, self.chart.frames - 1
        share = (x - inner.left()) / max(1.0, inner.width())
        return int(min(max(round(share * last), 0), max(last, 0)))

    def mousePressEvent(self, event: QMouseEvent | None) -> None:  # noqa: N802 - Qt's name
        """Go to the frame that is clicked on."""
        if event is not None and self.chart.frames:
            self._go_to(self.frame_at(event.position().x()))

    def mouseMoveEvent(self, event: QMouseEvent | None) -> None:  # noqa: N802 - Qt's name
        """Follow the mouse while its button is down."""
        self.mousePressEvent(event)

    # -- drawing ---------------------------------------------------------------------------

    def paintEvent(self, event: QPaintEvent | None) -> None:  # noqa: N802, ARG002 - Qt's name
        """Draw axes, curves and the current frame."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        text = self.palette().color(QPalette.ColorRole.WindowText)
        font = painter.font()
        font.setPointSizeF(max(6.0, font.pointSizeF() * 0.8))
        painter.setFont(font)
        self._draw_axes(painter, text)
        if self.chart.frames:
            text.setAlpha(140)
            painter.setPen(QPen(text, 1, Qt.PenStyle.DashLine))
            painter.drawLine(
                self.place_of(self.frame, 0), self.place_of(self.frame, self.chart.top)
            )
        for curve in self.chart.curves:
            self._draw_curve(painter, curve)
        painter.end()

    def _draw_axes(self, painter: QPainter, text: QColor) -> None:
        chart, inner = self.chart, self._inner
        faint = QColor(text)
        faint.setAlpha(50)
        right = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        centre = Qt.AlignmentFlag.AlignHCenter | Qt.AlignmentFlag.AlignTop
        for value in ticks(chart.top, 3):
            y = self.place_of(0, value).y()
            painter.setPen(faint)
            painter.drawLine(QPointF(inner.left(), y), QPointF(inner.right(), y))
            painter.setPen(text)
            painter.drawText(QRectF(0, y - 8, LEFT - 5, 16), right, short_number(value))
        last = max(0, chart.frames - 1) * chart.step
        for value in ticks(last):
            x = self.place_of(value / chart.step, 0).x()
            painter.drawText(
                QRectF(x - 25, inner.bottom() + 1, 50, 14), centre, short_number(value)
            )
        below = QRectF(LEFT, inner.bottom() + 14, inner.width(), 16)
        painter.drawText(below, centre, chart.x)
        painter.drawText(QRectF(4, 0, self.width() - 8, TOP), Qt.AlignmentFlag.AlignLeft, chart.y)

    def _draw_curve(self, painter: QPainter, curve: Curve) -> None:
        painter.setPen(QPen(QColor(curve.colour), 1.6))
        for run in stretches(curve.values):
            points = [self.place_of(frame, float(curve.values[frame])) for frame in run]
            if len(points) == 1:
                painter.setBrush(QColor(curve.colour))
                painter.drawEllipse(points[0], 1.5, 1.5)
            else:
                painter.setBrush(Qt.BrushStyle.NoBrush)
                painter.drawPolyline(QPolygonF(points))
