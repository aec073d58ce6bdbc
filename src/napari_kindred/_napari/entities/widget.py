"""The dock widget "Cells and nuclei": every cell or nucleus of an image layer its own label."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...methods import ENTITIES
from ..method_widget import MethodWidget
from .correct_panel import CorrectPanel
from .run import EntityRun
from .tracks_panel import TracksPanel

if TYPE_CHECKING:
    from collections.abc import Generator

    from magicgui.widgets.bases import Widget
    from napari.layers import Image

    from ...core.events import Event
    from ...entities.config import EntityConfig
    from ...results.segmentation import Segmentation
    from ..common.job_view import JobView
    from ..common.layers import LayerImage


class EntitiesWidget(MethodWidget):
    """Asks for image and options, runs the segmentation and shows it as it grows."""

    method = ENTITIES
    title = "Cells and nuclei"
    run_tip = "Segment the image into a new Labels layer."

    def own_outputs(self) -> list[Widget]:
        self.tracks_panel = TracksPanel(
            self._viewer, lambda: self.more_tools.layer, self.controls.show_message
        )
        self.correct_panel = CorrectPanel(
            self._viewer, lambda: self.more_tools.layer, self.controls.show_message
        )
        return [self.correct_panel.row, self.tracks_panel.row]

    def ended(self, run: JobView, result: Any) -> None:
        super().ended(run, result)
        self.tracks_panel.follow()
        self.correct_panel.follow()

    def release(self) -> None:
        self.correct_panel.abandon()
        self.tracks_panel.abandon()
        super().release()

    def _iterate(self, *args: Any, **options: Any) -> Generator[Event, None, Segmentation]:
        return super()._iterate(*args, unique_ids=True, **options)

    def run_of(self, layer: Image, image: LayerImage, config: EntityConfig) -> EntityRun:
        return EntityRun(self._viewer, layer, image, config)
