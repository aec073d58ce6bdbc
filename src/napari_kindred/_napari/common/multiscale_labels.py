"""Labels of large planes at lower resolutions, so that looking at them loads only what is seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...images.arrays import blocks, regular
from ...results.assembly import make_labels, within

if TYPE_CHECKING:
    from .placement import Placement

SIDE = 4096
"""Planes up to this side are shown as they are; larger ones at a lower resolution as well."""


class LabelPyramid:
    """Every n-th row and column of labels that grow."""

    def __init__(self, data: Any, placement: Placement) -> None:
        self._data = data
        longest = max(placement.shape[axis] for axis in placement.plane_axes)
        self.step = 1 << max(0, (-(-longest // SIDE) - 1).bit_length())
        shape = list(placement.shape)
        for axis in placement.plane_axes:
            shape[axis] = -(-shape[axis] // self.step)
        self._low = make_labels(shape) if self.step > 1 else None
        self._every = [slice(None)] * len(shape)
        for axis in placement.plane_axes:
            self._every[axis] = slice(None, None, 2)

    @property
    def levels(self) -> list[Any]:
        """The labels and what is shown of them from afar; one array alone for smaller planes."""
        if self._low is None:
            return [self._data]
        if not isinstance(self._low, np.ndarray):
            return [self._data, self._low]
        half = self._low[tuple(self._every)]
        return [self._data, self._low, half, half[tuple(self._every)]]

    def put(self, slot: tuple[Any, ...], block: tuple[slice, slice] | None, labels: Any) -> None:
        """Add a frame's labels (Y, X), or those of a block of it."""
        if self._low is None:
            return
        parts = [block] if block is not None else blocks(labels, "YX")
        for part in parts:
            values = np.asarray(labels if block is not None else labels[part])
            place, few = regular(values, *part, (self.step, self.step))
            self._low[within(slot, place)] = few
