"""Layers to results that can be saved, and saved results to layers. Free of Qt."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ...classes.config import ClassesConfig
from ...classes.names import key
from ...core.colors import as_hex
from ...core.errors import OptionError
from ...images.axes import fault_in_axes
from ...load import load_segmentation
from ...methods import CLUSTERS, method_of
from ...results.atomic import plain
from ...results.base import ID_SCOPES
from ...results.label_ids import lazily_unique, unique_ids
from ...results.recipe import origin_of
from ...results.segmentation import Segmentation, provenance
from ...results.storage import reading
from ..classes import layer as class_layers
from ..clusters import layer as clusters
from ..common.layers import KEY, axis_letters, in_shape
from ..common.multiscale_labels import SIDE
from .painting import up_to_date

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pandas as pd
    from napari.layers import Labels

    from ...classes.result import ClassSegmentation
    from ...clusters.result import ClusterSegmentation
    from ...methods import Method

PLACED = ("translate", "rotate", "shear", "affine", "opacity", "name")
"""Properties of a layer that are saved besides scale, units, axes, table and colours."""

TEXTS = ("name", "colour")
"""Columns of text."""

SHOWN, REPLAY = "layer", "replay"
"""Keys of the provenance of a saved layer: how it was shown, and how to recompute it."""


# -- from a layer ----------------------------------------------------------------------------


def save_layer(layer: Labels, path: Path, overwrite: bool = False) -> Path:
    """Write a layer's labels, table and provenance; see :meth:`Segmentation.save`."""
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
    entry = dict(metadata.get(KEY) or provenance(method="labels", config={}))
    state, known = _state_of(metadata), None if "edited" in entry else _known(metadata)
    scope = entry.pop("ids", "frame")
    entry |= {SHOWN: _look(about), **({REPLAY: state} if state else {})}
    parts = {
        "labels": labels,
        "table": table_of(about.get("features")),
        "provenance": plain(entry),
        "axes": _letters(labels.ndim, about, entry),
        "scale": tuple(float(step) for step in about["scale"]),
        "units": tuple(str(unit) for unit in about["units"]),
        "ids": scope if scope in ID_SCOPES else "frame",
    }
    if known is None:
        return Segmentation(**parts)
    return replace(known, **parts)


def table_of(features: Any) -> pd.DataFrame:
    """Return a layer's features as a result's table: without the background and what is gone."""
    import pandas as pd

    rows = pd.DataFrame({}) if features is None else features
    if "index" not in rows:
        return rows.reset_index(drop=True).rename_axis(index="index").reset_index()
    rows = rows[rows["index"] > 0].reset_index(drop=True)
    return rows[rows["area"] > 0].reset_index(drop=True) if "area" in rows else rows


def _known(metadata: Mapping[str, Any]) -> ClassSegmentation | ClusterSegmentation | None:
    """Return the result that a layer shows, its further arrays in the layer's shape."""
    shown, classes = metadata.get(clusters.STATE), metadata.get(class_layers.STATE)
    if isinstance(shown, clusters.Clusters):
        hidden = shown.hidden_labels()
        return shown.result.without(hidden) if hidden else shown.result
    if isinstance(classes, class_layers.Classes) and classes.result.entities is not None:
        things = in_shape(classes.result.entities, classes.shape)
        return replace(classes.result, entities=things)
    return None


