"""Placement of labels like their image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .proxies import level_0

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.layers import Image


@dataclass(frozen=True, slots=True)
class Placement:
    """Placement of the labels of an image layer in the viewer.

    napari lines layers up by their last axes. So where an axis that the labels lack (channels)
    follows one that they have (time), the labels get an axis of length 1 there, as long as all
    channels in the viewer's units, so that they show whichever channel is looked at.
    """

    shape: tuple[int, ...]  # of the Labels layer
    frame_axes: tuple[int, ...]  # places of the frames' leading axes in the shape
    plane_axes: tuple[int, int]  # places of Y and X in the shape
    options: dict[str, Any]  # scale, translate and the rest of the layer's position

    def slot(self, index: Sequence[int]) -> tuple[int | slice, ...]:
        """Return where in the labels a frame goes."""
        place: list[int | slice] = [0] * len(self.shape)
        for axis, position in zip(self.frame_axes, index, strict=True):
            place[axis] = position
        for axis in self.plane_axes:
            place[axis] = slice(None)
        return tuple(place)


def place_labels(layer: Image, axes: str) -> Placement:
    """Work out where labels go."""
    letters = axes[:-1] if layer.rgb else axes
    first = min(letters.index(letter) for letter in letters if letter in "TZYX")
    letters, keep = letters[first:], list(range(first, len(letters)))
    size = level_0(layer).shape
    shape, scale, translate = [], [], []
    for letter, axis in zip(letters, keep, strict=True):
        step, start = float(layer.scale[axis]), float(layer.translate[axis])
        if letter in "TZYX":
            shape.append(int(size[axis]))
        else:
            # A little longer than the channels, so that the outermost is not rounded off.
            shape.append(1)
            start += step * (size[axis] - 1) / 2
            step *= size[axis] + 1
        scale.append(step)
        translate.append(start)
    block = np.ix_(keep, keep)
    named = not all(str(label).lstrip("-").isdigit() for label in layer.axis_labels)
    names = [layer.axis_labels[axis] for axis in keep] if named else list(letters.lower())
    options: dict[str, Any] = {
        "scale": tuple(scale),
        "translate": tuple(translate),
        "units": tuple(layer.units[axis] for axis in keep),
        "axis_labels": tuple(names),
        "rotate": np.asarray(layer.rotate)[block],
        "shear": _shear_of(layer, block),
        "affine": np.asarray(layer.affine.affine_matrix)[np.ix_([*keep, -1], [*keep, -1])],
    }
    where = {letter: axis for axis, letter in enumerate(letters)}
    frames = tuple(where[letter] for letter in letters if letter in "TZ")
    return Placement(tuple(shape), frames, (where["Y"], where["X"]), options)


def _shear_of(layer: Image, block: tuple[np.ndarray, ...]) -> np.ndarray:
    """Return the shear of some of a layer's axes; napari lists only what is above the diagonal."""
    shear = np.asarray(layer.shear)
    if shear.ndim == 1:
        matrix = np.eye(layer.ndim)
        matrix[np.triu_indices(layer.ndim, 1)] = shear
        part: np.ndarray = matrix[block]
        return part[np.triu_indices(len(part), 1)]
    return shear[block]
