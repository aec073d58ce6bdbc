"""Objects as YOLO segmentation labels: a text per frame, zipped, with the names of classes."""

from __future__ import annotations

import json
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

from .coco import image_name
from .objects import Objects

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from ..outlines import Piece
    from . import Named


def write(path: Path, results: Sequence[Named], _: Mapping[str, Any]) -> None:
    """Write ``labels/IMAGE.txt`` per frame, empty for one without objects, and ``data.yaml``."""
    names: dict[str, int] = {}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for stem, result in results:
            objects = Objects(result)
            numbers = [names.setdefault(kind.name, len(names)) for kind in objects.kinds]
            for frame in objects.frames():
                size = np.array(frame.shape[::-1], float)
                lines = []
                for item in frame.objects:
                    corners = (one_ring(item.pieces()) / size).reshape(-1)
                    places = " ".join(f"{value:.9g}" for value in corners)
                    lines.append(f"{numbers[item.kind]} {places}\n")
                image = image_name(stem, result, frame.number, bool(frame.index))
                file.writestr(f"labels/{image.rpartition('.')[0]}.txt", "".join(lines))
        # JSON is YAML, and quotes names that YAML would take for something else.
        entries = "".join(f"  {number}: {json.dumps(name)}\n" for name, number in names.items())
        file.writestr("data.yaml", f"path: .\ntrain: images\nval: images\nnames:\n{entries}")


def one_ring(pieces: Sequence[Piece]) -> NDArray[np.int64]:
    """Join pieces and holes into one ring, by cuts of no width along the edges of pixels.

    Each further ring is entered from the first corner of the first one and left the same way.
    """
    first, *others = (ring for piece in pieces for ring in piece.rings)
    corners = [first, first[:1]]
    home = first[0]
    for ring in others:
        turn = np.array([[ring[0, 0], home[1]]])
        corners += [turn, ring, ring[:1], turn, home[None]]
    return np.concatenate(corners)[: None if others else -1]
