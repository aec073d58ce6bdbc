"""Tracks of a linked result as a layer, and its links made again. Free of Qt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.errors import InputError
from ...linking.config import LinkConfig
from ...linking.relink import iter_relink
from ...results.tables import track_summary
from ..common.layers import KEY, OBJECTS, layer_features
from ..results.layer_storage import linked_table, table_of

if TYPE_CHECKING:
    from collections.abc import Generator

    import pandas as pd
    from napari.components import ViewerModel
    from napari.layers import Labels, Tracks

    from ...core.events import Event
    from ...linking.relink import Relinked

TRACKS_OF = "napari-kindred tracks of"
"""Key of a Tracks layer's ``metadata`` for the id of the layer whose tracks it shows."""


COLOUR = "colour of the label"
"""Feature by which tracks are coloured."""


def is_linked(layer: Any) -> bool:
    """Whether a layer's labels are those of tracks."""
    return layer is not None and layer.metadata.get(KEY, {}).get("ids") == "track"


def objects_of(layer: Labels) -> pd.DataFrame:
    """Return a row per object and frame of a linked layer, as it is painted now."""
    return linked_table(_labels_of(layer), table_of(layer.features), layer.metadata)


def _labels_of(layer: Any) -> Any:
    return layer.data[0] if layer.multiscale else layer.data


def show_tracks(viewer: ViewerModel, layer: Labels) -> Tracks:
    """Show the tracks of a linked layer, or show them again after a change."""
    options = tracks_options(layer)
    shown = tracks_layer_of(viewer, layer)
    if shown is None:
        options["metadata"] = {TRACKS_OF: str(layer.unique_id)}
        return viewer.add_tracks(**options)
    shown.graph, shown.color_by = {}, "track_id"  # which must fit the data at any time
    for name in ("data", "features", "graph", "colormaps_dict", "color_by"):
        setattr(shown, name, options[name])
    return shown


def tracks_layer_of(viewer: ViewerModel, layer: Any) -> Any:
    """Return the layer that shows the tracks of a layer, None if there is none."""
    mine = str(layer.unique_id)
    return next((one for one in viewer.layers if one.metadata.get(TRACKS_OF) == mine), None)


def tracks_options(layer: Labels) -> dict[str, Any]:
    """Return what napari makes a Tracks layer of: the paths, the divisions, the labels' colours."""
    rows = objects_of(layer).sort_values(["track", "frame"])
    places = [name for name in ("centroid_z", "centroid_y", "centroid_x") if name in rows]
    data = rows[["track", "frame", *places]].to_numpy(float)
    if not len(data) or layer.ndim != data.shape[1] - 1:
        raise InputError(
            f"The labels {layer.name!r} have no tracks that can be shown; link labels TYX."
        )
    there = set(rows["track"])
    divided = rows[rows["parent"].isin(there)].drop_duplicates("track")
    graph = dict(zip(divided["track"], ([one] for one in divided["parent"]), strict=True))
    place, colours = _colours(layer, rows["track"].to_numpy(int))
    return {
        "data": data,
        "features": {"track": data[:, 0].astype(int), COLOUR: place},
        "graph": {int(track): [int(parent[0])] for track, parent in graph.items()},
        "name": f"{layer.name} tracks",
        "scale": layer.scale,
        "translate": layer.translate,
        "colormaps_dict": {COLOUR: colours},
        "color_by": COLOUR,
        "tail_length": max(10, int(data[:, 1].max())),
    }


def _colours(layer: Labels, tracks: np.ndarray) -> tuple[np.ndarray, Any]:
    """Return the place of each id from 0 to 1, and the labels' colours over that range."""
    from napari.utils import Colormap

    low, high = int(tracks.min()), int(tracks.max())
    ids = range(low, max(high, low + 1) + 1)
    colours = [np.asarray(layer.get_color(one)) for one in ids]
    # A colour for each id, from halfway to the id before to halfway to the next.
    steps = (np.arange(1, len(ids)) - 0.5) / (len(ids) - 1)
    place = (tracks - low) / (len(ids) - 1)
    return place, Colormap(colours, controls=[0.0, *steps, 1.0], interpolation="zero")


def iter_relink_layer(layer: Labels, frame: int) -> Generator[Event, None, Relinked]:
    """Link a layer's labels again from a frame on; nothing is changed."""
    labels = _labels_of(layer)
    config = layer.metadata[KEY].get("link") or {}
    table = objects_of(layer)
    tracks = table.drop_duplicates("track")
    parents = dict(zip(tracks["track"], tracks["parent"], strict=True))
    return (
        yield from iter_relink(
            labels,
            frame,
            int(table["index"].max()) if len(table) else 0,
            {int(track): int(parent) for track, parent in parents.items() if parent},
            LinkConfig(**config),
            tuple(float(step) for step in layer.scale[1:]),
        )
    )


def apply_relinked(layer: Labels, relinked: Relinked) -> int:
    """Give a layer the new ids; returns the number of objects whose id changed."""
    table, changed = objects_of(layer), 0
    for frame, ids in relinked.ids.items():
        moved = ids[ids.index != ids]
        changed += len(moved)
        if not len(moved):
            continue
        plane = np.asarray(layer.data[frame])
        lut = np.arange(int(plane.max(initial=0)) + 1, dtype=plane.dtype)
        lut[moved.index] = moved
        layer.data[frame] = lut[plane]
        here = table["frame"] == frame
        table.loc[here, "index"] = table.loc[here, "index"].map(ids)
    table["track"] = table["index"]
    table["parent"] = [relinked.parents.get(int(track), 0) for track in table["track"]]
    layer.metadata = {**layer.metadata, OBJECTS: table}
    layer.features = layer_features(track_summary(table))
    layer.refresh()
    return changed
