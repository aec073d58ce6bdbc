"""One frame: what is read of it, and what is found by looking through it block by block."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .arrays import regular
from .intensity import Spread, note_on, percentiles, sampling_step, spread_of, to_float32


@dataclass(frozen=True, slots=True)
class RawFrame:
    """One frame, with its intensities as they are in the image.

    Attributes
    ----------
    pixels : ndarray of float32, shape (Y, X, 1) or (Y, X, 3)
        Finite values.
    note : str
        What had to be done to the values, one sentence, or empty.
    digest : bytes
        The frame's part of :meth:`Frames.signature`; empty for a region.
    """

    pixels: np.ndarray
    note: str = ""
    digest: bytes = b""


@dataclass(frozen=True, slots=True)
class PlaneRange:
    """What is known of a whole frame, so that its regions can be read one by one.

    Attributes
    ----------
    low, high : float
        What :func:`normalise` maps to 0 and 1: ``normalise_to(region, low, high)`` is a cut-out
        of the normalised frame.
    constant : bool
        Whether the frame has the same value everywhere.
    note : str
        As that of :class:`RawFrame`.
    spread : Spread
        Of the values as they are in the image.
    digest : bytes
        The frame's part of :meth:`Frames.signature`.
    """

    low: float
    high: float
    constant: bool
    note: str
    spread: Spread
    digest: bytes


def note_on_frame(name: str, dtype: Any, spread: Spread, constant: float | None = None) -> str:
    """Return what had to be done to a frame, one sentence; empty for nothing.

    ``constant`` is the value that all of its pixels have, if they have.
    """
    note = note_on(dtype, spread)
    if not note and constant is not None:
        note = f"has the same value ({constant:g}) everywhere, so there is nothing to see"
    return f"{name} {note}." if note else ""


def digest_of(pixels: np.ndarray) -> bytes:
    """Return a hash over a sample of a frame (Y, X, C), about 64 rows and columns of it."""
    rows, columns = _marks(pixels.shape)
    return _hash(pixels[::rows, ::columns])


def look_through(
    read: Callable[[slice, slice], np.ndarray],
    parts: Iterable[tuple[slice, slice]],
    shape: tuple[int, int, int],
    dtype: Any,
    name: str,
) -> PlaneRange:
    """Look through a frame block by block.

    Parameters
    ----------
    read : callable
        Returns the values of some rows and columns, as they are in the image, (Y, X, C).
    parts : iterable of (rows, columns)
        That make up the frame.
    shape : tuple of int
        Of the frame, (Y, X, C).
    dtype : dtype
        Of the image.
    name : str
        Of the frame, in sentences.
    """
    dtype = np.dtype(dtype)
    step, steps = sampling_step(int(np.prod(shape))), _marks(shape)
    marks = np.zeros((-(-shape[0] // steps[0]), -(-shape[1] // steps[1]), shape[2]), dtype)
    spread, sample = Spread(), []
    for rows, columns in parts:
        values = read(rows, columns)
        spread = spread.joined(spread_of(values))
        sample.append(regular(values, rows, columns, (step, step))[1].reshape(-1))
        place, picked = regular(values, rows, columns, steps)
        marks[place] = picked
    wide = dtype if dtype.kind == "f" else np.dtype(np.float64)
    lowest, highest = to_float32(np.array([spread.lowest, spread.highest], wide), spread)
    low, high = percentiles(to_float32(np.concatenate(sample), spread))
    if not high > low:  # as in `normalise`
        low, high = float(lowest), float(highest)
    constant = bool(lowest == highest)
    note = note_on_frame(name, dtype, spread, float(lowest) if constant else None)
    return PlaneRange(low, high, constant, note, spread, _hash(to_float32(marks, spread)))


def _marks(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return every how manieth row and column a frame's hash is made of."""
    return max(1, shape[0] // 64), max(1, shape[1] // 64)


def _hash(sample: np.ndarray) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(sample).tobytes()).digest()
