"""Labels from outlines that were drawn or corrected in Fiji or QuPath."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.errors import InputError, OptionError, reason_of
from .outlines import fill
from .segmentation import Segmentation, measure, provenance

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray

SUFFIXES = (".zip", ".roi", ".geojson")
"""Files of outlines."""

_FLAT = ("LINE", "POLYLINE", "FREELINE", "ANGLE", "POINT", "NOROI")
"""Kinds of ImageJ's regions that hold no area."""

_MOST = 1 << 31
"""Pixels of labels that outlines are believed to need."""


@dataclass(frozen=True, slots=True)
class Outline:
    """An object as a file of outlines holds it.

    Attributes
    ----------
    parts : list of list of array
        Rings (x, y) of each part; within a part, what is inside an odd number of them is filled.
    place : dict
        Its frame, from 0, along ``T`` and ``Z`` if known, or ``N``: the number of the image in
        its stack.
    label : int or None
        Its id when it was exported.
    name, kind : str
        Its own name, and that of its class.
    """

    parts: list[list[NDArray[Any]]]
    place: dict[str, int] = field(default_factory=dict)
    label: int | None = None
    name: str = ""
    kind: str = ""


def load_outlines(
    path: str | Path, shape: Sequence[int] | None = None, axes: str | None = None
) -> Segmentation:
    """Make labels of outlines: regions of ImageJ, or GeoJSON as of QuPath.

    Parameters
    ----------
    path : str or Path
        A ``.zip`` of regions or a single ``.roi`` of ImageJ's ROI Manager, or a ``.geojson``.
    shape : sequence of int, optional
        Of the labels, as of the image that the outlines belong to; just large enough for them if
        left out.
    axes : str, optional
        One letter per axis of ``shape``; if left out, ``YX``, or with the axes that the outlines
        have places along.

    Returns
    -------
    Segmentation
        A pixel belongs to an outline if its centre is inside; where outlines overlap, the later
        one is on top.  Ids are those of an earlier export if all outlines have one, else they
        count from 1.  The table has ``name``, of the class, and ``outline``, its own name, if
        there are any.

    Raises
    ------
    InputError
        When the file is damaged or holds no outline with an area.
    OptionError
        When the outlines lie on frames that the shape does not have.
    """
    path = Path(path)
    outlines = _read(path)
    if not outlines:
        raise InputError(f"{path.name!r} holds no outline with an area; draw some, and save it.")
    axes = axes or _axes_of(outlines, None if shape is None else len(shape))
    sizes = _shape_of(outlines, axes) if shape is None else tuple(int(n) for n in shape)
    if len(axes) != len(sizes) or axes[-2:] != "YX":
        raise OptionError(f"The axes {axes!r} do not name the {len(sizes)} axes of {sizes}.")
    if np.prod(sizes, dtype=np.int64) > _MOST:
        raise InputError(f"The outlines of {path.name!r} span {sizes} pixels, which is too many.")
    labels = np.zeros(sizes, np.int32)
    ids = _ids(outlines)
    placed: dict[tuple[int, int], Outline] = {}
    for outline, label in zip(outlines, ids, strict=True):
        index = _index(outline, axes, sizes)
        labels[index][_mask(outline, sizes[-2:])] = label
        frame = int(np.ravel_multi_index(index, sizes[:-2])) if index else 0
        placed[frame, label] = outline
    facts = provenance(method="outlines", config={}, file={"path": str(path.absolute())})
    return Segmentation(labels, _table(labels, placed), facts, axes)


def _read(path: Path) -> list[Outline]:
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"{path.name!r} holds no outlines; give one of {', '.join(SUFFIXES)}.")
    try:
        return list(_geojson(path) if suffix == ".geojson" else _rois(path))
    except Exception as error:
        raise InputError(
            f"The file {path.name!r} is damaged or holds no outlines ({reason_of(error)}); export "
            "it again."
        ) from error


# -- ImageJ ------------------------------------------------------------------------------------


