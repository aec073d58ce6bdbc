"""Layers to arrays and results to layers; the only place where the two meet. Free of Qt."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.errors import KindredError
from ...images.arrays import source_of
from ...images.axes import AxesGuess, guess_axes, letters_of
from ...images.readers import ImageFile, read_image
from ...results.tables import SHORT, UNCALIBRATED
from .proxies import level_0

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from napari.components import ViewerModel
    from napari.layers import Image, Labels

    from ...images.stack import ImageStack
    from .placement import Placement

KEY = "napari-kindred"
"""Key of a layer's ``metadata`` for the provenance of a result."""

OBJECTS = "napari-kindred objects"
"""Key of a layer's ``metadata`` for the table of a linked result, a row per object and frame; its
features have a row per track."""

NOTE = "napari-kindred note"
"""Key of an image layer's ``metadata`` for what its file holds besides it."""

TELLING = (".tif", ".tiff", ".zarr", ".nd2", ".lif", ".czi")
"""Ends of files that say more of an image than its pixels."""

POSITION = ("scale", "translate", "rotate", "shear", "affine", "units", "axis_labels")
"""Properties that position a layer in the viewer."""

IDS = ("id_in_frame", "index")
"""Columns that are shown last."""


@dataclass(frozen=True, slots=True, eq=False)
class LayerImage:
    """An image layer and what is known before its pixels are read."""

    name: str
    data: Any  # at full resolution, never copied
    guess: AxesGuess  # of the data, with S last for an RGB layer
    rgb: bool
    multiscale: bool
    file: ImageFile  # to be worked on, with all levels and the path


def describe(image: LayerImage, frames: ImageStack) -> str:
    """Return what will be segmented, and what to look at before pressing Run."""
    height, width = frames.plane_shape
    count = f"{len(frames)} frames of " if len(frames) > 1 else "Single image, "
    text = f"{count}{height} × {width} pixels."
    if frames.axes == image.guess.axes and not image.guess.safe:
        text += f" Please check the axes: {image.guess.why}."
    return text


def read_layer(layer: Image, dims_labels: Sequence[str] = ()) -> LayerImage:
    """Find the array and the axes of an image layer."""
    data = level_0(layer)
    letters = letters_of(layer.axis_labels)
    if not letters and len(dims_labels) == layer.ndim:
        letters = letters_of(dims_labels)
    source = file_of(layer)
    if not letters and source is not None:
        letters = str(source.axes).removesuffix("S")
    metadata_axes = letters + "S" * bool(layer.rgb) if letters else None
    guess = guess_axes(
        tuple(data.shape), data.dtype, metadata_axes=metadata_axes, rgb=bool(layer.rgb)
    )
    file = ImageFile(
        data,
        guess.axes,
        tuple(abs(float(step)) for step in layer.scale),
        tuple(str(unit) for unit in layer.units),
        layer.name,
        str(layer.metadata.get(NOTE, "")) or ("" if source is None else source.note),
        levels=tuple(layer.data) if layer.multiscale else (),
        path=_path_of(layer, data),
        translate=tuple(float(place) for place in layer.translate),
        channels=() if source is None else source.channels,
    )
    return LayerImage(layer.name, data, guess, bool(layer.rgb), bool(layer.multiscale), file)


def file_of(layer: Image) -> ImageFile | None:
    """Return what the file that a layer was opened from says, if it holds what the layer shows."""
    named = layer.source.path
    if not named or not str(named).lower().endswith(TELLING) or not Path(named).exists():
        return None
    try:
        file = _opened(str(named), Path(named).stat().st_mtime_ns)
    except KindredError:
        return None
    same = tuple(file.data.shape) == tuple(level_0(layer).shape)
    return file if same and file.axes and file.axes.endswith("S") == bool(layer.rgb) else None


@lru_cache(maxsize=16)
def _opened(path: str, changed: int) -> ImageFile:  # noqa: ARG001 - a changed file is read anew
    file = read_image(path)
    return replace(file, data=np.broadcast_to(np.uint8(0), file.data.shape), levels=())


def calibrate(layer: Image) -> str:
    """Set the pixel size of an image layer from its file if it was opened without; returns a note.

    Another reader may leave out axes and pixel size.  A layer that was placed already stays.
    """
    file = file_of(layer)
    if file is None or file.scale is None or file.axes is None:
        return ""
    spatial = len(file.axes.removesuffix("S"))
    placed = np.any(np.asarray(layer.scale) != 1) or np.any(np.asarray(layer.translate) != 0)
    if placed or not any(step != 1 for step in file.scale[:spatial]):
        return ""
    layer.scale = file.scale[:spatial]
    layer.translate = (file.translate or (0.0,) * spatial)[:spatial]
    layer.units = (file.units or ("pixel",) * spatial)[:spatial]
    layer.axis_labels = tuple(file.axes[:spatial].lower())
    return f"Pixel size and axes of {layer.name!r} are those of its file."


def image_layer(file: ImageFile) -> tuple[Any, dict[str, Any], str]:
    """Return an image file as napari makes a layer of it."""
    axes = file.axes or ""
    rgb = axes.endswith("S")
    spatial = len(axes) - rgb
    options: dict[str, Any] = {"name": file.name, "metadata": {NOTE: file.note}, "rgb": rgb}
    if axes:
        options["axis_labels"] = tuple(axes[:spatial].lower())
    for name, values in (
        ("scale", file.scale),
        ("units", file.units),
        ("translate", file.translate),
    ):
        if values is not None and axes:
            options[name] = values[:spatial]
    data = list(file.levels) if file.levels else file.data
    options["multiscale"] = bool(file.levels)
    return data, options, "image"


