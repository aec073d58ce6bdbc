"""One frame: what is read of it, and what is found by looking through it block by block."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np

from .arrays import regular
from .contrast import CORNERS, contrast_in, square_step
from .intensity import Level, Levels, ValueRange, normalise_to, note_on, to_float32, value_range_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence


@dataclass(frozen=True, slots=True)
class FrameData:
    """One frame, with its intensities as they are in the image.

    Attributes
    ----------
    pixels : ndarray of float32, shape (Y, X, C)
        Finite values; C is 1 to 3.
    note : str
        What had to be done to the values, one sentence, or empty.
    digest : bytes
        The frame's part of :meth:`ImageStack.signature`; empty for a region.
    empty : bool
        Whether the frame has one value, or differences that only compression made.
    faint : bool
        Whether no edge in the frame stands out from its noise.
    levels : tuple of float, or of tuple of float
        Intensities that become 0 and 1, of each channel if there are several; unknown for a
        region.
    averaged : bool
        Whether networks take the mean of several channels.
    """

    pixels: np.ndarray
    note: str = ""
    digest: bytes = b""
    empty: bool = False
    faint: bool = False
    levels: Levels = (0.0, 0.0)
    averaged: bool = False

    def normalised(self, levels: Levels | None = None) -> np.ndarray:
        """Return the frame about 0 to 1 as networks take it, (Y, X, 1) or (Y, X, 3) of float32.

        Other ``levels`` than the frame's own may be given.
        """
        low, high = self.levels if levels is None else levels
        return normalise_to(self.pixels, low, high, averaged=self.averaged)


@dataclass(frozen=True, slots=True)
class FrameStats:
    """Statistics of a whole frame, so that its regions can be read one by one.

    Attributes
    ----------
    low, high : float or tuple of float
        What becomes 0 and 1, of each channel if there are several.
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
    parts : tuple of FrameStats
        Those of each channel, if there are several.
    averaged : bool
        As that of :class:`FrameData`.
    """

    low: Level
    high: Level
    constant: bool
    note: str
    value_range: ValueRange
    digest: bytes
    empty: bool = False
    faint: bool = False
    parts: tuple[FrameStats, ...] = ()
    averaged: bool = False

    def normalised(self, region: np.ndarray) -> np.ndarray:
        """Return a region (h, w, C) as a cut-out of the normalised frame, (h, w, 1 or 3)."""
        return normalise_to(region, self.low, self.high, averaged=self.averaged)


def together(parts: Sequence[FrameData], averaged: bool) -> FrameData:
    """Return several channels as one frame; channels without anything to see become 0."""
    low, high = zip(*(_levels(part.empty, *part.levels) for part in parts), strict=True)
    return FrameData(
        np.concatenate([part.pixels for part in parts], axis=-1),
        " ".join(part.note for part in parts if part.note),
        hashlib.sha256(b"".join(part.digest for part in parts)).digest(),
        all(part.empty for part in parts),
        all(part.faint or part.empty for part in parts),
        (low, high),
        averaged,
    )


def stats_together(parts: Sequence[FrameStats], averaged: bool) -> FrameStats:
    """Return the statistics of several channels as those of one frame."""
    low, high = zip(*(_levels(part.empty, part.low, part.high) for part in parts), strict=True)
    return FrameStats(
        low,
        high,
        all(part.constant for part in parts),
        " ".join(part.note for part in parts if part.note),
        reduce(ValueRange.joined, (part.value_range for part in parts)),
        hashlib.sha256(b"".join(part.digest for part in parts)).digest(),
        all(part.empty for part in parts),
        all(part.faint or part.empty for part in parts),
        tuple(parts),
        averaged,
    )


def _levels(empty: bool, low: Any, high: Any) -> tuple[float, float]:
    """Return what becomes 0 and 1 in one of several channels."""
    return (low, low) if empty else (low, high)


def sharing_range(found: Sequence[FrameStats]) -> list[FrameStats]:
    """Return the statistics of frames with the range of all of their values for their own."""
    if found[0].parts:
        each = [
            sharing_range(channel) for channel in zip(*(one.parts for one in found), strict=True)
        ]
        return [replace(one, parts=tuple(parts)) for one, *parts in zip(found, *each, strict=True)]
    whole = reduce(ValueRange.joined, (one.value_range for one in found))
    return [replace(one, value_range=whole) for one in found]


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
