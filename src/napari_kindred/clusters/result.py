"""The result of consistent clustering: labels, their leaves, and the model to re-label by."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..core.errors import InputError, OptionError
from ..results import storage
from ..results.atomic import as_csv
from ..results.segmentation import Segmentation
from ..results.zarr_tables import read_columns, write_columns
from .levels import relabel
from .model_io import read_leaves, write_leaves
from .nodes import ClusterNode, frame_of, most_alike

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import zarr

    from ..results.base import IdScope
    from .model import HierarchicalClustering

OF_A_LEVEL = ("background", "names", "colours")
"""Entries of the provenance that name clusters by their label at one level."""


@dataclass(slots=True, eq=False, repr=False)
class ClusterSegmentation(Segmentation):
    """Labels that mean the same in every frame; see :class:`~napari_kindred.Segmentation`.

    ``table`` has one row per cluster: ``index``, ``area`` in pixels, ``share`` of the movie's
    area, ``first_frame``, ``last_frame``, ``frames`` (in how many it occurs), ``mean_intensity``.

    Attributes
    ----------
    leaves : ndarray of uint8, or zarr array, shape of the labels
        The finest cluster of every pixel; None of a result that was read from a TIFF.
    model : HierarchicalClustering
        None likewise.
    per_frame : DataFrame
        A row per cluster and frame: ``index``, ``frame``, ``area``, ``share`` of the frame,
        ``mean_intensity``.
    leaves_per_frame : DataFrame
        The same for leaves, from which any level's rows are summed up.
    """

    ids: IdScope = "stack"
    leaves: Any = None
    model: HierarchicalClustering = None  # type: ignore[assignment]
    per_frame: pd.DataFrame = field(default_factory=pd.DataFrame)
    leaves_per_frame: pd.DataFrame = field(default_factory=pd.DataFrame)

    @property
    def level(self) -> int:
        """The number of clusters that the labels show."""
        asked = len(self.table) if self.leaves is None else self.model.n_labels_
        return int(self.provenance.get("level", self.provenance.get("clusters", asked)))

    @property
    def levels(self) -> range:
        """The numbers of clusters that :meth:`at_level` can give."""
        return range(0) if self.leaves is None else range(2, len(self.model.leaf_areas_) + 1)

    @property
    def background(self) -> tuple[int, ...]:
        """The labels that were made background."""
        return tuple(int(label) for label in self.provenance.get("background", ()))

    @property
    def names(self) -> dict[int, str]:
        """The names that clusters were given in napari, by label."""
        given = self.provenance.get("names", {}).items()
        named = {int(label): str(name) for label, name in given if name}
        return {label: name for label, name in named.items() if label not in self.background}

    def at_level(self, n: int) -> ClusterSegmentation:
        """Return the same movie under ``n`` labels; nothing is encoded or clustered again.

        Names and background belong to a level and are left behind.

        Raises
        ------
        OptionError
            When the hierarchy has no such level, or the result was read from a TIFF.
        """
        self._check_levels()
        table = self.model.lut(n)
        facts = {key: value for key, value in self.provenance.items() if key not in OF_A_LEVEL}
        per_frame = summed(self.leaves_per_frame, table, self._pixels())
        return ClusterSegmentation(
            relabel(self.leaves, table),
            summary(per_frame, int(np.prod(self.leaves.shape))),
            {**facts, "level": n},
            self.axes,
            self.scale,
            self.units,
            translate=self.translate,
            leaves=self.leaves,
            model=self.model,
            per_frame=per_frame,
            leaves_per_frame=self.leaves_per_frame,
        )

    def node_at(self, frame: int, y: int, x: int) -> ClusterNode:
        """Return the cluster under a pixel, as a node of the tree that is there in every frame.

        Parameters
        ----------
        frame, y, x : int
            Number of the frame, row and column.

        Raises
        ------
        InputError
            When there is no such pixel.
        OptionError
            When the result was read from a TIFF.
        """
        self._check_levels()
        leaf = int(frame_of(self.leaves, frame, y, x)[y, x])
        table = self.model.lut(self.level)
        return self._node(frozenset(np.flatnonzero(table == table[leaf]).tolist()))

    def like(self, mask: Any, frame: int = 0) -> ClusterNode:
        """Return the node of the tree that is most like a mask, by IoU in the mask's frames.

        Parameters
        ----------
        mask : array of bool
            (Y, X) of one frame, whose number is ``frame``; or of the whole movie.
        frame : int
            Without effect for a mask of the whole movie.

        Raises
        ------
        InputError
            When the mask is empty or of another shape.
        OptionError
            When the result was read from a TIFF.
        """
        self._check_levels()
        marked = np.asarray(mask) != 0
        whole = marked.shape == tuple(self.leaves.shape)
        leaves = np.asarray(self.leaves) if whole else frame_of(self.leaves, frame)
        if marked.shape != leaves.shape or not marked.any():
            raise InputError(
                f"The mask must mark pixels of a frame, {leaves.shape}, or of the whole movie."
            )
        return self._node(most_alike(self.model.merges_, leaves, marked))

    def picked(self, nodes: Mapping[str, ClusterNode] | None = None) -> ClusterSegmentation:
        """Return a result whose labels are nodes of the tree, each with its name.

        Parameters
        ----------
        nodes : mapping of str to ClusterNode, optional
            Name and node, as :meth:`node_at` and :meth:`like` return them; labelled 1, 2, … in
            this order.  Of nested nodes the smaller one lies on top.  Left out, those that the
            model remembers (``model.remember(name, node)``), also from another movie.

        Raises
        ------
        OptionError
            When no node is given, or the result was read from a TIFF.
        """
        self._check_levels()
        leaves = self.model.examples_ if nodes is None else {k: n.leaves for k, n in nodes.items()}
        if not leaves:
            raise OptionError("Nothing was picked; give a node, for example node_at(0, y, x).")
        numbers = {name: label for label, name in enumerate(leaves, start=1)}
        table = np.zeros(len(self.model.leaf_areas_), np.int32)
        for name in sorted(leaves, key=lambda name: -len(leaves[name])):
            table[sorted(leaves[name])] = numbers[name]
        per_frame = summed(self.leaves_per_frame, table, self._pixels())
        of_levels = (*OF_A_LEVEL, "level", "clusters")
        facts = {key: value for key, value in self.provenance.items() if key not in of_levels}
        facts["picks"] = {name: sorted(node) for name, node in leaves.items()}
        facts["names"] = {str(label): name for name, label in numbers.items()}
        return replace(
            self,
            labels=relabel(self.leaves, table),
            table=summary(per_frame, int(np.prod(self.leaves.shape))),
            provenance=facts,
            leaves=None,
            model=None,  # type: ignore[arg-type]
            per_frame=per_frame,
            leaves_per_frame=pd.DataFrame(),
        )

    def _node(self, leaves: frozenset[int]) -> ClusterNode:
        return ClusterNode(leaves, self.leaves, self.model.merges_)

    def without(self, hidden: Sequence[int]) -> ClusterSegmentation:
        """Return the same with some clusters made background.

        Parameters
        ----------
        hidden : sequence of int
            Their labels at this level; they become 0, and their rows are left out.

        Raises
        ------
        OptionError
            When there is no cluster of such a label, or the result was read from a TIFF.
        """
        self._check_levels()
        table = self.model.lut(self.level)
        unknown = sorted(set(hidden) - set(table.tolist()) | ({0} & set(hidden)))
        if unknown:
            raise OptionError(
                f"There is no cluster {unknown[0]}; at this level there are 1 to {table.max()}."
            )
        table[np.isin(table, hidden)] = 0
        return replace(
            self,
            labels=relabel(self.leaves, table),
            table=_rows_without(self.table, hidden),
            provenance={**self.provenance, "background": sorted(hidden)},
            per_frame=_rows_without(self.per_frame, hidden),
        )

    def further_tables(self) -> dict[str, pd.DataFrame]:
        """Tables next to the result's own, by what a row stands for."""
        return {"frame": self.per_frame} if len(self.per_frame) else {}

    def save(self, path: str | Path, overwrite: bool = False) -> Path:
        """Write everything to disk; see :meth:`napari_kindred.Segmentation.save`.

        An OME-Zarr holds leaves and model as well, from which any level can be shown again, and
        the table per frame as the group ``per_frame``.  Beside a TIFF that table becomes
        ``NAME.frames.csv``; leaves and model are left out.  ``model.save`` writes the model alone.
        """
        path = Path(path)
        if path.suffix.lower() == ".zarr":

            def more(root: zarr.Group) -> None:
                write_columns(root, self.per_frame, "per_frame")
                if self.leaves is not None:
                    write_leaves(root, self.leaves, self.leaves_per_frame, self.model.packed())

            return storage.save(self, path, overwrite, more)
        others = {frames_beside(path): as_csv(self.per_frame)}
        return storage.save(self, path, overwrite, others=others)

    @classmethod
    def load(cls, path: Path) -> Segmentation:
        """Read back what :meth:`save` wrote; see :meth:`napari_kindred.Segmentation.load`."""
        parts = storage.load(path)
        with storage.reading(path):
            if path.suffix.lower() != ".zarr":
                frames = frames_beside(path)
                if not frames.is_file():
                    return Segmentation(**parts)
                return cls(**parts, per_frame=pd.read_csv(frames))
            import zarr

            from .model import HierarchicalClustering

            root = zarr.open_group(path, mode="r")
            found = read_leaves(root, HierarchicalClustering.unpacked)
            if found is None:
                return Segmentation(**parts)
            leaves, rows, model = found
            return cls(
                **parts,
                leaves=leaves,
                model=model,
                per_frame=read_columns(root, "per_frame"),
                leaves_per_frame=rows,
            )

    def _check_levels(self) -> None:
        if self.leaves is None:
            raise OptionError(
                "This result holds one level of clusters alone, as a TIFF and a pick do; save the "
                "result as .ome.zarr, which holds them all."
            )

    def _pixels(self) -> int:
        return int(np.prod(self.leaves.shape[-2:]))


