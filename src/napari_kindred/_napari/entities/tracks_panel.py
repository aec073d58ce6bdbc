"""Buttons for the tracks of a linked result."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from magicgui.widgets import PushButton

from ...core.errors import KindredError
from ..common.following import Following
from ..common.form import row
from ..common.worker import Job
from .tracks import apply_relinked, is_linked, iter_relink_layer, show_tracks, tracks_layer_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from magicgui.widgets import Container

NOT_LINKED = "Only a movie that was run with Link has tracks."

ABOUT_TRACKS = "Show the path of each object and its divisions, in the labels' colours."

ABOUT_RELINK = (
    "Link the labels again from the frame that is shown, after painting; earlier frames stay as "
    "they are."
)


class TracksPanel:
    """Shows the tracks of the selected result, and links it again from the frame that is shown."""

    def __init__(
        self, viewer: Any, layer: Callable[[], Any], show_message: Callable[..., None]
    ) -> None:
        self._viewer, self._layer, self._show_message = viewer, layer, show_message
        self._job: Job | None = None
        self.tracks = PushButton(text="Show tracks")
        self.relink = PushButton(text="Link again from here")
        self.tracks.changed.connect(lambda *_: self.show())
        self.relink.changed.connect(lambda *_: self.start())
        self.row: Container = row(self.tracks, self.relink)
        self._following = Following(viewer, self.follow)
        self.follow()

    def follow(self, *_: Any) -> None:
        """Enable what the selected result allows."""
        fault = "" if is_linked(self._layer()) else NOT_LINKED
        for button, tip in ((self.tracks, ABOUT_TRACKS), (self.relink, ABOUT_RELINK)):
            button.enabled = not fault and self._job is None
            button.tooltip = f"{tip} {fault}".rstrip()

    def show(self) -> None:
        """Show the tracks of the selected result; they follow when it is painted on."""
        layer = self._layer()
        try:
            new = tracks_layer_of(self._viewer, layer) is None
            show_tracks(self._viewer, layer)
        except KindredError as error:
            self._show_message(str(error), wrong=True)
            return
        if new:
            layer.events.features.connect(partial(self._painted, layer))

    def _painted(self, layer: Any, *_: Any) -> None:
        if layer in self._viewer.layers and tracks_layer_of(self._viewer, layer) is not None:
            try:
                show_tracks(self._viewer, layer)
            except KindredError as error:  # all objects were deleted
                self._show_message(str(error), wrong=True)

    def start(self) -> None:
        """Link the selected result again."""
        layer = self._layer()
        if layer.multiscale:
            self._show_message(
                "Labels at several resolutions cannot be linked again here; save them, and use "
                "napari-kindred link.",
                wrong=True,
            )
            return
        frame = int(self._viewer.dims.current_step[-layer.ndim])
        self._job = Job(
            partial(iter_relink_layer, layer, frame),
            f"Linking {layer.name}",
            on_success=partial(self._linked, layer, frame),
            on_failure=lambda error: self._ended(str(error), wrong=True),
            on_cancel=lambda: self._ended("Nothing was linked."),
        )
        self.follow()

    def _linked(self, layer: Any, frame: int, relinked: Any) -> None:
        changed = apply_relinked(layer, relinked)
        self._ended(f"Linked again from frame {frame}: {changed} labels have another id.")

    def _ended(self, text: str, *, wrong: bool = False) -> None:
        self._job = None
        self.follow()
        self._show_message(text, wrong=wrong)

    def abandon(self) -> None:
        """Follow nothing any more, and discard a running job: the widget is closed."""
        self._following.stop()
        if self._job is not None:
            self._job.abandon()
