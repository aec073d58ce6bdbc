"""Labels of clusters, put together frame by frame: provisional ones first, then the final ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..core.events import Partial
from ..results.assembly import Assembly, location_for, make_labels
from ..results.disk_labels import tell
from .label_matching import LabelMatching
from .result import ClusterSegmentation, count_pixels, summary, summed

if TYPE_CHECKING:
    from ..images.stack import ImageStack
    from ..results.segmentation import Segmentation
    from .model import HierarchicalClustering

IN_MEMORY = 1 << 26
"""Labels, or leaves, of more bytes than this are held on disk."""

_COLUMNS = ("index", "area", "share", "first_frame", "last_frame", "frames")


class ClusterAssembly(Assembly):
    """Labels and leaves of a movie; see :class:`.Assembly`."""

    ids = "stack"

    def __init__(self, frames: ImageStack) -> None:
        super().__init__(
            frames.output_shape,
            frames.output_axes,
            frames.scale,
            frames.units,
            location_for(frames, "clusters", self.ids),
            in_memory=IN_MEMORY,
            translate=frames.translate,
        )
        self._counts: dict[tuple[int, ...], np.ndarray] = {}
        self._final: set[tuple[int, ...]] = set()
        self._matching = LabelMatching()
        self._rows: list[pd.DataFrame] = []
        self._model: HierarchicalClustering | None = None
        self._lut = np.zeros(0, np.int32)
        self._leaves: Any = None
        self._old_numbers: set[tuple[int, ...]] = set()

    @property
    def done(self) -> int:
        """Number of frames so far, provisional ones included."""
        return len(self._counts)

    @property
    def clusters(self) -> int:
        """Number of final labels but 0 that have any pixel."""
        found = pd.concat(self._rows)["index"].to_numpy(np.int64)
        return len(set(self._lut[found].tolist()) - {0})

    @property
    def provisional(self) -> bool:
        """Whether there are frames, and none has its final labels."""
        return bool(self._counts) and not self._final

    def add_provisional(
        self, index: tuple[int, ...], labels: np.ndarray, table: pd.DataFrame
    ) -> Partial:
        """Add a frame's provisional labels (H, W) int32; returns what the job yields."""
        with self._lock:
            if not self._closed:
                self.labels[index] = labels
                self._counts[index] = np.bincount(labels.ravel())
        return Partial(index, labels, table, assembly=self)

    def begin(self, model: HierarchicalClustering) -> None:
        """Begin the final labels: those of a fitted model."""
        self._model, self._lut = model, model.lut(model.n_labels_)
        self._leaves = make_labels(self.labels.shape, np.uint8, IN_MEMORY)

    def add(
        self, index: tuple[int, ...], leaves: np.ndarray, grey: np.ndarray, note: str = ""
    ) -> Partial:
        """Add a frame's leaves and intensities (H, W); returns its final labels as yielded."""
        labels: np.ndarray = self._lut[leaves]
        rows = count_pixels(leaves, grey, len(self._rows))
        with self._lock:
            self._rows.append(rows)
            if not self._closed:
                if index in self._counts:
                    self._matching.learn(np.asarray(self.labels[index]), labels)
                self.labels[index] = labels
                self._leaves[index] = leaves.astype(np.uint8)
                self._counts[index] = np.bincount(labels.ravel())
                self._final.add(index)
        return Partial(index, labels, summed(rows, self._lut, labels.size), note, assembly=self)

    def count_areas(self) -> list[tuple[int, ...]]:
        """Count areas in pixels, by which clusters are numbered once all frames are labelled.

        Returns the frames whose labels have to be renumbered, because other numbers were expected.
        """
        if self._model is None:
            return []
        rows = pd.concat(self._rows, ignore_index=True)
        leaves = len(self._model.leaf_areas_)
        areas = np.bincount(rows["index"], rows["area"], minlength=leaves)
        self._model.leaf_areas_ = areas.astype(np.float64)
        before, self._lut = self._lut, self._model.lut(self._model.n_labels_)
        if not np.array_equal(before, self._lut):
            self._old_numbers = set(self._final)
        return sorted(self._old_numbers)

    def renumber(self, index: tuple[int, ...]) -> None:
        """Give a frame's labels the numbers that :meth:`count_areas` found."""
        with self._lock:
            self._old_numbers.discard(index)
            if not self._closed:
                labels = self._lut[np.asarray(self._leaves[index])]
                self.labels[index] = labels
                self._counts[index] = np.bincount(labels.ravel())

    def table(self) -> pd.DataFrame:
        """Return a row per cluster."""
        with self._lock:
            counts = dict(self._counts)
        order, shape = sorted(counts), self.labels.shape[:-2]
        largest = max((len(areas) for areas in counts.values()), default=1)
        areas = np.zeros((len(order), largest), np.int64)
        for row, index in zip(areas, order, strict=True):
            row[: len(counts[index])] = counts[index]
        frames = [int(np.ravel_multi_index(index, shape)) if index else 0 for index in order]
        rows = []
        for label in range(1, largest):
            area = int(areas[:, label].sum())
            occurs = [frame for frame, size in zip(frames, areas[:, label], strict=True) if size]
            first, last = (occurs[0], occurs[-1]) if occurs else (-1, -1)
            rows.append((label, area, area / int(areas.sum()), first, last, len(occurs)))
        return pd.DataFrame(rows, columns=list(_COLUMNS))

    def _settle(self) -> None:
        """Give provisional frames the final ids, if a run was stopped when some had them."""
        if not self._final:
            return
        for index in self._counts.keys() - self._final:
            labels = np.asarray(self.labels[index])
            labels = self._matching.lut(int(labels.max(initial=0)))[labels]
            self.labels[index] = labels
            self._counts[index] = np.bincount(labels.ravel())
        self._final |= self._counts.keys()

    def _extent(self) -> dict[str, Any]:
        return {"complete": len(self._final) == self.frames, "frames_done": self.done}

    def _result(self, facts: dict[str, Any]) -> Segmentation:
        if self.provisional:
            note = "Labels and outlines are provisional."
            facts = {**facts, "notes": [*facts.get("notes", ()), note]}
        if not facts["complete"] or self._model is None:
            self._settle()
            return super()._result(facts)
        for index in sorted(self._old_numbers):  # the rest, if the run was cancelled meanwhile
            labels = self._lut[np.asarray(self._leaves[index])]
            self.labels[index] = labels
        pixels = int(np.prod(self.labels.shape[-2:]))
        rows = pd.concat(self._rows, ignore_index=True)
        per_frame = summed(rows, self._lut, pixels)
        table = summary(per_frame, pixels * self.frames)
        tell(self.labels, table, facts, self.ids)
        return ClusterSegmentation(
            self.labels,
            table,
            facts,
            **self._placement(),
            leaves=self._leaves,
            model=self._model,
            per_frame=per_frame,
            leaves_per_frame=rows,
        )
