"""Outlines as ImageJ's regions of interest, for Fiji's ROI Manager."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

from .objects import Frame, Object, Objects, hex_to_rgb, position

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ..outlines import Piece
    from . import Named

_LARGEST_PLACE = 60_535
"""Beyond this, ImageJ's whole numbers are taken for negative ones."""

_MOST_CORNERS = 65_535

_MOVE, _LINE, _CLOSE = 0.0, 1.0, 4.0
"""Commands of a path, as Java's PathIterator has them."""


def write(path: Path, results: Sequence[Named], _: Mapping[str, Any]) -> None:
    """Write one region per object and frame into a zip file."""
    ((_stem, result),) = results
    objects = Objects(result)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        taken: dict[str, int] = {}
        for frame in objects.frames():
            for item in frame.objects:
                roi = _roi(item, frame, objects, result)
                number = taken[roi.name] = taken.get(roi.name, 0) + 1
                entry = roi.name if number == 1 else f"{roi.name}-{number}"
                file.writestr(f"{entry}.roi", roi.tobytes())


def _roi(item: Object, frame: Frame, objects: Objects, result: Any) -> Any:
    """Return an object as a region: a polygon if one has all its pixels, else a composite."""
    from roifile import ImagejRoi

    pieces = item.pieces()
    shell = pieces[0].shell
    simple = len(pieces) == 1 and not pieces[0].holes and len(shell) <= _MOST_CORNERS
    if simple and shell.max() <= _LARGEST_PLACE:
        roi = ImagejRoi.frompoints(shell.astype(np.int32), name=str(item.label))
    else:
        roi = _composite(pieces, item)
    kind = objects.kinds[item.kind]
    stack = f"{frame.number + 1:04d}-" if frame.index else ""
    roi.name = f"{stack}{item.label:04d}" + (f" {kind.name}" if objects.are_named else "")
    about = {"label": str(item.label)}
    if objects.are_named:
        # A line of ImageJ's properties is "key: value".
        about["class"] = " ".join(kind.name.split())
        roi.group = min(item.kind + 1, 255)
        roi.stroke_color = bytes((255, *hex_to_rgb(kind.colour)))
    roi.properties = about
    place = position(result.axes, frame.index)
    if place:
        roi.t_position = place.get("T", -1) + 1
        roi.z_position = place.get("Z", -1) + 1
        roi.c_position = place.get("C", -1) + 1
        # A stack with one axis besides Y and X knows its images by their number alone; in one
        # with more, a number would hide the object in all other channels.
        roi.position = 0 if _is_hyperstack(result) else frame.number + 1
    return roi


def _composite(pieces: Sequence[Piece], item: Object) -> Any:
    from roifile import ROI_TYPE, ImagejRoi

    steps: list[float] = []
    for ring in (ring for piece in pieces for ring in piece.rings):
        for number, (x, y) in enumerate(ring.tolist()):
            steps += [_LINE if number else _MOVE, x, y]
        steps.append(_CLOSE)
    roi = ImagejRoi()
    roi.roitype = ROI_TYPE.RECT
    roi.top, roi.left, roi.bottom, roi.right = item.box
    roi.multi_coordinates = np.array(steps, np.float32)
    roi.shape_roi_size = len(steps)
    return roi


def _is_hyperstack(result: Any) -> bool:
    """Return whether the image, or the labels, have more than one axis besides Y and X."""
    image = result.provenance.get("input") or {}
    axes, shape = image.get("axes") or result.axes, image.get("shape") or result.labels.shape
    longer = [letter for letter, length in zip(axes, shape, strict=False) if length > 1]
    return len(set(longer) & set("TZC")) > 1
