"""Tracks read from a folder of the Cell Tracking Challenge."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..core.errors import InputError, reason_of
from .assembly import make_labels
from .segmentation import Segmentation, measure, provenance

if TYPE_CHECKING:
    from numpy.typing import NDArray

LINEAGES = ("res_track.txt", "man_track.txt")
"""Names of the file of tracks: of a result, and of the truth."""

_MASK = re.compile(r"(?:mask|man_track|man_seg|t)(\d+)\.tiff?$", re.IGNORECASE)


def load_tracks(folder: str | Path) -> Segmentation:
    """Read tracked labels in the format of the Cell Tracking Challenge.

    Parameters
    ----------
    folder : str or Path
        Holds ``mask000.tif``, ``mask001.tif`` … and ``res_track.txt``, or ``man_track000.tif`` …
        and ``man_track.txt``, with a line ``track first last parent`` for each track.

    Returns
    -------
    Segmentation
        ``ids="track"``; frames count from that of the first file.

    Raises
    ------
    InputError
        If the folder lacks the files, or they do not fit together.

    Examples
    --------
    >>> import napari_kindred as nk
    >>> truth = nk.load_tracks("01_GT/TRA")  # doctest: +SKIP
    """
    folder = Path(folder)
    files = _masks(folder)
    lineage = next((folder / name for name in LINEAGES if (folder / name).is_file()), None)
    if not files or lineage is None:
        raise InputError(
            f"{str(folder)!r} holds no tracks; give a folder with mask*.tif and res_track.txt."
        )
    parents = _parents(lineage)
    first = _read(files[0])
    labels = make_labels((len(files), *first.shape))
    rows = []
    for frame, file in enumerate(files):
        plane = first if frame == 0 else _read(file)
        if plane.shape != first.shape:
            raise InputError(f"{file.name!r} has another size than {files[0].name!r}.")
        labels[frame] = plane
        rows.append(measure(plane, None, None, frame))
    table = pd.concat(rows, ignore_index=True)
    there = set(table["index"])
    known = [parents.get(int(track), 0) for track in table["index"]]
    parent = np.array([one if one in there else 0 for one in known], np.int64)
    table = table.drop(columns="score").assign(track=table["index"], parent=parent)
    return Segmentation(
        labels,
        table,
        provenance(method="tracks", config={}, image=folder.name),
        axes="TYX" if first.ndim == 2 else "TZYX",
        ids="track",
    )


def _masks(folder: Path) -> list[Path]:
    """Return the masks of a folder in order of their numbers."""
    if not folder.is_dir():
        raise InputError(f"There is no folder {str(folder)!r}; check the path.")
    numbered = [(found, file) for file in folder.iterdir() if (found := _MASK.match(file.name))]
    return [file for _, file in sorted((int(found[1]), file) for found, file in numbered)]


def _read(file: Path) -> NDArray[np.int32]:
    import tifffile

    try:
        labels = np.asarray(tifffile.imread(file))
    except Exception as error:
        raise InputError(f"{file.name!r} cannot be read ({reason_of(error)}).") from error
    if labels.dtype.kind not in "bui" or labels.ndim not in (2, 3):
        raise InputError(f"{file.name!r} holds no labels of a frame.")
    return labels.astype(np.int32)


def _parents(lineage: Path) -> dict[int, int]:
    """Return the parent of each track."""
    try:
        rows = [list(map(int, line.split())) for line in lineage.read_text("utf-8").splitlines()]
        return {track: parent for track, _first, _last, parent in filter(None, rows)}
    except (OSError, ValueError) as error:
        raise InputError(
            f"{lineage.name!r} is damaged; each line holds a track, its first and last frame, and "
            "its parent."
        ) from error
