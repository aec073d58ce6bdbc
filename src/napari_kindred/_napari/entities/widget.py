"""The dock widget "Cells and nuclei": every cell or nucleus of an image layer its own label."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from magicgui.widgets import PushButton

from ...core.errors import InputError, KindredError
from ...entities.config import EntityConfig
from ...methods import ENTITIES
from ..common.layers import read_layer
from ..common.proxies import unwrap_proxy
from ..method_widget import MethodWidget
from .correct_panel import CorrectPanel
from .learn_panel import LearnPanel
from .one_frame import shown_frame
from .review_panel import ReviewPanel
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

ABOUT_FRAME = "Try the options on the frame or slice that is shown, into a layer of its own."

SINGLE = "This image has a single frame."


class EntitiesWidget(MethodWidget):
    """Asks for image and options, runs the segmentation and shows it as it grows."""

    method = ENTITIES
    title = "Cells and nuclei"
    run_tip = "Segment the image into a new Labels layer."

    def __init__(self, viewer: napari.viewer.Viewer, segment: Segment | None = None) -> None:
        super().__init__(viewer, segment)
        self.learn_panel.unfold(False)

    def own_outputs(self) -> list[Widget]:
        def shown() -> Any:
            return self.more_tools.layer

        say = self.controls.show_message
        self.this_frame = PushButton(text="Run on this frame only", tooltip=ABOUT_FRAME)
        self.this_frame.changed.connect(self.start_frame)
        self.tracks_panel = TracksPanel(self._viewer, shown, say)
        self.correct_panel = CorrectPanel(self._viewer, shown, say)
        self.review_panel = ReviewPanel(self._viewer, shown, say, self.correct_panel.tools)
        self.learn_panel = LearnPanel(
            self._viewer, shown, self._frames, self.weights, self.controls
        )
        self._panels = (
            self.tracks_panel,
            self.correct_panel,
            self.review_panel,
            self.learn_panel,
        )
        return [
            self.this_frame,
            self.correct_panel.row,
            self.review_panel.row,
            self.tracks_panel.row,
            *self.learn_panel.rows(),
        ]

    def form_inputs(self) -> dict[str, ValueWidget]:
        meta = {item.name: item.metadata for item in fields(EntityConfig)}["weights"]
        self.weights = WeightsInput(meta["label"], meta["help"])
        return {"weights": self.weights}

    def _frames(self) -> ImageStack:
        """Open the chosen image."""
        if self.layer_image is None:
            raise InputError("Choose the image that the labels are of.")
        return self.frames(self.layer_image)

    def check(self, *_: Any) -> Any:
        config = super().check()
        frame = getattr(self, "this_frame", None)
        if frame is not None:  # else the form is being made
            several = self.layer_image is not None and any(
                letter in "TZ" and size > 1
                for letter, size in zip(
                    self.chosen.letters, self.layer_image.data.shape, strict=False
                )
            )
            frame.enabled = self.run.enabled and several
            frame.tooltip = ABOUT_FRAME if several else f"{ABOUT_FRAME} {SINGLE}"
        return config

    def start_frame(self, *_: Any) -> None:
        """Run on the frame that is shown, to try the options before the whole is run."""
        config = self.check()
        if config is None or self.busy or self.layer_image is None:
            return
        layer = unwrap_proxy(self.image.value)
        try:
            frame, number = shown_frame(self._viewer, layer, config.axes or self.chosen.letters)
        except KindredError as error:
            self.controls.show_message(str(error), wrong=True)
            return
        config = replace(config, link="off")
        image = replace(read_layer(frame), name=layer.name)
        run = self.run_of(frame, image, config)
        run.first, run.image_id = number, layer.unique_id
        said = " and ".join(f"{letter} {at}" for letter, at in number.items())
        run.notice(f"Only {said} of the image, and nothing linked; Run does the whole.")
        self.controls.launch(run, self.job_of(image.file, config))

    def ended(self, run: JobView, result: Any) -> None:
        super().ended(run, result)
        for panel in self._panels:
            panel.follow()

    def release(self) -> None:
        for panel in self._panels:
            panel.abandon()
        super().release()

    def _iterate(self, *args: Any, **options: Any) -> Generator[Event, None, Segmentation]:
        return super()._iterate(*args, unique_ids=True, **options)

    def run_of(self, layer: Image, image: LayerImage, config: EntityConfig) -> EntityRun:
        return EntityRun(self._viewer, layer, image, config)
