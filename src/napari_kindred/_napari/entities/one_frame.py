"""The frame or slice that is shown, as an image of its own. Free of Qt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.errors import InputError
from ..common.layers import KEY, POSITION
from ..common.proxies import level_0

if TYPE_CHECKING:
    from napari.layers import Image

FRAME = "first_index"
"""Key of a result's entry for the place, along T and Z, of its first frame in its image."""


def shown_frame(viewer: Any, layer: Any, axes: str) -> tuple[Image, dict[str, int]]:
    """Return an image layer with only the frame that is shown, and which that is, by axis.

    It lies where the frame lies, and is not in the viewer.  ``axes`` are those of the layer's data.
    """
    from napari.layers import Image

    data = level_0(layer)
    offset = viewer.dims.ndim - layer.ndim
    point = layer.world_to_data(viewer.dims.point[offset:])
    number: dict[str, int] = {}
    picks: list[Any] = [slice(None)] * len(axes)
    moved = np.zeros(layer.ndim)
    for axis, letter in enumerate(axes):
        if letter in "TZ" and data.shape[axis] > 1:
            at = min(max(round(float(point[axis])), 0), data.shape[axis] - 1)
            number[letter] = at
            picks[axis] = slice(at, at + 1)
            moved[axis] = at * layer.scale[axis]
    if not number:
        raise InputError("The image has a single frame; press Run.")
    options = {name: getattr(layer, name) for name in POSITION}
    options["translate"] = np.asarray(layer.translate) + np.asarray(layer.rotate) @ moved
    frame = Image(
        data[tuple(picks)],
        name=layer.name,
        rgb=layer.rgb,
        metadata=dict(layer.metadata),
        **options,
    )
    return frame, number


def first_index(layer: Any, count: int) -> tuple[int, ...]:
    """Return where the first frame of a result lies in its image, along ``count`` axes."""
    first = layer.metadata.get(KEY, {}).get(FRAME) or ()
    return tuple(int(at) for at in first) if len(first) == count else (0,) * count
