"""Reads the frames of an array, or parts of them: one channel, RGB, or several channels."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.errors import InputError, reason_of
from .arrays import blocks, fault_in_source, packed, unpacked
from .contrast import contrast_of
from .frame import (
    FrameData,
    FrameStats,
    digest_of,
    look_through,
    note_on_frame,
    stats_together,
    together,
)
from .intensity import ValueRange, is_constant, is_exact, to_float32, value_range_of

if TYPE_CHECKING:
    from collections.abc import Iterator


class PlaneReader:
    """The frames of an array whose axes and channels were checked; see :class:`.ImageStack`."""

    def __init__(
        self, data: Any, axes: str, channel: int | tuple[int, ...] | None, *, part: bool = False
    ) -> None:
        self._data, self._part = data, part
        self._digests: dict[tuple[int, ...], bytes] = {}
        self.axes = axes
        self.channel = channel
        self.parts: tuple[PlaneReader, ...] = ()
        if isinstance(channel, tuple):
            self.parts = tuple(PlaneReader(data, axes, one, part=True) for one in channel)
        self.averaged = False
        self.rgb = "S" in axes and channel is None
        self.depth = 3 if self.rgb else max(1, len(self.parts))
        self.shape: tuple[int, ...] = tuple(int(size) for size in data.shape)
        # The longest floats are read as doubles, beyond whose range a value is infinite.
        self.dtype = np.dtype(data.dtype if data.dtype != np.longdouble else np.float64)
        size = dict(zip(axes, self.shape, strict=True))
        self.leading_axes = "".join(letter for letter in axes if letter in "TZ")
        self.leading_shape = tuple(size[letter] for letter in self.leading_axes)
        self.plane_shape = (size["Y"], size["X"])

    @property
    def output_axes(self) -> str:
        """Axes of the labels: those of the frames, then ``YX``."""
        return self.leading_axes + "YX"

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of the labels."""
        return self.leading_shape + self.plane_shape

    def __len__(self) -> int:
        return int(np.prod(self.leading_shape, dtype=np.int64))

    def indices(self) -> Iterator[tuple[int, ...]]:
        """Yield each frame's position on the leading axes, the last axis fastest."""
        return product(*map(range, self.leading_shape))

    def read(self, index: tuple[int, ...] = ()) -> FrameData:
        """Read one frame.

        Parameters
        ----------
        index : tuple of int
            Position on the leading axes; ``()`` for a single picture.

        Returns
        -------
        FrameData
            Alpha is dropped. NaN and infinite values are replaced by the smallest finite one, of
            the channel if there are several.

        Raises
        ------
        InputError
            When the image's source fails, for example a damaged file.
        """
        if self.parts:
            whole = together([part.read(index) for part in self.parts], self.averaged)
            self._digests[index] = whole.digest
            return whole
        values = self._values(index, slice(None), slice(None))
        value_range = self._value_range(values)
        pixels = to_float32(values, value_range)
        digest = self._digests[index] = digest_of(pixels)
        constant = pixels.flat[0] if is_constant(pixels) else None
        seen = contrast_of(pixels, whole_numbers=self.dtype.kind in "iu")
        note = note_on_frame(self._name(index), self.dtype, value_range, constant, seen.blank)
        empty = constant is not None or seen.blank
        return FrameData(pixels, note, digest, empty, seen.faint, (seen.low, seen.high))

    def read_region(
        self,
        index: tuple[int, ...],
        rows: slice,
        columns: slice,
        stats: FrameStats | None = None,
    ) -> FrameData:
        """Read part of one frame, and nothing else of it where the image's source allows that.

        Parameters
        ----------
        index : tuple of int
            Position on the leading axes; ``()`` for a single picture.
        rows, columns : slice
            Of the frame, without a step.
        stats : FrameStats, optional
            From :meth:`frame_stats`. With it the pixels are those that :meth:`read` gives at this
            place, whatever the type; their note is that of the whole frame, so it is not repeated
            here. Without it, NaN is replaced by the smallest finite value of the region, and a
            large offset or values too large for float32 are taken off as the region's range asks
            for; types that float32 holds exactly (bool, 8 and 16 bit integers) and finite float32
            need no range.

        Raises
        ------
        InputError
            When the image's source fails.
        """
        if stats is not None:
            self._digests[index] = stats.digest
        if self.parts:
            each = (None,) * len(self.parts) if stats is None else stats.parts
            regions = zip(self.parts, each, strict=True)
            found = [part.read_region(index, rows, columns, one) for part, one in regions]
            return together(found, self.averaged)
        values = self._values(index, rows, columns)
        if stats is not None:
            return FrameData(to_float32(values, stats.value_range))
        value_range = self._value_range(values)
        return FrameData(
            to_float32(values, value_range),
            note_on_frame(self._name(index), self.dtype, value_range),
        )

    def frame_stats(self, index: tuple[int, ...] = ()) -> FrameStats:
        """Look through one frame, block by block, for what its regions have in common.

        The same sample is taken as :func:`normalise` takes, so that a frame read in regions is
        normalised as one that is read whole.

        Parameters
        ----------
        index : tuple of int
            Position on the leading axes; ``()`` for a single picture.

        Raises
        ------
        InputError
            When the image's source fails.
        """
        if self.parts:
            found = stats_together([part.frame_stats(index) for part in self.parts], self.averaged)
            self._digests[index] = found.digest
            return found
        found = look_through(
            lambda rows, columns: self._values(index, rows, columns),
            blocks(self._data, self.axes),
            (*self.plane_shape, self.depth),
            self.dtype,
            self._name(index),
        )
        self._digests[index] = found.digest
        return found

    def add_digest(self, index: tuple[int, ...], digest: bytes) -> None:
        """Take down that a copy of this in another process has read a frame.

        Parameters
        ----------
        index : tuple of int
        digest : bytes
            That of the :class:`FrameData` or :class:`FrameStats`.
        """
        self._digests[index] = digest

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_data": packed(self._data)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _data=unpacked(state["_data"]))

    def _values(self, index: tuple[int, ...], rows: slice, columns: slice) -> np.ndarray:
        """Return the values of part of a frame as they are, shape (Y, X, depth)."""
        if self.parts:
            each = [part._values(index, rows, columns) for part in self.parts]
            return np.concatenate(each, axis=-1)
        place: dict[str, Any] = dict(zip(self.leading_axes, index, strict=True))
        place |= {"Y": rows, "X": columns}
        if self.channel is not None:
            place["C" if "C" in self.axes else "S"] = self.channel
        picks = tuple(place.get(letter, slice(None)) for letter in self.axes)
        try:
            fault = fault_in_source(self._data)
            values = np.asarray(self._data[picks]) if not fault else np.zeros(0)
        except Exception as error:
            raise self._unreadable(index, reason_of(error)) from error
        expected = self._shape_of(rows, columns)
        if not fault and (values.shape != expected or values.dtype.kind not in "buif"):
            fault = f"it gives {values.dtype} of shape {values.shape}, not of shape {expected}"
        if fault:
            raise self._unreadable(index, fault)
        if values.dtype == np.longdouble:
            with np.errstate(over="ignore"):
                values = values.astype(np.float64)
        return values[..., :3] if self.rgb else values[..., None]

    def _shape_of(self, rows: slice, columns: slice) -> tuple[int, ...]:
        """Return the shape that part of a frame has in the image."""
        height, width = self.plane_shape
        plane = (len(range(height)[rows]), len(range(width)[columns]))
        return (*plane, self.shape[-1]) if self.rgb else plane

    def _unreadable(self, index: tuple[int, ...], why: str) -> InputError:
        return InputError(f"{self._name(index)} cannot be read ({why}); check the image's source.")

    def _value_range(self, values: np.ndarray) -> ValueRange:
        return ValueRange() if is_exact(self.dtype) else value_range_of(values)

    def _name(self, index: tuple[int, ...]) -> str:
        pairs = zip(self.leading_axes, index, strict=True)
        listed = ", ".join(f"{letter}={place}" for letter, place in pairs)
        name = f"frame {listed}" if index else "the image"
        if self._part:
            return f"Channel {self.channel} of {name}"
        return name[0].upper() + name[1:]
