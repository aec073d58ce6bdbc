"""A run of consistent clustering: labels that come twice, and what is said of them. Free of Qt."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar

from ...clusters.provisional import ProvisionalFrames
from ...methods import CLUSTERS
from ..common.layers import GrowingLabels, layer_features
from ..common.placement import Placement, place_labels
from ..common.run import Run
from .layer import OPACITY, Clusters, begin, carried_over, colormap, show

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from napari.components import ViewerModel
    from napari.layers import Image, Labels

    from ...clusters.config import ClusterConfig
    from ...clusters.result import ClusterSegmentation
    from ...core.events import Partial
    from ...results.segmentation import Segmentation
    from ..common.layers import LayerImage

BETWEEN_TABLES = 2.0
"""Seconds between two tables of a growing result."""


class GrowingClusters(GrowingLabels):
    """Labels that mean the same in every frame, first provisional and then for good."""

    def __init__(self, placement: Placement) -> None:
        super().__init__(placement)
        shape = [placement.shape[axis] for axis in placement.frame_axes]
        self._frames = ProvisionalFrames(self.data, shape, placement.slot)

    def add(self, partial: Partial) -> None:
        """Add a frame, or replace it by its final labels."""
        self._frames.add(partial)
        self.done = self._frames.done

    @property
    def provisional(self) -> bool:
        """Whether there are frames, and none was labelled a second time."""
        return self._frames.provisional

    def settle(self) -> None:
        """Give all frames the final ids if only some have them."""
        self._frames.settle()

    def release(self, data: Any) -> None:
        """Show other data from now on, and let go of what was shown so far."""
        self.data = self._frames.labels = data

    def features(self) -> pd.DataFrame:
        """Return a row per cluster, as :func:`layer_features` does."""
        return layer_features(self._frames.table())


class ClusterRun(Run):
    """A run that clusters a movie: one label per kind in all frames.

    Parameters
    ----------
    viewer, layer, image, config
        As for :class:`Run`.
    source : Clusters, optional
        Those whose model labels the image; their level, names and colours are taken over.
    model : str
        Path of the saved model that labels the image, if there is one.
    """

    method = CLUSTERS
    stages: ClassVar[Mapping[str, str]] = {
        "looking": "Sampling the movie",
        "known": "Loading cached features",
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
        self._clusters = GrowingClusters(place_labels(layer, config.axes or image.guess.axes))
        super().__init__(viewer, layer, image, config, self._clusters)
        self._source, self._model = source, model
        self._listed = monotonic()

    @property
    def _fits_model(self) -> bool:
        """Whether no model is there that labels the frames once and for all."""
        return self._source is None and not self._model

    def add(self, partial: Partial) -> None:
        """Show a frame, and from time to time the table so far."""
        super().add(partial)
        if self.layer is not None and monotonic() > self._listed + BETWEEN_TABLES:
            self.layer.features = self._clusters.features()
            self._listed = monotonic()

    def found(self, result: Segmentation) -> str:
        """Return how many clusters there are; see :class:`Run`."""
        return f"Found {len(result.table)} clusters"

    def arguments(self) -> dict[str, Any]:
        """Return the model, or how the clusters came about that it is of; see :class:`Run`."""
        if self._source is not None:
            return {"model": dict(self._source.origin)}
        return {"model": self._model} if self._model else {}

    def finish(self, result: ClusterSegmentation) -> str:
        """Complete the layer, and keep with it what changing its level needs."""
        missing = result.level - len(result.table)
        if missing > 0 and self._fits_model:
            self.notice(
                f"{missing} of the {result.level} clusters {'has' if missing == 1 else 'have'} no "
                "pixels after refinement."
            )
        text = super().finish(result)
        shape = self._growing.placement.shape
        came = clusters = begin(result, shape, {**self.origin(), **self.file})
        if self._source is not None:
            clusters = carried_over(self._source, clusters)
        assert self.layer is not None  # noqa: S101 - finishing shows the layer
        show(self.layer, clusters, shown=came)
        self._clusters.release(self.layer.data)  # not kept twice
        return text

    def interrupt(self, reason: str) -> str:
        """Keep the frames that are there; see :class:`Run`."""
        self._clusters.settle()
        if self._clusters.provisional and self._fits_model and self._config.preset != "paper":
            self.notice("Labels and outlines are provisional.")
        return super().interrupt(reason)

    def _show(self, entry: Mapping[str, Any]) -> Labels:
        before = self.layer
        layer = super()._show(entry)
        if layer is not before:
            layer.colormap = colormap()
            layer.opacity = OPACITY
            self.hide_earlier(layer)
        return layer
