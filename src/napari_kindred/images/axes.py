"""The letters of an image's axes: checked when given, guessed when not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

AXES = "TCZYXS"
"""Letters an image's axes may have; ``S`` are the samples of RGB(A), always last."""

MOST_CHANNELS = 4
"""A first axis up to this length may be channels; a longer one is taken for frames."""


@dataclass(frozen=True, slots=True)
class AxesGuess:
    """What an array's axes probably are.

    Attributes
    ----------
    axes : str
        One letter of ``TCZYXS`` per axis; ``S`` are the samples of RGB(A).
    safe : bool
        False when a wrong guess would leave out part of the image without a word. Taking an axis
        for frames is safe, since every frame is segmented; taking it for channels is not, since
        all channels but one are left out.
    why : str
        The reason, for people to read; where the guess is not safe, what to do about it.
    """

    axes: str
    safe: bool
    why: str


def guess_axes(
    shape: tuple[int, ...],
    dtype: Any,
    *,
    metadata_axes: str | None = None,
    rgb: bool | None = None,
) -> AxesGuess:
    """Guess an array's axes from its shape and dtype, and say why.

    Parameters
    ----------
    shape : tuple of int
    dtype : dtype
    metadata_axes : str, optional
        What the file or layer says, taken when it fits the shape.
    rgb : bool, optional
        Whether the last axis is known to be, or not to be, the samples of RGB(A).

    Raises
    ------
    InputError
        When no image has this many axes.
    """
    shape = tuple(int(size) for size in shape)
    if metadata_axes:
        letters = metadata_axes.upper()
        if len(letters) == len(shape) and fault_in_axes(letters, shape) is None:
            return AxesGuess(letters, True, "the file or layer says so")
    if not 2 <= len(shape) <= 5:
        raise InputError(
            f"An image has 2 to 5 axes, but this array of shape {shape} has {len(shape)}; "
            "pick one picture or stack out of it."
        )
    plane, sure, why = "YX", True, "the last two axes are the picture"
    if rgb is not False and len(shape) > 2 and shape[-1] in (3, 4):
        large = min(shape[-3:-1]) >= 16
        if rgb or large or np.dtype(dtype) == np.uint8:
            plane, sure = "YXS", bool(rgb or large)
            why = f"a last axis of length {shape[-1]} holds the samples of RGB(A)"
    elif rgb:
        raise InputError(
            f"An RGB image's last axis has 3 or 4 samples, but the shape is {shape}; "
            "give the axes, for example axes='CYX'."
        )
    if not sure:
        return AxesGuess(
            "TZ"[: len(shape) - 3] + plane, False, f"{why}, but the picture would be tiny"
        )
    if plane == "YX" and len(shape) > 2 and shape[-1] < 16 <= min(shape[-3:-1]):
        return AxesGuess(
            "TZ"[: len(shape) - 3] + "YXC",
            False,
            f"the last axis, of length {shape[-1]}, is too short for a picture and may be channels",
        )
    return _guess_leading(shape[: len(shape) - len(plane)], plane, why)


def _guess_leading(leading: tuple[int, ...], plane: str, why: str) -> AxesGuess:
    """Guess the axes in front of the picture."""
    few = [1 < size <= MOST_CHANNELS for size in leading]
    if len(leading) == 0:
        return AxesGuess(plane, True, why)
    if len(leading) > 2 or (len(leading) == 2 and plane == "YX" and all(few)):
        axes = ("TCZ" if plane == "YX" else "TZ")[: len(leading)]
        return AxesGuess(
            (axes + plane) if len(axes) == len(leading) else "",
            False,
            f"the order of the first {len(leading)} axes, of lengths {_listed(leading)}, cannot "
            f"be told from the shape",
        )
    if plane == "YX" and any(few):
        place = few.index(True)
        axes = "T" * (len(leading) - 1)
        channels = axes[:place] + "C" + axes[place:] + plane
        frames = "TZ"[: len(leading)] + plane
        return AxesGuess(
            channels,
            False,
            f"an axis of length {leading[place]} may be channels ({channels}) or frames ({frames})",
        )
    axes = "TZ"[: len(leading)]
    return AxesGuess(axes + plane, True, f"{why}, and those before it are taken for frames")


def _listed(values: Sequence[int]) -> str:
    *first, last = [str(value) for value in values]
    return f"{', '.join(first)} and {last}" if first else last


def fault_in_axes(axes: str, shape: tuple[int, ...]) -> str | None:
    """Return what is wrong with axes for a shape, as the end of a sentence, or None."""
    if len(axes) != len(shape):
        return f"name {len(axes)} axes, but the image has {len(shape)}, of shape {shape}"
    strange = sorted(set(axes) - set(AXES))
    if strange:
        return f"have the letter {strange[0]!r}; use T, C, Z, Y, X, and S for RGB samples"
    if len(set(axes)) < len(axes):
        return "name an axis twice; use each letter once"
    if not {"Y", "X"} <= set(axes):
        return "lack Y or X; name the two axes of the picture Y and X"
    order = [letter for letter in axes if letter in "TZ"] + ["Y", "X"]
    if [letter for letter in axes if letter in "TZYX"] != order:
        return "have T or Z after Y, or Y after X; transpose the image first"
    if "S" in axes and "C" in axes:
        return "have both C and S; give the channels of an RGB image the letter S alone"
    if "S" in axes and (axes[-1] != "S" or shape[-1] not in (3, 4)):
        return "have S, which only a last axis of length 3 or 4 may be (RGB or RGBA)"
    return None


def guessed_axes(shape: tuple[int, ...], dtype: Any, metadata_axes: str | None) -> tuple[str, str]:
    """Return a safe guess, and what to tell of it."""
    guess = guess_axes(shape, dtype, metadata_axes=metadata_axes)
    if not guess.safe:
        hint = f"for example axes={guess.axes!r}" if guess.axes else "one letter of TCZYXS each"
        raise InputError(
            f"The axes of an image of shape {shape} cannot be guessed safely, for {guess.why}; "
            f"give them, {hint}."
        )
    return guess.axes, f"Axes guessed as {guess.axes}: {guess.why}."


def choose_channel(axes: str, shape: tuple[int, ...], channel: Any) -> tuple[int | None, str]:
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
