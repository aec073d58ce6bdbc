"""The dock widget "Cells and nuclei": every cell or nucleus of an image layer its own label."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from magicgui.widgets import CheckBox, PushButton

from ...core.errors import InputError, KindredError
from ...entities.config import EntityConfig
from ...methods import ENTITIES
from ..common.form import row
from ..common.later import Later
from ..common.layers import read_layer
from ..common.proxies import unwrap_proxy
from ..method_widget import MethodWidget
from ..results.painting import is_corrected
from .adjust import CORRECTED, DECIDED_LATER, AdjustedRun, Finished
from .circle import toggle_circle
from .correct_panel import CorrectPanel
from .learn_panel import LearnPanel
from .one_frame import shown_frame
from .part import PreviewRun, has_preview, remove_preview, shown_part
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
    from ...entities.map_cache import MapCache
    from ...images.stack import ImageStack
    from ...results.segmentation import Segmentation
    from ..common.job_view import JobView
    from ..common.layers import LayerImage
    from ..method_widget import Segment

ABOUT_PREVIEW = (
    "Try the options on the part of the image in sight, or in a rectangle drawn in a Shapes layer "
    "that is selected, at most 770 scaled pixels a side; the next preview, or a run, replaces it."
)

ABOUT_ADJUSTING = (
    "Threshold, minimum area, minimum score and filling of holes change the last result, or "
    "preview, at once, unless you have corrected it."
)

ABOUT_CIRCLE = "Draw a circle of the diameter that is entered, else that was measured."

REST = 250
"""Milliseconds after which an option that was changed is taken."""

ABOUT_FRAME = "Try the options on the frame or slice that is shown, into a layer of its own."

SINGLE = "This image has a single frame."


class EntitiesWidget(MethodWidget):
    """Asks for image and options, runs the segmentation and shows it as it grows."""

    method = ENTITIES
    title = "Cells and nuclei"
    run_tip = "Segment the image into a new Labels layer."

    def __init__(self, viewer: napari.viewer.Viewer, segment: Segment | None = None) -> None:
        self._maps: Any = None  # of frames that were looked at; made where torch is loaded
        self._finished: Finished | None = None
        self._measured: dict[object, float | None] = {}
        """The diameter that was last measured, by the identity of the image layer."""
        self._previewed: EntityConfig | None = None
        self._again = False  # whether a result that is being adjusted is adjusted once more
        self._later = Later(self.adjust)
        super().__init__(viewer, segment)
        self.learn_panel.unfold(False)
        for name in DECIDED_LATER:
            self.form.inputs[name].changed.connect(lambda *_: self._later.ask(REST))

    def own_outputs(self) -> list[Widget]:
        def shown() -> Any:
            return self.more_tools.layer

        say = self.controls.show_message
        self.this_frame = PushButton(text="Run on this frame only", tooltip=ABOUT_FRAME)
        self.this_frame.changed.connect(self.start_frame)
        self.preview = PushButton(text="Preview", tooltip=ABOUT_PREVIEW)
        self.preview.changed.connect(self.start_preview)
        self.circle = PushButton(text="Show diameter", tooltip=ABOUT_CIRCLE)
        self.circle.changed.connect(self.show_diameter)
        self.adjusts = CheckBox(
            text="Adjust the last result at once", value=True, tooltip=ABOUT_ADJUSTING
        )
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
            self.adjusts,
            row(self.preview, self.circle),
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
            self.preview.enabled = self.run.enabled
            self.circle.enabled = config is not None
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

    def start_preview(self, *_: Any) -> None:
        """Segment the part of the image that is in sight."""
        config = self.check()
        if config is None or self.busy or self.layer_image is None:
            return
        layer = unwrap_proxy(self.image.value)
        axes = config.axes or self.chosen.letters
        index, window = shown_part(self._viewer, layer, axes)
        image = self.layer_image.file
        self._previewed = config

        def preview() -> Generator[Event, None, Any]:
            from ...entities.preview import iter_preview

            return iter_preview(image, index, window, config=config, maps=self._kept_maps())

        self.controls.launch(PreviewRun(self._viewer, layer, axes, self.result), preview)

    def _kept_maps(self) -> MapCache:
        """Return the maps of frames that were looked at; called in another thread."""
        if self._maps is None:
            from ...entities.map_cache import MapCache

            self._maps = MapCache()
        return self._maps

    def adjust(self) -> None:
        """Decide the last result, or preview, anew with the threshold, area and score entered."""
        config = self.check()
        if config is None or not self.adjusts.value or self.layer_image is None:
            return
        view = self.controls.view
        if self.busy:
            if isinstance(view, AdjustedRun) and self._finished is not None:
                self._again = view.config != self._finished.anew(config)
                if self._again:
                    self.controls.stop()  # and begin with what is entered now
            return
        if isinstance(view, PreviewRun) and self._previewed is not None:
            if self._previewed != config and has_preview(self._viewer, view.source):
                self.start_preview()
            return
        before = self._finished
        wanted = before.anew(config) if before is not None else None
        if before is None or wanted is None or wanted == before.config:
            return
        chosen = unwrap_proxy(self.image.value)
        if chosen is None or chosen.unique_id != before.image_id:
            return
        if before.layer not in self._viewer.layers or not self._maps or not self._maps.complete:
            return
        if is_corrected(before.layer):
            self.controls.show_message(CORRECTED)
            return
        run = AdjustedRun(self._viewer, before, wanted)
        self.controls.launch(run, self.job_of(before.image.file, wanted))

    def show_diameter(self, *_: Any) -> None:
        """Draw a circle of the typical diameter in the middle of the view, or remove it."""
        layer = unwrap_proxy(self.image.value)
        measured = None if layer is None else self._measured.get(layer.unique_id)
        try:
            text = toggle_circle(self._viewer, layer, self.form.inputs["diameter"].value, measured)
        except KindredError as error:
            self.controls.show_message(str(error), wrong=True)
            return
        self.controls.show_message(text)

    def ended(self, run: JobView, result: Any) -> None:
        super().ended(run, result)
        if result is not None and isinstance(run, EntityRun):
            self._finished = Finished.of(run)
            self._measured[run.image_id] = result.provenance.get("typical_diameter")
            remove_preview(self._viewer, run.source)
        if result is not None and isinstance(run, PreviewRun):
            self._measured[run.image_id] = result.diameter
        if result is not None or self._again:
            self._again = False
            self._later.ask(REST)  # an option may have been changed meanwhile
        for panel in self._panels:
            panel.follow()

    def release(self) -> None:
        for panel in self._panels:
            panel.abandon()
        self._later.stop()
        self._maps = None
        super().release()

    def _iterate(self, *args: Any, **options: Any) -> Generator[Event, None, Segmentation]:
        return super()._iterate(*args, unique_ids=True, maps=self._kept_maps(), **options)

    def run_of(self, layer: Image, image: LayerImage, config: EntityConfig) -> EntityRun:
        return EntityRun(self._viewer, layer, image, config)
