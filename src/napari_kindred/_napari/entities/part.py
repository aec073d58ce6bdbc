"""The part of an image that is looked at, and what a preview of it shows. Free of Qt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...results.tables import counted
from ..common.job_view import JobView, duration
from ..common.placement import place_labels
from ..common.proxies import level_0

if TYPE_CHECKING:
    from napari.layers import Labels
    from numpy.typing import NDArray

NAME = "preview"

FEWEST = 16
"""Rows or columns below which a drawn box is a slip of the mouse."""


def shown_part(viewer: Any, layer: Any, axes: str) -> tuple[tuple[int, ...], Any]:
    """Return the frame of an image layer that is shown, and the rows and columns in sight.

    A rectangle drawn in a Shapes layer that is selected comes first.  None is all of a frame.
    """
    letters = axes[:-1] if layer.rgb else axes
    offset = viewer.dims.ndim - layer.ndim
    point = layer.world_to_data(viewer.dims.point[offset:])
    shape = level_0(layer).shape
    index = tuple(
        min(max(round(float(point[axis])), 0), shape[axis] - 1)
        for axis, letter in enumerate(letters)
        if letter in "TZ"
    )
    planes = letters.index("Y"), letters.index("X")
    corners = _drawn(viewer, layer, planes)
    if corners is None:
        corners = _in_sight(viewer, layer, planes)
    if corners is None:
        return index, None
    low, high = np.floor(corners.min(0)).astype(int), np.ceil(corners.max(0)).astype(int)
    return index, tuple(slice(int(a), int(b) + 1) for a, b in zip(low, high, strict=True))


def _drawn(viewer: Any, layer: Any, planes: tuple[int, int]) -> NDArray[np.float64] | None:
    """Return the corners (N, 2) of the last shape of a selected layer, in the image's pixels."""
    shapes = viewer.layers.selection.active
    if shapes is None or not hasattr(shapes, "shape_type") or not len(shapes.data):
        return None
    world = np.array([shapes.data_to_world(corner) for corner in shapes.data[-1]])
    missing = np.zeros((len(world), max(0, layer.ndim - world.shape[1])))
    world = np.concatenate([missing, world], 1)[:, -layer.ndim :]
    corners = np.array([layer.world_to_data(each) for each in world])[:, list(planes)]
    return corners if np.ptp(corners, axis=0).min() >= FEWEST else None


def _in_sight(viewer: Any, layer: Any, planes: tuple[int, int]) -> NDArray[np.float64] | None:
    """Return the corners of what the canvas shows; None if that is not a plane of the image."""
    offset = viewer.dims.ndim - layer.ndim
    if {axis - offset for axis in viewer.dims.displayed} != set(planes):
        return None
    corners = np.asarray(layer.corner_pixels, float)[:, list(planes)]
    if layer.multiscale:
        corners *= np.asarray(layer.downsample_factors[layer.data_level])[list(planes)]
    return corners if np.ptp(corners, axis=0).min() >= FEWEST else None


class PreviewRun(JobView):
    """Shows the labels of a part of an image in a layer that the next preview replaces."""

    def __init__(self, viewer: Any, layer: Any, axes: str, before: Labels | None) -> None:
        super().__init__()
        self._viewer, self._source, self._axes = viewer, layer, axes
        self.layer, self.image_id = before, layer.unique_id  # the result stays what it is

    @property
    def source(self) -> str:
        """Name of the image."""
        return str(self._source.name)

    def finish(self, result: Any) -> str:
        """Show the labels in place of the preview before."""
        active = self._viewer.layers.selection.active
        remove_preview(self._viewer, self.source)
        placement = place_labels(self._source, self._axes)
        shape = [1] * len(placement.shape)
        for axis, size in zip(placement.plane_axes, result.labels.shape, strict=True):
            shape[axis] = size
        options = dict(placement.options)
        step = np.asarray(options["scale"])
        moved = np.zeros(len(step))
        for axis, at in zip(placement.frame_axes, result.index, strict=True):
            moved[axis] = at
        for axis, part in zip(placement.plane_axes, result.window, strict=True):
            moved[axis] = part.start
        matrix = np.asarray(options["rotate"])
        options["translate"] = np.asarray(options["translate"]) + matrix @ (moved * step)
        self._viewer.add_labels(
            result.labels.reshape(shape), name=f"{self.source} {NAME}", **options
        )
        if active is not None and active in self._viewer.layers:
            self._viewer.layers.selection.active = active
        seconds = duration(self._clock.seconds())
        rows, columns = result.labels.shape
        text = f"Preview of {rows} × {columns} pixels: {counted(result.count, 'object')}"
        if result.diameter:
            text += f", scale {result.scale:g}"
        return f"{text}, in {seconds}."

    def interrupt(self, reason: str) -> str:  # noqa: ARG002
        """Keep nothing."""
        return ""


def _previews(viewer: Any, source: str) -> list[Any]:
    """Return the layers that are previews of an image."""
    name = f"{source} {NAME}"
    return [one for one in viewer.layers if one.name == name and hasattr(one, "selected_label")]


def has_preview(viewer: Any, source: str) -> bool:
    """Whether a preview of an image is shown."""
    return bool(_previews(viewer, source))


def remove_preview(viewer: Any, source: str) -> None:
    """Remove the preview of an image."""
    for layer in _previews(viewer, source):
        viewer.layers.remove(layer)
