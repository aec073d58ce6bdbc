"""Tracks as a folder of the Cell Tracking Challenge: ``mask*.tif`` and ``res_track.txt``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.errors import OutputError
from .spots import refuse_unlinked

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pandas as pd

    from . import Named

_MOST = 2**16 - 1
"""Largest id of the challenge's masks."""


def write(path: Path, results: Sequence[Named], _: Mapping[str, Any]) -> None:
    """Write a folder of masks and the lineage.

    A track of the challenge is in every frame from its first to its last, so that one with gaps
    becomes several, each the only daughter of the one before.
    """
    import tifffile

    ((_stem, result),) = results
    refuse_unlinked(result)
    rows, lineage = without_gaps(result.table)
    if len(lineage) > _MOST:
        raise OutputError(
            f"{len(lineage)} tracks are more than the {_MOST} that the masks of the challenge can "
            "hold; export part of the movie."
        )
    path.mkdir()
    frames = result.labels.shape[0]
    digits = max(3, len(str(frames - 1)))
    by_frame = dict(iter(rows.groupby("frame")))
    for frame in range(frames):
        labels = np.asarray(result.labels[frame])
        table = np.zeros(int(labels.max(initial=0)) + 1, np.uint16)
        if frame in by_frame:
            table[by_frame[frame]["track"]] = by_frame[frame]["number"]
        tifffile.imwrite(path / f"mask{frame:0{digits}}.tif", table[labels], compression="zlib")
    lines = (" ".join(map(str, row)) for row in lineage.to_numpy().tolist())
    (path / "res_track.txt").write_text("".join(f"{line}\n" for line in lines), "utf-8")


def without_gaps(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Cut tracks at their gaps.

    Returns ``track``, ``frame`` and the new ``number`` of each row, and per number a row of
    ``number``, ``first``, ``last``, ``parent``.
    """
    rows = table[["track", "frame", "parent"]].sort_values(["track", "frame"], ignore_index=True)
    begins = (rows["track"].diff() != 0) | (rows["frame"].diff() != 1)
    rows["number"] = begins.cumsum()
    lineage = rows.groupby("number").agg(
        first=("frame", "min"),
        last=("frame", "max"),
        track=("track", "first"),
        parent=("parent", "first"),
    )
    lineage = lineage.reset_index()
    last_of = lineage.groupby("track")["number"].max()
    goes_on = lineage["track"].eq(lineage["track"].shift())
    mother = lineage["parent"].map(last_of).fillna(0)
    lineage["parent"] = np.where(goes_on, lineage["number"] - 1, mother).astype(int)
    return rows, lineage[["number", "first", "last", "parent"]]
