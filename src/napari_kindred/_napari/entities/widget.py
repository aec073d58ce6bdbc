"""The dock widget "Cells and nuclei": every cell or nucleus of an image layer its own label."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...methods import ENTITIES
from ..common.run import EntityRun, Run
from ..method_widget import MethodWidget

if TYPE_CHECKING:
    from napari.layers import Image

    from ...entities.config import EntityConfig
    from ..common.layers import LayerImage


class EntitiesWidget(MethodWidget):
    """Asks for image and options, runs the segmentation and shows it as it grows."""

    method = ENTITIES
    title = "Cells and nuclei"
    run_tip = "Segment the image into a new Labels layer."

    def run_of(self, layer: Image, image: LayerImage, config: EntityConfig) -> Run:
        """Return what shows a job; see :class:`MethodWidget`."""
        return EntityRun(self._viewer, layer, image, config)
