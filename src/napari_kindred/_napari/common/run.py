"""One run on one image layer: its growing Labels layer and what is said about it. Free of Qt."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from functools import cached_property
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from ...methods import ENTITIES, method_of
from ...results.atomic import plain
from ...results.recipe import recipe_of
from ...results.segmentation import provenance
from ..results.replay import origin_in_file
from .layers import KEY, LayerImage, growing_in_shape, layer_features, layer_options
from .multiscale_labels import LabelPyramid
from .placement import place_labels
from .proxies import unwrap_proxy

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from napari.components import ViewerModel
    from napari.layers import Image, Labels

    from ...core.events import Partial, Progress
    from ...methods import Method
    from ...results.segmentation import Segmentation

MOST_NOTICES = 3
"""More would not be read."""

STAGES = {
    "network": "Segmenting",
    "clustering": "Separating objects",
    "done": "Reading",
    "known": "Loading cached features",
    "proposals known": "Loading cached features",
    "regions": "Dividing the image into regions",
    "asking the SAM": "Predicting masks with the SAM",
}
"""Names of the stages of jobs, as shown to the user."""


def duration(seconds: float) -> str:
    """Return a time that people can grasp: ``8 s``, ``3 min``, ``1 h 20 min``."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


class Clock:
    """Tells how long a job takes, and may still take."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Begin to count."""
        self._began = self._moving = monotonic()
        self._begin = 0.0

    def seconds(self) -> float:
        """Return how long it has taken until now."""
        return monotonic() - self._began

    def remaining(self, event: Progress) -> str:
        """Return how long the job may still take, the end of a sentence, once that is known."""
        share, now = event.done / max(event.total, 1e-9), monotonic()
        if not share or share < self._begin or event.what == "known":
            # What was loaded until now, or known from earlier, says nothing of other frames.
            self._moving, self._begin = now, share
        passed, gained = now - self._moving, share - self._begin
        if passed > 2 and gained > 0.02 and share < 1:
            return f", about {duration(passed * (1 - share) / gained)} left"
        return ""


class JobView(Protocol):
    """View of a job; see :class:`Run`."""

    layer: Labels | None
    image_id: object
    dropped: bool

    def begin(self) -> None:
        """Count the time from now on."""

    def drop(self) -> None:
        """Ignore further events."""

    @property
    def source(self) -> str:
        """What is processed, in words."""

    def progress(self, event: Progress) -> str:
        """Return how far the job is."""

    def notice(self, text: str) -> None:
        """Note something that the user should know."""

    def notices(self) -> list[str]:
        """Return what the user should know."""

    def add(self, partial: Partial) -> None:
        """Show a finished frame."""

    def finish(self, result: Any) -> str:
        """Keep the result, and return a summary."""

    def interrupt(self, reason: str) -> str:
        """Keep what is done, and say so."""


