"""One frame: what is read of it, and what is found by looking through it block by block."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .arrays import regular
from .contrast import CORNERS, contrast_in, square_step
from .intensity import ValueRange, note_on, to_float32, value_range_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


@dataclass(frozen=True, slots=True)
class FrameData:
    """One frame, with its intensities as they are in the image.

    Attributes
    ----------
    pixels : ndarray of float32, shape (Y, X, 1) or (Y, X, 3)
        Finite values.
    note : str
        What had to be done to the values, one sentence, or empty.
    digest : bytes
        The frame's part of :meth:`ImageStack.signature`; empty for a region.
    empty : bool
        Whether the frame has one value, or differences that only compression made.
    faint : bool
        Whether no edge in the frame stands out from its noise.
    """

    pixels: np.ndarray
    note: str = ""
    digest: bytes = b""
    empty: bool = False
    faint: bool = False


@dataclass(frozen=True, slots=True)
class FrameStats:
    """Statistics of a whole frame, so that its regions can be read one by one.

    Attributes
    ----------
    low, high : float
        What :func:`normalise` maps to 0 and 1: ``normalise_to(region, low, high)`` is a cut-out
        of the normalised frame.
    constant : bool
        Whether the frame has the same value everywhere.
    note : str
        As that of :class:`FrameData`.
    value_range : ValueRange
        Of the values as they are in the image.
    digest : bytes
        The frame's part of :meth:`ImageStack.signature`.
    empty, faint : bool
        As those of :class:`FrameData`.
    """

    low: float
    high: float
    constant: bool
    note: str
    value_range: ValueRange
    digest: bytes
    empty: bool = False
    faint: bool = False


def note_on_frame(
    name: str,
    dtype: Any,
    value_range: ValueRange,
    constant: float | None = None,
    blank: bool = False,
) -> str:
    """Return what had to be done to a frame, one sentence; empty for nothing.

    ``constant`` is the value that all of its pixels have, if they have.
    """
    note = note_on(dtype, value_range)
    if not note and constant is not None:
        note = f"has the same value ({constant:g}) everywhere, so there is nothing to see"
    if not note and blank:
        note = "has hardly any contrast (a few grey levels), so nothing is looked for"
    return f"{name} {note}." if note else ""


def frame_name(number: int | None) -> str:
    """Return the name of a frame in notes, by its place in the stack."""
    return "The image" if number is None else f"Frame {number}"


def faint_note(name: str) -> str:
    """Return what to say of objects in a frame whose contrast is hardly above its noise."""
    return (
        f"{name} has hardly any contrast: no edge stands out from its noise, so check what was "
        "found."
    )


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
) -> FrameStats:
    """Look through a frame block by block."""
    dtype = np.dtype(dtype)
    step, steps = square_step(int(np.prod(shape))), _marks(shape)
    inner = [(size - 2) // step + 1 for size in shape[:2]]
    squares = np.zeros((4, *inner, shape[2]), dtype)
    marks = np.zeros((-(-shape[0] // steps[0]), -(-shape[1] // steps[1]), shape[2]), dtype)
    value_range = ValueRange()
    for rows, columns in parts:
        values = read(rows, columns)
        value_range = value_range.joined(value_range_of(values))
        for number, (top, left) in enumerate(CORNERS):
            place, picked = regular(values, rows, columns, (step, step), (top, left))
            part = squares[number][place]
            part[...] = picked[: part.shape[0], : part.shape[1]]
        place, picked = regular(values, rows, columns, steps)
        marks[place] = picked
    wide = dtype if dtype.kind == "f" else np.dtype(np.float64)
    lowest, highest = to_float32(
        np.array([value_range.lowest, value_range.highest], wide), value_range
    )
    seen = contrast_in(to_float32(squares, value_range), whole_numbers=dtype.kind in "iu")
    low, high = seen.low, seen.high
    if not high > low:  # what differs is not in the sample
        low, high = float(lowest), float(highest)
    constant = bool(lowest == highest)
    note = note_on_frame(name, dtype, value_range, float(lowest) if constant else None, seen.blank)
    return FrameStats(
        low,
        high,
        constant,
        note,
        value_range,
        _hash(to_float32(marks, value_range)),
        constant or seen.blank,
        seen.faint,
    )


def _marks(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return every how manieth row and column a frame's hash is made of."""
    return max(1, shape[0] // 64), max(1, shape[1] // 64)


def _hash(sample: np.ndarray) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(sample).tobytes()).digest()
