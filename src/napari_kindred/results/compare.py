"""What differs between two results of one image: things matched by overlap, frame by frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..core.errors import InputError
from ..core.events import Progress, finish
from .metrics import Overlaps, match, overlaps

if TYPE_CHECKING:
    from collections.abc import Generator

    from numpy.typing import NDArray

CHANGED, ONLY_A, ONLY_B = "changed", "only in A", "only in B"
"""Kinds of differences; A is the first result."""

KINDS = (CHANGED, ONLY_A, ONLY_B)

SAME = 0.95
"""IoU from which on two outlines count as the same: about one pixel around a cell of 40 pixels."""

ALIKE = 0.3
"""IoU from which on two things can be one that has changed."""

LARGEST = 1 << 27
"""Pixels of a frame beyond which two of them are not compared."""


@dataclass(frozen=True, slots=True, eq=False)
class Changes:
    """What differs between two results.

    Attributes
    ----------
    table : DataFrame
        A row per difference, in order of frame and place: ``frame`` from 0, ``kind`` (one of
        :data:`KINDS`), ``id_a`` and ``id_b`` (0 where there is none), ``iou`` of the two (0 where
        one is missing), ``area_a`` and ``area_b`` in pixels, ``y`` and ``x``, the centre in pixels.
    unchanged : int
        Things that are the same in both.
    frames : int
        How many were compared.
    """

    table: pd.DataFrame
    unchanged: int
    frames: int

    def count(self, kind: str) -> int:
        """Return how many differences there are of a kind."""
        return int((self.table["kind"] == kind).sum())

    def changed_frames(self) -> list[int]:
        """Return the frames with differences, in order."""
        return sorted(set(self.table["frame"].tolist()))

    def sentence(self, first: str = "A", second: str = "B") -> str:
        """Tell the counts.

        Parameters
        ----------
        first, second : str
            Names of the two results.
        """
        if self.table.empty:
            return f"No difference: all {self.unchanged} things are the same in both."
        where = f" In {len(self.changed_frames())} of {self.frames} frames." * (self.frames > 1)
        return (
            f"{self.unchanged} unchanged, {self.count(CHANGED)} changed, {self.count(ONLY_A)} only "
            f"in {first!r}, {self.count(ONLY_B)} only in {second!r}.{where}"
        )


def compare(first: Any, second: Any, same: float = SAME, alike: float = ALIKE) -> Changes:
    """Find what differs between two results; see :func:`iter_compare`."""
    return finish(iter_compare(first, second, same, alike))


def iter_compare(
    first: Any, second: Any, same: float = SAME, alike: float = ALIKE
) -> Generator[Progress, None, Changes]:
    """Find what differs between two results of one image, two frames in memory at a time.

    Within a frame things are matched one to one: as many pairs as possible that overlap enough,
    and of those the ones that overlap most. For clusters and classes a thing is all that has a
    label.

    Parameters
    ----------
    first, second : array-like of int, same shape (..., Y, X)
        0 is background; read frame by frame.
    same : float
        IoU from which on a pair counts as unchanged, 0 to 1.
    alike : float
        IoU from which on a pair counts as one thing that has changed, 0 to 1.

    Raises
    ------
    InputError
        When the shapes differ, or frames are too large to be compared.
    """
    if tuple(first.shape) != tuple(second.shape):
        raise InputError(
            f"The results have different shapes, {tuple(first.shape)} and {tuple(second.shape)}; "
            "choose two of the same image."
        )
    if int(np.prod(first.shape[-2:])) > LARGEST:
        raise InputError("These planes are too large to be compared; crop both results first.")
    indices = list(np.ndindex(*first.shape[:-2]))
    tables, unchanged = [_rows(0, [], {}, {})], 0
    for frame, index in enumerate(indices):
        yield Progress(frame, len(indices), "comparing", frame, len(indices))
        a, b = (np.asarray(labels[index]) for labels in (first, second))
        if np.array_equal(a, b):
            unchanged += len(np.unique(a[a > 0]))
            continue
        rows, equal = _compare_frame(frame, a, b, same, alike)
        unchanged += equal
        tables.append(rows)
    filled = [rows for rows in tables if len(rows)] or tables[:1]
    return Changes(pd.concat(filled, ignore_index=True), unchanged, len(indices))


def _compare_frame(
    frame: int, a: NDArray[Any], b: NDArray[Any], same: float, alike: float
) -> tuple[pd.DataFrame, int]:
    """Return the differences of a frame, and how many things are the same."""
    found: Overlaps = overlaps(a, b)
    places = match(found, alike)
    first, second, iou = found.first[places], found.second[places], found.iou[places]
    differs = iou < same
    measured_a, measured_b = _measured(a), _measured(b)
    pairs = [
        (CHANGED, int(one), int(other), float(share))
        for one, other, share in zip(first[differs], second[differs], iou[differs], strict=True)
    ]
    pairs += [(ONLY_A, one, 0, 0.0) for one in sorted(measured_a.keys() - set(first.tolist()))]
    pairs += [(ONLY_B, 0, one, 0.0) for one in sorted(measured_b.keys() - set(second.tolist()))]
    return _rows(frame, pairs, measured_a, measured_b), int((~differs).sum())


Measured = dict[int, tuple[int, float, float]]
"""By id: area, and y and x of the centre."""


def _measured(labels: NDArray[Any]) -> Measured:
    place = np.flatnonzero(labels)
    ids, inverse = np.unique(labels.reshape(-1)[place], return_inverse=True)
    area = np.bincount(inverse, minlength=len(ids))
    y, x = (
        np.bincount(inverse, weights=values, minlength=len(ids)) / np.maximum(area, 1)
        for values in np.divmod(place, labels.shape[1])
    )
    return dict(
        zip(ids.tolist(), zip(area.tolist(), y.tolist(), x.tolist(), strict=True), strict=True)
    )


def _rows(
    frame: int, pairs: list[tuple[str, int, int, float]], a: Measured, b: Measured
) -> pd.DataFrame:
    """Return a row per pair, those at the top of the picture first."""
    nothing = (0, np.nan, np.nan)
    rows = []
    for kind, one, other, iou in pairs:
        _, y, x = b[other] if other else a[one]
        areas = (a.get(one, nothing)[0], b.get(other, nothing)[0])
        rows.append((frame, kind, one, other, iou, *areas, y, x))
    kinds = {
        "frame": np.int64,
        "kind": object,
        "id_a": np.int64,
        "id_b": np.int64,
        "iou": np.float64,
        "area_a": np.int64,
        "area_b": np.int64,
        "y": np.float64,
        "x": np.float64,
    }
    table = pd.DataFrame(rows, columns=list(kinds)).astype(kinds)
    return table.sort_values(["y", "x"], kind="stable", ignore_index=True)


def outlines(
    first: NDArray[Any], second: NDArray[Any], rows: pd.DataFrame, width: int = 1
) -> NDArray[np.uint8]:
    """Draw the differences of one frame.

    Parameters
    ----------
    first, second : ndarray of int, shape (Y, X)
        The frame in both results.
    rows : DataFrame
        The frame's rows of :attr:`Changes.table`.
    width : int
        Of the lines, in pixels, within the things.

    Returns
    -------
    ndarray of uint8, shape (Y, X)
        1 around what changed (as it is in the second), 2 around what only the first has, 3 around
        what only the second has, 0 elsewhere.
    """
    drawn = np.zeros(first.shape, np.uint8)
    for number, kind in enumerate(KINDS, start=1):
        labels, name = (first, "id_a") if kind == ONLY_A else (second, "id_b")
        ids = rows.loc[rows["kind"] == kind, name].to_numpy()
        if len(ids):
            inside = np.where(np.isin(labels, ids), labels, 0)
            drawn[_edge(inside, width)] = number
    return drawn


def _edge(labels: NDArray[Any], width: int) -> NDArray[np.bool_]:
    """Return the pixels of labels that are no further than ``width`` from another value."""
    from scipy.ndimage import maximum_filter, minimum_filter

    side = 2 * width + 1
    inner: NDArray[np.bool_] = minimum_filter(labels, side) == maximum_filter(labels, side)
    return (labels > 0) & ~inner
