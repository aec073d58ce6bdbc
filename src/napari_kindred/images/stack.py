"""Axes, channels, dtype and intensity: anything array-like becomes frames of float32, lazily."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.errors import InputError, reason_of
from ..core.options import must_be
from .arrays import (
    as_array,
    blocks,
    fault_in_source,
    is_portable,
    is_pyramid,
    packed,
    source_of,
    unpacked,
)
from .axes import AXES, AxesGuess, choose_channel, fault_in_axes, guess_axes, guessed_axes
from .frame import FrameData, FrameStats, digest_of, look_through, note_on_frame
from .intensity import (
    ValueRange,
    is_constant,
    is_exact,
    normalise,
    normalise_to,
    percentiles,
    sampling_step,
    to_float32,
    value_range_of,
)
from .readers import ImageFile, is_image, list_images, read_image, stem_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = [
    "AXES",
    "AxesGuess",
    "FrameData",
    "FrameStats",
    "ImageFile",
    "ImageStack",
    "guess_axes",
    "intensity_range",
    "is_constant",
    "is_image",
    "list_images",
    "normalise",
    "normalise_to",
    "read_image",
    "stem_of",
]


class ImageStack:
    """A lazy view of an image or stack as a sequence of frames.

    Made by :meth:`open`. Nothing is read before :meth:`read`, and then only one frame; of a frame
    too large to hold, :meth:`read_region` reads a part.

    Attributes
    ----------
    axes : str
        One letter of ``TCZYXS`` per axis of the image.
    axes_note : str
        What was guessed and why; empty when axes and channel were given.
    channel : int or None
        The channel, or sample of RGB, that is read; None when there is nothing to choose from,
        or when RGB is read as a whole.
    rgb : bool
        Whether frames have three channels.
    leading_axes : str
        The axes along which there are frames: ``""``, ``"T"``, ``"Z"``, ``"TZ"`` or ``"ZT"``.
    leading_shape : tuple of int
    plane_shape : tuple of int
        Height and width of a frame.
    shape, dtype
        Those of the image.
    path : Path or None
        The file or folder that the image is read from, where that is known.
    scale, units
        Of the labels' axes, as in :class:`.ImageFile`.
    """

    def __init__(
        self,
        data: Any,
        axes: str,
        channel: int | None,
        axes_note: str = "",
        lower: tuple[ImageStack, ...] = (),
    ) -> None:
        self._data, self._lower = data, lower
        self._digests: dict[tuple[int, ...], bytes] = {}
        self.axes = axes
        self.axes_note = axes_note
        self.channel = channel
        self.rgb = "S" in axes and channel is None
        self.shape: tuple[int, ...] = tuple(int(size) for size in data.shape)
        # The longest floats are read as doubles, beyond whose range a value is infinite.
        self.dtype = np.dtype(data.dtype if data.dtype != np.longdouble else np.float64)
        size = dict(zip(axes, self.shape, strict=True))
        self.leading_axes = "".join(letter for letter in axes if letter in "TZ")
        self.leading_shape = tuple(size[letter] for letter in self.leading_axes)
        self.plane_shape = (size["Y"], size["X"])
        self.path: Path | None = source_of(data)
        self.scale: tuple[float, ...] | None = None
        self.units: tuple[str, ...] | None = None

    @classmethod
    def open(
        cls,
        image: Any,
        axes: str | None = None,
        channel: int | None = None,
        metadata_axes: str | None = None,
    ) -> ImageStack:
        """Check an image and open it.

        Parameters
        ----------
        image : array-like
            numpy, dask, zarr or anything with ``shape``, ``dtype`` and slicing; bool, integer or
            float of any size. It is never read as a whole. A list of the same image at lower
            and lower resolutions, as a multi-scale layer has it, is one image; so is what
            :func:`read_image` returns.
        axes : str, optional
            One letter of ``TCZYXS`` per axis; guessed when left out.
        channel : int, optional
            Which channel to read, from 0; of RGB, one sample instead of all three. The first
            channel when left out.
        metadata_axes : str, optional
            What the file or layer says about the axes, for the guess.

        Raises
        ------
        InputError
            When the image cannot be segmented, when the axes cannot be guessed safely, or when
            axes or channel do not fit the image.
        """
        file = image if isinstance(image, ImageFile) else ImageFile(image, path=source_of(image))
        levels = file.levels or (tuple(file.data) if is_pyramid(file.data) else (file.data,))
        must_be("metadata_axes", metadata_axes, str)
        metadata_axes = metadata_axes or file.axes
        data = as_array(levels[0])
        shape = tuple(int(size) for size in data.shape)
        if axes is None or not axes.strip():
            axes, note = guessed_axes(shape, data.dtype, metadata_axes)
        else:
            axes, note = axes.strip().upper(), ""
            fault = fault_in_axes(axes, shape)
            if fault:
                raise InputError(f"The axes {axes!r} {fault}.")
        channel, channel_note = choose_channel(axes, shape, channel)
        lower = (cls(as_array(level), axes, channel) for level in levels[1:])
        notes = " ".join(filter(None, (note, channel_note)))
        frames = cls(data, axes, channel, notes, tuple(lower))
        frames.path = file.path
        frames.scale, frames.units = replace(file, axes=axes).scale_of(frames.output_axes)
        if min(frames.plane_shape) < 2:
            height, width = frames.plane_shape
            raise InputError(
                f"A frame of {height} × {width} pixels (Y × X) is too small to hold anything; "
                f"check the axes, {axes} for the shape {shape}."
            )
        return frames

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
            Alpha is dropped. NaN and infinite values are replaced by the smallest finite one.

        Raises
        ------
        InputError
            When the image's source fails, for example a damaged file.
        """
        values = self._values(index, slice(None), slice(None))
        value_range = self._value_range(values)
        pixels = to_float32(values, value_range)
        digest = self._digests[index] = digest_of(pixels)
        constant = pixels.flat[0] if is_constant(pixels) else None
        return FrameData(
            pixels, note_on_frame(self._name(index), self.dtype, value_range, constant), digest
        )

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
        values = self._values(index, rows, columns)
        if stats is not None:
            self._digests[index] = stats.digest
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
        found = look_through(
            lambda rows, columns: self._values(index, rows, columns),
            blocks(self._data, self.axes),
            (*self.plane_shape, 3 if self.rgb else 1),
            self.dtype,
            self._name(index),
        )
        self._digests[index] = found.digest
        return found

    def at(self, scale: float) -> ImageStack:
        """Return the image at the lowest resolution that it is stored at and that is enough.

        Parameters
        ----------
        scale : float
            Share of the rows and of the columns that is needed: 0.25 for every fourth.

        Returns
        -------
        ImageStack
            The same frames, their ``plane_shape`` smaller; this image itself where none of its
            lower resolutions has as many rows and columns, or the same frames.
        """
        for frames in reversed(self._lower):
            enough = all(
                low + 1 > full * scale
                for low, full in zip(frames.plane_shape, self.plane_shape, strict=True)
            )
            if enough and frames.leading_shape == self.leading_shape:
                return frames
        return self

    @property
    def portable(self) -> bool:
        """Whether pickling sends where the pixels are instead of the pixels themselves."""
        return is_portable(self._data) and all(frames.portable for frames in self._lower)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_data": packed(self._data)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _data=unpacked(state["_data"]))

    def add_digest(self, index: tuple[int, ...], digest: bytes) -> None:
        """Take down that a copy of this in another process has read a frame.

        Parameters
        ----------
        index : tuple of int
        digest : bytes
            That of the :class:`FrameData` or :class:`FrameStats`.
        """
        self._digests[index] = digest

    def signature(self) -> dict[str, Any]:
        """Describe the image for the provenance of a result.

        Returns
        -------
        dict
            ``shape``, ``dtype``, ``axes``, ``channel``, and ``content``: a hash over a sample of
            each frame that was read (of the first, when none was), at the highest resolution
            that was read; None where nothing was, and nothing can be read any more.
        """
        seen = [frames._digests for frames in (self, *self._lower) if frames._digests]
        if not seen:
            with suppress(InputError):  # its source may be gone by now
                self.frame_stats(next(self.indices()))
            seen = [self._digests]
        content = hashlib.sha256()
        for index, digest in sorted(seen[0].items()):
            content.update(repr(index).encode() + digest)
        return {
            "shape": list(self.shape),
            "dtype": self.dtype.name,
            "axes": self.axes,
            "channel": self.channel,
            "content": content.hexdigest() if seen[0] else None,
        }

    def _values(self, index: tuple[int, ...], rows: slice, columns: slice) -> np.ndarray:
        """Return the values of part of a frame as they are, shape (Y, X, 1) or (Y, X, 3)."""
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
        if not index:
            return "The image"
        pairs = zip(self.leading_axes, index, strict=True)
        return "Frame " + ", ".join(f"{letter}={place}" for letter, place in pairs)


def intensity_range(frames: ImageStack, sampled: int = 16) -> tuple[float, float]:
    """Percentiles 1 and 99.8 of a whole movie, from frames evenly spread over it.

    One range for all frames: a range per frame would turn a change of one thing's brightness into
    a change of everything's.

    Parameters
    ----------
    frames : ImageStack
    sampled : int
        At most so many frames are read, and of each a regular sample.

    Returns
    -------
    low, high : float
        Equal where the sample has the same value everywhere.  Frames of one value count only
        where there are no others.
    """
    indices = list(frames.indices())
    places = sorted({int(i) for i in np.linspace(0, len(indices) - 1, sampled).round()})
    values, constants = [], []
    for place in places:
        pixels = frames.read(indices[place]).pixels
        if is_constant(pixels):
            # A frame without anything, all NaN for example, says nothing of the others.
            constants.append(float(pixels.flat[0]))
            continue
        step = sampling_step(pixels.size * len(places))
        values.append(pixels[::step, ::step].ravel())
    if not values:
        return min(constants), max(constants)
    pooled = np.concatenate(values)
    low, high = percentiles(pooled)
    return (low, high) if high > low else (float(pooled.min()), float(pooled.max()))
