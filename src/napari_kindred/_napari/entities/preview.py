"""A line on the image: the outline a click would add, a box, or a stroke. Free of Qt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..common.layers import POSITION
from ..common.proxies import camera_of

if TYPE_CHECKING:
    from napari.layers import Shapes
    from numpy.typing import ArrayLike, NDArray

    from ...entities.click import Outline
    from .edit_layer import ShownPlane

NAME = "preview of the correction"

COLOUR = "#ffd400"

WIDTH = 2.0
"""Of the line, in pixels of the screen."""


def contours(outline: Outline) -> list[NDArray[np.float64]]:
    """Return the outlines of a mask as lines (N, 2) in pixels of the plane."""
    from skimage.measure import find_contours

    found = find_contours(np.pad(outline.mask, 1).astype(float), 0.5)
    return [line - 1 + np.array(outline.corner) for line in found]


def rectangle(first: ArrayLike, last: ArrayLike) -> NDArray[np.float64]:
    """Return a box between two corners as a closed line."""
    (y0, x0), (y1, x1) = np.asarray(first, float), np.asarray(last, float)
    return np.array([[y0, x0], [y0, x1], [y1, x1], [y1, x0], [y0, x0]])


def zoom_of(viewer: Any) -> float:
    """Return the pixels of the screen per unit of the viewer; napari 0.9 moved the camera."""
    return float(camera_of(viewer).zoom)


class Preview:
    """Shows lines in a layer of its own, which is there only while there are some."""

    def __init__(self, viewer: Any) -> None:
        self._viewer = viewer
        self._layer: Shapes | None = None

    def show(self, plane: ShownPlane, lines: list[NDArray[Any]]) -> None:
        """Show lines (N, 2) of a plane in place of those before."""
        lines = [line for line in lines if len(line) > 1]
        if not lines:
            self.clear()
            return
        paths = [plane.in_layer(np.asarray(line, float)) for line in lines]
        layer = plane.layer
        steps = [abs(float(step)) for step in layer.scale]
        width = WIDTH / max(zoom_of(self._viewer) * min(steps[-2:]), 1e-6)
        if self._layer is not None and self._layer not in self._viewer.layers:
            self._layer = None
        if self._layer is None:
            self._layer = self._viewer.add_shapes(
                paths,
                shape_type="path",
                ndim=layer.ndim,
                name=NAME,
                edge_color=COLOUR,
                edge_width=width,
                **{name: getattr(layer, name) for name in POSITION},
            )
            self._viewer.layers.selection.active = layer
            return
        self._layer.data = []
        self._layer.add_paths(paths, edge_color=COLOUR, edge_width=width)

    def clear(self) -> None:
        """Show nothing."""
        layer, self._layer = self._layer, None
        if layer is not None and layer in self._viewer.layers:
            active = self._viewer.layers.selection.active
            self._viewer.layers.remove(layer)
            if active is not None and active in self._viewer.layers:
                self._viewer.layers.selection.active = active
