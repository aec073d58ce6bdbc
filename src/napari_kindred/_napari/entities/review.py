"""Objects of a result from the least likely on, and hiding below a score. Free of Qt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from ...images.axes import letters_of
from ..common.label_state import direct_colormap
from ..common.layers import KEY
from ..common.proxies import camera_of
from ..results.layer_storage import table_of
from ..results.painting import plane_axes
from .edit_layer import ShownPlane

if TYPE_CHECKING:
    import pandas as pd

RIGHT = "right"
"""Key of a result's entry for the ids that the user has said to be right."""

_COLOURS: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()
"""Colormaps of layers of which some objects are hidden, as they were before."""


def scored(layer: Any) -> pd.DataFrame:
    """Return the rows of objects with a score, the lowest first; painted ones have none."""
    rows = table_of(layer.features)
    if "score" not in rows:
        return rows.iloc[:0].assign(score=0.0)
    return rows.dropna(subset=["score"]).sort_values(["score", "index"], ignore_index=True)


@dataclass(frozen=True)
class Stop:
    """An object to look at: its id, its score, its place in the order, and how many there are."""

    one: int
    score: float
    number: int
    count: int
    plane: ShownPlane
    centre: tuple[float, float]


def next_stop(layer: Any, after: tuple[float, int] | None, step: int, least: float) -> Stop | None:
    """Return the next (``step`` 1) or previous (-1) object from a score and id on.

    Those that are hidden (a score below ``least``), or were said to be right, are left out.
    """
    rows = scored(layer)
    judged = set(layer.metadata.get(KEY, {}).get(RIGHT, ()))
    rows = rows[~rows["index"].isin(judged) & (rows["score"] >= least)].reset_index(drop=True)
    pairs = list(zip(rows["score"].tolist(), rows["index"].astype(int).tolist(), strict=True))
    if step > 0:
        places = [n for n, pair in enumerate(pairs) if after is None or pair > after]
    else:
        places = [n for n, pair in reversed(list(enumerate(pairs))) if after and pair < after]
    for number in places:
        plane = ShownPlane(layer, _index_of(layer, rows.iloc[number]))
        inside = np.argwhere(plane.labels == pairs[number][1])
        if len(inside):
            centre = inside.mean(0)
            return Stop(
                pairs[number][1],
                pairs[number][0],
                number + 1,
                len(pairs),
                plane,
                (float(centre[0]), float(centre[1])),
            )
    return None


def _index_of(layer: Any, row: Any) -> tuple[int, ...]:
    """Return the plane of a layer in which an object is seen."""
    axes = [axis for axis in range(layer.ndim) if axis not in plane_axes(layer)]
    shape = [layer.data.shape[axis] for axis in axes]
    if not axes:
        return ()
    name = "frame" if "frame" in row else "first_frame"
    frame = 0 if name not in row or np.isnan(row[name]) else int(row[name])
    if "centroid_z" not in row or np.isnan(row["centroid_z"]):
        return tuple(int(at) for at in np.unravel_index(min(frame, np.prod(shape) - 1), shape))
    letters = letters_of(layer.axis_labels)
    depth = [axis for axis in axes if letters[axis : axis + 1] == "Z"] or axes[-1:]
    wanted = [round(row["centroid_z"]) if axis in depth else frame for axis in axes]
    return tuple(min(at, size - 1) for at, size in zip(wanted, shape, strict=True))


def show_stop(viewer: Any, stop: Stop) -> None:
    """Show an object in the middle of the view, its label selected."""
    layer = stop.plane.layer
    point = stop.plane.in_layer(np.array([stop.centre]))[0]
    world = layer.data_to_world(point)
    offset = viewer.dims.ndim - layer.ndim
    for axis in range(layer.ndim):
        if axis not in plane_axes(layer):
            viewer.dims.set_point(offset + axis, float(world[axis]))
    y, x = plane_axes(layer)
    camera_of(viewer).center = (0.0, float(world[y]), float(world[x]))
    viewer.layers.selection.active = layer
    layer.selected_label = stop.one


def say_right(layer: Any, one: int) -> None:
    """Note in a result's entry that an object is right."""
    entry = layer.metadata[KEY]
    known = sorted({*entry.get(RIGHT, ()), one})
    layer.metadata = {**layer.metadata, KEY: {**entry, RIGHT: known}}


def below(layer: Any, least: float) -> list[int]:
    """Return the ids of objects with a lower score."""
    rows = scored(layer)
    return [int(one) for one in rows.loc[rows["score"] < least, "index"]]


def hide(layer: Any, ids: list[int]) -> None:
    """Make objects invisible, and all others visible again; the labels stay as they are."""
    if not ids:
        before = _COLOURS.pop(layer, None)
        if before is not None:
            layer.colormap = before
        return
    before = _COLOURS.get(layer)
    if before is None:
        before = _COLOURS[layer] = layer.colormap
    known = table_of(layer.features)["index"].astype(int).tolist()
    palette = {one: before.map(one) for one in known}
    layer.colormap = direct_colormap({**palette, **{one: np.zeros(4) for one in ids}})


def planes_without(layer: Any, ids: list[int]) -> list[tuple[ShownPlane, np.ndarray]]:
    """Return the planes of a layer in which objects are, and their labels without these."""
    axes = [axis for axis in range(layer.ndim) if axis not in plane_axes(layer)]
    shape = tuple(layer.data.shape[axis] for axis in axes)
    changed = []
    for index in np.ndindex(*shape):
        plane = ShownPlane(layer, tuple(index))
        gone = np.isin(plane.labels, ids)
        if gone.any():
            changed.append((plane, np.where(gone, 0, plane.labels)))
    return changed
