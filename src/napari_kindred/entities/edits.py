"""Corrections of the labels of one plane: split, merge, delete, outline. They return new labels."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage
from skimage.draw import line as line_pixels
from skimage.draw import polygon as polygon_pixels
from skimage.measure import label
from skimage.segmentation import watershed

from ..core.errors import InputError
from .decode import spread

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import ArrayLike, NDArray

    Labels = NDArray[np.integer[Any]]

SLIVER = 0.02
"""Share of an object below which what a line cuts off stays with the larger piece."""

CROSSES = 0.5
"""Share of the way through an object that has to be drawn; the rest is drawn on."""


def split_along(labels: Labels, path: ArrayLike, new_ids: Iterator[int]) -> Labels:
    """Split every object that a drawn line crosses; the largest piece keeps the id.

    Parameters
    ----------
    labels : ndarray of int, shape (Y, X)
    path : array-like, shape (N, 2)
        Points (y, x) of the line, pixels. An end that lies inside an object is drawn on to its
        edge.
    new_ids : iterator of int
        Ids for the other pieces.

    Raises
    ------
    InputError
        If the line crosses no object.
    """
    points = np.asarray(path, float).reshape(-1, 2)
    result = labels.copy()
    for one in ids_under(labels, points):
        mask = labels == one
        cut = _drawn(_to_the_edge(points, mask), mask.shape) & mask
        if np.count_nonzero(_drawn(points, mask.shape) & mask) < CROSSES * np.count_nonzero(cut):
            continue
        parts = label(mask & ~cut, connectivity=1)
        areas = np.bincount(parts.ravel())
        areas[0] = 0
        large = np.flatnonzero(areas >= max(1.0, SLIVER * mask.sum()))
        if len(large) < 2:
            continue
        order = large[np.argsort(-areas[large], kind="stable")]
        numbers = np.zeros(len(areas), np.int32)
        numbers[order] = np.arange(1, len(order) + 1)
        given = np.array([0, one, *(next(new_ids) for _ in order[1:])])
        whole = given[spread(numbers[parts], mask)]
        result[mask] = np.where(whole > 0, whole, one)[mask]
    if np.array_equal(result, labels):
        raise InputError("The line crosses no object; draw it from one side of it to the other.")
    return result


def split_between(
    labels: Labels, first: Sequence[float], second: Sequence[float], new_id: int
) -> Labels:
    """Split an object at its narrowest place between two points of it, (y, x) each.

    The piece of the first point keeps the id.

    Raises
    ------
    InputError
        If the points are not two of one object.
    """
    one, other = (_inside(labels, point) for point in (first, second))
    here = labels[one]
    if here == 0 or labels[other] != here or one == other:
        raise InputError("Click on two places inside one object to split it between them.")
    mask = labels == here
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    markers = np.zeros(labels.shape, np.int32)
    markers[one], markers[other] = 1, 2
    parts = watershed(-depth, markers, mask=mask)
    result = labels.copy()
    result[parts == 2] = new_id
    return result


def merge_along(labels: Labels, path: ArrayLike) -> Labels:
    """Give all objects under a stroke, points (y, x), the id of the largest of them.

    Raises
    ------
    InputError
        If fewer than two objects lie under the stroke.
    """
    ids = ids_under(labels, np.asarray(path, float).reshape(-1, 2))
    if len(ids) < 2:
        raise InputError("Draw the stroke across two or more objects to merge them.")
    areas = [np.count_nonzero(labels == one) for one in ids]
    return np.where(np.isin(labels, ids), ids[int(np.argmax(areas))], labels).astype(labels.dtype)


def fill_outline(labels: Labels, outline: ArrayLike, new_id: int) -> Labels:
    """Fill a drawn outline, points (y, x), with a new object; other objects keep their pixels.

    Raises
    ------
    InputError
        If there is no free pixel inside.
    """
    points = np.asarray(outline, float).reshape(-1, 2)
    inside = np.zeros(labels.shape, bool)
    if len(points) > 2:
        inside[polygon_pixels(points[:, 0], points[:, 1], labels.shape)] = True
    inside &= labels == 0
    if not inside.any():
        raise InputError("The outline holds no free pixel; draw it around the new object.")
    result = labels.copy()
    result[inside] = new_id
    return result


def add_object(
    labels: Labels,
    mask: NDArray[np.bool_],
    corner: tuple[int, int],
    new_id: int,
    point: Sequence[float] | None = None,
) -> Labels:
    """Add an object with the pixels of a mask, whose first pixel is ``corner``.

    Neighbours that the mask only touches keep their pixels.  It takes those of the object under
    ``point``, the clicked place (y, x), of one that covers most of it, and of those mostly inside.

    Raises
    ------
    InputError
        If the mask holds no pixel that the object may have.
    """
    place = tuple(
        slice(first, first + size) for first, size in zip(corner, mask.shape, strict=True)
    )
    here = labels[place]
    ids, shares = np.unique(here[mask], return_counts=True)
    taken = {0}
    if point is not None:
        taken.add(int(labels[_inside(labels, point)]))
    for one, share in zip(ids.tolist(), shares.tolist(), strict=True):
        if 2 * share > min(np.count_nonzero(labels == one), np.count_nonzero(mask)):
            taken.add(one)
    free = mask & np.isin(here, list(taken))
    if not free.any():
        raise InputError("There is an object already; click beside it, or split it.")
    result = labels.copy()
    result[place][free] = new_id
    return result


def ids_under(labels: Labels, points: NDArray[np.float64]) -> list[int]:
    """Return the ids of the objects under a line, in the order in which it meets them."""
    rows, columns = _pixels(points, labels.shape)
    found = labels[rows, columns]
    return [int(one) for one in dict.fromkeys(found.tolist()) if one]


def _inside(labels: Labels, point: Sequence[float]) -> tuple[int, int]:
    """Return the pixel of a point, that nearest to it in the plane."""
    y, x = (
        min(max(round(float(at)), 0), size - 1)
        for at, size in zip(point, labels.shape, strict=True)
    )
    return y, x


def _pixels(
    points: NDArray[np.float64], shape: tuple[int, ...]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return rows and columns of the pixels of a line that lie in the plane, in their order."""
    corners = np.rint(points).astype(int)
    pairs = list(pairwise(corners)) or [(corners[0], corners[0])]
    rows, columns = np.concatenate(
        [np.stack(line_pixels(*begin, *end)) for begin, end in pairs], axis=1
    )
    within = (rows >= 0) & (columns >= 0) & (rows < shape[0]) & (columns < shape[1])
    return rows[within], columns[within]


def _drawn(points: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return the pixels of a line as a mask."""
    mask = np.zeros(shape, bool)
    mask[_pixels(points, shape)] = True
    return mask


def _to_the_edge(points: NDArray[np.float64], mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Draw both ends of a line straight on to a mask's edge, where they lie inside of it."""
    if len(points) < 2:
        return points
    reach = float(np.hypot(*mask.shape))
    ends = []
    for end, other in ((points[0], points[1:]), (points[-1], points[-2::-1])):
        # The direction is that of the last pixels, not of two points that are one pixel apart.
        far = next((one for one in other if np.hypot(*(one - end)) >= 4), other[-1])
        way = (end - far) / max(float(np.hypot(*(end - far))), 1e-9)
        ends.append(end)
        for step in np.arange(0.5, reach, 0.5):
            at = np.rint(end + step * way).astype(int)
            if (at < 0).any() or (at >= mask.shape).any() or not mask[tuple(at)]:
                break
            ends[-1] = end + step * way
    return np.concatenate([ends[:1], points, ends[1:]])
