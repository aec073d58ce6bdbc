"""Intensities: whatever a camera writes becomes float32, in one range."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from .channels import as_planes

Level: TypeAlias = float | tuple[float, ...]
"""An intensity, or one for each of several channels."""

Levels: TypeAlias = tuple[Level, Level]
"""Intensities that become 0 and 1."""

_LARGEST = 1e30
"""Larger values would overflow float32 as soon as two of them are multiplied or subtracted."""

SAMPLED = 1 << 22
"""Percentiles of pictures with more values than this are taken from a regular sample."""

PERCENTILES = (1.0, 99.8)
"""What of a picture's values becomes 0 and 1."""


@dataclass(frozen=True, slots=True)
class ValueRange:
    """What must be known of all values of a picture before some of them become float32.

    Attributes
    ----------
    lowest, highest : float
        Of the finite values; infinite, the wrong way round, when there is none.
    strange, size : int
        How many values are NaN or infinite, and how many there are.
    """

    lowest: float = np.inf
    highest: float = -np.inf
    strange: int = 0
    size: int = 0

    def joined(self, other: ValueRange) -> ValueRange:
        """Return the range of two parts of a picture together."""
        return ValueRange(
            min(self.lowest, other.lowest),
            max(self.highest, other.highest),
            self.strange + other.strange,
            self.size + other.size,
        )


def value_range_of(values: np.ndarray) -> ValueRange:
    """Return the range of bool, integer or float values."""
    strange = 0
    if values.dtype.kind == "f":
        finite = np.isfinite(values)
        strange = values.size - int(np.count_nonzero(finite))
        size, values = values.size, values[finite] if strange else values
        if not values.size:
            return ValueRange(strange=strange, size=size)
    return ValueRange(float(values.min()), float(values.max()), strange, values.size + strange)


def is_exact(dtype: Any) -> bool:
    """Tell whether float32 holds every value of a type, so that no value range is needed."""
    dtype = np.dtype(dtype)
    return bool(dtype.kind != "f" and dtype.itemsize < 4)


def to_float32(values: np.ndarray, value_range: ValueRange) -> np.ndarray:
    """Return finite float32 values, shifted or scaled where float32 would lose them."""
    if is_exact(values.dtype):
        return _single(values)
    if value_range.strange == value_range.size:
        return np.zeros(values.shape, np.float32)
    if values.dtype.kind != "f":
        values = values.astype(np.float64)
    elif value_range.strange:
        values = np.where(np.isfinite(values), values, value_range.lowest)
    divisor, offset = _squeezed(values.dtype, value_range)
    if divisor != 1:
        return _single(values.astype(np.float64) / divisor)
    return _single(values - offset if offset else values)


def note_on(dtype: Any, value_range: ValueRange) -> str:
    """Return what :func:`to_float32` has to do to a picture's values, the end of a sentence."""
    dtype = np.dtype(dtype)
    if is_exact(dtype):
        return ""
    if value_range.strange == value_range.size:
        return "has no finite value (all NaN or infinite), so there is nothing to see"
    notes = []
    if value_range.strange:
        share = f"{100 * value_range.strange / value_range.size:.2g} % NaN or infinite values"
        notes.append(f"has {share}, taken as {value_range.lowest:g}")
    divisor, offset = _squeezed(dtype if dtype.kind == "f" else np.dtype(np.float64), value_range)
    if divisor != 1:
        notes.append(f"has values up to {divisor:.3g}, divided by that number")
    if offset:
        notes.append(f"has a large offset, so {offset:.6g} was subtracted")
    return ", and ".join(notes)


def _squeezed(dtype: np.dtype[Any], value_range: ValueRange) -> tuple[float, float]:
    """Return what values are divided by, or what is subtracted from them, to fit float32."""
    low, high = value_range.lowest, value_range.highest
    largest = max(abs(low), abs(high))
    if largest > _LARGEST:
        return largest, 0.0
    # Float32 has 24 bits: a small signal on a large offset would turn into steps.
    small = dtype == np.float64 and 0 < high - low < largest * 2.0**-14
    return 1.0, low if small else 0.0


def _single(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32, copy=False)


def is_constant(pixels: np.ndarray) -> bool:
    """Tell whether all values are the same."""
    return bool(pixels.min() == pixels.max())


def sampling_step(size: int) -> int:
    """Return which rows and columns, every how manieth, make the sample of so many values."""
    return int(np.ceil(np.sqrt(max(1.0, size / SAMPLED))))


def percentiles(sample: np.ndarray) -> tuple[float, float]:
    """Return percentiles 1 and 99.8 of values."""
    low, high = np.percentile(sample, PERCENTILES)
    return float(low), float(high)


def is_wide(levels: Levels) -> bool:
    """Tell whether there is anything between what becomes 0 and 1, in one channel at least."""
    return bool(np.any(np.greater(levels[1], levels[0])))


def normalise_to(
    pixels: np.ndarray, low: Level, high: Level, *, averaged: bool = False
) -> np.ndarray:
    """Map intensities so that ``low`` becomes 0 and ``high`` 1, clipped to 0 to 1.5; float32.

    Two channels become three, the last of them empty (see :func:`.channels.as_planes`), or any
    number one, their mean, if ``averaged``.
    """
    width = np.subtract(high, low, dtype=np.float64)
    factor = np.divide(1.0, width, out=np.zeros_like(width), where=width > 0)
    if not factor.any():
        scaled = np.zeros(pixels.shape, np.float32)
    else:
        scaled = (pixels - np.asarray(low, np.float32)) * factor.astype(np.float32)
        scaled = np.clip(scaled, 0.0, 1.5, out=scaled).astype(np.float32, copy=False)
    return scaled.mean(axis=-1, keepdims=True) if averaged else as_planes(scaled)
