"""Removes the orientation of objects from their tokens, so that it does not make a kind.

Cells that lean to the left and to the right are of one kind, but look different to a network.  What
changes by a quarter turn is seen by encoding two of the sampled frames once more, turned.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ..encoders.encode import GRID, iter_encode
from .foreground import FrameObjects
from .kmeans import Basis

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from ..core.events import Notice, Progress
    from ..encoders.base import Encoder
    from .frame_features import Encoding
    from .kmeans import Floats
    from .prepass import Sample

COMPONENTS = 2
"""Number of directions taken out: cosine and sine of twice the angle at which an object lies."""

SHARE = 0.1
"""Share of all variance that must change by a turn along these directions, or they stay.

Where objects lie along one line, or are round, there is little to take out."""

FEWEST = 20
"""Fewest objects from which the directions of orientation are estimated."""


def iter_without_orientation(
    encoder: Encoder,
    how: Encoding,
    sample: Sample,
    frames: Iterable[tuple[Floats, Floats, FrameObjects]],
    step: tuple[float, float],
) -> Generator[Progress | Notice, None, Sample]:
    """Remove from a sample the directions of token space that tell how objects are oriented.

    ``frames`` are pixels (H, W, C), whole tokens (h, w, D) and objects of a few frames.
    """
    own: list[Floats] = []
    turned: list[Floats] = []
    for pixels, tokens, objects in frames:
        height, width = (max(GRID, side // GRID * GRID) for side in pixels.shape[:2])
        upright = np.ascontiguousarray(np.rot90(pixels[:height, :width]))
        found = yield from iter_encode(encoder, upright, large=how.large, tile=how.tile)
        back = np.ascontiguousarray(np.rot90(found.values, -1))
        rows, columns = np.minimum(back.shape[:2], tokens.shape[:2]).tolist()
        here = _within(objects, (int(rows * step[0]), int(columns * step[1])))
        for values, means in ((tokens, own), (back, turned)):
            reduced = sample.basis.reduce(np.asarray(values[:rows, :columns], np.float32))
            means.append(here.means(reduced, step))
    return without(sample, directions(np.concatenate(own), np.concatenate(turned)))


def directions(own: Floats, turned: Floats) -> Floats:
    """Return the directions (n, 2) that tell how objects lie, (n, 0) if that is little.

    Mean tokens (N, n) of the same objects in frames and in the turned frames.
    """
    nothing = np.zeros((own.shape[1], 0), np.float32)
    if len(own) < FEWEST:
        return nothing
    odd = (own - turned).astype(np.float64) / 2
    values, vectors = np.linalg.eigh(odd.T @ odd / len(odd))
    if values[-COMPONENTS:].sum() < SHARE * own.var(0, dtype=np.float64).sum():
        return nothing
    return vectors[:, -COMPONENTS:].astype(np.float32)


def without(sample: Sample, out: Floats) -> Sample:
    """Return a sample in whose space nothing lies along directions (n, k)."""
    rest = np.eye(len(out), dtype=np.float32) - out @ out.T
    basis = Basis(sample.basis.mean, np.ascontiguousarray(rest @ sample.basis.components))
    tokens = (sample.tokens.astype(np.float32) @ rest).astype(np.float16)
    return replace(sample, basis=basis, tokens=tokens)


def _within(objects: FrameObjects, shape: tuple[int, int]) -> FrameObjects:
    """Return the objects in the upper left part (H, W) of a frame."""
    found, labels = np.unique(objects.labels[: shape[0], : shape[1]], return_inverse=True)
    missing = int(found[0] != 0)  # no background there
    plane = (labels + missing).reshape(min(shape[0], len(objects.labels)), -1)
    return FrameObjects(plane.astype(np.int32), len(found) - 1 + missing)
