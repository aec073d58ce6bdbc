"""Tables of classes, summed up over frames."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd


def sum_classes(
    frames: Sequence[pd.DataFrame], colours: Sequence[str], pixels: int
) -> pd.DataFrame:
    """Sum up what frames hold of each class.

    Parameters
    ----------
    frames : sequence of DataFrame
        At least one, with a row per class and frame: ``index``, ``name``, ``area``, ``count`` and
        ``mean_score``.
    colours : sequence of str
        ``#rrggbb`` of each class, in the order of ``index``.
    pixels : int
        Of all frames together.

    Returns
    -------
    DataFrame
        A row per class: ``index``, ``name``, ``colour``, ``area`` in pixels, ``share`` of the
        pixels, ``count`` of things, ``mean_score`` over things, NaN where there is
        none.
    """
    rows = pd.concat(frames, ignore_index=True)
    rows["total"] = rows["mean_score"].fillna(0.0) * rows["count"]
    sums = rows.groupby(["index", "name"], as_index=False)[["area", "count", "total"]].sum()
    return pd.DataFrame(
        {
            "index": sums["index"],
            "name": sums["name"],
            "colour": list(colours),
            "area": sums["area"],
            "share": sums["area"] / pixels,
            "count": sums["count"],
            "mean_score": sums["total"] / sums["count"].replace(0, np.nan),
        }
    )
