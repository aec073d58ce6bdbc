"""Outlines of Fiji and QuPath in napari: dragged in they are Labels layers on their image."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.errors import OptionError
from ...results.imports import SUFFIXES, is_rois, load_outlines
from ...results.label_ids import unique_ids
from ..common.layers import KEY, read_layer
from ..common.placement import place_labels
from .layer_storage import table_of_layer

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.layers import Image

LayerData = tuple[Any, dict[str, Any], str]


def get_reader(path: str | list[str]) -> Callable[..., list[LayerData]] | None:
    """Return the reader of files of outlines, None for anything else."""
    paths = [Path(path)] if isinstance(path, str) else [Path(each) for each in path]
    return read if paths and all(map(_holds_outlines, paths)) else None


def _holds_outlines(path: Path) -> bool:
    suffix = path.suffix.lower()
    return suffix in SUFFIXES and path.is_file() and (suffix != ".zip" or is_rois(path))


def read(path: str | list[str], **_: Any) -> list[LayerData]:
    """Return a Labels layer per file, on the image that is selected, or the only one."""
    from napari import current_viewer

    from .painting import watch

    viewer = current_viewer()
    image = None if viewer is None else image_to_label(viewer)
    if viewer is not None:
        watch(viewer)
    paths = [path] if isinstance(path, str) else path
    return [layer_data(Path(each), image) for each in paths]


def image_to_label(viewer: Any) -> Image | None:
    """Return the selected image, or the only one; None if it is not clear which."""
    images = [layer for layer in viewer.layers if hasattr(layer, "rgb")]
    active = viewer.layers.selection.active
    if active in images:
        return active
    return images[0] if len(images) == 1 else None


def layer_data(path: Path, image: Image | None) -> LayerData:
    """Return outlines as napari makes a layer of them, placed like an image if they fit on it."""
    result, position = None, None
    if image is not None:
        axes = read_layer(image).guess.axes
        placement = place_labels(image, axes)
        letters = axes.removesuffix("S")[-len(placement.shape) :]
        with suppress(OptionError):  # outlines of another image
            result, position = load_outlines(path, placement.shape, letters), placement.options
    if result is None:
        result = load_outlines(path)
    if "frame" in result.table:
        result = unique_ids(result)
    facts = {**result.provenance, "complete": True, "axes": result.axes}
    if position is not None and image is not None:
        facts["source_layer"] = image.name
    options = {
        "name": path.name.partition(".")[0],
        "features": table_of_layer(result.table),
        "metadata": {KEY: facts},
        **(position or {"axis_labels": tuple(result.axes.lower())}),
    }
    return result.labels, options, "labels"
