"""Layers to results that can be saved, and saved results to layers. Free of Qt."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.colors import as_hex
from ...images.axes import fault_in_axes, letters_of
from ...load import load_segmentation
from ...methods import method_of
from ...results.atomic import plain
from ...results.base import ID_SCOPES
from ...results.label_ids import lazily_unique, unique_ids
from ...results.segmentation import Segmentation, measure, provenance
from ...results.storage import reading
from ...results.tables import track_summary
from ..common.label_state import OPACITY, STATE, LabelState, direct_colormap
from ..common.layers import KEY, OBJECTS, table_features
from ..common.multiscale_labels import SIDE
from .painting import up_to_date

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pandas as pd
    from napari.layers import Labels


PLACED = ("translate", "rotate", "shear", "affine", "opacity", "name")
"""Properties of a layer that are saved besides scale, units, axes, table and colours."""

OWN = (*PLACED, "scale", "axis_labels")
"""Saved properties that take the place of those of the result."""

TEXTS = ("name", "colour")
"""Columns of text."""

SHOWN, REPLAY = "layer", "replay"
"""Keys of the provenance of a saved layer: how it was shown, and how to recompute it."""


# -- from a layer ----------------------------------------------------------------------------


def save_layer(layer: Labels, path: Path, overwrite: bool = False) -> Path:
    data, about, _kind = layer.as_layer_data_tuple()
    return save_data(data, about, path, overwrite)


def save_data(data: Any, about: Mapping[str, Any], path: Path, overwrite: bool = False) -> Path:
    """Write what napari hands over of a layer, its data and all else that it is made with."""
    return result_of(data, about).save(path, overwrite)


def result_of(data: Any, about: Mapping[str, Any]) -> Segmentation:
    """Return a layer, as data and keyword arguments, as a result of its method."""
    about = up_to_date(data, about)
    labels = data[0] if about.get("multiscale") else data
    metadata = about.get("metadata") or {}
    features = table_of(about.get("features"))
    entry = dict(metadata.get(KEY) or provenance(method="labels", config={}))
    state: LabelState | None = metadata.get(STATE)
    whole = None if state is None or "edited" in entry else state.to_save()
    replay = {} if state is None else state.replay()
    scope = entry.pop("ids", "frame")
    entry |= {SHOWN: _appearance(about), **({REPLAY: replay} if replay else {})}
    parts = {
        "labels": labels,
        "table": linked_table(labels, features, metadata) if scope == "track" else features,
        "provenance": plain(entry),
        "axes": _letters(labels.ndim, about, entry),
        "scale": tuple(abs(float(step)) for step in about["scale"]),
        "units": tuple(str(unit) for unit in about["units"]),
        "translate": tuple(float(place) for place in about["translate"]),
        "ids": scope if scope in ID_SCOPES else "frame",
    }
    return Segmentation(**parts) if whole is None else replace(whole, **parts)


def table_of(features: Any) -> pd.DataFrame:
    """Return a layer's features as a result's table: without the background and what is gone."""
    import pandas as pd

    rows = pd.DataFrame({}) if features is None else features
    if "index" not in rows:
        return rows.reset_index(drop=True).rename_axis(index="index").reset_index()
    rows = rows[rows["index"] > 0].reset_index(drop=True)
    ids = [name for name in ("index", "id_in_frame") if name in rows]
    rows = rows[[*ids, *(name for name in rows if name not in ids)]]
    return rows[rows["area"] > 0].reset_index(drop=True) if "area" in rows else rows


def linked_table(labels: Any, tracks: pd.DataFrame, metadata: Mapping[str, Any]) -> pd.DataFrame:
    """Return a row per object and frame; frames that were painted on are measured."""
    import pandas as pd

    before = metadata.get(OBJECTS)
    edited = metadata.get(KEY, {}).get("edited")
    if before is not None and not edited:
        return before
    frames = range(labels.shape[0]) if before is None else edited["frames"]
    rows = [measure(np.asarray(labels[frame]), None, None, frame) for frame in frames]
    if before is not None:
        rows.append(before[~before["frame"].isin(frames)])
    table = pd.concat(rows, ignore_index=True).sort_values(["frame", "index"], ignore_index=True)
    parents = dict(zip(tracks["index"], tracks.get("parent", ()), strict=False))
    known = set(table["index"])
    found = [parents.get(label, 0) for label in table["index"]]
    parent = [int(one) if one in known else 0 for one in found]  # none has NaN
    return table.assign(track=table["index"], parent=np.array(parent, np.int64))


def _appearance(about: Mapping[str, Any]) -> dict[str, Any]:
    """Return position, opacity and colours of a layer."""
    appearance = {name: about[name] for name in PLACED if name in about}
    if min(about.get("scale", (1.0,))) < 0:  # no format has steps that go down
        appearance["scale"] = tuple(float(step) for step in about["scale"])
    labels = tuple(str(label) for label in about.get("axis_labels", ()))
    words = not all(label.lstrip("-").isdigit() for label in labels)
    if words and "".join(labels) != letters_of(labels).lower():
        appearance["axis_labels"] = labels
    colormap = about.get("colormap")
    colours = getattr(colormap, "color_dict", None)
    if colours is None:
        return {**appearance, "seed": float(getattr(colormap, "seed", 0.5))}
    return {
        **appearance,
        "colours": {str(key): as_hex(value) for key, value in colours.items() if key},
    }


def _letters(ndim: int, about: Mapping[str, Any], entry: Mapping[str, Any]) -> str:
    """Return one letter per axis of a layer."""
    letters = letters_of(about.get("axis_labels", ()))
    if not letters or "S" in letters or fault_in_axes(letters, (1,) * ndim):
        image = str(entry.get("axes") or "").removesuffix("S")
        letters = image[-ndim:] if len(image) >= ndim else "TCZYX"[-ndim:]
    return letters


# -- to a layer ------------------------------------------------------------------------------


def layer_data(path: Path) -> tuple[Any, dict[str, Any], str]:
    """Read a saved result as napari makes a layer of it; large labels stay on disk."""
    result = load_segmentation(path)
    facts = dict(result.provenance)
    appearance, method = facts.pop(SHOWN, {}), method_of(facts)
    replay = facts.pop(REPLAY, {})
    kind = None if method is None else method.layer
    # A layer's ids are unique already.
    if result.ids == "frame" and "frame" in result.table and not appearance:
        numbered = unique_ids if isinstance(result.labels, np.ndarray) else lazily_unique
        result = numbered(result)
    image = facts.get("source_layer") or facts.get("image") or path.name.split(".")[0]
    facts |= {"source_layer": image, "ids": result.ids}
    with reading(path):
        state = None if kind is None else kind.reopen(result, replay)
    options: dict[str, Any] = {
        "name": f"{image} {'labels' if method is None else method.suffix}",
        "features": table_of_layer(
            track_summary(result.table) if result.ids == "track" else result.table
        ),
        "scale": result.scale,
        "translate": result.translate,
        "units": result.units,
        "axis_labels": tuple(result.axes.lower()),
        "metadata": {KEY: facts, **({OBJECTS: result.table} if result.ids == "track" else {})},
        **{name: value for name, value in appearance.items() if name in OWN},
    }
    palette = _palette(result, appearance) or ({} if kind is None else kind.preview_palette())
    if state is not None:
        options["features"] = state.features()
        options["metadata"] = {KEY: {**state.entry(), **facts}, STATE: state}
        palette = state.palette()
    if palette:
        opacity = appearance.get("opacity", OPACITY)
        options |= {"colormap": direct_colormap(palette), "opacity": opacity}
    data = levels_of(result.labels)
    options["multiscale"] = isinstance(data, list)
    return data, {name: value for name, value in options.items() if value is not None}, "labels"


def table_of_layer(table: pd.DataFrame) -> pd.DataFrame | None:
    """Return a result's table as a layer's features, None if it has no columns."""
    # A CSV cannot tell a column of empty texts from one of missing numbers.
    texts = {
        name: table[name].astype(object).fillna("").astype(str) for name in TEXTS if name in table
    }
    return table_features(table.assign(**texts)) if len(table.columns) else None


def levels_of(labels: Any) -> Any:
    """Return labels as napari shows them: large planes on disk at lower resolutions, too."""
    if isinstance(labels, np.ndarray) or max(labels.shape[-2:]) <= SIDE:
        return labels
    import dask.array as da

    levels = [labels]
    while max(levels[-1].shape[-2:]) > SIDE:
        levels.append(da.asarray(levels[-1])[..., ::2, ::2])
    return levels


def _palette(result: Segmentation, appearance: Mapping[str, Any]) -> dict[int, str]:
    """Return the colours that a result was saved with, none if napari chose them."""
    colours = {int(label): colour for label, colour in appearance.get("colours", {}).items()}
    if not colours and "colour" in result.table:
        colours = dict(zip(result.table["index"], result.table["colour"], strict=True))
    return colours
