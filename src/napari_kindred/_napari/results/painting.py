"""Painting on a result: its table follows every stroke, undo included. Free of Qt.

A stroke is known by the pixels that it changed. Areas, centres and intensities are sums over
pixels, so what it changes of them is the sum over those pixels, however large the frame is.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, ref

import numpy as np

from ...core.errors import KindredError
from ...images.stack import ImageStack
from ..clusters import layer as clusters
from ..common.layers import KEY, axis_letters, layer_features, read_layer
from ..common.proxies import unwrap_proxy

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import pandas as pd
    from napari.layers import Labels


@dataclass(frozen=True, slots=True, eq=False)
class Pixels:
    """Pixels that a stroke changed.

    Attributes
    ----------
    place : tuple of ndarray of int, shape (n,)
        One per axis of the layer.
    old, new : ndarray of int, shape (n,)
        Their labels before and after it.
    """

    place: tuple[np.ndarray, ...]
    old: np.ndarray
    new: np.ndarray


def changed_pixels(item: Iterable[Any]) -> Iterator[Pixels]:
    """Yield what the parts of a stroke changed, from what napari remembers to undo it."""
    for atom in item:
        if hasattr(atom, "slice_key"):
            starts = [part.start for part in atom.slice_key]
            mask = np.ones(atom.old_values.shape, bool) if atom.mask is None else atom.mask
            arrays = tuple(
                axis + start for axis, start in zip(np.nonzero(mask), starts, strict=True)
            )
            old, new = np.ravel(atom.old_values), atom.new_value
        else:
            place, old, new = atom
            arrays = tuple(np.ravel(axis) for axis in np.broadcast_arrays(*place))
            old = np.ravel(old)
        yield Pixels(arrays, old, np.broadcast_to(np.ravel(new), old.shape))


def watch(layers: Any) -> None:
    """Let tables follow what is painted on the results in a layer list, and on those to come.

    Parameters
    ----------
    layers : LayerList
        Of a viewer; doing it twice changes nothing.
    """
    layers = unwrap_proxy(layers)
    layers.events.inserted.connect(_inserted)
    for layer in layers:
        _attach(layer, layers)


def _inserted(event: Any) -> None:
    _attach(event.value, event.source)


def _attach(layer: Any, layers: Any) -> None:
    layer = unwrap_proxy(layer)
    if KEY in layer.metadata and hasattr(layer, "selected_label") and layer not in _WATCHED:
        _WATCHED[layer] = Edits(layer, layers)


class Edits:
    """Follows what is painted on one layer.

    Parameters
    ----------
    layer : Labels
        A result; its features and what its metadata say of edits are kept up to date.
    layers : LayerList
        Where the image is looked for that intensities are taken of.
    """

    def __init__(self, layer: Labels, layers: Any) -> None:
        self._layer, self._layers = ref(layer), ref(layers)
        self._forget()
        layer.events.paint.connect(self._on_paint)
        layer.events.set_data.connect(self._on_set_data)
        layer.events.data.connect(self._on_data)
        layer.events.features.connect(self._on_features)

    def _forget(self) -> None:
        """Begin anew."""
        self._deltas: dict[int, Delta] = defaultdict(Delta)
        self._base: pd.DataFrame | None = None
        self._own = False
        self._grey: tuple[int, np.ndarray | None] = (-1, None)
        self._lengths = self._history()

    def _on_data(self, *_: Any) -> None:
        """Forget what was painted on other data; undoing it would paint on these."""
        layer: Any = self._layer()
        if hasattr(layer, "_reset_history"):
            layer._reset_history()
        self._forget()
        if layer is not None and "edited" in layer.metadata.get(KEY, {}):
            self._note({})

    def _history(self) -> tuple[int, int]:
        """Return how many strokes can be undone and redone."""
        layer = self._layer()
        return tuple(len(getattr(layer, name, ())) for name in ("_undo_history", "_redo_history"))  # type: ignore[return-value]

    # -- what happens on the layer ---------------------------------------------------------

    def _on_paint(self, event: Any) -> None:
        self._take(event.value, 1)
        self._lengths = self._history()
        self._show()

    def _on_set_data(self, *_: Any) -> None:
        """See whether something was undone or redone, of which napari tells nothing."""
        (undo, redo), (undo_now, redo_now) = self._lengths, self._history()
        self._lengths = undo_now, redo_now
        layer: Any = self._layer()
        if layer is None or (undo_now > undo) == (redo_now > redo):
            return
        undone = redo_now > redo
        history = layer._redo_history if undone else layer._undo_history
        for item in list(history)[redo if undone else undo :]:
            self._take(item, -1 if undone else 1)
        self._show()

    def _on_features(self, *_: Any) -> None:
        """Take a table that somebody else has set for what it was before all strokes."""
        if not self._own:
            self._base = None
            if self._deltas:
                self._show()

    # -- keeping count ---------------------------------------------------------------------

    def _take(self, item: Iterable[Any], sign: int) -> None:
        """Count a stroke in, or out where it was undone."""
        touched: set[int] = set()
        for pixels in changed_pixels(item):
            for numbers, more in ((pixels.old, -sign), (pixels.new, sign)):
                touched |= self._add(pixels.place, numbers, more)
        for label in touched:
            self._deltas[label].strokes += sign

    def _add(self, place: tuple[np.ndarray, ...], labels: np.ndarray, sign: int) -> set[int]:
        """Count pixels in or out; returns the labels that they have."""
        y, x = (place[axis] for axis in self._plane)
        frames = self._frame_numbers(place)
        ids, inverse = np.unique(labels, return_inverse=True)
        for frame in np.unique(frames):
            here = frames == frame
            grey = self._read(int(frame))
            values = np.full(here.sum(), np.nan) if grey is None else grey[y[here], x[here]]
            sums = [
                np.bincount(inverse[here], weights=weights, minlength=len(ids))
                for weights in (None, y[here], x[here], values)
            ]
            for label, area, *moments in zip(ids.tolist(), *sums, strict=True):
                if label > 0 and area:
                    delta = self._deltas[label]
                    delta.area += sign * int(area)
                    delta.frames[int(frame)] += sign * int(area)
                    delta.y += sign * moments[0]
                    delta.x += sign * moments[1]
                    delta.intensity += sign * moments[2]
        return {label for label in ids.tolist() if label > 0}

    @property
    def _plane(self) -> tuple[int, int]:
        """Places of Y and X among the layer's axes."""
        layer: Any = self._layer()
        letters = axis_letters(layer.axis_labels)
        if {"Y", "X"} <= set(letters):
            return letters.index("Y"), letters.index("X")
        return layer.ndim - 2, layer.ndim - 1

    def _frame_numbers(self, place: tuple[np.ndarray, ...]) -> np.ndarray:
        layer: Any = self._layer()
        leading = [axis for axis in range(layer.ndim) if axis not in self._plane]
        if not leading:
            return np.zeros(len(place[0]), np.int64)
        shape = [layer.data.shape[axis] for axis in leading]
        return np.ravel_multi_index([place[axis] for axis in leading], shape)

    def _read(self, frame: int) -> np.ndarray | None:
        """Return the intensities of a frame of the image, None where it cannot be read."""
        if self._grey[0] != frame:
            self._grey = frame, self._grey_of(frame)
        return self._grey[1]

    def _grey_of(self, frame: int) -> np.ndarray | None:
        layer, layers = self._layer(), self._layers()
        entry = {} if layer is None else layer.metadata.get(KEY, {})
        name = entry.get("source_layer")
        image = next((one for one in layers or () if one.name == name and one is not layer), None)
        if image is None or layer is None:
            return None
        try:
            frames = ImageStack.open(
                read_layer(image).file, entry.get("axes"), entry.get("channel")
            )
            index = list(frames.indices())[frame]
            grey: np.ndarray = frames.read(index).pixels.mean(axis=-1)
        except (KindredError, IndexError, AttributeError):  # another image of that name
            return None
        plane = tuple(layer.data.shape[axis] for axis in self._plane)
        return grey if grey.shape == plane else None

    # -- showing it ------------------------------------------------------------------------

    def _show(self) -> None:
        layer = self._layer()
        if layer is None:
            return
        if self._base is None:
            self._base = layer.features.copy()
        applied = {label: delta for label, delta in self._deltas.items() if delta.strokes}
        total = int(np.prod(layer.data.shape))
        self._own = True
        try:
            layer.features = edited(self._base, applied, total, _areas_by_frame(layer))
        finally:
            self._own = False
        self._note(applied)

    def _note(self, applied: Mapping[int, Delta]) -> None:
        """Let the metadata tell which labels were painted on, and in which frames."""
        layer: Any = self._layer()
        entry = {key: value for key, value in layer.metadata[KEY].items() if key != "edited"}
        if applied:
            frames = {frame for delta in applied.values() for frame in delta.frames}
            entry["edited"] = {"labels": sorted(applied), "frames": sorted(frames)}
        layer.metadata = {**layer.metadata, KEY: entry}


_WATCHED: WeakKeyDictionary[Any, Edits] = WeakKeyDictionary()


def _areas_by_frame(layer: Any) -> dict[int, dict[int, int]] | None:
    """Return the area of each cluster in each frame, as it was computed, where that is known."""
    shown = clusters.clusters_of(layer)
    if shown is None:
        return None
    areas: dict[int, dict[int, int]] = defaultdict(dict)
    rows = shown.result.per_frame
    for label, frame, area in zip(rows["index"], rows["frame"], rows["area"], strict=True):
        areas[int(label)][int(frame)] = int(area)
    return areas


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
