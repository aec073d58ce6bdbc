"""The result of a segmentation by class names, whose threshold and names can be changed at once."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..core.errors import OptionError
from ..core.events import Partial
from ..results import storage
from ..results.assembly import Assembly, make_labels
from ..results.atomic import as_csv
from ..results.disk_labels import OutputLocation, tell
from ..results.label_tiff import read_tiff
from ..results.segmentation import Segmentation, measure
from ..results.zarr_tables import read_columns, write_columns
from .names import check_names
from .saved_state import NOT_KEPT, Observations, read_observations, write_observations

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import zarr
    from numpy.typing import NDArray

    from ..results.base import IdScope
    from .config import Threshold
    from .resolve import Resolved


def sum_classes(
    frames: Sequence[pd.DataFrame], colours: Sequence[str], pixels: int
) -> pd.DataFrame:
    """Sum the class tables of frames."""
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


@dataclass(slots=True, eq=False, repr=False)
class ClassSegmentation(Segmentation):
    """One class per pixel; see :class:`~napari_kindred.Segmentation`.

    ``labels`` has 1 for the first name, 2 for the second, 0 for none of them.  ``table`` has one
    row per class: ``index``, ``name``, ``colour``, ``area`` in pixels, ``share`` of all pixels,
    ``count`` of objects, ``mean_score``.

    Attributes
    ----------
    names : tuple of str
    entities : ndarray of int32, or zarr array, shape of the labels
        An id for every object, unique within a frame.
    entity_table : DataFrame
        A row per object: ``index``, ``frame`` (stacks only), ``area``, ``centroid_y``,
        ``centroid_x``, ``score``, ``class`` and ``name``.
    per_frame : DataFrame
        A row per class and frame: ``index``, ``name``, ``frame``, ``area``, ``share``,
        ``count``, ``mean_score``.
    observations : Observations or None
        Output of inference, from which threshold and names can be changed.
    fixed : str
        Why they cannot, one sentence, if it is None.
    """

    ids: IdScope = "class"
    names: tuple[str, ...] = ()
    entities: Any = None
    entity_table: pd.DataFrame = field(default_factory=pd.DataFrame)
    per_frame: pd.DataFrame = field(default_factory=pd.DataFrame)
    observations: Observations | None = None
    fixed: str = NOT_KEPT

    def at_threshold(self, threshold: Threshold) -> ClassSegmentation:
        """Return the same image at another threshold, without inference.

        Parameters
        ----------
        threshold : float or "auto"
            Minimum confidence of an object, 0 to 1.  ``"auto"`` takes each class's own.
        """
        return self._decide_again(self.names, threshold)

    def with_names(self, names: Sequence[str] | str) -> ClassSegmentation:
        """Return the same image under other names, without inference.

        Raises
        ------
        OptionError
            When the classifier does not define a name.
        """
        return self._decide_again(check_names(names), self.provenance["config"]["threshold"])

    def _decide_again(self, names: tuple[str, ...], threshold: Threshold) -> ClassSegmentation:
        if self.observations is None:
            raise OptionError(self.fixed)
        observations = self.observations
        colours = observations.classifier.check(names)
        thresholds = observations.classifier.thresholds(names, threshold)
        assembly = ClassAssembly(observations.shape, self.axes, names, colours)
        for number in range(len(observations.store)):
            found = observations.classifier.resolve(
                observations.store.get(number), names, thresholds
            )
            assembly.add(number, observations.indices[number], found)
        facts = {
            **self.provenance,
            "names": list(names),
            "colours": list(colours),
            "thresholds": thresholds_of(thresholds),
            "config": {**self.provenance["config"], "threshold": threshold},
        }
        assembly.observations = observations
        return replace(
            assembly.result(facts), scale=self.scale, units=self.units, translate=self.translate
        )

    def objects(self) -> tuple[Any, pd.DataFrame]:
        """Return the objects of all classes if they are known, else the regions of the classes."""
        known = self.entities is not None and len(self.entity_table)
        return (self.entities, self.entity_table) if known else (self.labels, self.table)

    def further_tables(self) -> dict[str, pd.DataFrame]:
        """Return the other tables, by what a row stands for."""
        tables = {"entity": self.entity_table, "frame": self.per_frame}
        return {name: table for name, table in tables.items() if len(table)}

    def save(self, path: str | Path, overwrite: bool = False) -> Path:
        """Write everything to disk; see :meth:`napari_kindred.Segmentation.save`.

        Next to a ``NAME.tif`` go ``NAME.entities.tif``, ``NAME.entities.csv`` and
        ``NAME.frames.csv``; an OME-Zarr holds them as ``labels/entities`` and ``per_frame``, and
        up to 128 MB of observations, so that napari can still change threshold and names.
        """
        path = Path(path)
        objects = Segmentation(
            self.entities,
            self.entity_table,
            {},
            self.axes,
            self.scale,
            self.units,
            translate=self.translate,
        )
        if path.suffix.lower() == ".zarr":

            def more(root: zarr.Group) -> None:
                write_columns(root, self.per_frame, "per_frame")
                storage.write_group(root.create_group("labels/entities"), objects)
                if self.observations is not None:
                    write_observations(root, self.observations, self.names)

            return storage.save(self, path, overwrite, more)
        labels, table, frames = beside(path)
        others = {
            frames: as_csv(self.per_frame),
            table: as_csv(self.entity_table),
            labels: storage.as_tiff(objects),
        }
        return storage.save(self, path, overwrite, others=others)

    @classmethod
    def load(cls, path: Path) -> Segmentation:
        """Read the files of :meth:`save`; see :meth:`napari_kindred.Segmentation.load`.

        If only the observations are damaged, all else is there.
        """
        parts = storage.load(path)
        observations, fixed = None, NOT_KEPT
        with storage.reading(path):
            if path.suffix.lower() == ".zarr":
                import zarr

                root = zarr.open_group(path, mode="r")
                if "labels/entities" not in root:
                    return Segmentation(**parts)
                objects = storage.load(path, "labels/entities")
                per_frame = read_columns(root, "per_frame")
                observations, fixed = read_observations(root, parts["labels"].shape)
            else:
                labels, table, frames = others = beside(path)
                if not all(other.is_file() for other in others):
                    return Segmentation(**parts)
                objects = {"labels": read_tiff(labels), "table": pd.read_csv(table)}
                per_frame = pd.read_csv(frames)
            names = tuple(map(str, parts["provenance"]["names"]))
        return cls(
            **parts,
            names=names,
            entities=objects["labels"],
            entity_table=objects["table"],
            per_frame=per_frame,
            observations=observations,
            fixed=fixed,
        )


def beside(path: Path) -> list[Path]:
    """Return where a TIFF puts its objects, their table and that of frames; none for OME-Zarr."""
    if path.suffix.lower() == ".zarr":
        return []
    stem = path.name.rsplit(".", 1)[0].removesuffix(".ome")
    ends = ("entities.tif", "entities.csv", "frames.csv")
    return [path.with_name(f"{stem}.{end}") for end in ends]


def thresholds_of(values: NDArray[np.float32]) -> list[float]:
    """Return thresholds as provenance holds them."""
    return [round(float(value), 4) for value in values]


class ClassAssembly(Assembly):
    """Labels of classes and of their objects, ``shape`` of all frames; see :class:`.Assembly`."""

    ids = "class"

    def __init__(
        self,
        shape: Sequence[int],
        axes: str,
        names: tuple[str, ...],
        colours: tuple[str, ...],
        location: OutputLocation | None = None,
        memory: float | None = None,
        scale: tuple[float, ...] | None = None,
        units: tuple[str, ...] | None = None,
    ) -> None:
        super().__init__(shape, axes, scale, units, location, memory)
        self._names, self._colours = names, colours
        self.entities = make_labels(shape, memory=memory)
        self.observations: Observations | None = None
        self._rows: list[pd.DataFrame] = []
        self._objects: list[pd.DataFrame] = []

    @property
    def done(self) -> int:
        """Number of finished frames."""
        return len(self._rows)

    def add(self, number: int, index: tuple[int, ...], found: Resolved, note: str = "") -> Partial:
        """Add a frame; returns the event to yield."""
        frame = number if index else None
        rows = self._class_rows(found, frame)
        objects = measure(found.entities, None, found.scores, frame)
        objects["class"] = found.classes
        objects["name"] = [self._names[kind - 1] for kind in found.classes]
        with self._lock:
            if not self._closed:
                self.labels[index], self.entities[index] = found.labels, found.entities
                self._rows.append(rows)
                self._objects.append(objects)
        return Partial(index, found.labels, rows, note, assembly=self)

    def _class_rows(self, found: Resolved, frame: int | None) -> pd.DataFrame:
        count = len(self._names)
        area = np.bincount(found.labels.ravel(), minlength=count + 1)[1:]
        objects = np.bincount(found.classes, minlength=count + 1)[1:]
        total = np.bincount(found.classes, found.scores, minlength=count + 1)[1:]
        rows = pd.DataFrame(
            {
                "index": np.arange(1, count + 1),
                "name": list(self._names),
                "area": area,
                "share": area / found.labels.size,
                "count": objects,
                "mean_score": np.where(objects > 0, total / np.maximum(objects, 1), np.nan),
            }
        )
        if frame is not None:
            rows.insert(2, "frame", np.int64(frame))
        return rows

    def table(self) -> pd.DataFrame:
        """Return a row per class, over all finished frames."""
        with self._lock:
            rows = list(self._rows)
        pixels = len(rows) * int(np.prod(self.labels.shape[-2:]))
        return sum_classes(rows, self._colours, pixels)

    def _result(self, facts: dict[str, Any]) -> ClassSegmentation:
        filled = [rows for rows in self._objects if len(rows)] or self._objects[:1]
        table = self.table()
        tell(self.labels, table, facts, self.ids)
        return ClassSegmentation(
            self.labels,
            table,
            facts,
            **self._placement(),
            names=self._names,
            entities=self.entities,
            entity_table=pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(),
            per_frame=pd.concat(self._rows, ignore_index=True) if self._rows else pd.DataFrame(),
            observations=self.observations,
        )

    def result(
        self, more: Mapping[str, Any] | None = None, notes: Sequence[str] = ()
    ) -> ClassSegmentation:
        """Return what is there; see :meth:`.Assembly.result`."""
        found: Any = super().result(more, notes)
        return found  # type: ignore[no-any-return]
