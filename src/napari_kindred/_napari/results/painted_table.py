"""The table of a result that was painted on, from sums over the pixels of its frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..common.label_state import state_of
from ..common.layers import ids_last, layer_features

if TYPE_CHECKING:
    from collections.abc import Mapping

SUMS = ("area", "y", "x", "intensity")
"""Sums over the pixels of a label in a frame: their number, places and intensities."""

JUDGED = ("score", "count", "mean_score")
"""Columns that hold what a method found; they are empty for labels that were painted on."""

SPARE = 1000
"""Most rows left empty so that rows stay in place when the user paints with a far id."""


def size_column(features: pd.DataFrame) -> str:
    """Return which column of a table counts pixels: those of objects in 3-D are volumes."""
    return "volume" if "volume" in features else "area"


def can_follow(features: pd.DataFrame) -> bool:
    """Return whether painting can change a table: it knows how many pixels a label has."""
    return {"index", size_column(features)} <= set(features)


def sums_of(
    labels: np.ndarray, intensity: np.ndarray | None, frame: int, first_row: int = 0
) -> pd.DataFrame:
    """Return a row per label with its sums, for rows (Y, X) of a frame; without intensities NaN."""
    place = np.flatnonzero(labels > 0)
    ids, inverse = np.unique(labels.reshape(-1)[place], return_inverse=True)
    y, x = place // labels.shape[1] + first_row, place % labels.shape[1]
    values = np.full(len(place), np.nan) if intensity is None else intensity.reshape(-1)[place]
    weights = (None, y, x, values)
    sums = [np.bincount(inverse, weights=each, minlength=len(ids)) for each in weights]
    columns = dict(zip(SUMS, sums, strict=True))
    return pd.DataFrame({"index": ids.astype(np.int64), "frame": frame, **columns})


def sums_before(layer: Any, features: pd.DataFrame, frames: int) -> pd.DataFrame | None:
    """Return the sums of each label in each frame before painting, None if no table tells them."""
    state = state_of(layer)
    rows = features
    if "frame" not in features and state is not None and len(state.result.per_frame):
        rows = state.result.per_frame
        rows = rows[~rows["index"].isin(state.hidden_labels())]
    elif "frame" not in features and frames > 1:
        return None
    if "area" not in rows:
        return None
    rows = rows[(rows["index"] > 0) & (rows["area"] > 0)]
    means = {"y": "centroid_y", "x": "centroid_x", "intensity": "mean_intensity"}
    return pd.DataFrame(
        {
            "index": rows["index"].to_numpy(np.int64),
            "frame": rows["frame"].to_numpy(np.int64) if "frame" in rows else 0,
            "area": rows["area"].to_numpy(float),
            **{
                name: rows["area"].to_numpy(float) * rows[mean].to_numpy(float)
                if mean in rows
                else np.nan
                for name, mean in means.items()
            },
        }
    )


def total(sums: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Return sums summed up; a sum is NaN if one of its parts is."""
    columns = list(SUMS)
    grouped = sums.groupby(by, sort=True)
    summed = grouped[columns].sum()
    missing = sums[columns].isna().groupby([sums[name] for name in by]).any()
    return summed.mask(missing)


def changed(before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    """Return index and frame of where labels have other pixels than before."""
    keys = ["index", "frame"]
    one, other = before.set_index(keys)[list(SUMS)], after.set_index(keys)[list(SUMS)]
    every = one.index.union(other.index)
    one, other = one.reindex(every), other.reindex(every)
    differs = one["area"].fillna(0) != other["area"].fillna(0)
    for name in ("y", "x"):
        differs |= (one[name] - other[name]).abs() > 0.25  # unknown sums do not differ
    return every[differs].to_frame(index=False)


def painted_table(
    features: pd.DataFrame, sums: pd.DataFrame, labels: set[int], pixels: int
) -> pd.DataFrame:
    """Return a layer's features after painting; ``sums`` has a row per label and frame.

    New labels have a row; what a method found of a label that was painted on is empty. Of a label
    that is gone only an empty row is left, and only below higher ones: napari's table finds a
    label by its row.
    """
    rows = features.set_index("index")
    rows = rows.astype({name: float for name in rows if rows[name].dtype.kind in "iu"})
    sums = sums[sums["index"].isin(labels)]
    found = total(sums, ["index"])
    spans = sums.groupby("index")["frame"].agg(["min", "max", "nunique"])
    if "volume" in features:
        weighted = (sums["frame"] * sums["area"]).groupby(sums["index"]).sum()
        found["z"] = np.nan if "frame" in features else weighted / found["area"]
    empty: dict[Any, Any] = {
        name: "" if rows[name].dtype.kind not in "fb" else np.nan for name in rows
    }
    edited = {
        label: _row(
            rows.loc[label].to_dict() if label in rows.index else empty,
            found.loc[label].to_dict(),
            spans.loc[label].to_dict(),
            pixels,
        )
        for label in found.index
    }
    gone = labels - set(edited)
    last = max((label for label in {*rows.index, *edited} if label not in gone), default=0)
    new = pd.DataFrame.from_dict(
        {**dict.fromkeys(gone, empty), **edited}, orient="index", columns=list(rows.columns)
    )
    rows = rows.drop(index=[label for label in labels if label in rows.index])
    table = pd.concat([rows, new]) if len(new) else rows
    table = table[[label <= last for label in table.index]].sort_index()
    if last < 2 * len(table) + SPARE and rows.columns.size:
        table = table.reindex(range(last + 1))
    table = table.rename_axis("index").reset_index()
    return ids_last(table) if 0 in set(table["index"]) else layer_features(table)


def _row(
    row: Mapping[str, Any], sums: Mapping[str, float], span: Mapping[str, int], pixels: int
) -> dict[str, Any]:
    area = sums["area"]
    found: dict[str, Any] = {
        "area": area,
        "mean_area": area / span["nunique"],
        "share": area / pixels,
        "centroid_y": sums["y"] / area,
        "centroid_x": sums["x"] / area,
        "mean_intensity": sums["intensity"] / area,
        "frame": span["min"],
        "first_frame": span["min"],
        "last_frame": span["max"],
        "frames": span["nunique"],
        **dict.fromkeys(JUDGED, np.nan),
    }
    if "volume" in row:  # an object in 3-D: what is counted along z, and its frame is its time
        found |= {"volume": area, "surface": np.nan, "centroid_z": sums["z"]}
        found["frame"] = row.get("frame", np.nan)
    return {name: found.get(name, value) for name, value in row.items()}
