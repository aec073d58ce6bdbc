"""Differences between two results as a layer of outlines. Free of Qt."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ...results.compare import KINDS, outlines
from ..common.label_state import direct_colormap
from ..common.layers import POSITION
from ..common.proxies import camera_of, level_0

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Labels

    from ...results.compare import Changes

COMPARED = "napari-kindred changes"
"""Key of the outlines' metadata for their :class:`.Changes`."""

COLOURS = ("#ffb000", "#ff4fa3", "#00d5e0")
"""Colours of objects that changed, that only the first result has, that only the second has."""

LINES = 256
"""Pixels of an image's side for each of which lines get one pixel wider."""


def is_comparison(layer: Any) -> bool:
    """Return whether a layer shows the differences between two others."""
    return COMPARED in layer.metadata


def add_outlines(viewer: ViewerModel, first: Labels, second: Labels, changes: Changes) -> Labels:
    """Add outlines, drawn when shown: 1 changed, 2 only in the first, 3 only in the second."""
    import pandas as pd

    layer = viewer.add_labels(
        _drawn(level_0(first), level_0(second), changes),
        name=f"{first.name} → {second.name}",
        features=pd.DataFrame({"index": range(4), "name": ["same", *KINDS]}),
        colormap=direct_colormap(dict(enumerate(COLOURS, start=1))),
        opacity=1.0,
        metadata={COMPARED: changes},
        **{name: getattr(second, name) for name in POSITION},
    )
    layer.editable = False
    return layer


def _drawn(first: Any, second: Any, changes: Changes) -> Any:
    """Return the outlines of all frames, drawn as they are read."""
    import dask.array as da
    from dask.delayed import delayed

    shape = tuple(second.shape)
    width = max(1, max(shape[-2:]) // LINES // 2)
    parts = []
    for frame, index in enumerate(np.ndindex(*shape[:-2])):
        rows = changes.table[changes.table["frame"] == frame]
        if rows.empty:
            parts.append(da.zeros(shape[-2:], dtype=np.uint8, chunks=shape[-2:]))
            continue
        draw = partial(_draw, first, second, index, rows, width)
        parts.append(da.from_delayed(delayed(draw, pure=False)(), shape[-2:], dtype=np.uint8))
    return da.stack(parts).reshape(shape)


def _draw(first: Any, second: Any, index: Any, rows: Any, width: int) -> np.ndarray:
    return outlines(np.asarray(first[index]), np.asarray(second[index]), rows, width)


def show_change(viewer: Any, layer: Any, row: Any) -> None:
    """Show a difference, a row of :attr:`.Changes.table`, in the viewer."""
    show_frame(viewer, layer, int(row["frame"]))
    shape = level_0(layer).shape
    place = [*np.unravel_index(int(row["frame"]), shape[:-2] or (1,))][: len(shape) - 2]
    world = layer.data_to_world([*place, row["y"], row["x"]])
    camera_of(viewer).center = (0.0, float(world[-2]), float(world[-1]))


def show_frame(viewer: Any, layer: Any, frame: int) -> None:
    """Show a frame of a layer in the viewer."""
    shape = level_0(layer).shape
    if len(shape) < 3:
        return
    world = layer.data_to_world([*np.unravel_index(frame, shape[:-2]), 0, 0])
    for axis, size in enumerate(shape[:-2]):
        if size > 1:  # layers are lined up by their last axes
            viewer.dims.set_point(viewer.dims.ndim - layer.ndim + axis, float(world[axis]))
