"""From the token grid to pixels (``papers/byocl.txt``, step "coarse to fine"): the edge path.

Tokens are coarser than pixels.  A token belongs to clusters softly (its *membership*); the boundary
between two clusters is better visible in the frame itself than by any interpolation.  The edge path
is a guided filter (He, Sun and Tang, "Guided image filtering", 2013) in its fast form (He and Sun,
"Fast guided filter", 2015): in every window of a few tokens each cluster's membership is fitted as
a linear function of intensity or colour; the functions' coefficients, which are smooth, are
interpolated to pixels, and evaluated there with the frame in full resolution.

The fit uses the frame's mean within each token, not its pixels: what varies within a token has one
membership, and would only make outlines shallower.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import sparse
from torch.nn import functional as F

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

RADIUS = 2
"""Half the side of the filter's windows, which are 5 x 5 tokens.

With tokens of 4 pixels they do better than 3 x 3 in all movies tried, of cells and of daily life:
single tokens that differ from their neighbours by mistake are outvoted.
"""

EPS = 1e-3
"""Intensity variance below which a window counts as flat: a deviation of 3 % of the full range."""

BAND = 1 << 18
"""Pixels computed at once; their values for one cluster fit a processor's cache."""

FAINT = 0.01
"""A cluster whose membership is below this in all of a band's tokens is skipped there."""


