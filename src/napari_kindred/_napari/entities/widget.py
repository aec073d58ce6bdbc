"""The dock widget "Cells and nuclei": every cell or nucleus of an image layer its own label."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from ...core.errors import InputError
from ...entities.config import EntityConfig
from ...methods import ENTITIES
from ..method_widget import MethodWidget
from .correct_panel import CorrectPanel
from .learn_panel import LearnPanel
from .run import EntityRun
from .tracks_panel import TracksPanel
from .weights_input import WeightsInput

if TYPE_CHECKING:
    from collections.abc import Generator

    import napari.viewer
    from magicgui.widgets.bases import ValueWidget, Widget
    from napari.layers import Image

    from ...core.events import Event
    from ...images.stack import ImageStack
    from ...results.segmentation import Segmentation
    from ..common.job_view import JobView
    from ..common.layers import LayerImage
    from ..method_widget import Segment


class EntitiesWidget(MethodWidget):
    """Asks for image and options, runs the segmentation and shows it as it grows."""

    method = ENTITIES
    title = "Cells and nuclei"
    run_tip = "Segment the image into a new Labels layer."

    def __init__(self, viewer: napari.viewer.Viewer, segment: Segment | None = None) -> None:
        super().__init__(viewer, segment)
        self.learn_panel.unfold(False)

    def own_outputs(self) -> list[Widget]:
        self.tracks_panel = TracksPanel(
            self._viewer, lambda: self.more_tools.layer, self.controls.show_message
        )
        self.correct_panel = CorrectPanel(
            self._viewer, lambda: self.more_tools.layer, self.controls.show_message
        )
        self.learn_panel = LearnPanel(
            self._viewer, lambda: self.more_tools.layer, self._frames, self.weights, self.controls
        )
        return [self.correct_panel.row, self.tracks_panel.row, *self.learn_panel.rows()]

    def form_inputs(self) -> dict[str, ValueWidget]:
        meta = {item.name: item.metadata for item in fields(EntityConfig)}["weights"]
        self.weights = WeightsInput(meta["label"], meta["help"])
        return {"weights": self.weights}

    def _frames(self) -> ImageStack:
        """Open the chosen image."""
        if self.layer_image is None:
            raise InputError("Choose the image that the labels are of.")
        return self.frames(self.layer_image)

    def ended(self, run: JobView, result: Any) -> None:
        super().ended(run, result)
        self.tracks_panel.follow()
        self.correct_panel.follow()
        self.learn_panel.follow()

    def release(self) -> None:
        self.correct_panel.abandon()
        self.tracks_panel.abandon()
        self.learn_panel.abandon()
        super().release()

    def _iterate(self, *args: Any, **options: Any) -> Generator[Event, None, Segmentation]:
        return super()._iterate(*args, unique_ids=True, **options)

    def run_of(self, layer: Image, image: LayerImage, config: EntityConfig) -> EntityRun:
        return EntityRun(self._viewer, layer, image, config)
