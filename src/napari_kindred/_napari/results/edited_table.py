"""The table of a layer after strokes: what they changed is added to what was there. Free of Qt."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..common.layers import layer_features

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

JUDGED = ("score", "count", "mean_score")
"""Columns that hold what a method said; they are empty for what was painted on since."""

SPARE = 1000
"""Rows left empty at most, so that rows stay in their place when somebody paints with a far id."""


@dataclass(slots=True)
class Delta:
    """What strokes have changed of one label: sums over the pixels it gained, less those it lost.

    Attributes
    ----------
    strokes : int
        How many of them touched it that were not undone.
    area : int
    y, x : float
        Of the pixels' places.
    intensity : float
        Of their values; NaN where they are not known.
    frames : dict
        Area by frame.
    """

    strokes: int = 0
    area: int = 0
    y: float = 0.0
    x: float = 0.0
    intensity: float = 0.0
    frames: dict[int, int] = field(default_factory=lambda: defaultdict(int))


def edited(
    features: pd.DataFrame,
    deltas: Mapping[int, Delta],
    pixels: int,
    areas: Mapping[int, Mapping[int, int]] | None = None,
) -> pd.DataFrame:
    """Return a layer's features after strokes.

    Parameters
    ----------
    features : DataFrame
        Before them; ``index`` holds the labels.
    deltas : mapping
        By label.
    pixels : int
        Of the whole layer, of which ``share`` is a share.
    areas : mapping, optional
        By label and frame, before the strokes.

    Returns
    -------
    DataFrame
        Labels that came have a row, what a method said of one that was touched is empty. Of a
        label that is gone nothing but its number is left, and that no longer than there are
        higher ones: napari's table finds a label by its row.
    """
    import pandas as pd

    rows = features.set_index("index")
    rows = rows.astype({name: float for name in rows if rows[name].dtype.kind in "iu"})
    after = {}
    for label, delta in deltas.items():
        row: dict[Any, Any] = _empty_row(rows)
        if label in rows.index:
            row = rows.loc[label].to_dict()
        after[label] = _edited_row(row, delta, pixels, None if areas is None else areas.get(label))
    known = {**dict.fromkeys(rows.index), **after}
    gone = {label for label, row in after.items() if row is None}
    last = max((label for label in known if label not in gone), default=0)
    changed = pd.DataFrame.from_dict(
        {label: row or _empty_row(rows) for label, row in after.items()},
        orient="index",
        columns=list(rows.columns),
    )
    kept = rows.drop(index=[label for label in after if label in rows.index])
    table = pd.concat([kept, changed]) if len(changed) else kept
    table = table[[label <= last for label in table.index]].sort_index()
    if last < 2 * len(table) + SPARE and rows.columns.size:
        table = table.reindex(range(last + 1))
    table = table.rename_axis("index").reset_index()
    return table if 0 in set(table["index"]) else layer_features(table)


def _empty_row(rows: pd.DataFrame) -> dict[Any, Any]:
    return {name: "" if rows[name].dtype.kind not in "fb" else np.nan for name in rows}


def _edited_row(
    row: dict[str, Any], delta: Delta, pixels: int, areas: Mapping[int, int] | None
) -> dict[str, Any] | None:
    """Return what is known of a label after strokes, None where it is gone."""

    def before(name: str) -> float:
        value = row.get(name, np.nan)
        return 0.0 if value != value else float(value)  # of a new label it is NaN

    old = before("area")
    area = old + delta.area
    if area <= 0:
        return None
    sums = {"centroid_y": delta.y, "centroid_x": delta.x, "mean_intensity": delta.intensity}
    measured = {name: (before(name) * old + more) / area for name, more in sums.items()}
    frames = _frames_after(row, delta, old, areas)
    found = {
        **measured,
        **dict.fromkeys(JUDGED, np.nan),
        **frames,
        "area": area,
        "share": area / pixels,
    }
    return {name: found.get(name, value) for name, value in row.items()}


def _frames_after(
    row: Mapping[str, Any], delta: Delta, area: float, areas: Mapping[int, int] | None
) -> dict[str, float]:
    """Return in which frames a label is after strokes; NaN where that cannot be told."""
    if "frame" in row and row["frame"] == row["frame"]:  # an entity: all of it is in one frame
        areas = {int(row["frame"]): int(area)}
    elif area and areas is None and "frame" not in row:
        return dict.fromkeys(("first_frame", "last_frame", "frames"), np.nan)
    total: dict[int, int] = defaultdict(int, areas or {})
    for frame, more in delta.frames.items():
        total[frame] += more
    there = [frame for frame, size in total.items() if size > 0]
    first, last = (min(there), max(there)) if there else (np.nan, np.nan)
    return {"frame": first, "first_frame": first, "last_frame": last, "frames": len(there)}