def _state_of(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is needed to change a layer after it is reopened, as plain data."""
    shown = metadata.get(clusters.STATE)
    return {"palette": list(shown.palette)} if isinstance(shown, clusters.Clusters) else {}


def _look(about: Mapping[str, Any]) -> dict[str, Any]:
    """Return where and how a layer is shown."""
    look = {name: about[name] for name in PLACED if name in about}
    colormap = about.get("colormap")
    colours = getattr(colormap, "color_dict", None)
    if colours is None:
        return {**look, "seed": float(getattr(colormap, "seed", 0.5))}
    return {**look, "colours": {str(key): as_hex(value) for key, value in colours.items() if key}}


def _letters(ndim: int, about: Mapping[str, Any], entry: Mapping[str, Any]) -> str:
    """Return one letter per axis of a layer."""
    letters = axis_letters(about.get("axis_labels", ()))
    if not letters or "S" in letters or fault_in_axes(letters, (1,) * ndim):
        image = str(entry.get("axes") or "").removesuffix("S")
        letters = image[-ndim:] if len(image) >= ndim else "TCZYX"[-ndim:]
    return letters


# -- to a layer ------------------------------------------------------------------------------


def layer_data(path: Path) -> tuple[Any, dict[str, Any], str]:
    """Read a saved result as napari makes a layer of it; large labels stay on disk."""
    result = load_segmentation(path)
    facts = dict(result.provenance)
    look, method = facts.pop(SHOWN, {}), method_of(facts)
    replay = facts.pop(REPLAY, {})
    # A layer's ids are unique already.
    if result.ids == "frame" and "frame" in result.table and not look:
        numbered = unique_ids if isinstance(result.labels, np.ndarray) else lazily_unique
        result = numbered(result)
    image = facts.get("source_layer") or facts.get("image") or path.name.split(".")[0]
    facts |= {"source_layer": image, "ids": result.ids}
    with reading(path):
        shown = _clusters(result, replay)
    options: dict[str, Any] = {
        "name": f"{image} {'labels' if method is None else method.suffix}",
        **{name: value for name, value in look.items() if name in PLACED},
        "features": _features(result.table),
        "scale": result.scale,
        "units": result.units,
        "axis_labels": tuple(result.axes.lower()),
        "metadata": {KEY: facts, **_classes(result)},
    }
    colormap = _colormap(result, look, method)
    if shown is not None:
        options["features"] = clusters.features(shown)
        options["metadata"] = {KEY: {**facts, **clusters.entry(shown)}, clusters.STATE: shown}
        colormap = clusters.colormap(shown)
    if colormap is not None:
        options |= {"colormap": colormap, "opacity": look.get("opacity", clusters.OPACITY)}
    data = levels_of(result.labels)
    options["multiscale"] = isinstance(data, list)
    return data, {name: value for name, value in options.items() if value is not None}, "labels"


def _features(table: pd.DataFrame) -> pd.DataFrame | None:
    """Return a result's table as a layer's features, None if it has no columns."""
    # A CSV cannot tell a column of empty texts from one of missing numbers.
    texts = {
        name: table[name].astype(object).fillna("").astype(str) for name in TEXTS if name in table
    }
    return class_layers.features(table.assign(**texts)) if len(table.columns) else None


def levels_of(labels: Any) -> Any:
    """Return labels as napari shows them: large planes on disk at lower resolutions as well."""
    if isinstance(labels, np.ndarray) or max(labels.shape[-2:]) <= SIDE:
        return labels
    import dask.array as da

    levels = [labels]
    while max(levels[-1].shape[-2:]) > SIDE:
        levels.append(da.asarray(levels[-1])[..., ::2, ::2])
    return levels


def _colormap(result: Segmentation, look: Mapping[str, Any], method: Method | None) -> Any:
    colours = {int(label): colour for label, colour in look.get("colours", {}).items()}
    if not colours and "colour" in result.table:
        colours = dict(zip(result.table["index"], result.table["colour"], strict=True))
    if colours:
        return class_layers.colormap(colours)
    return clusters.colormap() if method is CLUSTERS else None


def _classes(result: Segmentation) -> dict[str, Any]:
    """Return what lets a panel change a layer of classes, if it was saved with the result."""
    facts, shape = result.provenance, tuple(result.labels.shape)
    if getattr(result, "entities", None) is None:
        return {}
    try:
        config = ClassesConfig(**facts["config"])
        rows = zip(result.table["name"], result.table["colour"], strict=True)
    except (OptionError, TypeError, KeyError):  # written by another version
        return {}
    source = class_layers.ClassNameSource.read(facts)
    colours = {key(str(name)): str(colour) for name, colour in rows}
    found: Any = result
    return {class_layers.STATE: class_layers.Classes(found, shape, config, source, colours)}


def _clusters(result: Any, replay: Mapping[str, Any]) -> clusters.Clusters | None:
    """Return clusters with level, names, colours and background; None without their leaves."""
    if getattr(result, "leaves", None) is None:
        return None
    hidden = result.background
    whole = result.at_level(result.level) if hidden else result
    begun = clusters.begin(whole, tuple(result.labels.shape), origin_of(result.provenance))
    if replay:
        begun = replace(begun, palette=tuple(replay["palette"]))
    colours = result.provenance.get("colours", {}).items()
    return replace(
        begun,
        names={begun.leaves(label): name for label, name in result.names.items()},
        colours={begun.leaves(int(label)): _rgba(colour) for label, colour in colours},
        background=frozenset().union(*(begun.leaves(label) for label in hidden)),
    )


def _rgba(colour: str) -> clusters.Colour:
    red, green, blue = (int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
    return red, green, blue, 1.0
