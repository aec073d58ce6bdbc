"""The dock widget "Entities": every cell or nucleus of an image layer its own label."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...entities.config import EntityConfig
from ..common.run import EntityRun, Run
from ..method_widget import MethodWidget, Segment

if TYPE_CHECKING:
    from collections.abc import Generator

    import napari.viewer
    from napari.layers import Image

    from ...core.events import Event
    from ...results.segmentation import Segmentation
    from ..common.layers import LayerImage


def _segment(*args: Any, **options: Any) -> Generator[Event, None, Segmentation]:
    """Import and start the real thing; called beside the window, for it brings torch along."""
    from ...entities.predict import iter_segment_entities

    return iter_segment_entities(*args, **options)


class EntitiesWidget(MethodWidget):
    """Asks for image and options, runs the segmentation and shows it as it grows.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    segment : callable, optional
        Takes an array and ``config=``, and returns the generator that does the work;
        :func:`napari_kindred.iter_segment_entities` when left out.
    """

    config_class = EntityConfig
    title = "Entities"
    run_tip = "Segment the image into a new Labels layer."

    def __init__(self, viewer: napari.viewer.Viewer, segment: Segment | None = None) -> None:
        super().__init__(viewer, segment or _segment)

    def run_of(self, layer: Image, image: LayerImage, config: EntityConfig) -> Run:
        """Return what shows a job; see :class:`MethodWidget`."""
        return EntityRun(self._viewer, layer, image, config)
