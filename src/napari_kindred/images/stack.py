"""Axes, channels, dtype and intensity: anything array-like becomes frames of float32, lazily."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import replace
from functools import partial
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
    packed,
    source_of,
    unpacked,
)
from .axes import (
    AXES,
    AxesGuess,
    check_transparency,
    choose_channel,
    fault_in_axes,
    guess_axes,
    guessed_axes,
    letters_of,
)
from .contrast import contrast_of, normalise
from .frame import FrameData, FrameStats, digest_of, look_through, note_on_frame
from .intensity import (
    ValueRange,
    is_constant,
    is_exact,
    normalise_to,
    to_float32,
    value_range_of,
)
from .levels import is_even, is_filled, is_pyramid
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
    notes : tuple of str
        What the user should know: what the file holds besides this image, what was guessed and
        why, which resolutions are not used.
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
    source : str
        The same as text, or the address of an image on a server; empty if unknown.
    scale, units, translate
        Of the labels' axes, as in :class:`.ImageFile`.
    """

    def __init__(
        self,
        data: Any,
        axes: str,
        channel: int | None,
        notes: tuple[str, ...] = (),
        lower: tuple[ImageStack, ...] = (),
    ) -> None:
        self._data, self._lower = data, lower
        self._filled: dict[int, bool] = {}
        self._digests: dict[tuple[int, ...], bytes] = {}
        self.axes = axes
        self.notes = notes
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
        self.source = "" if self.path is None else str(self.path)
        self.translate: tuple[float, ...] | None = None
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
        metadata_axes = metadata_axes or file.axes or _dims_of(levels[0])
        data = as_array(levels[0])
        shape = tuple(int(size) for size in data.shape)
        if axes is None or not axes.strip():
            axes, note = guessed_axes(shape, data.dtype, metadata_axes)
            if not metadata_axes or len(metadata_axes) != len(shape):
                check_transparency(data, axes)
        else:
            axes, note = axes.strip().upper(), ""
            fault = fault_in_axes(axes, shape)
            if fault:
                raise InputError(f"The axes {axes!r} {fault}.")
        channel, channel_note = choose_channel(axes, shape, channel, file.channels)
        lower = [cls(as_array(level), axes, channel) for level in levels[1:]]
        frames = cls(data, axes, channel)
        fitting = tuple(one for one in lower if is_even(frames.plane_shape, one.plane_shape))
        notes = (file.note, note, channel_note, _odd_note(frames, lower, len(fitting)))
        frames._lower, frames.notes = fitting, tuple(filter(None, notes))
        frames.path, frames.source = file.path, file.source
        placed = replace(file, axes=axes)
        frames.scale, frames.units = placed.scale_of(frames.output_axes)
        frames.translate = placed.translate_of(frames.output_axes)
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
        seen = contrast_of(pixels, whole_numbers=self.dtype.kind in "iu")
        note = note_on_frame(self._name(index), self.dtype, value_range, constant, seen.blank)
        return FrameData(pixels, note, digest, constant is not None or seen.blank, seen.faint)

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
            if enough and frames.leading_shape == self.leading_shape and self._shows(frames):
                return frames
        return self

    @property
    def level_note(self) -> str:
        """Which lower resolutions :meth:`at` passed over because they are empty, one sentence."""
        empty = [self._lower[place].plane_shape for place, full in self._filled.items() if not full]
        if not empty:
            return ""
        listed = ", ".join(f"{height} × {width}" for height, width in empty)
        return f"The resolution of {listed} pixels was never filled, so it is not used."

    def _shows(self, lower: ImageStack) -> bool:
        """Whether a lower resolution shows what this one does, in a few frames."""
        place = self._lower.index(lower)
        if place not in self._filled:
            indices = list(self.indices())
            some = {indices[0], indices[len(indices) // 2], indices[-1]}
            self._filled[place] = all(
                is_filled(
                    partial(self._values, index),
                    self.plane_shape,
                    partial(lower._values, index),
                    lower.plane_shape,
                )
                for index in some
            )
        return self._filled[place]

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


def _dims_of(image: Any) -> str:
    """Return the axes that an xarray names, empty for others."""
    names = getattr(image, "dims", ())
    return letters_of(names) if isinstance(names, tuple) else ""


def _odd_note(frames: ImageStack, lower: list[ImageStack], fitting: int) -> str:
    """Return which resolutions have no even share of the rows and columns, one sentence."""
    if len(lower) == fitting:
        return ""
    odd = [one for one in lower if not is_even(frames.plane_shape, one.plane_shape)]
    listed = ", ".join("{} × {}".format(*one.plane_shape) for one in odd)
    height, width = frames.plane_shape
    return (
        f"The resolution of {listed} pixels is not used, because it is not {height} × {width} "
        "shrunk evenly."
    )
