"""One run on one image layer: its growing Labels layer and what is said about it. Free of Qt."""

from __future__ import annotations

import math
from abc import abstractmethod
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from ...methods import method_of
from ...results.atomic import plain
from ...results.recipe import recipe_of
from ...results.segmentation import provenance
from ..results.replay import origin_in_file
from .job_view import JobView, duration
from .label_state import OPACITY, direct_colormap
from .layers import KEY, LayerImage, growing_in_shape, layer_features, layer_options
from .placement import place_labels
from .proxies import unwrap_proxy

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from napari.components import ViewerModel
    from napari.layers import Image, Labels

    from ...core.events import Partial
    from ...methods import Method
    from ...results.segmentation import Segmentation


class Run(JobView):
    """Collects the labels that a job yields, and shows them in a layer."""

    method: ClassVar[Method]

    def __init__(
        self,
        viewer: ViewerModel,
        layer: Image,
        image: LayerImage,
        config: Any,
    ) -> None:
        super().__init__()
        self._viewer, self.source_layer = viewer, layer
        self.image, self.config = image, config
        self.placement = place_labels(layer, config.axes or image.guess.axes)
        self.assembly: Any = None  # of the labels, from the first frame to the end of the job
        self.image_id: object = layer.unique_id

    def drop(self) -> None:
        """Ignore further events: the user removed the result."""
        super().drop()
        if self.assembly is not None:
            self.assembly.close()
            self.assembly = None

    @property
    def source(self) -> str:
        """Name of the image."""
        return self.image.name

    @abstractmethod
    def found(self, result: Segmentation) -> str:
        """Return what was found, the begin of a sentence."""

    def further(self, result: Segmentation) -> str:  # noqa: ARG002
        """Return more of what was found, after the number of frames."""
        return ""

    def preview_palette(self) -> Mapping[int, Any]:
        """Return the labels' colours until the result brings its own; none for napari's."""
        return {}

    def arguments(self) -> dict[str, Any]:
        """Return further arguments of the method's function, as plain data."""
        return {}

    def origin(self) -> dict[str, Any]:
        """Return how the result comes about, for its provenance."""
        return {
            "method": self.method.name,
            "config": plain(self.config),
            "source_layer": self.image.name,
            "arguments": self.arguments(),
        }

    def code(self) -> str:
        """Return the Python code that computes the result again."""
        return recipe_of(self.origin()).to_python()

    @cached_property
    def file(self) -> dict[str, Any]:
        """The file that holds the image, or why none does, for the provenance."""
        return origin_in_file(self.image, self.config, self.method)

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
            text += f" in {frames} {self.frame_noun(result)}"
        text += self.further(result)
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
            config=self.config,
            seconds=self._clock.seconds(),
            axes=self.config.axes,
            channel=self.config.channel,
        )
        layer = self._show(self._entry({**facts, **result.provenance, "stopped": reason}))
        self.keep(layer, result)
        self.assembly = None
        if assembly.begun:
            return f"The finished part is in the layer {layer.name!r}."
        return f"{assembly.done} of {self._frames} frames are in the layer {layer.name!r}."

    def keep(self, layer: Labels, result: Any) -> None:
        """Keep with the layer what changing it needs."""

    def features(self) -> pd.DataFrame:
        """Return the layer's table of what is there."""
        return layer_features(self.assembly.table())

    @property
    def _frames(self) -> int:
        return math.prod(self.placement.shape[axis] for axis in self.placement.frame_axes)

    def frame_noun(self, result: Segmentation) -> str:  # noqa: ARG002
        """Return what the frames of a result are called, more than one of them."""
        return "frames"

    def _entry(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the layer's metadata says of this run."""
        notes = {"notes": list(self._notices)} if self._notices else {}
        return {**facts, **notes, "ids": self._scope, **self.origin(), **self.file}

    @property
    def _scope(self) -> str:
        """Scope of the layer's ids: frame, stack, track or class."""
        return self.method.ids if self.assembly is None else self.assembly.ids

    def _show(self, entry: Mapping[str, Any]) -> Labels:
        name = self.image.name
        options = layer_options(self.features(), self.placement, name, entry, self.method.suffix)
        layer = self.layer
        if layer is None or layer not in self._viewer.layers:
            layer = self.layer = self._viewer.add_labels(self.shown, **options)
            palette = self.preview_palette()
            if palette:
                layer.colormap, layer.opacity = direct_colormap(palette), OPACITY
                self._hide_earlier(layer)
        else:
            layer.features = options["features"]
            layer.metadata = {**layer.metadata, KEY: options["metadata"][KEY]}
            layer.refresh()
        return layer

    @property
    def shown(self) -> Any:
        """Labels of the job, which the layer shows while they are filled."""
        return growing_in_shape(self.assembly.labels, self.placement.shape)

    def _hide_earlier(self, layer: Labels) -> None:
        """Hide earlier results on the same image: two that cover it all cannot be read."""
        for other in self._viewer.layers:
            facts = other.metadata.get(KEY, {})
            same = facts.get("source_layer") == self.source
            own = unwrap_proxy(other) is unwrap_proxy(layer)
            if same and method_of(facts) is self.method and not own:
                other.visible = False