def tokens_of_pixels(
    shape: tuple[int, int], step: tuple[float, float], grid: tuple[int, ...]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the row (H, 1) and the column (W,) of the token that each pixel lies in."""
    rows, columns = (
        np.minimum(((np.arange(length) + 0.5) / size).astype(np.intp), count - 1)
        for length, size, count in zip(shape, step, grid, strict=True)
    )
    return rows[:, None], columns


def refine_none(
    labels: NDArray[np.integer[Any]], step: tuple[float, float], shape: tuple[int, int]
) -> NDArray[np.int32]:
    """Give every pixel (H, W) the label of its token; ``labels`` (h, w), ``step`` pixels each."""
    fine: NDArray[np.int32] = labels.astype(np.int32)[tokens_of_pixels(shape, step, labels.shape)]
    return fine


def refine_edges(
    membership: NDArray[np.float32],
    pixels: NDArray[np.float32],
    step: tuple[float, float],
) -> NDArray[np.int32]:
    """Label pixels by their tokens' memberships, with outlines at edges of the frame.

    Works in bands of rows, one cluster after the other: apart from the result, memory grows with
    the number of tokens and the width of the frame, not with pixels times clusters.

    Parameters
    ----------
    membership : ndarray of float32, shape (h, w, K)
        Soft assignment of each token to the clusters, 0..1, summing to 1.
    pixels : ndarray of float32, shape (H, W, C)
        The frame, about 0..1; one channel guides by intensity, several by colour.
    step : tuple of two floats
        Pixels per token, (step_y, step_x).

    Returns
    -------
    ndarray of int32, shape (H, W)
        Cluster 0 … K - 1 of the largest refined membership, the first of equal ones; in a flat
        frame that of the largest interpolated membership.
    """
    guide = _finite(pixels)
    # Differences from the mean, because squares of large equal numbers would cost all digits.
    guide = guide - guide.mean((0, 1), dtype=np.float64).astype(np.float32)
    flat = bool((guide == guide[0, 0]).all())
    means = _token_means(guide, (membership.shape[0], membership.shape[1]), step)
    labels = np.empty(guide.shape[:2], np.int32)
    for band in _bands(*labels.shape):
        rows = _tokens_around(band, step[0], len(membership), 2 * RADIUS)
        soft = torch.from_numpy(_finite(membership[rows]).transpose(2, 0, 1).copy())
        highest = soft.amax((1, 2))
        present = (highest >= highest.max().clamp_max(FAINT)).nonzero()[:, 0]
        soft = soft[present]
        colours = torch.from_numpy(guide[slice(*band)].transpose(2, 0, 1).copy())
        if flat:
            lines, colours = soft[:, None], colours[:0]
        else:
            lines = _fit(soft, means[:, rows])
        strongest = _strongest(lines, colours, rows.start, band, step)
        labels[slice(*band)] = present[strongest].numpy()
    return labels


def _finite(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return float32 values with 0 in place of what is not finite, copied only where needed."""
    values = np.asarray(values, np.float32)
    return values if np.isfinite(values).all() else np.nan_to_num(values, posinf=0, neginf=0)


def _averaging(count: int, size: float, length: int) -> sparse.csr_array:
    """Return the matrix (count, length) that averages pixels in tokens, by their part in each."""
    edges = np.minimum(np.arange(count + 1) * size, length)
    # A token wholly beyond the frame has its last pixel, rather than nothing.
    starts = np.minimum(edges[:-1].astype(np.intp), length - 1)
    stops = np.maximum(np.ceil(edges[1:]).astype(np.intp), starts + 1)
    rows = np.repeat(np.arange(count), stops - starts)
    columns = np.arange(len(rows)) - np.repeat(np.cumsum(stops - starts) - stops, stops - starts)
    part = np.minimum(columns + 1, edges[rows + 1]) - np.maximum(columns, edges[rows])
    part = np.maximum(part, 1e-6)
    part /= np.bincount(rows, part)[rows]
    return sparse.csr_array((part.astype(np.float32), (rows, columns)), (count, length))


def _token_means(
    guide: NDArray[np.float32], grid: tuple[int, int], step: tuple[float, float]
) -> torch.Tensor:
    """Mean of the frame's channels within each token, (C, h, w)."""
    down = _averaging(grid[0], step[0], guide.shape[0])
    right = _averaging(grid[1], step[1], guide.shape[1])
    planes = [(right @ (down @ guide[..., channel]).T).T for channel in range(guide.shape[2])]
    return torch.from_numpy(np.stack(planes))


def _bands(height: int, width: int) -> Iterator[tuple[int, int]]:
    """Yield first and last (exclusive) row of bands of about ``BAND`` pixels."""
    rows = max(1, BAND // width)
    for first in range(0, height, rows):
        yield first, min(first + rows, height)


def _tokens_around(band: tuple[int, int], size: float, count: int, halo: int) -> slice:
    """Rows of the tokens around a band's pixels, and ``halo`` more on either side."""
    first = math.floor((band[0] + 0.5) / size - 0.5) - halo
    last = math.floor((band[1] - 0.5) / size - 0.5) + 1 + halo
    return slice(min(max(first, 0), count - 1), min(max(last, 0), count - 1) + 1)


def _box(planes: torch.Tensor) -> torch.Tensor:
    """Mean over windows cut off at the borders, of planes (..., h, w)."""
    flat = planes.reshape(1, -1, *planes.shape[-2:])
    mean = F.avg_pool2d(flat, 2 * RADIUS + 1, 1, RADIUS, count_include_pad=False)
    return mean.reshape(planes.shape)


def _fit(soft: torch.Tensor, means: torch.Tensor) -> torch.Tensor:
    """Fit memberships (K, h, w) by means (C, h, w) in every window: lines (K, C + 1, h, w)."""
    channels = len(means)
    centre, level = _box(means), _box(soft)
    variance = _box(means[:, None] * means) - centre[:, None] * centre
    variance = variance + EPS * torch.eye(channels)[:, :, None, None]
    covariance = _box(soft[:, None] * means) - level[:, None] * centre
    if channels == 1:
        slope = covariance / variance[0]
    else:
        inverse = torch.linalg.inv(variance.permute(2, 3, 0, 1))
        slope = torch.einsum("hwcd,kdhw->kchw", inverse, covariance)
    offset = level - (slope * centre).sum(1)
    return _box(torch.cat([slope, offset[:, None]], 1))


def _strongest(
    lines: torch.Tensor,
    colours: torch.Tensor,
    first: int,
    band: tuple[int, int],
    step: tuple[float, float],
) -> torch.Tensor:
    """Index (rows, W) of the linear function that is largest at each of a band's pixels.

    ``lines`` are (K, C + 1, h, w) from the row ``first`` of tokens; ``colours`` (C, rows, W).
    """
    shape = colours.shape[1:]
    largest = torch.full(shape, -math.inf)
    index = torch.zeros(shape, dtype=torch.long)
    for number, line in enumerate(lines):
        fine = _stretch(line, first, band, step, shape[1])
        value = fine[-1]
        for slope, colour in zip(fine, colours, strict=False):
            value.addcmul_(slope, colour)
        index.masked_fill_(value > largest, number)
        torch.maximum(largest, value, out=largest)
    return index


def _stretch(
    planes: torch.Tensor, first: int, band: tuple[int, int], step: tuple[float, float], width: int
) -> torch.Tensor:
    """Interpolate planes (N, h, w), whose first row of tokens is ``first``, to a band's pixels."""
    place = (torch.arange(*band, dtype=torch.float64) + 0.5) / step[0] - 0.5 - first
    place = place.clamp(0, planes.shape[1] - 1)
    above = place.long()
    below = (above + 1).clamp_max(planes.shape[1] - 1)
    share = (place - above).to(planes.dtype)[:, None]
    rows = torch.lerp(planes[:, above], planes[:, below], share)
    # More tokens on the right, equal to the last ones, so that rounding leaves no pixel out.
    more = max(0, math.ceil(width / step[1]) + 1 - rows.shape[2])
    rows = F.pad(rows, (0, more), mode="replicate")
    fine = F.interpolate(rows[None], scale_factor=(1.0, step[1]), mode="bilinear")
    return fine[0, :, :, :width]
