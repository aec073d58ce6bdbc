"""A run of consistent clustering: labels that come twice, and what is said of them. Free of Qt."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar

from ...methods import CLUSTERS
from ..common.label_state import show
from ..common.run import Run
from .layer import Clusters, begin, carried_over, preview_palette

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari.components import ViewerModel
    from napari.layers import Image, Labels

    from ...clusters.config import ClusterConfig
    from ...core.events import Partial
    from ...results.segmentation import Segmentation
    from ..common.layers import LayerImage

BETWEEN_TABLES = 2.0
"""Seconds between two tables of a growing result."""


class ClusterRun(Run):
    """A run that clusters a movie: one label per kind in all frames."""

    method = CLUSTERS
    stages: ClassVar[Mapping[str, str]] = {
        "sampling": "Sampling the movie",
        "cached": "Loading cached features",
        "labelling": "Refining the outlines",
    }

    def __init__(
        self,
        viewer: ViewerModel,
        layer: Image,
        image: LayerImage,
        config: ClusterConfig,
        source: Clusters | None = None,
        model: str = "",
    ) -> None:
        super().__init__(viewer, layer, image, config)
        self._source, self._model = source, model
        self._listed = monotonic()

    def add(self, partial: Partial) -> None:
        """Show a frame, and from time to time the table so far."""
        super().add(partial)
        if self.layer is not None and monotonic() > self._listed + BETWEEN_TABLES:
            self.layer.features = self.features()
            self._listed = monotonic()

    def found(self, result: Segmentation) -> str:
        return f"Found {len(result.table)} clusters"

    def arguments(self) -> dict[str, Any]:
        if self._source is not None:
            return {"model": dict(self._source.origin)}
        return {"model": self._model} if self._model else {}

    def keep(self, layer: Labels, result: Any) -> None:
        """Keep with the layer what changing its level needs, once all frames are there."""
        if getattr(result, "leaves", None) is None:
            return
        origin = {**self.origin(), **self.file}
        previewed = clusters = begin(result, self.placement.shape, origin)
        if self._source is not None:
            clusters = carried_over(self._source, clusters)
        show(layer, clusters, shown=previewed)

    def preview_palette(self) -> Mapping[int, Any]:
        return preview_palette()
