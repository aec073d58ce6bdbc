"""Saved results in napari: dragged in they are layers again; File ▸ Save writes them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Callable

LayerData = tuple[Any, dict[str, Any], str]

LABELS = (".ome.tif", ".ome.tiff", ".tif", ".tiff")
"""Suffixes of labels next to a JSON file."""


def get_reader(path: str | list[str]) -> Callable[..., list[LayerData]] | None:
    """Return the reader of a result of ours, None for anything else."""
    paths = [path] if isinstance(path, str) else list(path)
    found = [result_at(Path(each)) for each in paths]
    return read if paths and all(found) else None


def read(path: str | list[str], **_: Any) -> list[LayerData]:
    """Return the layers of saved results, one each."""
    from napari import current_viewer

    from .layer_storage import layer_data
    from .painting import watch

    viewer = current_viewer()
    if viewer is not None:
        watch(viewer)
    places = [result_at(Path(each)) for each in ([path] if isinstance(path, str) else path)]
    return [layer_data(place) for place in places if place is not None]


def write(path: str, data: Any, about: dict[str, Any]) -> list[str]:
    """Write a Labels layer as an OME-Zarr with its table and provenance."""
    from .layer_storage import save_data

    place = Path(path)
    if not place.name.lower().endswith(".ome.zarr"):
        place = place.with_name(f"{place.name}.ome.zarr")
    return [str(save_data(data, about, place))]


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
