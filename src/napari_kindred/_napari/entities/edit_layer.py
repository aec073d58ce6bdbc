"""The plane of a result that is shown, edited so that napari can undo it. Free of Qt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.errors import InputError
from ...images.axes import letters_of
from ...methods import ENTITIES
from ..common.layers import KEY
from ..results.painting import plane_axes, settle
from .one_frame import first_index
from .tracks import is_linked

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

LINKED = 0.3
"""Least IoU with an object of the frame before or after, whose id a new object then gets."""


def is_entities(layer: Any) -> bool:
    """Whether a layer is a result whose objects can be corrected."""
    entry = {} if layer is None else layer.metadata.get(KEY, {})
    return hasattr(layer, "selected_label") and entry.get("method") == ENTITIES.name


@dataclass(frozen=True)
class ShownPlane:
    """The plane of a labels layer that a 2-D view shows."""

    layer: Any
    index: tuple[int, ...]
    """Its place along the layer's other axes."""

    @classmethod
    def of(cls, viewer: Any, layer: Any) -> ShownPlane:
        """Return the plane that is shown, or raise an InputError where none can be edited."""
        if layer.multiscale or not isinstance(layer.data, np.ndarray):
            raise InputError(
                "These labels are too large for the tools, and kept on disk; use napari's brush."
            )
        dims = viewer.dims
        offset = dims.ndim - layer.ndim
        shown = sorted(axis - offset for axis in dims.displayed)
        if shown != sorted(plane_axes(layer)):
            raise InputError("Show rows and columns, Y and X, in 2-D to correct objects.")
        point = layer.world_to_data(dims.point[offset:])
        index = tuple(
            min(max(round(float(point[axis])), 0), size - 1)
            for axis, size in enumerate(layer.data.shape)
            if axis not in plane_axes(layer)
        )
        return cls(layer, index)

    def at(self, index: Sequence[int]) -> ShownPlane:
        """Return another plane of the layer."""
        return ShownPlane(self.layer, tuple(index))

    @property
    def labels(self) -> NDArray[Any]:
        """Labels (Y, X) of the plane."""
        y, x = plane_axes(self.layer)
        plane: NDArray[Any] = self.layer.data[self._place(slice(None), slice(None))]
        return plane if y < x else plane.T

    def _place(self, rows: Any, columns: Any) -> tuple[Any, ...]:
        y, x = plane_axes(self.layer)
        others = iter(self.index)
        return tuple(
            rows if axis == y else columns if axis == x else next(others)
            for axis in range(self.layer.ndim)
        )

    def point(self, position: Sequence[float]) -> tuple[float, float]:
        """Return the row and column of a position of the mouse in the viewer."""
        place = self.layer.world_to_data(position)
        y, x = plane_axes(self.layer)
        return float(place[y]), float(place[x])

    def in_layer(self, points: NDArray[Any]) -> NDArray[np.float64]:
        """Return points (N, 2) of the plane as points of the layer (N, axes)."""
        place = self._place(points[:, 0], points[:, 1])
        return np.stack([np.broadcast_to(each, len(points)).astype(float) for each in place], 1)

    def frame_index(self, axes: str) -> tuple[int, ...]:
        """Return the place of the plane along the axes T and Z of an image with these axes."""
        letters = letters_of(self.layer.axis_labels)
        y, x = plane_axes(self.layer)
        names = [one for axis, one in enumerate(letters) if axis not in (y, x)]
        if len(names) != len(self.index):
            names = [one for one in axes if one in "TZ"][: len(self.index)]
        found = [at for at, name in zip(self.index, names, strict=False) if name in "TZ"]
        first = first_index(self.layer, len(found))
        return tuple(at + begin for at, begin in zip(found, first, strict=True))

    def write(self, changes: Sequence[tuple[ShownPlane, NDArray[Any]]] | NDArray[Any]) -> None:
        """Write new labels (Y, X), of this plane or several, as one step of napari's undo."""
        several = [(self, changes)] if isinstance(changes, np.ndarray) else changes
        layer = self.layer
        with layer.block_history():
            for plane, new in several:
                rows, columns = np.nonzero(plane.labels != new)
                if len(rows):
                    place = plane._place(rows, columns)
                    whole = tuple(np.broadcast_to(each, len(rows)).copy() for each in place)
                    layer.data_setitem(whole, np.asarray(new[rows, columns], layer.data.dtype))
        settle(layer)

    # -- ids -------------------------------------------------------------------------------

    def new_ids(self) -> Iterator[int]:
        """Yield ids that no object of the layer has."""
        features = self.layer.features
        known = features["index"].max() if "index" in features and len(features) else 0
        last = max(int(known), int(self.labels.max(initial=0)), int(self.layer.data.max(initial=0)))
        while True:
            last += 1
            yield last

    def id_for(self, mask: NDArray[np.bool_], corner: tuple[int, int]) -> int:
        """Return the id of a new object: in a linked movie that of the track that it continues."""
        if is_linked(self.layer) and self.index:
            here = set(np.unique(self.labels).tolist())
            place = tuple(slice(at, at + n) for at, n in zip(corner, mask.shape, strict=True))
            for step in (-1, 1):
                frame = self.index[0] + step
                if not 0 <= frame < self.layer.data.shape[0]:
                    continue
                other = self.at((frame, *self.index[1:])).labels
                ids, shared = np.unique(other[place][mask], return_counts=True)
                for order in np.argsort(-shared):
                    one = int(ids[order])
                    union = np.count_nonzero(other == one) + mask.sum() - shared[order]
                    if one and one not in here and shared[order] >= LINKED * union:
                        return one
        return next(self.new_ids())

    def planes_with(self, one: int) -> list[ShownPlane]:
        """Return all planes of the layer in which an object is."""
        y, x = plane_axes(self.layer)
        there = (self.layer.data == one).any(axis=(y, x))
        return (
            [self.at(tuple(int(at) for at in index)) for index in np.argwhere(there)]
            if (there.ndim)
            else [self]
        )
