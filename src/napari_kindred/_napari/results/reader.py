"""Saved results and images in napari: dragged in they are layers; File ▸ Save writes results."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.errors import KindredError, OutputError
from ...images.readers import read_image
from ...images.remote import is_url

if TYPE_CHECKING:
    from collections.abc import Callable

LayerData = tuple[Any, dict[str, Any], str]

IMAGES = (".ome.tif", ".ome.tiff", ".zarr", ".nd2", ".lif", ".czi")
"""Ends of files whose axes and pixel size napari itself leaves out."""

LABELS = (".ome.tif", ".ome.tiff", ".tif", ".tiff")
"""Suffixes of labels next to a JSON file."""


def get_reader(path: str | list[str]) -> Callable[..., list[LayerData]] | None:
    """Return the reader of saved results or images, None for what is neither."""
    paths = [path] if isinstance(path, str) else list(path)
    if not paths:
        return None
    if all(result_at(Path(each)) for each in paths):
        return read
    return read_images if all(_is_image(each) for each in paths) else None


def _is_image(path: str) -> bool:
    """Whether this plugin reads an image better than napari: with axes and pixel size."""
    if not (is_url(path) or (path.lower().endswith(IMAGES) and Path(path).exists())):
        return False
    try:
        read_image(path)
    except KindredError:
        return False
    return True


def read_images(path: str | list[str], **_: Any) -> list[LayerData]:
    """Return images as layers with the axes, pixel size and position that their files tell."""
    from napari.utils.notifications import show_info

    from ..common.layers import image_layer

    files = [read_image(each) for each in ([path] if isinstance(path, str) else path)]
    for note in filter(None, (file.note for file in files)):
        show_info(note)
    return [image_layer(file) for file in files]


def read(path: str | list[str], **_: Any) -> list[LayerData]:
    """Return the layers of saved results, one each."""
    from napari import current_viewer

    from .layer_storage import layer_data
    from .painting import watch

    viewer = current_viewer()
    if viewer is not None:
        watch(viewer)
        _prefer_reader()
    places = [result_at(Path(each)) for each in ([path] if isinstance(path, str) else path)]
    return [layer_data(place) for place in places if place is not None]


def _prefer_reader() -> None:
    from napari.utils.notifications import show_info

    from ..common.settings import prefer_reader

    note = prefer_reader()
    if note:
        show_info(note)


def write(path: str, data: Any, about: dict[str, Any]) -> list[str]:
    """Write a Labels layer as an OME-Zarr with its table and provenance."""
    from napari import current_viewer

    from .layer_storage import save_data

    place = Path(path)
    if not place.name.lower().endswith(".ome.zarr"):
        place = place.with_name(f"{place.name}.ome.zarr")
    saved = [str(save_data(data, about, place))]
    if current_viewer() is not None:
        _prefer_reader()
    return saved


def result_at(path: Path) -> Path | None:
    """Return the labels of the result that a path belongs to, None if there is none."""
    from ...results.storage import read_about

    if path.suffix.lower() == ".json":
        stem = path.name.removesuffix(path.suffix)
        beside = (path.with_name(f"{stem}{end}") for end in LABELS)
        path = next((labels for labels in beside if labels.is_file()), path)
    try:
        facts = read_about(path)
    except (OutputError, TypeError, KeyError):
        return None
    return path if facts.get("software") == "napari-kindred" or "complete" in facts else None
