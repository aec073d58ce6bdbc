"""A finished run whose threshold, area or score is changed: the same layer, decided anew. No Qt."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.errors import InputError
from ..common.proxies import unwrap_proxy
from .run import EntityRun

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari.layers import Labels

    from ...core.events import Partial
    from ...entities.config import EntityConfig
    from ..common.layers import LayerImage

DECIDED_LATER = ("threshold", "min_area", "min_score", "fill_holes")
"""Options that need no network, only its maps."""

CORRECTED = "The result was corrected by hand, so it stays as it is; press Run for a new one."


@dataclass(frozen=True, eq=False)
class Finished:
    """A finished run that can be decided anew."""

    source: Any
    """The image layer, or that of the frame that was run alone."""
    image: LayerImage
    config: EntityConfig
    image_id: object
    first: Mapping[str, int]
    layer: Labels

    @classmethod
    def of(cls, run: EntityRun) -> Finished:
        """Return what a run has left behind."""
        assert run.layer is not None  # noqa: S101 - it is finished
        return cls(run.source_layer, run.image, run.config, run.image_id, run.first, run.layer)

    def anew(self, config: EntityConfig) -> EntityConfig | None:
        """Return the config of the run with what ``config`` decides anew; None if more differs."""
        alone = {"link"} if self.first else set()
        for item in fields(config):
            same = getattr(config, item.name) == getattr(self.config, item.name)
            if not same and item.name not in {*DECIDED_LATER, *alone, "axes"}:
                return None
        return replace(self.config, **{name: getattr(config, name) for name in DECIDED_LATER})


class AdjustedRun(EntityRun):
    """Shows a finished run with other decisions in the layer that it made."""

    def __init__(self, viewer: Any, before: Finished, config: EntityConfig) -> None:
        super().__init__(viewer, before.source, before.image, config)
        self.layer, self.image_id, self.first = before.layer, before.image_id, before.first
        self._before = unwrap_proxy(before.layer).data
        self._changing: Any = None

    def add(self, partial: Partial) -> None:
        """Show a frame that was decided anew, the others as they were before."""
        layer = self.layer
        super().add(partial)
        if layer is None or self.dropped or not isinstance(self._before, np.ndarray):
            return
        if self._changing is None:
            self._changing = self._before.copy()
            layer.data = self._changing
        self._changing[self.placement.slot(partial.index)] = partial.labels
        layer.refresh()

    def interrupt(self, reason: str) -> str:  # noqa: ARG002
        """Show the layer as it was before."""
        if self.layer is not None and self._changing is not None:
            self.layer.data = self._before
        if self.assembly is not None:
            self.assembly.close()
            self.assembly = None
        return ""

    def _show(self, entry: Mapping[str, Any]) -> Labels:
        if self.layer is None or self.layer not in self._viewer.layers:
            raise InputError("The result was removed.")
        self.layer.data = self.shown
        return super()._show(entry)