def frames_beside(path: Path) -> Path:
    """Return the path of the table of frames of a result in a TIFF."""
    stem = path.name.rsplit(".", 1)[0].removesuffix(".ome")
    return path.with_name(f"{stem}.frames.csv")


def _rows_without(rows: pd.DataFrame, hidden: Sequence[int]) -> pd.DataFrame:
    return rows[~rows["index"].isin(hidden)].reset_index(drop=True)


def summed(leaves_per_frame: pd.DataFrame, table: np.ndarray, pixels: int) -> pd.DataFrame:
    """Sum up the rows of leaves to those of labels; ``table`` is :func:`.levels.lut`'s."""
    rows = leaves_per_frame.assign(
        index=table[leaves_per_frame["index"].to_numpy()].astype(np.int64),
        total=leaves_per_frame["area"] * leaves_per_frame["mean_intensity"],
    )
    rows = rows[rows["index"] > 0]
    rows = rows.groupby(["frame", "index"], as_index=False)[["area", "total"]].sum()
    rows["share"] = rows["area"] / pixels
    rows["mean_intensity"] = rows["total"] / rows["area"]
    return rows[["index", "frame", "area", "share", "mean_intensity"]]


def summary(per_frame: pd.DataFrame, pixels: int) -> pd.DataFrame:
    """One row per cluster; the shares are of ``pixels``, those of the whole movie."""
    rows = per_frame.assign(total=per_frame["area"] * per_frame["mean_intensity"])
    grouped = rows.groupby("index")
    table = pd.DataFrame(
        {
            "area": grouped["area"].sum(),
            "share": grouped["area"].sum() / pixels,
            "first_frame": grouped["frame"].min(),
            "last_frame": grouped["frame"].max(),
            "frames": grouped["frame"].nunique(),
            "mean_intensity": grouped["total"].sum() / grouped["area"].sum(),
        }
    )
    return table.reset_index()


def count_pixels(numbers: np.ndarray, grey: np.ndarray, frame: int) -> pd.DataFrame:
    """Area and mean intensity of each number, 0 included, in one frame (H, W)."""
    area = np.bincount(numbers.ravel())
    total = np.bincount(numbers.ravel(), grey.ravel(), minlength=len(area))
    present = np.flatnonzero(area)
    return pd.DataFrame(
        {
            "index": present.astype(np.int64),
            "frame": np.int64(frame),
            "area": area[present].astype(np.int64),
            "mean_intensity": total[present] / area[present],
        }
    )
