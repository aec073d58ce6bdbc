"""A circle of the typical diameter, drawn on the image. Free of Qt."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...core.errors import InputError
from ...entities.config import SHORT_UNITS, as_diameter, length_in
from ...images.axes import letters_of
from ..common.layers import POSITION
from ..common.proxies import camera_of, level_0

NAME = "diameter"

COLOUR = "#ffd400"

POINTS = 64
"""Corners of the circle."""


def toggle_circle(viewer: Any, layer: Any, entered: Any, measured: float | None) -> str:
    """Draw a circle in the middle of the view, or remove the one that is there; returns a message.

    ``entered`` is the diameter of the form; ``measured``, in pixels, counts where it is empty.
    """
    drawn = [one for one in viewer.layers if one.name == NAME and hasattr(one, "shape_type")]
    if drawn:
        for one in drawn:
            viewer.layers.remove(one)
        return ""
    if layer is None:
        raise InputError("Choose an image first.")
    pixels, text = _pixels(layer, entered, measured)
    active = viewer.layers.selection.active
    _draw(viewer, layer, pixels)
    if active is not None and active in viewer.layers:
        viewer.layers.selection.active = active
    return text


def _pixels(layer: Any, entered: Any, measured: float | None) -> tuple[float, str]:
    """Return the diameter in pixels of the image, and where it is from."""
    given = as_diameter(entered)
    if given is None:
        if not measured:
            raise InputError(
                "No diameter was measured or entered yet: press Preview or Run, or enter one."
            )
        return measured, f"Objects are about {measured:.0f} pixels across, as measured."
    length, unit = length_in(str(given))
    if unit != "px":
        from ...entities.diameter import pixel_size

        size = pixel_size(layer.scale, [str(one) for one in layer.units])
        if size is None:
            raise InputError("The layer has no pixel size in a unit of length; enter pixels.")
        length *= SHORT_UNITS[unit] / size
    return length, f"A circle of {length:.0f} pixels, as entered."


def _draw(viewer: Any, layer: Any, pixels: float) -> None:
    letters = letters_of(layer.axis_labels)
    named = {"Y", "X"} <= set(letters)
    planes = (letters.index("Y"), letters.index("X")) if named else (layer.ndim - 2, layer.ndim - 1)
    offset = viewer.dims.ndim - layer.ndim
    world = np.array(viewer.dims.point[offset:], float)
    centre = np.asarray(camera_of(viewer).center, float)[-2:]
    shown = [axis - offset for axis in viewer.dims.displayed][-2:]
    for axis, place in zip(shown, centre, strict=True):
        world[axis] = place
    middle = np.array(layer.world_to_data(world), float)
    shape = level_0(layer).shape
    for axis in range(layer.ndim):
        middle[axis] = min(max(middle[axis], 0), shape[axis] - 1)
    angles = np.linspace(0, 2 * np.pi, POINTS, endpoint=False)
    points = np.repeat(middle[None], POINTS, 0)
    points[:, planes[0]] += pixels / 2 * np.sin(angles)
    points[:, planes[1]] += pixels / 2 * np.cos(angles)
    viewer.add_shapes(
        [points],
        shape_type="polygon",
        ndim=layer.ndim,
        name=NAME,
        face_color="transparent",
        edge_color=COLOUR,
        edge_width=max(pixels / 20, 0.5),
        **{name: getattr(layer, name) for name in POSITION},
    )