def _path_of(layer: Image, data: Any) -> Path | None:
    """Return the file or folder that a layer was opened from, None if unknown."""
    named = layer.source.path
    return Path(named) if named and Path(named).exists() else source_of(data)


class InLayerShape:
    """Labels on disk that fill up, shown with further axes of length 1."""

    def __init__(self, labels: Any, shape: tuple[int, ...]) -> None:
        self.labels, self.shape, self.dtype = labels, shape, labels.dtype
        self.ndim = len(shape)
        self._added, sizes = [], list(labels.shape)
        for axis, size in enumerate(shape):
            if sizes and sizes[0] == size:
                del sizes[0]
            else:
                self._added.append(axis)

    def __getitem__(self, key: Any) -> Any:
        place, new = self._split(key)
        return np.asarray(self.labels[place])[new]

    def __setitem__(self, key: Any, values: Any) -> None:
        place, _ = self._split(key)
        if isinstance(values, np.ndarray) and values.ndim > len(self.labels.shape):
            values = values.reshape([size for size in values.shape if size > 1] or [1])
        self.labels[place] = values

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self.labels[:], dtype).reshape(self.shape)

    def _split(self, key: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """Return a key without the added axes, and what adds those that it keeps."""
        items = list(key) if isinstance(key, tuple) else [key]
        if Ellipsis in [item for item in items if not isinstance(item, np.ndarray)]:
            at = next(place for place, item in enumerate(items) if item is Ellipsis)
            items[at : at + 1] = [slice(None)] * (self.ndim - len(items) + 1)
        items += [slice(None)] * (self.ndim - len(items))
        place = tuple(item for axis, item in enumerate(items) if axis not in self._added)
        new: list[Any] = []
        for axis, item in enumerate(items):
            if axis in self._added:
                new += [None] * isinstance(item, slice)
            elif isinstance(item, slice):
                new.append(slice(None))
        return place, tuple(new)


def layer_features(rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows, one per label in order of id, after a row for the background.

    napari's own table selects the label whose id is the row's place, so there is a row 0; its
    values are NaN, which the status bar leaves out, so the columns hold floats.
    """
    rows = rows.reset_index(drop=True)
    whole = [name for name in rows.columns if rows[name].dtype.kind in "iu"]
    rows = rows.astype(dict.fromkeys(whole, float))
    rows.index += 1
    rows.loc[0, "index"] = 0
    return ids_last(rows.sort_index().astype({"index": int}))


def ids_last(rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows with the measurements first: napari's table numbers its rows anyway."""
    measured = [name for name in rows if name not in IDS]
    return rows[[*measured, *(name for name in IDS if name in rows)]]


def table_features(rows: pd.DataFrame) -> pd.DataFrame:
    """Return :func:`layer_features` with texts, not NaN, in the background's row."""
    table = layer_features(rows)
    for column, word in (("name", "background"), ("colour", "")):
        if column in table:
            table[column] = table[column].fillna(word)
    return table


def in_shape(labels: Any, shape: tuple[int, ...]) -> Any:
    """Return a result's labels in the shape of their layer; lazy where they are on disk."""
    if tuple(labels.shape) == shape:
        return labels
    import dask.array as da

    # Reshaping numpy costs nothing; zarr has to be wrapped for it.
    labels = labels if isinstance(labels, np.ndarray) else da.asarray(labels)
    return labels.reshape(shape)


def growing_in_shape(labels: Any, shape: tuple[int, ...]) -> Any:
    """Return labels in the shape of their layer, which shows what is written to them later."""
    if isinstance(labels, np.ndarray) or tuple(labels.shape) == shape:
        return labels.reshape(shape) if isinstance(labels, np.ndarray) else labels
    return InLayerShape(labels, shape)


def layer_options(
    features: pd.DataFrame,
    placement: Placement,
    source: str,
    provenance: Mapping[str, Any],
    suffix: str,
) -> dict[str, Any]:
    """Return the keyword arguments of ``viewer.add_labels`` for a result."""
    return {
        "name": f"{source} {suffix}",
        "features": features,
        "metadata": {KEY: {**provenance, "source_layer": source}},
        **placement.options,
    }


def area_unit(layer: Labels) -> tuple[str, float]:
    """Return the unit of areas in a layer, and the area of a pixel in it."""
    units = [str(unit) for unit in layer.units[-2:]]
    if units[0] != units[1] or units[0] in UNCALIBRATED:
        return "px", 1.0
    return f"{SHORT.get(units[0], units[0])}²", float(layer.scale[-1] * layer.scale[-2])


def take_place(viewer: ViewerModel, before: Labels, layer: Labels | None) -> None:
    """Remove a layer; another one takes its name, and its place in the list and in sight."""
    name, at, visible = before.name, viewer.layers.index(before), before.visible
    viewer.layers.remove(before)
    if layer is None or layer not in viewer.layers:
        return
    layer.name, layer.visible = name, visible
    here = viewer.layers.index(layer)
    if here != at:
        viewer.layers.move(here, at)


def copy_painted(viewer: ViewerModel, layer: Labels) -> str:
    """Add a hidden copy of a layer that was painted on, and return the copy's name."""
    copy = viewer.add_labels(
        layer.data.copy(),
        name=f"{layer.name} painted",
        features=layer.features,
        metadata={KEY: layer.metadata.get(KEY, {})},
        colormap=layer.colormap,
        visible=False,
        **{name: getattr(layer, name) for name in POSITION},
    )
    viewer.layers.selection.active = layer
    return str(copy.name)
