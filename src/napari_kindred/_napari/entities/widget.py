"""The dock widget "Cells and nuclei": every cell or nucleus of an image layer its own label."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...methods import ENTITIES
from ..method_widget import MethodWidget
from .run import EntityRun

if TYPE_CHECKING:
    from collections.abc import Generator

    from napari.layers import Image

    from ...core.events import Event
    from ...entities.config import EntityConfig
    from ...results.segmentation import Segmentation
    from ..common.layers import LayerImage


class EntitiesWidget(MethodWidget):
    """Asks for image and options, runs the segmentation and shows it as it grows."""

    method = ENTITIES
    title = "Cells and nuclei"
    run_tip = "Segment the image into a new Labels layer."

    def _iterate(self, *args: Any, **options: Any) -> Generator[Event, None, Segmentation]:
        return super()._iterate(*args, unique_ids=True, **options)

    def run_of(self, layer: Image, image: LayerImage, config: EntityConfig) -> EntityRun:
        return EntityRun(self._viewer, layer, image, config)
