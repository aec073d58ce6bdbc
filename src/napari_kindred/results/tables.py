"""Tables of a result for other programs: per thing, kind or frame, with units in their columns."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..core.errors import OptionError
from ..methods import method_of
from .atomic import as_spreadsheet, refuse_existing, replacing

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from .base import Result

SHORT = {
    "micrometer": "µm",
    "nanometer": "nm",
    "millimeter": "mm",
    "meter": "m",
    "angstrom": "Å",
    "second": "s",
    "millisecond": "ms",
    "minute": "min",
    "hour": "h",
}
"""Of the names of units."""

AREAS = ("area", "mean_area")
VOLUMES = ("volume", "mean_volume")
PLACES = {"centroid_z": "Z", "centroid_y": "Y", "centroid_x": "X"}
UNCALIBRATED = ("", "pixel", "px")


def kinds_of(result: Result) -> tuple[str, ...]:
    """Return what there can be a table per, that of the result itself first."""
    method = method_of(result.provenance)
    unnamed = "object" if result.ids == "track" else "label"
    own = unnamed if method is None else method.noun
    return tuple(dict.fromkeys([own, *result.further_tables(), "frame"]))


def table_per(result: Result, per: str | None = None) -> pd.DataFrame:
    """Return a table of what was found."""
    kinds = kinds_of(result)
    per = per or kinds[0]
    if per not in kinds:
        raise OptionError(f"This result has no table per {per!r}; it has one per {_listed(kinds)}.")
    if per == "frame":
        return _per_frame(result)
    return (result.table if per == kinds[0] else result.further_tables()[per]).copy()


def save_table(result: Result, path: Path, per: str | None = None, overwrite: bool = False) -> Path:
    """Write a table as CSV, its units in the names of the columns.

    Areas and places are in pixels (``area [px]``) and, where the image is calibrated, in its unit
    as well (``area [µm²]``); frames are numbers from 0 and times (``time [s]``).

    Parameters
    ----------
    result : Segmentation
    path : Path
        ``NAME.csv``.
    per
        As for :func:`table_per`.
    overwrite : bool
        Whether a file that is there already may be replaced.

    Raises
    ------
    OptionError, OutputError
        When there is no such table, or it cannot be written.
    """
    table = with_units(table_per(result, per), result.axes, result.scale, result.units)
    refuse_existing(path, overwrite)
    with replacing(path, overwrite) as part:
        as_spreadsheet(table)(part)
    return path


def _listed(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}"


def _per_frame(result: Result) -> pd.DataFrame:
    frames = int(np.prod(result.labels.shape[:-2]))
    pixels = int(np.prod(result.labels.shape[-2:]))
    method = method_of(result.provenance)
    if "volume" in result.table:
        volumes = int(np.prod(result.labels.shape[:-3]))
        voxels = int(np.prod(result.labels.shape[-3:]))
        renamed = result.table.rename(columns={"volume": "area"})
        per_volume = entities_per_frame(renamed, volumes, voxels)
        return per_volume.rename(columns={"area": "volume", "mean_area": "mean_volume"})
    if result.ids == "track" or (method is not None and method.counts_objects):
        return entities_per_frame(result.table, frames, pixels)
    known = result.further_tables().get("frame")
    rows: pd.DataFrame
    if known is not None and "edited" not in result.provenance:
        rows = known if "frame" in known else known.assign(frame=0)
    else:
        rows = areas_per_frame(result.labels)
    names = dict(zip(result.table["index"], result.table.get("name", ()), strict=False))
    if names and "name" not in rows:
        rows = rows.assign(name=[names.get(label, "") for label in rows["index"]])
    first = [name for name in ("frame", "index", "name") if name in rows]
    rows = rows[[*first, *(name for name in rows if name not in first)]]
    return rows.sort_values(["frame", "index"], ignore_index=True)


def tracks_of(table: pd.DataFrame) -> pd.DataFrame:
    """Return a row per track of a table with ``track``, ``parent`` and ``frame`` of each object."""
    groups = table.groupby("track", as_index=False)
    return groups.agg(parent=("parent", "first"), first=("frame", "min"), last=("frame", "max"))


def track_summary(table: pd.DataFrame) -> pd.DataFrame:
    """Return a row per track of a table with a row per object and frame, as a layer shows it.

    ``area`` is the sum over the frames, as painting keeps it; means are weighted by the area.
    """
    size = "volume" if "volume" in table else "area"
    groups = table.groupby("track")
    total = groups[size].sum()
    columns: dict[str, Any] = {
        "index": total.index.to_numpy(np.int64),
        size: total,
        f"mean_{size}": total / groups.size(),
    }
    means = ("centroid_z", "centroid_y", "centroid_x", "mean_intensity", "score")
    for name in (name for name in means if name in table):
        columns[name] = (table[name] * table[size]).groupby(table["track"]).sum() / total
    return pd.DataFrame(
        {
            **columns,
            "first_frame": groups["frame"].min(),
            "last_frame": groups["frame"].max(),
            "frames": groups["frame"].nunique(),
            "parent": groups["parent"].first(),
        }
    ).reset_index(drop=True)


def count_objects(result: Result) -> int:
    """Count the objects of a result, one that was followed through frames as one."""
    return result.table["track"].nunique() if result.ids == "track" else len(result.table)


def count_divisions(result: Result) -> int:
    """Count the divisions of a result; there are none without tracks."""
    if result.ids != "track":
        return 0
    parents = result.table["parent"].to_numpy()
    return len(np.unique(parents[parents > 0]))


def counted(count: int, noun: str) -> str:
    """Return a number with its noun, for example ``3 divisions``."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def entities_per_frame(table: pd.DataFrame, frames: int, pixels: int) -> pd.DataFrame:
    """Sum up a row per entity to one per frame.

    Parameters
    ----------
    table : DataFrame
        ``index``, ``area`` and, of a stack, ``frame``; of ``mean_intensity`` the mean is taken.
    frames : int
        How many there are; those without entities have a row as well.
    pixels : int
        Of a frame.

    Returns
    -------
    DataFrame
        ``frame``, ``count``, ``area`` and ``mean_area`` in pixels, ``share`` of the frame, and
        ``mean_intensity`` over the entities' pixels where it is known.
    """
    number = table["frame"].to_numpy(int) if "frame" in table else np.zeros(len(table), int)
    area = table["area"].to_numpy(float)
    count = np.bincount(number, minlength=frames)
    total = np.bincount(number, area, minlength=frames)
    rows = pd.DataFrame(
        {
            "frame": np.arange(frames),
            "count": count,
            "area": total.astype(np.int64),
            "mean_area": total / np.where(count, count, np.nan),
            "share": total / pixels,
        }
    )
    if "mean_intensity" in table:
        sums = np.bincount(number, area * table["mean_intensity"].to_numpy(float), minlength=frames)
        rows["mean_intensity"] = sums / np.where(total, total, np.nan)
    return rows


