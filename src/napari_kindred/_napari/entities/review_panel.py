"""Rows to look through a result from its least likely object on, and to hide what is doubtful."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from magicgui.widgets import FloatSlider, PushButton

from ...core.errors import KindredError
from ...results.tables import counted
from ..common.following import Following
from ..common.form import column, heading, labelled, row
from ..common.later import Later
from ..common.proxies import unwrap_proxy
from ..common.shortcuts import bind_free, shortcut_hint, unbind
from .edit_layer import ShownPlane, is_entities
from .review import below, hide, next_stop, planes_without, say_right, scored, show_stop

if TYPE_CHECKING:
    from collections.abc import Callable

    from magicgui.widgets import Container

    from .correct_tools import Tools
    from .review import Stop

NEXT, PREVIOUS, RIGHT, WRONG = "Alt-J", "Alt-K", "Alt-R", "Alt-X"

NO_SCORES = "The selected result has no scores."

REST = 30
"""Milliseconds after which the slider's last value is shown."""


class ReviewPanel:
    """Steps through the objects of the selected result by score, and hides those below one."""

    def __init__(
        self,
        viewer: Any,
        layer: Callable[[], Any],
        show_message: Callable[..., None],
        tools: Tools,
    ) -> None:
        self._viewer, self._layer, self._show_message = viewer, layer, show_message
        self._tools = tools
        self._stop: Stop | None = None
        self._later = Later(self._hide)
        self.next = self._button("Next worst ▸", lambda: self.step(1))
        self.previous = self._button("◂ Back", lambda: self.step(-1))
        self.right = self._button("Right", self.say_right)
        self.wrong = self._button("Wrong", self.say_wrong)
        self.slider = FloatSlider(
            label="Hide below", min=0.0, max=1.0, step=0.01, value=0.0, tracking=True
        )
        self.remove = PushButton(text="Delete hidden")
        self._tips = {
            self.next: "Show the object with the next higher score" + shortcut_hint(NEXT) + ".",
            self.previous: "Back to the one before" + shortcut_hint(PREVIOUS) + ".",
            self.right: "The object is right: it is not shown again" + shortcut_hint(RIGHT) + ".",
            self.wrong: "Delete the object, and show the next one" + shortcut_hint(WRONG) + ".",
            self.slider: "Hide objects with a lower score; the labels stay until they are deleted.",
            self.remove: "Delete the objects that are hidden; Ctrl+Z takes it back.",
        }
        self.remove.changed.connect(self.delete_hidden)
        self.slider.changed.connect(lambda *_: self._later.ask(REST))
        self.row: Container = column(
            heading("Check, the least likely first"),
            row(self.previous, self.next),
            row(self.right, self.wrong),
            labelled(self.slider),
            self.remove,
        )
        self._following = Following(viewer, self.follow)
        actions = {
            NEXT: lambda _: self.step(1),
            PREVIOUS: lambda _: self.step(-1),
            RIGHT: lambda _: self.say_right(),
            WRONG: lambda _: self.say_wrong(),
        }
        self._keys = bind_free(viewer, actions)
        self._shown: Any = None
        self.follow()

    @staticmethod
    def _button(text: str, action: Callable[[], Any]) -> PushButton:
        button = PushButton(text=text)
        button.changed.connect(lambda *_: action())
        return button

    def follow(self, *_: Any) -> None:
        """Enable what the selected result allows; another one begins anew."""
        layer = unwrap_proxy(self._layer())
        fits = is_entities(layer) and not layer.multiscale and "score" in layer.features
        for widget, tip in self._tips.items():
            widget.enabled = fits
            widget.tooltip = tip if fits else f"{tip} {NO_SCORES}"
        if layer is self._shown:
            return
        before, self._shown = self._shown, layer
        self._stop = None
        if before is not None and before in self._viewer.layers:
            hide(before, [])
        with self.slider.changed.blocked():
            self.slider.value = 0.0

    def step(self, step: int) -> None:
        """Show the next or previous object in the order of scores."""
        layer = unwrap_proxy(self._layer())
        if not self.next.enabled:
            self._show_message(NO_SCORES, wrong=True)
            return
        after = None if self._stop is None else (self._stop.score, self._stop.one)
        stop = next_stop(layer, after, step, float(self.slider.value))
        if stop is None:
            self._show_message(
                "No object has a higher score." if step > 0 else "This is the first."
            )
            return
        self._stop = stop
        show_stop(self._viewer, stop)
        self._show_message(
            f"{stop.number} of {stop.count}: label {stop.one}, score {stop.score:.2f}."
        )

    def say_right(self) -> None:
        """Note that the object shown is right, and show the next one."""
        if self._stop is not None and self.right.enabled:
            say_right(unwrap_proxy(self._layer()), self._stop.one)
        self.step(1)

    def say_wrong(self) -> None:
        """Delete the object shown, and show the next one."""
        if self._stop is not None and self.wrong.enabled:
            try:
                plane = ShownPlane.of(self._viewer, unwrap_proxy(self._layer()))
                self._tools.delete(plane, self._stop.one, everywhere=True)
            except KindredError as error:
                self._show_message(str(error), wrong=True)
                return
        self.step(1)

    # -- hiding ----------------------------------------------------------------------------

    def _hide(self) -> None:
        layer = unwrap_proxy(self._layer())
        if not self.slider.enabled or layer is None:
            return
        ids = below(layer, float(self.slider.value))
        hide(layer, ids)
        self._show_message(
            f"{counted(len(ids), 'object')} of {len(scored(layer))} hidden." if ids else ""
        )

    def delete_hidden(self, *_: Any) -> None:
        """Delete what is hidden, as one step of napari's undo."""
        layer = unwrap_proxy(self._layer())
        ids = below(layer, float(self.slider.value))
        if not ids:
            self._show_message("Nothing is hidden; move the slider first.")
            return
        try:
            ShownPlane.of(self._viewer, layer).write(planes_without(layer, ids))
        except KindredError as error:
            self._show_message(str(error), wrong=True)
            return
        hide(layer, [])
        with self.slider.changed.blocked():
            self.slider.value = 0.0
        self._show_message(f"Deleted {counted(len(ids), 'object')}. Ctrl+Z takes it back.")

    def abandon(self) -> None:
        """Follow nothing any more: the widget is closed."""
        self._following.stop()
        unbind(self._viewer, self._keys)
        self._later.stop()
        if self._shown is not None and self._shown in self._viewer.layers:
            hide(self._shown, [])
        self._shown = None
