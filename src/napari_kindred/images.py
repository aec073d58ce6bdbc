"""Axes, channels, dtype and intensity: anything array-like becomes frames of float32, lazily."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from .arrays import as_array, blocks, is_portable, packed, regular, unpacked
from .axes import AXES, AxesGuess, choose_channel, fault_in_axes, guess_axes, guessed_axes
from .errors import InputError
from .files import ImageFile, is_image, list_images, read_image, stem_of
from .intensity import (
    Spread,
    intensity_range,
    is_constant,
    is_exact,
    normalise,
    normalise_to,
    note_on,
    percentiles,
    sampling_step,
    spread_of,
    to_float32,
)

__all__ = [
    "AXES",
    "AxesGuess",
    "Frames",
    "ImageFile",
    "PlaneRange",
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


class Frames:
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
        data = as_array(image)
        shape = tuple(int(size) for size in data.shape)
        if axes is None or not axes.strip():
            axes, note = guessed_axes(shape, data.dtype, metadata_axes)
        else:
            axes, note = axes.strip().upper(), ""
            fault = fault_in_axes(axes, shape)
            if fault:
                raise InputError(f"The axes {axes!r} {fault}.")
        channel, channel_note = choose_channel(axes, shape, channel)
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
        values = self._values(index, slice(None), slice(None))
        spread = self._spread(values)
        pixels = to_float32(values, spread)
        rows, columns = self._marks
        digest = self._digests[index] = _digest(pixels[::rows, ::columns])
        constant = pixels.flat[0] if is_constant(pixels) else None
        return RawFrame(pixels, self._note(index, spread, constant), digest)

    def read_region(
        self,
        index: tuple[int, ...],
        rows: slice,
        columns: slice,
        known: PlaneRange | None = None,
    ) -> RawFrame:
        """Read part of one frame, and nothing else of it where the image's source allows that.

        Parameters
        ----------
        index : tuple of int
            Position on the leading axes; ``()`` for a single picture.
        rows, columns : slice
            Of the frame, without a step.
        known : PlaneRange, optional
            From :meth:`plane_range`. With it the pixels are those that :meth:`read` gives at this
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
        if known is not None:
            self._digests[index] = known.digest
            return RawFrame(to_float32(values, known.spread))
        spread = self._spread(values)
        return RawFrame(to_float32(values, spread), self._note(index, spread, None))

    def plane_range(self, index: tuple[int, ...] = ()) -> PlaneRange:
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
        depth = 3 if self.rgb else 1
        step = sampling_step(self.plane_shape[0] * self.plane_shape[1] * depth)
        marks = np.zeros(
            (*(-(-n // s) for n, s in zip(self.plane_shape, self._marks, strict=True)), depth),
            self.dtype,
        )
        spread, sample = Spread(), []
        for rows, columns in blocks(self._data, self.axes):
            values = self._values(index, rows, columns)
            spread = spread.joined(spread_of(values))
            _, picked = regular(values, rows, columns, (step, step))
            sample.append(picked.reshape(-1))
            place, picked = regular(values, rows, columns, self._marks)
            marks[place] = picked
        ends = to_float32(np.array([spread.lowest, spread.highest], self._wide), spread)
        low, high = percentiles(to_float32(np.concatenate(sample), spread))
        if not high > low:
            low, high = float(ends[0]), float(ends[1])
        constant = bool(ends[0] == ends[1])
        digest = self._digests[index] = _digest(to_float32(marks, spread))
        note = self._note(index, spread, ends[0] if constant else None)
        return PlaneRange(low, high, constant, note, spread, digest)

    @property
    def portable(self) -> bool:
        """Whether pickling sends where the pixels are instead of the pixels themselves."""
        return is_portable(self._data)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_data": packed(self._data)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _data=unpacked(state["_data"]))

    def seen(self, index: tuple[int, ...], digest: bytes) -> None:
        """Take down that a copy of this in another process has read a frame.

        Parameters
        ----------
        index : tuple of int
        digest : bytes
            That of the :class:`RawFrame` or :class:`PlaneRange`.
        """
        self._digests[index] = digest

    def signature(self) -> dict[str, Any]:
        """Describe the image for the provenance of a result.

        Returns
        -------
        dict
            ``shape``, ``dtype``, ``axes``, ``channel``, and ``content``: a hash over a sample of
            each frame that was read (of the first, when none was).
        """
        if not self._digests:
            self.plane_range(next(self.indices()))
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

    @property
    def _marks(self) -> tuple[int, int]:
        """Which rows and columns, every how manieth, the signature is made of."""
        height, width = self.plane_shape
        return max(1, height // 64), max(1, width // 64)

    @property
    def _wide(self) -> np.dtype[Any]:
        """A type that holds the spread's numbers."""
        return self.dtype if self.dtype.kind == "f" else np.dtype(np.float64)

    def _values(self, index: tuple[int, ...], rows: slice, columns: slice) -> np.ndarray:
        """Return the values of part of a frame as they are, shape (Y, X, 1) or (Y, X, 3)."""
        place: dict[str, Any] = dict(zip(self.leading_axes, index, strict=True))
        place |= {"Y": rows, "X": columns}
        if self.channel is not None:
            place["C" if "C" in self.axes else "S"] = self.channel
        picks = tuple(place.get(letter, slice(None)) for letter in self.axes)
        try:
            values = np.asarray(self._data[picks])
        except Exception as error:
            raise InputError(
                f"{self._name(index)} cannot be read ({error}); check the image's source."
            ) from error
        return values[..., :3] if self.rgb else values[..., None]

    def _spread(self, values: np.ndarray) -> Spread:
        return Spread() if is_exact(self.dtype) else spread_of(values)

    def _note(self, index: tuple[int, ...], spread: Spread, constant: float | None) -> str:
        note = note_on(self.dtype, spread)
        if not note and constant is not None:
            note = f"has the same value ({constant:g}) everywhere, so there is nothing to see"
        return f"{self._name(index)} {note}." if note else ""

    def _name(self, index: tuple[int, ...]) -> str:
        if not index:
            return "The image"
        pairs = zip(self.leading_axes, index, strict=True)
        return "Frame " + ", ".join(f"{letter}={place}" for letter, place in pairs)


def _digest(sample: np.ndarray) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(sample).tobytes()).digest()