def is_rois(path: Path) -> bool:
    """Return whether a zip file holds regions of ImageJ."""
    try:
        with zipfile.ZipFile(path) as file:
            return any(name.lower().endswith(".roi") for name in file.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def _rois(path: Path) -> Iterator[Outline]:
    if path.suffix.lower() == ".roi":
        yield from _outline_of(path.read_bytes())
        return
    with zipfile.ZipFile(path) as file:
        for name in file.namelist():
            if name.lower().endswith(".roi"):
                yield from _outline_of(file.read(name))


def _outline_of(content: bytes) -> Iterator[Outline]:
    """Yield a region of ImageJ, unless it has no area."""
    from roifile import ImagejRoi

    roi: Any = ImagejRoi.frombytes(content)
    if roi.roitype.name in _FLAT:
        return
    place = {"T": roi.t_position - 1, "Z": roi.z_position - 1}
    place = {letter: number for letter, number in place.items() if number >= 0}
    if not place and roi.position > 0:
        place = {"N": roi.position - 1}
    about = {str(key): str(value) for key, value in roi.properties.items()}
    label = int(about["label"]) if about.get("label", "").isdecimal() else None
    rings = roi.coordinates(multi=True)
    yield Outline([rings], place, label, str(roi.name), about.get("class", ""))


# -- GeoJSON -----------------------------------------------------------------------------------


def _geojson(path: Path) -> Iterator[Outline]:
    content = json.loads(path.read_text("utf-8"))
    if isinstance(content, dict):
        content = content.get("features", [content])
    for feature in content:
        geometry, about = feature["geometry"], feature.get("properties") or {}
        kind, corners = geometry["type"], geometry["coordinates"]
        polygons = {"Polygon": [corners], "MultiPolygon": corners}.get(kind, [])
        if not polygons:
            continue
        plane = geometry.get("plane") or {}
        label = about.get("label")
        yield Outline(
            [[np.asarray(ring, float)[:, :2] for ring in polygon] for polygon in polygons],
            {letter.upper(): int(plane[letter]) for letter in "tz" if letter in plane},
            label if isinstance(label, int) else None,
            str(about.get("name") or ""),
            str((about.get("classification") or {}).get("name") or ""),
        )


# -- labels ------------------------------------------------------------------------------------


def _axes_of(outlines: Sequence[Outline], ndim: int | None) -> str:
    """Return axes for the places that outlines have, as many as there are to be."""
    placed = {letter for outline in outlines for letter, at in outline.place.items() if at > 0}
    leading = "".join(letter for letter in "TZ" if letter in placed)
    leading = leading or ("T" if "N" in placed else "")
    if ndim is not None and ndim != len(leading) + 2:
        leading = {2: "", 3: leading[:1] or "T", 4: "TZ"}.get(ndim, leading)
    return f"{leading}YX"


def _shape_of(outlines: Sequence[Outline], axes: str) -> tuple[int, ...]:
    rings = [ring for outline in outlines for part in outline.parts for ring in part]
    width, height = np.ceil(np.concatenate(rings).max(axis=0)).astype(int).tolist()
    frames = [
        1 + max(outline.place.get(letter, outline.place.get("N", 0)) for outline in outlines)
        for letter in axes[:-2]
    ]
    return (*frames, max(height, 1), max(width, 1))


def _index(outline: Outline, axes: str, shape: Sequence[int]) -> tuple[int, ...]:
    """Return the frame of an outline; one without a place is of the first."""
    frames = tuple(shape[:-2])
    number = outline.place.get("N", 0)
    fits = number < np.prod(frames, dtype=int)
    index = tuple(int(at) for at in np.unravel_index(number, frames)) if frames and fits else ()
    if "N" not in outline.place:
        index = tuple(outline.place.get(letter, 0) for letter in axes[:-2])
        fits = all(at < length for at, length in zip(index, frames, strict=True))
    if not fits:
        raise OptionError(
            f"The outline {outline.name!r} lies on a frame that labels of shape {tuple(shape)} do "
            "not have; give the shape of its image."
        )
    return index


def _mask(outline: Outline, shape: Sequence[int]) -> NDArray[np.bool_]:
    height, width = shape
    mask = np.zeros((height, width), bool)
    for rings in outline.parts:
        mask |= fill(rings, (height, width))
    return mask


def _ids(outlines: Sequence[Outline]) -> list[int]:
    """Return the ids of an earlier export if no two of a frame are the same, else 1, 2, …."""
    labels = [outline.label for outline in outlines if outline.label]
    places = {(outline.label, *sorted(outline.place.items())) for outline in outlines}
    if len(labels) == len(places) == len(outlines):
        return labels
    return list(range(1, len(outlines) + 1))


def _table(labels: NDArray[np.int32], outlines: Mapping[tuple[int, int], Outline]) -> pd.DataFrame:
    import pandas as pd

    tables = []
    for frame, index in enumerate(np.ndindex(*labels.shape[:-2])):
        rows = measure(labels[index], None, frame=frame if index else None).drop(columns="score")
        found = [outlines[frame, label] for label in rows["index"]]
        rows["name"] = [outline.kind for outline in found]
        rows["outline"] = [outline.name for outline in found]
        tables.append(rows)
    table = pd.concat(tables, ignore_index=True)
    empty = [name for name in ("name", "outline") if not table[name].astype(bool).any()]
    return table.drop(columns=empty)
