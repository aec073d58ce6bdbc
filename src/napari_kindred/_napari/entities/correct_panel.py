"""Buttons of the tools that correct the objects of the selected result, and the mouse on it."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from magicgui.widgets import PushButton

from ...core.errors import KindredError
from ...entities.regions import Prompt
from ..common.following import Following
from ..common.form import column, heading, row
from ..common.later import Later
from ..common.proxies import unwrap_proxy
from ..common.shortcuts import bind_free, shortcut_hint, unbind
from .click_job import ClickJob
from .correct_tools import DRAG, TOOLS, Tools
from .edit_layer import ShownPlane, is_entities
from .preview import NAME, Preview, contours, rectangle, zoom_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from magicgui.widgets import Container

    from ...entities.click import Outline

KEYS = {
    "add": ("Add", "Alt-A"),
    "split": ("Split", "Alt-S"),
    "merge": ("Merge", "Alt-M"),
    "delete": ("Delete", "Alt-D"),
    "outline": ("Outline", "Alt-O"),
}
"""Name and key of each tool."""

NEXT_OUTLINE = "Alt-N"

NO_OBJECTS = "Select a result of Cells and nuclei first."

REST = 60
"""Milliseconds for which the mouse rests before the outline under it is looked for."""


class CorrectPanel:
    """Turns tools on and off, and hands them clicks and strokes on the selected result."""

    def __init__(
        self,
        viewer: Any,
        layer: Callable[[], Any],
        show_message: Callable[..., None],
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._viewer, self._layer, self._show_message = viewer, layer, show_message
        self.clicks = ClickJob(viewer, lambda error: show_message(str(error), wrong=True))
        self.tools = Tools(self.clicks, show_message, changed)
        self.preview = Preview(viewer)
        self.tool: str | None = None
        self._on: Any = None  # the layer whose mouse is followed
        self._hover: tuple[ShownPlane, tuple[float, float]] | None = None
        self._later = Later(self._look)
        self.buttons = {name: self._button(name) for name in TOOLS}
        self.row: Container = column(
            heading("Correct"),
            row(*(self.buttons[name] for name in ("add", "split", "merge"))),
            row(*(self.buttons[name] for name in ("delete", "outline"))),
        )
        self._following = Following(viewer, self.follow)
        viewer.dims.events.current_step.connect(self._clear)
        actions = {key: self._chooses(name) for name, (_, key) in KEYS.items()}
        self._keys = bind_free(viewer, {**actions, NEXT_OUTLINE: lambda _: self._next_outline()})
        self.follow()

    def _button(self, name: str) -> PushButton:
        button = PushButton(text=KEYS[name][0])
        button.native.setCheckable(True)
        button.native.clicked.connect(lambda *_: self.choose(name))
        return button

    def _chooses(self, name: str) -> Callable[[Any], None]:
        """Return what a tool's key calls."""
        return lambda _: self.choose(name)

    def follow(self, *_: Any) -> None:
        """Enable the tools where there is something to correct; leave them with their layer."""
        layer = self._layer()
        fits = is_entities(layer)
        for name, button in self.buttons.items():
            button.enabled = fits
            hint = shortcut_hint(KEYS[name][1])
            button.tooltip = TOOLS[name] + hint if fits else f"{TOOLS[name]} {NO_OBJECTS}"
        active = unwrap_proxy(self._viewer.layers.selection.active)
        elsewhere = active is not None and active is not self._on and active.name != NAME
        if self._on is not None and (elsewhere or self._on not in self._viewer.layers):
            self.choose(None)

    def choose(self, name: str | None) -> None:
        """Turn a tool on, or off if it is on already."""
        layer = unwrap_proxy(self._layer())
        name = None if name == self.tool or not is_entities(layer) else name
        self._leave()
        self.tool = name
        for each, button in self.buttons.items():
            button.native.setChecked(each == name)
        if name is None:
            return
        self._viewer.layers.selection.active = layer
        layer.mode = "pan_zoom"
        layer.mouse_pan = False
        layer.mouse_drag_callbacks.append(self._dragged)
        layer.mouse_move_callbacks.append(self._moved)
        layer.events.mode.connect(self._mode_changed)
        self._on = layer
        self._show_message(TOOLS[name])

    def _leave(self) -> None:
        """Stop following the mouse."""
        layer, self._on = self._on, None
        self.tools.forget()
        self._clear()
        if layer is None:
            return
        with suppress(ValueError):
            layer.mouse_drag_callbacks.remove(self._dragged)
            layer.mouse_move_callbacks.remove(self._moved)
        layer.events.mode.disconnect(self._mode_changed)
        layer.mouse_pan = str(layer.mode) == "pan_zoom"

    def _mode_changed(self, *_: Any) -> None:
        """Leave the tool: one of napari's own was chosen."""
        self.choose(None)

    # -- the mouse -------------------------------------------------------------------------

    def _plane(self) -> ShownPlane | None:
        try:
            return ShownPlane.of(self._viewer, self._on)
        except KindredError as error:
            self._show_message(str(error), wrong=True)
            return None

    def _dragged(self, _layer: Any, event: Any) -> Generator[None, None, None]:
        """Follow a press of the left button to its end."""
        plane = self._plane() if event.button == 1 else None
        if plane is None or self.tool is None:
            return
        self._later.stop()
        self._hover = None
        shift = "Shift" in event.modifiers
        points = [plane.point(event.position)]
        where = [np.asarray(event.position, float)]
        yield
        while event.type == "mouse_move":
            points.append(plane.point(event.position))
            where.append(np.asarray(event.position, float))
            if self._far(where):
                box = self.tool == "add"
                line = rectangle(points[0], points[-1]) if box else np.array(points)
                self.preview.show(plane, [line])
            yield
        tool = self.tool
        self.preview.clear()
        if tool is not None:
            self.tools.stroke(tool, plane, points if self._far(where) else points[:1], shift)

    def _far(self, where: list[np.ndarray]) -> bool:
        """Whether the mouse moved far enough on the screen to be a drag."""
        moved = np.linalg.norm(np.array(where) - where[0], axis=1).max()
        return bool(moved * zoom_of(self._viewer) >= DRAG)

    def _moved(self, _layer: Any, event: Any) -> None:
        """Look for the outline under the mouse once it rests."""
        if self.tool != "add":
            return
        try:
            plane = ShownPlane.of(self._viewer, self._on)
        except KindredError:
            return
        y, x = plane.point(event.position)
        inside = 0 <= round(y) < plane.labels.shape[0] and 0 <= round(x) < plane.labels.shape[1]
        self._hover = (plane, (y, x)) if inside else None
        if not inside or plane.labels[round(y), round(x)]:
            self._hover = None
            self.preview.clear()
            return
        self._later.ask(REST)

    def _look(self) -> None:
        """Ask for the outline under the mouse."""
        if self._hover is None or self.tool != "add":
            return
        plane, point = self._hover
        self.clicks.ask(
            plane,
            Prompt(inside=(point,)),
            plane.labels.copy(),
            partial(self._seen, plane, point),
            preview=True,
        )

    def _seen(self, plane: ShownPlane, point: tuple[float, float], outlines: list[Outline]) -> None:
        if self._hover is None or self._hover[1] != point or self.tool != "add":
            return
        chosen = outlines[min(self.tools.choice, len(outlines) - 1)] if outlines else None
        self.preview.show(plane, contours(chosen) if chosen else [])

    def _next_outline(self) -> None:
        """Show the next of the outlines that are offered, under the mouse or of the last click."""
        if self.tool != "add":
            self._show_message("Choose Add first.")
        elif self._hover is not None:
            self.tools.choice = (self.tools.choice + 1) % 3
            self._look()
        else:
            self.tools.next_outline()

    def _clear(self, *_: Any) -> None:
        self._later.stop()
        self._hover = None
        self.preview.clear()

    def abandon(self) -> None:
        """Follow nothing any more: the widget is closed."""
        self._following.stop()
        self._viewer.dims.events.current_step.disconnect(self._clear)
        unbind(self._viewer, self._keys)
        with suppress(RuntimeError):
            self._leave()
        self.tool = None
        self.clicks.abandon()
