"""Objects as COCO instances, for training elsewhere."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from ..._version import __version__
from .objects import Object, Objects

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from . import Named


def write(path: Path, results: Sequence[Named], _: Mapping[str, Any]) -> None:
    """Write the objects of all frames of all results: polygons, or runs for those with holes."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    categories: dict[str, int] = {}
    for stem, result in results:
        objects = Objects(result)
        numbers = [categories.setdefault(kind.name, len(categories) + 1) for kind in objects.kinds]
        for frame in objects.frames():
            height, width = frame.shape
            name = image_name(stem, result, frame.number, bool(frame.index))
            image = {"id": len(images) + 1, "file_name": name, "width": width, "height": height}
            images.append(image | ({"frame": frame.number} if frame.index else {}))
            for item in frame.objects:
                top, left, bottom, right = item.box
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": image["id"],
                        "category_id": numbers[item.kind],
                        "label": item.label,
                        "bbox": [left, top, right - left, bottom - top],
                        "area": item.area,
                        "iscrowd": 0,
                        "segmentation": _segmentation(item, frame.shape),
                        **_score(item),
                    }
                )
    content = {
        "info": {"description": f"Written by napari-kindred {__version__}"},
        "images": images,
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for name, number in categories.items()],
    }
    path.write_text(json.dumps(content, ensure_ascii=False), "utf-8")


def image_name(stem: str, result: Any, frame: int, in_stack: bool) -> str:
    """Return the name of an image file, of a stack's frame as it has to be exported."""
    if in_stack:
        return f"{stem}_{frame:04d}.tif"
    file = result.provenance.get("file") or {}
    found = str(file.get("path", "")).replace("\\", "/").rpartition("/")[2]
    return found if found.partition(".")[0] == stem.partition(".")[0] else f"{stem}.tif"


def _score(item: Object) -> dict[str, float]:
    score = item.row.get("score")
    return {} if score is None or not np.isfinite(score) else {"score": float(score)}


def _segmentation(item: Object, shape: tuple[int, int]) -> Any:
    pieces = item.pieces()
    if not any(piece.holes for piece in pieces):
        return [piece.shell.reshape(-1).tolist() for piece in pieces]
    mask = np.zeros(shape, bool)
    top, left, bottom, right = item.box
    mask[top:bottom, left:right] = item.mask
    return {"size": list(shape), "counts": runs_of(mask)}


def runs_of(mask: NDArray[np.bool_]) -> list[int]:
    """Return the lengths of runs of background and object in turn, column after column."""
    values = mask.reshape(-1, order="F")
    changes = np.flatnonzero(values[1:] != values[:-1]) + 1
    runs = np.diff(np.concatenate([[0], changes, [values.size]])).tolist()
    return [0, *runs] if values[0] else runs
