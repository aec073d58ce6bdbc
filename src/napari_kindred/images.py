"""Axes, channels, dtype and intensity: anything array-like becomes frames of float32, lazily."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from .axes import AXES, AxesGuess, fault_in_axes, guess_axes
from .errors import InputError
from .files import ImageFile, is_image, list_images, read_image, stem_of

__all__ = [
    "AXES",
    "AxesGuess",
    "Frames",
    "ImageFile",
    "RawFrame",
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

_LARGEST = 1e30
"""Larger values would overflow float32 as soon as two of them are multiplied or subtracted."""

_SAMPLED = 1 << 22
"""Percentiles of pictures with more values than this are taken from a regular sample."""


@dataclass(frozen=True, slots=True)
class RawFrame:
    """One frame, with its intensities as they are in the image.

    Attributes
    ----------
    pixels : ndarray of float32, shape (Y, X, 1) or (Y, X, 3)
        Finite values.
    note : str
        What had to be done to the values, one sentence, or empty.
    """

    pixels: np.ndarray
    note: str = ""


class Frames:
    """A lazy view of an image or stack as a sequence of frames.

    Made by :meth:`open`. Nothing is read before :meth:`read`, and then only one frame.

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
    """

    def __init__(self, data: Any, axes: str, channel: int | None, axes_note: str) -> None:
        self._data = data
        self._digests: dict[tuple[int, ...], bytes] = {}
        self.axes = axes
        self.axes_note = axes_note
        self.channel = channel
        self.rgb = "S" in axes and channel is None
        self.shape: tuple[int, ...] = tuple(int(size) for size in data.shape)
        self.dtype = np.dtype(data.dtype)
        size = dict(zip(axes, self.shape, strict=True))
        self.leading_axes = "".join(letter for letter in axes if letter in "TZ")
        self.leading_shape = tuple(size[letter] for letter in self.leading_axes)
        self.plane_shape = (size["Y"], size["X"])

    @classmethod
    def open(
        cls,
        image: Any,
        axes: str | None = None,
        channel: int | None = None,
        metadata_axes: str | None = None,
    ) -> Frames:
        """Check an image and open it.

        Parameters
        ----------
        image : array-like
            numpy, dask, zarr or anything with ``shape``, ``dtype`` and slicing; bool, integer or
            float of any size. It is never read as a whole.
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
        data = _as_array(image)
        shape = tuple(int(size) for size in data.shape)
        if axes is None or not axes.strip():
            axes, note = _guessed(shape, data.dtype, metadata_axes)
        else:
            axes, note = axes.strip().upper(), ""
            fault = fault_in_axes(axes, shape)
            if fault:
                raise InputError(f"The axes {axes!r} {fault}.")
        channel, channel_note = _choose_channel(axes, shape, channel)
        frames = cls(data, axes, channel, " ".join(filter(None, (note, channel_note))))
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

    def read(self, index: tuple[int, ...] = ()) -> RawFrame:
        """Read one frame.

        Parameters
        ----------
        index : tuple of int
            Position on the leading axes; ``()`` for a single picture.

        Returns
        -------
        RawFrame
            Alpha is dropped. NaN and infinite values are replaced by the smallest finite one.

        Raises
        ------
        InputError
            When the image's source fails, for example a damaged file.
        """
        place = dict(zip(self.leading_axes, index, strict=True))
        if self.channel is not None:
            place["C" if "C" in self.axes else "S"] = self.channel
        picks = tuple(place.get(letter, slice(None)) for letter in self.axes)
        try:
            values = np.asarray(self._data[picks])
        except Exception as error:
            raise InputError(
                f"{self._name(index)} cannot be read ({error}); check the image's source."
            ) from error
        if "C" in self.axes and self.channel is None:
            values = values.reshape(self.plane_shape)  # a channel axis of length 1
        values = values[..., :3] if self.rgb else values.reshape(*self.plane_shape, 1)
        pixels, notes = _to_float32(values)
        if not notes and is_constant(pixels):
            value = pixels.flat[0]
            notes = f"has the same value ({value:g}) everywhere, so there is nothing to see"
        step = [max(1, size // 64) for size in self.plane_shape]
        sample = np.ascontiguousarray(pixels[:: step[0], :: step[1]])
        self._digests[index] = hashlib.sha256(sample.tobytes()).digest()
        return RawFrame(pixels, f"{self._name(index)} {notes}." if notes else "")

    def signature(self) -> dict[str, Any]:
        """Describe the image for the provenance of a result.

        Returns
        -------
        dict
            ``shape``, ``dtype``, ``axes``, ``channel``, and ``content``: a hash over a sample of
            each frame that was read (of the first, when none was).
        """
        if not self._digests:
            self.read(next(self.indices()))
        content = hashlib.sha256()
        for index, digest in sorted(self._digests.items()):
            content.update(repr(index).encode() + digest)
        return {
            "shape": list(self.shape),
            "dtype": self.dtype.name,
            "axes": self.axes,
            "channel": self.channel,
            "content": content.hexdigest(),
        }

    def _name(self, index: tuple[int, ...]) -> str:
        if not index:
            return "The image"
        pairs = zip(self.leading_axes, index, strict=True)
        return "Frame " + ", ".join(f"{letter}={place}" for letter, place in pairs)


def is_constant(pixels: np.ndarray) -> bool:
    """Tell whether all values are the same."""
    return bool(pixels.min() == pixels.max())


def normalise(pixels: np.ndarray) -> np.ndarray:
    """Map intensities to about 0 to 1, whatever the camera's range.

    Parameters
    ----------
    pixels : ndarray of float32, shape (Y, X, C)
        Finite values.

    Returns
    -------
    ndarray of float32, shape (Y, X, C)
        Percentile 1 becomes 0 and percentile 99.8 becomes 1, taken over all channels together so
        that colours stay; values are clipped to 0 to 1.5. All zeros for a constant picture.
    """
    step = int(np.ceil(np.sqrt(max(1.0, pixels.size / _SAMPLED))))
    low, high = np.percentile(pixels[::step, ::step], (1.0, 99.8))
    if not high > low:  # nearly empty: the few pixels that differ are what there is to see
        low, high = float(pixels.min()), float(pixels.max())
    return normalise_to(pixels, float(low), float(high))


def intensity_range(frames: Frames, sampled: int = 16) -> tuple[float, float]:
    """Percentiles 1 and 99.8 of a whole movie, from frames evenly spread over it.

    One range for all frames: a range per frame would turn a change of one thing's brightness into
    a change of everything's.

    Parameters
    ----------
    frames : Frames
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
        step = int(np.ceil(np.sqrt(max(1.0, pixels.size * len(places) / _SAMPLED))))
        values.append(pixels[::step, ::step].ravel())
    if not values:
        return min(constants), max(constants)
    pooled = np.concatenate(values)
    low, high = (float(value) for value in np.percentile(pooled, (1.0, 99.8)))
    return (low, high) if high > low else (float(pooled.min()), float(pooled.max()))


def normalise_to(pixels: np.ndarray, low: float, high: float) -> np.ndarray:
    """Map intensities so that ``low`` becomes 0 and ``high`` 1, clipped to 0 to 1.5; float32."""
    if not high > low:
        return np.zeros(pixels.shape, np.float32)
    scaled = (pixels - np.float32(low)) * np.float32(1.0 / (high - low))
    return np.clip(scaled, 0.0, 1.5, out=scaled).astype(np.float32, copy=False)


def _as_array(image: Any) -> Any:
    """Return something sliceable with a shape and a numeric dtype, unread."""
    if isinstance(image, str | Path):
        raise InputError(
            f"{str(image)!r} is a path, not an image; open it first, with "
            "napari_kindred.images.read_image(path).data."
        )
    if not all(hasattr(image, name) for name in ("shape", "dtype", "__getitem__")):
        try:
            image = np.asarray(image)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"A {type(image).__name__} is no image; give a numpy, dask or zarr array."
            ) from error
    try:
        dtype = np.dtype(image.dtype)
    except TypeError as error:
        raise InputError(
            f"The dtype {image.dtype} is none of numpy's; convert the image with np.asarray."
        ) from error
    if dtype.kind == "c":
        raise InputError("The image has complex values; give its magnitude, np.abs(image).")
    if dtype.kind not in "buif":
        raise InputError(
            f"The image's values are of dtype {dtype}; convert them to numbers first, for "
            "example image.astype('float32')."
        )
    if 0 in image.shape:
        raise InputError(f"The image is empty: its shape is {tuple(image.shape)}.")
    return image


def _guessed(shape: tuple[int, ...], dtype: Any, metadata_axes: str | None) -> tuple[str, str]:
    guess = guess_axes(shape, dtype, metadata_axes=metadata_axes)
    if not guess.safe:
        hint = f"for example axes={guess.axes!r}" if guess.axes else "one letter of TCZYXS each"
        raise InputError(
            f"The axes of an image of shape {shape} cannot be guessed safely, for {guess.why}; "
            f"give them, {hint}."
        )
    return guess.axes, f"Axes guessed as {guess.axes}: {guess.why}."


def _choose_channel(axes: str, shape: tuple[int, ...], channel: Any) -> tuple[int | None, str]:
    """Return the index to take on the C or S axis (None: all there is) and a note about it."""
    count = shape[axes.index("C")] if "C" in axes else 3 if "S" in axes else 1
    if channel is None:
        if "C" not in axes:
            return None, ""
        return 0, f"Channel 0 of {count} is used, since none was named." if count > 1 else ""
    whole = isinstance(channel, int | np.integer) and not isinstance(channel, bool)
    if not whole or not 0 <= channel < count:
        valid = f"0 to {count - 1}" if count > 1 else "only 0"
        raise InputError(f"The image has no channel {channel!r}; its channels are {valid}.")
    return (int(channel) if "C" in axes or "S" in axes else None), ""


def _to_float32(values: np.ndarray) -> tuple[np.ndarray, str]:
    """Return finite float32 values and what had to be done to them, the end of a sentence."""
    if values.dtype.kind != "f":
        wide = values.dtype.kind in "iu" and values.dtype.itemsize >= 4
        return _squeeze_range(values.astype(np.float64)) if wide else (_single(values), "")
    finite = np.isfinite(values)
    if finite.all():
        return _squeeze_range(values)
    if not finite.any():
        zeros = np.zeros(values.shape, np.float32)
        return zeros, "has no finite value (all NaN or infinite), so there is nothing to see"
    lowest = values[finite].min()
    pixels, note = _squeeze_range(np.where(finite, values, lowest))
    share = f"{100 * (1 - finite.mean()):.2g} % NaN or infinite values, taken as {lowest:g}"
    return pixels, f"has {share}" + (f", and {note}" if note else "")


def _squeeze_range(values: np.ndarray) -> tuple[np.ndarray, str]:
    """Return float32 values, shifted or scaled where float32 would lose them."""
    low, high = float(values.min()), float(values.max())
    largest = max(abs(low), abs(high))
    if largest > _LARGEST:
        scaled = values.astype(np.float64) / largest
        return _single(scaled), f"has values up to {largest:.3g}, divided by that number"
    if values.dtype == np.float64 and 0 < high - low < largest * 2.0**-14:
        # Float32 has 24 bits: a small signal on a large offset would turn into steps.
        return _single(values - low), f"has a large offset, so {low:.6g} was subtracted"
    return _single(values), ""


def _single(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32, copy=False)
