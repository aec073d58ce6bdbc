"""A run that gives every entity its own label. Free of Qt."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from ...methods import ENTITIES
from ...results.tables import count_divisions, count_objects, counted, track_summary
from ..common.layers import OBJECTS, layer_features
from ..common.multiscale_labels import LabelPyramid
from ..common.run import Run
from .one_frame import FRAME

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from napari.layers import Labels

    from ...core.events import Partial
    from ...results.segmentation import Segmentation


class EntityRun(Run):
    """A run whose labels are shown at lower resolutions too if planes are large."""

    method = ENTITIES

    first: Mapping[str, int] = {}  # the frame that is run alone, by axis

    def origin(self) -> dict[str, Any]:
        alone = {FRAME: list(self.first.values())} if self.first else {}
        return {**super().origin(), **alone}

    def add(self, partial: Partial) -> None:
        if not self.dropped:
            self.assembly = partial.assembly
            slot = self.placement.slot(partial.index)
            self._pyramid.put(slot, partial.block, partial.labels)
        super().add(partial)

    @cached_property
    def _pyramid(self) -> LabelPyramid:
        return LabelPyramid(super().shown, self.placement)

    @property
    def shown(self) -> Any:
        levels = self._pyramid.levels
        return levels if len(levels) > 1 else levels[0]

    def frame_noun(self, result: Segmentation) -> str:
        return "slices" if result.provenance.get("link_used") else "frames"

    def found(self, result: Segmentation) -> str:
        return f"Found {counted(count_objects(result), 'object')}"

    def further(self, result: Segmentation) -> str:
        divisions = counted(count_divisions(result), "division")
        return f", {divisions}" if result.ids == "track" else ""

    def features(self) -> pd.DataFrame:
        table = self.assembly.table()
        return layer_features(track_summary(table) if self.assembly.ids == "track" else table)

    def keep(self, layer: Labels, result: Any) -> None:
        if result.ids == "track":
            layer.metadata = {**layer.metadata, OBJECTS: result.table}
