"""Anything array-like becomes frames of float32, lazily: what is asked is checked here."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ..core.errors import InputError
from ..core.options import must_be
from .arrays import as_array, is_portable, source_of
from .axes import (
    AXES,
    AxesGuess,
    check_transparency,
    fault_in_axes,
    guess_axes,
    guessed_axes,
    letters_of,
)
from .channels import as_option, chosen_channels
from .contrast import normalise
from .frame import FrameData, FrameStats
from .intensity import is_constant, normalise_to
from .levels import is_even, is_filled, is_pyramid
from .plane_reader import PlaneReader
from .readers import ImageFile, is_image, list_images, read_image, stem_of

if TYPE_CHECKING:
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


class ImageStack(PlaneReader):
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
    channel : int, tuple of int or None
        The channel, or sample of RGB, that is read, or several; None when there is nothing to
        choose from, or when RGB is read as a whole.
    parts : tuple of PlaneReader
        One for each of several channels, which do not share their range of intensities.
    averaged : bool
        Whether networks take the mean of several channels, see :meth:`average`.
    rgb : bool
        Whether frames are red, green and blue.
    depth : int
        Channels of a frame.
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
        channel: int | tuple[int, ...] | None,
        notes: tuple[str, ...] = (),
        lower: tuple[ImageStack, ...] = (),
    ) -> None:
        super().__init__(data, axes, channel)
        self._lower = lower
        self._filled: dict[int, bool] = {}
        self.notes = notes
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
        channel: Any = None,
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
        channel : int, str or sequence of int, optional
            Which channel to read, from 0, or two or three: ``"0+2"`` or ``[0, 2]``; of RGB,
            samples instead of all three. The first channel when left out.
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
        channel, channel_note = chosen_channels(axes, shape, channel, file.channels)
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

    def average(self) -> None:
        """Let networks take the mean of several channels, each in its own range."""
        self.averaged = True
        for lower in self._lower:
            lower.averaged = True

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
            "channel": as_option(self.channel),
            "content": content.hexdigest() if seen[0] else None,
        }


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
