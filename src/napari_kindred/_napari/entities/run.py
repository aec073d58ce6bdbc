"""A run that gives every entity its own label. Free of Qt."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from ...methods import ENTITIES
from ..common.multiscale_labels import LabelPyramid
from ..common.run import Run

if TYPE_CHECKING:
    from ...core.events import Partial
    from ...results.segmentation import Segmentation


class EntityRun(Run):
    """A run whose labels are shown at lower resolutions too if planes are large."""

    method = ENTITIES

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

    def found(self, result: Segmentation) -> str:
        return f"Found {len(result.table)} objects"
