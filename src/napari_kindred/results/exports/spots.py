"""Tracks as a table of spots: an object in a frame each, with its place and its source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ...core.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ..base import Result
    from . import Named


def refuse_unlinked(result: Result) -> None:
    """Refuse labels that are not those of tracks."""
    if result.ids != "track":
        raise OptionError(
            "These labels are not linked, so there are no tracks to export; link them first, with "
            "napari_kindred.link."
        )


def spots_of(result: Result) -> pd.DataFrame:
    """Return a row per object and frame, in order of tracks.

    Columns: ``spot``, ``track``, ``parent``, ``frame``, ``source`` (the spot before, 0 for none;
    of a daughter, the last of her mother), ``t``, ``z``, ``y``, ``x`` and ``radius`` in the
    result's units.
    """
    table = result.table.sort_values(["track", "frame"], ignore_index=True)
    letters = result.axes.replace("C", "")
    steps = dict(zip(result.axes, result.scale or (1.0,) * len(result.axes), strict=True))
    spot = np.arange(1, len(table) + 1)
    goes_on = table["track"].eq(table["track"].shift())
    last_of = pd.Series(spot, table["track"]).groupby(level=0).max()
    mother = table["parent"].map(last_of).fillna(0)
    source = np.where(goes_on, spot - 1, mother).astype(int)
    spatial = [letter for letter in letters if letter in "ZYX"]
    pixel = float(np.prod([steps[letter] for letter in spatial]))
    size = table["volume" if len(spatial) == 3 else "area"].to_numpy(float) * pixel
    ball = len(spatial) == 3
    radius = np.cbrt(size * 3 / (4 * np.pi)) if ball else np.sqrt(size / np.pi)
    places = {
        letter.lower(): table[f"centroid_{letter.lower()}"] * steps[letter] for letter in spatial
    }
    columns = {name: table[name] for name in ("track", "parent", "frame")}
    time = table["frame"] * steps.get("T", 1.0)
    return pd.DataFrame(
        {"spot": spot, **columns, "source": source, "t": time, **places, "radius": radius}
    )


def write(path: Path, results: Sequence[Named], _: Mapping[str, Any]) -> None:
    """Write the spots as CSV."""
    ((_stem, result),) = results
    refuse_unlinked(result)
    spots_of(result).to_csv(path, index=False)
