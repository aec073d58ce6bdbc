"""One run on one image layer: its growing Labels layer and what is said about it. Free of Qt."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

from ..results import provenance
from .layers import KEY, GrowingLabels, LayerImage, layer_options, place_labels, python_call

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari.components import ViewerModel
    from napari.layers import Image, Labels

    from ..config import EntityConfig
    from ..events import Partial, Progress

MOST_NOTICES = 3
"""More would not be read."""


def duration(seconds: float) -> str:
    """Return a time that people can grasp: ``8 s``, ``3 min``, ``1 h 20 min``."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


class Run:
    """Collects what a job yields, and shows it in the viewer.

    Parameters
    ----------
    viewer : ViewerModel
    layer : Image
        The layer that is segmented; it is left as it is.
    image : LayerImage
        What was read from it.
    config : EntityConfig
        Options, axes included.

    Attributes
    ----------
    layer : Labels or None
        The result, from its first frame on.
    """

    def __init__(
        self, viewer: ViewerModel, layer: Image, image: LayerImage, config: EntityConfig
    ) -> None:
        self._viewer, self._image, self._config = viewer, image, config
        self._growing = GrowingLabels(place_labels(layer, config.axes or image.guess.axes))
        self._notices: list[str] = []
        self._began = monotonic()
        self.layer: Labels | None = None

    def progress(self, event: Progress) -> str:
        """Return how far the job is and how long it may still take."""
        text = f"{event.frame} of {event.frames} frames done" if event.frames > 1 else "Working"
        share, passed = event.done / max(event.total, 1e-9), monotonic() - self._began
        if passed > 2 and 0.02 < share < 1:
            text += f", about {duration(passed * (1 - share) / share)} left"
        return f"{text}."

    def notice(self, text: str) -> None:
        """Remember something the user should know."""
        if text and text not in self._notices:
            self._notices.append(text)

    def notices(self) -> list[str]:
        """Return what the user should know, the first few sentences."""
        more = len(self._notices) - MOST_NOTICES
        rest = [f"And {more} more notes, kept in the layer's metadata."] if more > 0 else []
        return self._notices[:MOST_NOTICES] + rest

    def add(self, partial: Partial) -> None:
        """Show a finished frame."""
        self.notice(partial.note)
        self._growing.add(partial)
        if self.layer is None:
            self._show(self._entry({}))
        else:
            self.layer.refresh()

    def finish(self, facts: Mapping[str, Any]) -> str:
        """Complete the layer with its table and provenance, and return a summary."""
        self._show(self._entry(facts))
        found, frames = self._growing.found, self._growing.frames
        text = f"Found {found} entities"
        if frames > 1:
            text += f" in {frames} frames"
        text += f", in {duration(monotonic() - self._began)}"
        return f"{text}."

    def interrupt(self, reason: str) -> str:
        """Keep the frames that are done, and say so.

        Parameters
        ----------
        reason : str
            ``cancelled``, or the error's sentence; kept in the provenance.
        """
        growing = self._growing
        if not growing.done:
            return "No frame was done yet, so there is nothing to keep."
        facts = provenance(
            method="entities",
            config=self._config,
            seconds=monotonic() - self._began,
            axes=self._config.axes,
            channel=self._config.channel,
            complete=growing.done == growing.frames,
            frames_done=growing.done,
            stopped=reason,
        )
        layer = self._show(self._entry(facts))
        return f"{growing.done} of {growing.frames} frames are kept in {layer.name!r}."

    def _entry(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the layer's metadata says of this run."""
        notes = {"notes": list(self._notices)} if self._notices else {}
        return {**facts, **notes, "python": python_call(self._image, self._config)}

    def _show(self, entry: Mapping[str, Any]) -> Labels:
        options = layer_options(self._growing, self._image.name, entry)
        layer = self.layer
        # A result that the user removed on the way comes back: nothing is lost.
        if layer is None or layer not in self._viewer.layers:
            layer = self.layer = self._viewer.add_labels(self._growing.data, **options)
        else:
            layer.features = options["features"]
            layer.metadata = {**layer.metadata, KEY: options["metadata"][KEY]}
            layer.refresh()
        return layer
