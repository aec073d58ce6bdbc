"""Ids of a stack: unique within each frame as computed, or counting on from frame to frame.

A table of napari's Labels layer finds a row by label id alone, so there the ids must count on.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from .assembly import make_labels

if TYPE_CHECKING:
    import pandas as pd

    from .segmentation import Segmentation


def offset_ids(
    labels: np.ndarray, table: pd.DataFrame, last: int
) -> tuple[np.ndarray, pd.DataFrame, int]:
    """Let one frame's ids count on after those of the frames before it.

    Parameters
    ----------
    labels : ndarray of int32, shape (Y, X)
        0 is background and stays so.
    table : DataFrame
        Rows of this frame; ``index`` is the label id.
    last : int
        Largest id of the frames before.

    Returns
    -------
    labels : ndarray of int32, shape (Y, X)
    table : DataFrame
        A copy, with ``index`` changed likewise and the ids within the frame in ``id_in_frame``.
    last : int
        Largest id by now.
    """
    moved = np.where(labels > 0, labels + np.int32(last), 0).astype(np.int32)
    table = table.copy()
    table.insert(1, "id_in_frame", table["index"])
    table["index"] = table["index"] + last
    return moved, table, int(table["index"].max()) if len(table) else last


def unique_ids(result: Segmentation) -> Segmentation:
    """Return a result whose ids are unique over the whole stack, as in napari's layer.

    Parameters
    ----------
    result : Segmentation
        As computed: ids are unique within a frame. A single image is returned as it is, and so
        is a result of unique ids, or of ids of another scope than ``"frame"``.

    Returns
    -------
    Segmentation
        New labels, worked through frame by frame; ``table`` keeps the former ids in
        ``id_in_frame``.
    """
    leading = result.labels.shape[:-2]
    if not leading or result.ids != "frame" or "id_in_frame" in result.table:
        return result
    import pandas as pd

    labels, tables, last = make_labels(result.labels.shape), [], 0
    for frame, index in enumerate(product(*map(range, leading))):
        rows = result.table[result.table["frame"] == frame]
        labels[index], rows, last = offset_ids(np.asarray(result.labels[index]), rows, last)
        tables.append(rows)
    filled = [rows for rows in tables if len(rows)] or tables[:1]
    return replace(result, labels=labels, table=pd.concat(filled, ignore_index=True))


def lazily_unique(result: Segmentation) -> Segmentation:
    """Return the same as :func:`unique_ids`, the labels being a dask array that reads the old."""
    leading = result.labels.shape[:-2]
    if not leading or result.ids != "frame" or "id_in_frame" in result.table:
        return result
    import dask.array as da

    frames = result.table["frame"].to_numpy(int)
    largest = np.zeros(int(np.prod(leading)), np.int64)
    np.maximum.at(largest, frames, result.table["index"].to_numpy(int))
    before = np.concatenate([[0], np.cumsum(largest)[:-1]])
    table = result.table.copy()
    table.insert(1, "id_in_frame", table["index"])
    table["index"] += before[frames]
    labels = da.asarray(result.labels)
    counted = labels + before.reshape(*leading, 1, 1).astype(np.int32)
    return replace(result, labels=da.where(labels > 0, counted, 0), table=table)
