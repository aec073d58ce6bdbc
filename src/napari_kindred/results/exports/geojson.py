"""Outlines as GeoJSON with the properties that QuPath reads."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from ..tables import with_units
from .objects import Object, Objects, hex_to_rgb, position

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pandas as pd
    from numpy.typing import NDArray

    from ..outlines import Piece
    from . import Named

_NO_MEASUREMENTS = ("index", "frame", "class", "name", "colour", "id_in_frame")


def write(path: Path, results: Sequence[Named], _: Mapping[str, Any]) -> None:
    """Write a feature per object and frame."""
    ((_stem, result),) = results
    objects = Objects(result)
    object_type = "detection" if result.ids in ("frame", "track") else "annotation"
    with path.open("w", encoding="utf-8") as file:
        file.write('{"type": "FeatureCollection", "features": [')
        between = "\n"
        for frame in objects.frames():
            place = position(result.axes, frame.index)
            plane = {"c": place.get("C", -1), "z": place.get("Z", 0), "t": place.get("T", 0)}
            for item in frame.objects:
                kind = objects.kinds[item.kind]
                properties = {
                    "objectType": object_type,
                    "name": str(item.label),
                    "label": item.label,
                    "classification": {"name": kind.name, "color": list(hex_to_rgb(kind.colour))},
                    "measurements": _measurements(item, objects, result),
                    "isLocked": False,
                }
                geometry = {**_geometry(item.pieces()), **({"plane": plane} if place else {})}
                feature = {"type": "Feature", "geometry": geometry, "properties": properties}
                file.write(between + json.dumps(feature, ensure_ascii=False))
                between = ",\n"
        file.write("\n]}\n")


def _geometry(pieces: Sequence[Piece]) -> dict[str, Any]:
    polygons = [[_closed(ring) for ring in piece.rings] for piece in pieces]
    if len(polygons) == 1:
        return {"type": "Polygon", "coordinates": polygons[0]}
    return {"type": "MultiPolygon", "coordinates": polygons}


def _closed(ring: NDArray[Any]) -> list[list[int]]:
    corners: list[list[int]] = ring.tolist()
    return [*corners, corners[0]]


def _measurements(item: Object, objects: Objects, result: Any) -> dict[str, float]:
    """Return the numbers of an object's row, their units named; JSON knows no NaN."""
    import pandas as pd

    known = {} if objects.are_regions else item.row
    row: pd.DataFrame = pd.DataFrame([{**known, "area": item.area}])
    row = row.drop(columns=[name for name in _NO_MEASUREMENTS if name in row])
    found = with_units(row, result.axes, result.scale, result.units).iloc[0]
    numbers = {name: found[name] for name in found.index if _is_number(found[name])}
    return {str(name): float(value) for name, value in numbers.items()}


def _is_number(value: Any) -> bool:
    try:
        return not isinstance(value, str) and math.isfinite(value)
    except TypeError:
        return False
