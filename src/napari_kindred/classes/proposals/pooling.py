"""One vector for each label of an image: pooled latent vectors, shape, intensity and colour."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse
from skimage.segmentation import expand_labels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...encoders.encode import FrameTokens

MEASURES = 16
"""Number of values of a vector that are not latent: 4 of the shape, 3 x 4 of three channels."""


def describe(
    pixels: NDArray[np.float32], labels: NDArray[np.int32], tokens: FrameTokens, ring: float
) -> NDArray[np.float32]:
    """Return one vector per label (H, W), (N, 2 D + 16).

    Mean latent vector inside, and around; then :func:`shapes`; then for each of three channels the
    mean inside, the deviation inside, the mean around, and the difference of the means.
    """
    latent = _insides_and_surroundings(labels, ring, tokens.values.shape[:2], tokens.step)
    colour = _insides_and_surroundings(labels, ring, labels.shape, (1.0, 1.0))
    flat = tokens.values.reshape(-1, tokens.values.shape[-1])
    # In double precision, so that the deviation in a large and even label is not rounding alone.
    channels = np.broadcast_to(pixels, (*labels.shape, 3)).reshape(-1, 3).astype(np.float64)
    inside, outside = (share @ channels for share in colour)
    deviation = np.sqrt(np.maximum(colour[0] @ channels**2 - inside**2, 0))
    parts = [
        *(share.astype(np.float32) @ flat for share in latent),
        shapes(labels),
        inside,
        deviation,
        outside,
        inside - outside,
    ]
    return np.concatenate(parts, 1).astype(np.float32)


def _insides_and_surroundings(
    labels: NDArray[np.int32], ring: float, size: tuple[int, ...], step: tuple[float, float]
) -> tuple[Any, Any]:
    """Return the weights of a grid's cells for labels and their surroundings, 2 x (N, T).

    A label's surroundings are the background pixels nearer to it than to others, and not further
    than ``ring``.  A label without any takes the insides of those that it touches.
    """
    count = int(labels.max(initial=0))
    inside = cell_shares(labels, count, size, step)
    if labels.min(initial=0) == 0:
        grown = np.where(labels > 0, 0, expand_labels(labels, ring))
    else:
        grown = np.zeros_like(labels)
    around = cell_shares(grown, count, size, step)
    isolated = np.diff(around.indptr) == 0
    if isolated.any():
        neighbours = touching(labels, count)
        untouched = np.diff(neighbours.indptr) == 0
        neighbours = neighbours + sparse.diags_array(untouched.astype(np.float64))
        only = sparse.diags_array(isolated.astype(np.float64))
        around = around + only @ _rows_to_one(neighbours.tocsr()) @ inside
    return inside, around


def cell_shares(
    labels: NDArray[np.int32], count: int, size: tuple[int, ...], step: tuple[float, float]
) -> Any:
    """Return the weight of each of a grid's T cells in the mean over each label, sparse (N, T).

    Rows add up to 1, or to 0 for missing ids.  ``size`` is the grid's rows and columns, ``step``
    the pixels per cell along each axis.
    """
    rows, columns = (
        np.minimum(((np.arange(length) + 0.5) / pixels).astype(np.int64), cells - 1)
        for length, pixels, cells in zip(labels.shape, step, size, strict=True)
    )
    inside = labels > 0
    cells = (rows[:, None] * size[1] + columns)[inside]
    ones = np.ones(len(cells))
    found = sparse.coo_array(
        (ones, (labels[inside] - 1, cells)), shape=(count, size[0] * size[1])
    ).tocsr()
    return _rows_to_one(found)


def touching(labels: NDArray[np.int32], count: int) -> Any:
    """Return the number of pixel edges along which two labels touch, sparse (N, N)."""
    total = sparse.csr_array((count, count), dtype=np.float64)
    for first, second in ((labels[:-1], labels[1:]), (labels[:, :-1], labels[:, 1:])):
        edge = (first != second) & (first > 0) & (second > 0)
        ones = np.ones(np.count_nonzero(edge))
        pairs = sparse.coo_array(
            (ones, (first[edge] - 1, second[edge] - 1)), shape=(count, count)
        ).tocsr()
        total = total + pairs + pairs.T
    return total.tocsr()


def _rows_to_one(matrix: Any) -> Any:
    total = np.asarray(matrix.sum(1)).ravel()
    return (sparse.diags_array(1 / np.maximum(total, 1e-12)) @ matrix).tocsr()


def shapes(labels: NDArray[np.int32]) -> NDArray[np.float64]:
    """Measure the shapes of labels 1 … N, (N, 4).

    Logarithm of the area in pixels; eccentricity of the ellipse with the same second moments; area
    as a share of that ellipse's, 1 for ellipses and less for notched shapes; roundness, 4 pi area
    over perimeter squared, about 1 for discs.
    """
    count = int(labels.max(initial=0))
    y, x = np.nonzero(labels)
    ids = labels[y, x] - 1

    def mean(values: NDArray[Any]) -> NDArray[np.float64]:
        return np.asarray(np.bincount(ids, values, count) / area)

    area = np.maximum(np.bincount(ids, minlength=count), 1)
    dy, dx = y - mean(y)[ids], x - mean(x)[ids]
    # A pixel is a square, of second moment 1/12, not a point.
    yy, xx, yx = mean(dy**2) + 1 / 12, mean(dx**2) + 1 / 12, mean(dy * dx)
    middle, radius = (yy + xx) / 2, np.hypot((yy - xx) / 2, yx)
    long, short = middle + radius, np.maximum(middle - radius, 1 / 12)
    padded = np.pad(labels, 1)
    edges = np.zeros(count)
    for first, second in ((padded[:-1], padded[1:]), (padded[:, :-1], padded[:, 1:])):
        for side in (first, second):
            ends = side[(first != second) & (side > 0)]
            edges += np.bincount(ends - 1, minlength=count)
    # Stairs are longer than what they approximate, by 4/pi averaged over directions.
    perimeter = edges * np.pi / 4
    ellipse = 4 * np.pi * np.sqrt(long * short)
    columns = [
        np.log(area),
        np.sqrt(1 - short / long),
        area / ellipse,
        4 * np.pi * area / perimeter**2,
    ]
    return np.stack(columns, 1)


def inner_points(labels: NDArray[np.int32]) -> NDArray[np.float32]:
    """Return for labels 1 … N the pixel (y, x) of each that is nearest to its centroid, (N, 2)."""
    count = int(labels.max(initial=0))
    y, x = np.nonzero(labels)
    ids = labels[y, x] - 1
    area = np.maximum(np.bincount(ids, minlength=count), 1)
    off = (y - (np.bincount(ids, y, count) / area)[ids]) ** 2
    off += (x - (np.bincount(ids, x, count) / area)[ids]) ** 2
    order = np.lexsort((off, ids))
    first = order[np.searchsorted(ids[order], np.arange(count))]
    return np.stack([y[first], x[first]], 1).astype(np.float32)