class Run(ABC):
    """Collects what a job yields, and shows it in the viewer.

    Parameters
    ----------
    viewer : ViewerModel
    layer : Image
        The layer that is segmented; it is left as it is.
    image : LayerImage
        What was read from it.
    config : dataclass
        Options, axes included.

    Attributes
    ----------
    layer : Labels or None
        The result, from its first frame on.
    image_id : object
        Tells the image's layer from others.
    dropped : bool
        Whether nothing more is shown or kept.
    placement : Placement
        Where the labels lie.
    assembly : Assembly or None
        Where the job puts them together, from its first frame to its end.
    """

    stages: ClassVar[Mapping[str, str]] = STAGES
    method: ClassVar[Method]

    def __init__(
        self,
        viewer: ViewerModel,
        layer: Image,
        image: LayerImage,
        config: Any,
    ) -> None:
        self._viewer, self._image, self._config = viewer, image, config
        self.placement = place_labels(layer, config.axes or image.guess.axes)
        self.assembly: Any = None
        self._notices: list[str] = []
        self._clock, self.dropped = Clock(), False
        self.layer: Labels | None = None
        self.image_id: object = layer.unique_id

    def begin(self) -> None:
        """Count the time from now on."""
        self._clock.start()

    def drop(self) -> None:
        """Ignore further events: the user removed the result."""
        self.dropped, self.layer = True, None
        if self.assembly is not None:
            self.assembly.close()
            self.assembly = None

    @property
    def source(self) -> str:
        """Name of the image."""
        return self._image.name

    @abstractmethod
    def found(self, result: Segmentation) -> str:
        """Return what was found, the begin of a sentence."""

    def arguments(self) -> dict[str, Any]:
        """Return further arguments of the method's function, as plain data."""
        return {}

    def origin(self) -> dict[str, Any]:
        """Return how the result comes about, for its provenance."""
        return {
            "method": self.method.name,
            "config": plain(self._config),
            "source_layer": self._image.name,
            "arguments": self.arguments(),
        }

    def code(self) -> str:
        """Return the Python code that computes the result again."""
        return recipe_of(self.origin()).to_python()

    @cached_property
    def file(self) -> dict[str, Any]:
        """The file that holds the image, or why none does, for the provenance."""
        return origin_in_file(self._image, self._config, self.method)

    def progress(self, event: Progress) -> str:
        """Return what the job is at, how far it is and how long it may still take."""
        text = self.stages.get(event.what, event.what[:1].upper() + event.what[1:])
        if event.frames > 1:
            text += f", {event.frame} of {event.frames} frames done"
        return f"{text}{self._clock.remaining(event)}."

    def notice(self, text: str) -> None:
        """Note something that the user should know."""
        if text and text not in self._notices:
            self._notices.append(text)

    def notices(self) -> list[str]:
        """Return what the user should know, the first few sentences."""
        more = len(self._notices) - MOST_NOTICES
        rest = [f"{more} more notes are in the layer's metadata."] if more > 0 else []
        return self._notices[:MOST_NOTICES] + rest

    def add(self, partial: Partial) -> None:
        """Show a finished frame."""
        if self.dropped:
            return
        self.notice(partial.note)
        self.assembly = partial.assembly
        if self.layer is None:
            self._show(self._entry({}))
        else:
            self.layer.refresh()

    def finish(self, result: Segmentation) -> str:
        """Complete the layer with its table and provenance, and return a summary."""
        layer, frames = self._show(self._entry(result.provenance)), self._frames
        self.keep(layer, result)
        self.assembly = None
        text = self.found(result)
        if frames > 1:
            text += f" in {frames} frames"
        return f"{text}, in {duration(self._clock.seconds())}."

    def interrupt(self, reason: str) -> str:
        """Keep the finished frames, note the reason in the provenance, and return a summary."""
        if self.dropped:
            return ""
        if self.assembly is None:
            return "No frame was finished, so there is no result."
        assembly = self.assembly
        assembly.close()
        result = assembly.result()
        for note in result.provenance.get("notes", ()):
            self.notice(note)
        facts = provenance(
            method=self.method.name,
            config=self._config,
            seconds=self._clock.seconds(),
            axes=self._config.axes,
            channel=self._config.channel,
        )
        layer = self._show(self._entry({**facts, **result.provenance, "stopped": reason}))
        self.keep(layer, result)
        self.assembly = None
        if assembly.begun:
            return f"The finished part is in the layer {layer.name!r}."
        return f"{assembly.done} of {self._frames} frames are in the layer {layer.name!r}."

    def keep(self, layer: Labels, result: Any) -> None:  # noqa: B027 - entities need nothing
        """Keep with the layer what changing it needs."""

    def features(self) -> pd.DataFrame:
        """Return the layer's table of what is there."""
        return layer_features(self.assembly.table())

    @property
    def _frames(self) -> int:
        return math.prod(self.placement.shape[axis] for axis in self.placement.frame_axes)

    def _entry(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the layer's metadata says of this run."""
        notes = {"notes": list(self._notices)} if self._notices else {}
        return {**facts, **notes, "ids": self.method.ids, **self.origin(), **self.file}

    def _show(self, entry: Mapping[str, Any]) -> Labels:
        name = self._image.name
        options = layer_options(self.features(), self.placement, name, entry, self.method.suffix)
        layer = self.layer
        if layer is None or layer not in self._viewer.layers:
            layer = self.layer = self._viewer.add_labels(self.shown, **options)
        else:
            layer.features = options["features"]
            layer.metadata = {**layer.metadata, KEY: options["metadata"][KEY]}
            layer.refresh()
        return layer

    @property
    def shown(self) -> Any:
        """What the layer shows: the job's own labels, which fill up."""
        return growing_in_shape(self.assembly.labels, self.placement.shape)

    def hide_earlier(self, layer: Labels) -> None:
        """Hide earlier results on the same image: two that cover it all cannot be read."""
        for other in self._viewer.layers:
            facts = other.metadata.get(KEY, {})
            same = facts.get("source_layer") == self.source
            own = unwrap_proxy(other) is unwrap_proxy(layer)
            if same and method_of(facts) is self.method and not own:
                other.visible = False


class EntityRun(Run):
    """A run that gives every entity its own label."""

    method = ENTITIES

    _pyramid: LabelPyramid | None = None

    def add(self, partial: Partial) -> None:
        """Show a finished frame or block, at lower resolutions too; see :class:`Run`."""
        if not self.dropped:
            self.assembly = partial.assembly
            slot = self.placement.slot(partial.index)
            self._lower.put(slot, partial.block, partial.labels)
        super().add(partial)

    @property
    def _lower(self) -> LabelPyramid:
        """The labels at lower resolutions, where planes are large."""
        if self._pyramid is None:
            self._pyramid = LabelPyramid(super().shown, self.placement)
        return self._pyramid

    @property
    def shown(self) -> Any:
        """The labels; see :class:`Run`."""
        levels = self._lower.levels
        return levels if len(levels) > 1 else levels[0]

    def found(self, result: Segmentation) -> str:
        """Return how many entities there are; see :class:`Run`."""
        return f"Found {len(result.table)} objects"