def areas_per_frame(labels: Any) -> pd.DataFrame:
    """Count the pixels of each label in each frame, one frame in memory at a time.

    Parameters
    ----------
    labels : array-like of int, shape (..., Y, X)

    Returns
    -------
    DataFrame
        ``frame``, ``index``, ``area`` in pixels and ``share`` of the frame; background left out.
    """
    rows = [pd.DataFrame({"frame": [], "index": [], "area": []}, dtype=np.int64)]
    for frame, index in enumerate(np.ndindex(*labels.shape[:-2])):
        ids, area = np.unique(np.asarray(labels[index]), return_counts=True)
        rows.append(pd.DataFrame({"frame": frame, "index": ids, "area": area})[ids > 0])
    table = pd.concat(rows, ignore_index=True).astype(np.int64)
    return table.assign(share=table["area"] / int(np.prod(labels.shape[-2:])))


def with_units(
    table: pd.DataFrame,
    axes: str,
    scale: Sequence[float] | None,
    units: Sequence[str] | None,
) -> pd.DataFrame:
    """Return a table whose columns name their units."""
    steps = steps_of(axes, scale, units)
    columns: dict[str, Any] = {}
    for name in table:
        column = table[name]
        if name in AREAS:
            columns[f"{name} [px]"] = column
            if "Y" in steps and "X" in steps and steps["Y"][1] == steps["X"][1]:
                columns[f"{name} [{steps['Y'][1]}²]"] = column * steps["Y"][0] * steps["X"][0]
        elif name in VOLUMES:
            columns[f"{name} [voxels]"] = column
            if len({steps[axis][1] for axis in "ZYX" if axis in steps}) == 1 and "Z" in steps:
                voxel = math.prod(steps[axis][0] for axis in "ZYX")
                columns[f"{name} [{steps['Z'][1]}³]"] = column * voxel
        elif name == "surface":
            columns["surface [px²]"] = column
            if "Y" in steps and "X" in steps and steps["Y"][1] == steps["X"][1]:
                side = min(steps["Y"][0], steps["X"][0])
                columns[f"surface [{steps['Y'][1]}²]"] = column * side**2
        elif name in PLACES:
            columns[f"{name} [px]"] = column
            if PLACES[name] in steps:
                step, unit = steps[PLACES[name]]
                columns[f"{name} [{unit}]"] = column * step
        else:
            columns[str(name)] = column
            leading = axes.replace("C", "")[:-2]
            if name == "frame" and leading in ("T", "Z") and leading in steps:
                step, unit = steps[leading]
                columns[f"{'time' if leading == 'T' else 'depth'} [{unit}]"] = column * step
    return pd.DataFrame(columns)


def steps_of(
    axes: str, scale: Sequence[float] | None, units: Sequence[str] | None
) -> dict[str, tuple[float, str]]:
    """Return step and unit of the axes that are calibrated."""
    if scale is None or units is None:
        return {}
    return {
        letter: (float(step), SHORT.get(unit, unit))
        for letter, step, unit in zip(axes, scale, units, strict=True)
        if unit not in UNCALIBRATED
    }
