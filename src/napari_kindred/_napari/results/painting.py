"""Painting on a result: its table follows, undo and redo included, a moment after the last stroke.

The frames shown during a stroke are measured again, in bands of rows; a band whose checksum is as
before is not. If none of them changed, a script has painted elsewhere, and all are measured.
"""

from __future__ import annotations

import math
from itertools import product
from time import monotonic
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, ref
from zlib import crc32

import numpy as np
import pandas as pd

from ...core.errors import KindredError
from ...images.axes import letters_of
from ...images.stack import ImageStack
from ..common.later import Later
from ..common.layers import KEY, read_layer
from ..common.proxies import unwrap_proxy
from .painted_table import (
    can_follow,
    changed,
    painted_table,
    size_column,
    sums_before,
    sums_of,
    total,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari.components import ViewerModel
    from napari.layers import Labels

REST = 200
"""Milliseconds without a stroke after which frames are measured."""

BAND = 1 << 20
"""Pixels that are measured at once."""

BUSY = 0.03
"""Seconds for which measuring may hold the window."""


def watch(viewer: Any) -> None:
    """Keep the tables of a viewer's results up to date while the user paints; twice is no harm."""
    viewer = unwrap_proxy(viewer)
    if not any(known() is viewer for known in _VIEWERS):
        known = ref(viewer)
        _VIEWERS[:] = [each for each in _VIEWERS if each() is not None] + [known]
        viewer.layers.events.inserted.connect(lambda event: _attach(event.value, known))
    for layer in viewer.layers:
        _attach(layer, ref(viewer))


def _attach(layer: Any, viewer: ref[ViewerModel]) -> None:
    layer = unwrap_proxy(layer)
    if KEY in layer.metadata and hasattr(layer, "selected_label") and layer not in _WATCHED:
        _WATCHED[layer] = Painting(layer, viewer)


def settle(layer: Any) -> None:
    """Measure the latest strokes on a layer now, not only once they rest."""
    painting = None if layer is None else _WATCHED.get(unwrap_proxy(layer))
    if painting is not None:
        painting.settle()


def is_corrected(layer: Any) -> bool:
    """Whether a result was painted on, or corrected with the tools."""
    settle(layer)
    return "edited" in layer.metadata.get(KEY, {})


def up_to_date(data: Any, about: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what napari hands over beside a layer's data, with its latest strokes measured."""
    for layer, painting in list(_WATCHED.items()):
        if layer.data is data and painting.waiting:
            painting.settle(everywhere=True)
            return {**about, "features": layer.features, "metadata": layer.metadata}
    return about


def plane_axes(layer: Any) -> tuple[int, int]:
    """Return the places of Y and X among a layer's axes."""
    letters = letters_of(layer.axis_labels)
    if {"Y", "X"} <= set(letters):
        return letters.index("Y"), letters.index("X")
    return layer.ndim - 2, layer.ndim - 1


class Painting:
    """Follows what is painted on one layer."""

    def __init__(self, layer: Labels, viewer: ref[ViewerModel]) -> None:
        self._layer, self._viewer = ref(layer), viewer
        self._later = Later(self._work)
        self._own = False
        self._forget()
        layer.events.paint.connect(self._on_paint)
        layer.events.labels_update.connect(self._check_later)
        layer.events.set_data.connect(self._check_later)  # the only event of undo and redo
        layer.events.data.connect(self._on_data)
        layer.events.features.connect(self._on_features)

    def _forget(self) -> None:
        self._features: pd.DataFrame | None = None
        self._before: pd.DataFrame | None = None
        self._painted: set[int] = set()
        self._measured: dict[tuple[int, int], tuple[int, pd.DataFrame]] = {}
        self._queue: set[tuple[int, int]] = set()
        self._edits: dict[str, list[int]] = {"labels": [], "frames": []}
        self._stroke = self._moved = self.waiting = False
        self._later.stop()
        self._image: tuple[int, np.ndarray | None] = (-1, None)

    # -- what happens on the layer ---------------------------------------------------------

    def _on_paint(self, *_: Any) -> None:
        self._painted |= self._frames_shown()
        self._stroke = True
        self._check_later()

    def _check_later(self, *_: Any) -> None:
        """Check the frames that were painted on once strokes rest."""
        layer = self._layer()
        if self._painted and layer is not None and can_follow(layer.features):
            self.waiting = True
            if not self._later.ask(REST):
                self.settle()

    def _on_data(self, *_: Any) -> None:
        """Forget what was painted on other data, and let napari forget it: undo would mix them."""
        painted = bool(self._painted)
        self._forget()
        layer: Any = self._layer()
        if layer is None or not painted:
            return
        mode = layer.mode
        layer.editable = False  # napari empties its history then
        layer.editable = True
        layer.mode = mode
        if "edited" in layer.metadata.get(KEY, {}):
            self._note({})

    def _on_features(self, *_: Any) -> None:
        """Start from a table that was set by others."""
        if not self._own:
            self._features = self._before = None
            self._check_later()

    # -- measuring -------------------------------------------------------------------------

    def settle(self, *, everywhere: bool = False) -> None:
        """Measure all that is pending; ``everywhere`` also frames that scripts have painted."""
        layer = self._layer()
        if everywhere and layer is not None:
            self._painted = set(range(self._count(layer)))
            self._queue.clear()
        while self.waiting:
            self._work(float("inf"))

    def _work(self, seconds: float = BUSY) -> None:
        """Measure for a while, and show the table when nothing is left."""
        layer: Any = self._layer()
        self._later.stop()
        if layer is None or not self.waiting:
            return
        if not self._queue:
            self._begin(layer)
        end = monotonic() + seconds
        while self._queue and monotonic() < end:
            self._measure(layer, *self._queue.pop())
        if self._queue:
            self._later.ask(0)
            return
        edits = self._find_edits()
        everywhere = set(range(self._count(layer)))
        if self._stroke and not self._moved and edits == self._edits and self._painted < everywhere:
            self._painted = everywhere  # a script painted on frames that are not shown
            self._later.ask(0)
            return
        self._edits = edits
        self._stroke = self._moved = self.waiting = False
        self._show(layer)

    def _begin(self, layer: Any) -> None:
        """Store the table before painting, and list the bands to measure."""
        frames = self._count(layer)
        if self._features is None:
            self._features = layer.features.copy()
            self._before = sums_before(layer, self._features, frames)
        if self._before is None:
            self._painted |= set(range(frames))
        height = layer.data.shape[plane_axes(layer)[0]]
        bands = range(0, height, self._rows(layer))
        self._queue = set(product(self._painted, bands))

    def _measure(self, layer: Any, frame: int, row: int) -> None:
        y, x = plane_axes(layer)
        rows = slice(row, row + self._rows(layer))
        place: list[Any] = [0] * layer.ndim
        for axis, number in self._numbers(layer, frame).items():
            place[axis] = number
        place[y], place[x] = rows, slice(None)
        band = np.asarray(layer.data[tuple(place)])
        labels = np.ascontiguousarray(band if y < x else band.T)
        checksum = crc32(labels.data)
        known = self._measured.get((frame, row))
        if known is not None and known[0] == checksum:
            return
        self._moved |= known is not None
        image = self._intensity(frame) if "mean_intensity" in layer.features else None
        sums = sums_of(labels, None if image is None else image[rows], frame, row)
        self._measured[frame, row] = checksum, sums

    def _frames(self) -> set[int]:
        return {frame for frame, _ in self._measured}

    def _leading(self, layer: Any) -> dict[int, int]:
        """Return the sizes of the axes along which frames follow each other."""
        return {
            axis: size
            for axis, size in enumerate(layer.data.shape)
            if axis not in plane_axes(layer)
        }

    def _numbers(self, layer: Any, frame: int) -> dict[int, int]:
        """Return the place of a frame along those axes."""
        sizes = self._leading(layer)
        numbers = np.unravel_index(frame, tuple(sizes.values())) if sizes else ()
        return {axis: int(number) for axis, number in zip(sizes, numbers, strict=True)}

    def _count(self, layer: Any) -> int:
        return math.prod(self._leading(layer).values())

    def _rows(self, layer: Any) -> int:
        return max(1, BAND // layer.data.shape[plane_axes(layer)[1]])

    def _frames_shown(self) -> set[int]:
        """Return the frames that a stroke may reach: the shown one, in 3D all along an axis."""
        layer, viewer = self._layer(), self._viewer()
        if layer is None or viewer is None:
            return set()
        dims, sizes = viewer.dims, self._leading(layer)
        offset = dims.ndim - layer.ndim
        reached = {*dims.displayed, *dims.order[-layer.n_edit_dimensions :]}
        point = layer.world_to_data(dims.point[offset:])
        ranges = [
            range(size)
            if axis + offset in reached
            else [min(max(round(float(point[axis])), 0), size - 1)]
            for axis, size in sizes.items()
        ]
        shape = tuple(sizes.values())
        return {int(np.ravel_multi_index(each, shape)) if each else 0 for each in product(*ranges)}

    def _intensity(self, frame: int) -> np.ndarray | None:
        """Return the intensities (Y, X) of a frame of the image, None if they cannot be read."""
        if self._image[0] != frame:
            self._image = frame, self._read(frame)
        return self._image[1]

    def _read(self, frame: int) -> np.ndarray | None:
        layer, viewer = self._layer(), self._viewer()
        if layer is None or viewer is None:
            return None
        entry = layer.metadata.get(KEY, {})
        name = entry.get("source_layer")
        image = next((one for one in viewer.layers if one.name == name and one is not layer), None)
        try:
            frames = ImageStack.open(
                read_layer(image).file, entry.get("axes"), entry.get("channel")
            )
            index = list(frames.indices())[frame]
            pixels: np.ndarray = frames.read(index).pixels.mean(axis=-1)
        except (KindredError, IndexError, AttributeError):  # gone, or another image of that name
            return None
        plane = tuple(layer.data.shape[axis] for axis in plane_axes(layer))
        return pixels if pixels.shape == plane else None

    # -- showing it ------------------------------------------------------------------------

    def _sums(self) -> pd.DataFrame:
        """Return the sums of each label in each frame that was measured."""
        bands = pd.concat([sums for _, sums in self._measured.values()], ignore_index=True)
        return total(bands, ["index", "frame"]).reset_index()

    def _find_edits(self) -> dict[str, list[int]]:
        """Return the labels that were painted on, and in which frames."""
        after = self._sums()
        if self._before is not None:
            before = self._before[self._before["frame"].isin(self._frames())]
            edits = changed(before, after)
            return {
                "labels": sorted({int(label) for label in edits["index"]}),
                "frames": sorted({int(frame) for frame in edits["frame"]}),
            }
        features = self._features
        assert features is not None  # noqa: S101 - taken when measuring began
        old = features[features["index"] > 0].set_index("index")[size_column(features)].dropna()
        new = after.groupby("index")["area"].sum()
        every = old.index.union(new.index)
        differs = old.reindex(every, fill_value=0) != new.reindex(every, fill_value=0)
        labels = [int(label) for label in every[differs & (every > 0)]]
        touched = after[after["index"].isin(labels)]["frame"]
        return {"labels": labels, "frames": sorted({int(frame) for frame in touched})}

    def _show(self, layer: Any) -> None:
        features, labels = self._features, set(self._edits["labels"])
        if features is not None and labels:
            sums = self._sums()
            if self._before is not None:
                rest = self._before[~self._before["frame"].isin(self._frames())]
                sums = pd.concat([rest, sums], ignore_index=True) if len(rest) else sums
            features = painted_table(features, sums, labels, int(np.prod(layer.data.shape)))
        self._note(self._edits if labels else {})  # before those hear of it who show the table
        self._own = True
        try:
            layer.features = features
        finally:
            self._own = False

    def _note(self, edits: Mapping[str, list[int]]) -> None:
        """Write down in the metadata which labels were painted on, and in which frames."""
        layer: Any = self._layer()
        entry = {key: value for key, value in layer.metadata[KEY].items() if key != "edited"}
        if edits:
            entry["edited"] = dict(edits)
        layer.metadata = {**layer.metadata, KEY: entry}


_WATCHED: WeakKeyDictionary[Any, Painting] = WeakKeyDictionary()
_VIEWERS: list[ref[ViewerModel]] = []
