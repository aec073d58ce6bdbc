"""Charts of a result: areas, or the number of objects, over time. Free of Qt."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ...images.axes import letters_of
from ...methods import method_of
from ...results.tables import SHORT, UNCALIBRATED, areas_per_frame, entities_per_frame
from ..common.label_state import state_of
from ..common.layers import KEY, area_unit
from ..common.proxies import level_0
from .layer_storage import table_of

if TYPE_CHECKING:
    import pandas as pd
    from napari.layers import Labels

PLAIN = "#4c9be8"
"""Colour of a curve that stands for no label."""

MOST = 24
"""Number of curves; of more labels the largest are drawn."""

TICKS = 4
"""Approximate number of ticks along an axis."""


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """One line of the plot."""

    values: np.ndarray  # float (frames,), NaN where there is none
    colour: str  # #rrggbb
    name: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Chart:
    """Content of the plot."""

    curves: tuple[Curve, ...]
    x: str = "frame"
    y: str = ""
    step: float = 1.0  # of the horizontal axis from frame to frame

    @property
    def frames(self) -> int:
        """Number of frames."""
        return max((len(curve.values) for curve in self.curves), default=0)

    @property
    def top(self) -> float:
        """The largest value, 1 if there is none above 0."""
        values = [float(np.nanmax(curve.values, initial=0.0)) for curve in self.curves]
        return max(values, default=0.0) or 1.0


def ticks(last: float, count: int = TICKS) -> list[float]:
    """Return about ``count`` round numbers from 0 to ``last``."""
    if last <= 0:
        return [0.0]
    rough = last / count
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * size for factor in (1, 2, 5, 10) if factor * size >= rough * 0.999)
    return [float(step * number) for number in range(math.floor(last / step * 1.0001) + 1)]


def short_number(value: float) -> str:
    """Return a number as an axis shows it: 0, 0.25, 1500, 20k, 3M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if letter == 'k' else size):g}{letter}"
    return f"{value:.4g}"


def stretches(values: np.ndarray) -> list[range]:
    """Return the stretches of frames that have values."""
    known = np.concatenate([[False], np.isfinite(values), [False]]).astype(int)
    starts, ends = np.flatnonzero(np.diff(known) == 1), np.flatnonzero(np.diff(known) == -1)
    return [range(start, end) for start, end in zip(starts, ends, strict=True)]


# -- from a layer ----------------------------------------------------------------------------


def chart_of(layer: Labels) -> Chart | None:
    """Return the chart of a result from its tables, None if they do not suffice."""
    entry, frames = layer.metadata.get(KEY, {}), frames_of(layer)
    if frames < 2:
        return None
    method = method_of(entry)
    if method is not None and method.counts_objects:
        objects = table_of(layer.features)
        if not {"frame", "area"} <= set(objects):
            return None
        counts = entities_per_frame(objects.dropna(subset=["frame"]), frames, 1)["count"]
        return _chart(layer, (Curve(_done(layer, counts), PLAIN),), "Objects")
    state = state_of(layer)
    if state is None:
        return None
    rows = state.result.further_tables().get("frame")
    if rows is None or "edited" in entry:
        return None
    return _of_areas(layer, rows[~rows["index"].isin(state.hidden_labels())])


def counted_chart(layer: Labels) -> Chart | None:
    """Return the chart of a result by counting its pixels; called in another thread."""
    return _of_areas(layer, areas_per_frame(level_0(layer))) if frames_of(layer) > 1 else None


def frames_of(layer: Labels) -> int:
    """Return how many frames a layer has."""
    return math.prod(layer.data.shape[:-2])


def _of_areas(layer: Labels, rows: pd.DataFrame) -> Chart:
    """Return a curve per label from a row per label and frame."""
    unit, size = area_unit(layer)
    table = rows.pivot_table(index="frame", columns="index", values="area", fill_value=0)
    table = table.reindex(range(frames_of(layer)), fill_value=0) * size
    largest = table.sum().sort_values(ascending=False).index[:MOST]
    names = _names(layer)
    curves = tuple(
        Curve(_done(layer, table[label]), _colour(layer, int(label)), names.get(int(label), ""))
        for label in sorted(largest)
    )
    return _chart(layer, curves, f"Area [{unit}]")


def _done(layer: Labels, values: pd.Series) -> np.ndarray:
    """Return values per frame, NaN for the frames that a stopped run never did."""
    done, entry = values.to_numpy(float, copy=True), layer.metadata.get(KEY, {})
    if entry.get("complete") is False:
        done[entry.get("frames_done", len(done)) :] = np.nan
    return done


def _names(layer: Labels) -> dict[int, str]:
    rows = layer.features
    if "name" not in rows or "index" not in rows:
        return {}
    return {
        int(label): str(name or int(label))
        for label, name in zip(rows["index"], rows["name"], strict=True)
    }


def _colour(layer: Labels, label: int) -> str:
    from ...core.colors import as_hex

    colour = layer.get_color(label)
    return PLAIN if colour is None else as_hex(colour)


def _chart(layer: Labels, curves: tuple[Curve, ...], y: str) -> Chart:
    """Return a chart whose horizontal axis is time or depth, where the layer tells its unit."""
    letters = letters_of(layer.axis_labels)
    leading = [axis for axis, size in enumerate(layer.data.shape[:-2]) if size > 1]
    if len(leading) == 1:
        axis = leading[0]
        unit = str(layer.units[axis])
        word = {"T": "Time", "Z": "Depth"}.get(letters[axis] if letters else "", "")
        if word and unit not in UNCALIBRATED:
            return Chart(curves, f"{word} [{SHORT.get(unit, unit)}]", y, float(layer.scale[axis]))
    return Chart(curves, "Frame", y)
