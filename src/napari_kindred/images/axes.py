"""The letters of an image's axes: checked when given, guessed when not."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

AXES = "TCZYXS"
"""Letters an image's axes may have; ``S`` are the samples of RGB(A), always last."""

MOST_CHANNELS = 4
"""A first axis up to this length may be channels; a longer one is taken for frames."""

_SAID = "the file or layer says so"

_WORDS = {
    "T": ("t", "time", "frame", "frames"),
    "C": ("c", "ch", "channel", "channels"),
    "Z": ("z", "depth", "plane", "slice"),
    "Y": ("y", "row", "rows"),
    "X": ("x", "column", "columns", "col"),
}
_LETTERS = {word: letter for letter, words in _WORDS.items() for word in words}


@dataclass(frozen=True, slots=True)
class AxesGuess:
    """What an array's axes probably are.

    Attributes
    ----------
    axes : str
        One letter of ``TCZYXS`` per axis; ``S`` are the samples of RGB(A).
    safe : bool
        False when a wrong guess would leave out part of the image, or cut it into frames across
        its planes.  Taking an axis for frames is safe, since every frame is segmented; taking it
        for channels is not, since all channels but one are left out.
    why : str
        The reason, for people to read; where the guess is not safe, what to do about it.
    """

    axes: str
    safe: bool
    why: str


def letters_of(names: Sequence[Any]) -> str:
    """Return one letter per name of an axis, empty if one of them is unknown."""
    letters = [_LETTERS.get(str(name).strip().lower(), "") for name in names]
    return "".join(letters) if all(letters) and len(set(letters)) == len(letters) else ""


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
            return AxesGuess(letters, True, _SAID)
    if not 2 <= len(shape) <= 5:
        raise InputError(
            f"An image has 2 to 5 axes, but this array of shape {shape} has {len(shape)}; "
            "pick one image or stack out of it."
        )
    plane, sure, why = "YX", True, "the last two axes are the plane"
    if rgb is not False and len(shape) > 2 and shape[-1] in (3, 4):
        large, narrow = min(shape[-3:-1]) >= 16, np.dtype(dtype) == np.uint8
        if large and shape[-1] == 4 and not (rgb or narrow):
            return _unsafe(
                shape, "YXC", "a last axis of length 4 may be four channels or the samples of RGBA"
            )
        if rgb or large or narrow:
            plane, sure = "YXS", bool(rgb or large)
            why = f"a last axis of length {shape[-1]} holds the samples of RGB(A)"
    elif rgb:
        raise InputError(
            f"An RGB image's last axis has 3 or 4 samples, but the shape is {shape}; "
            "give the axes, for example axes='CYX'."
        )
    if not sure:
        return _unsafe(shape, plane, f"{why}, but the image would be tiny")
    if plane == "YX" and len(shape) > 2 and shape[-1] < 16 <= min(shape[-3:-1]):
        short = f"the last axis, of length {shape[-1]}, is too short for a plane"
        return _unsafe(shape, "YXC", f"{short} and may be channels")
    planes = shape[: len(shape) - len(plane) + 2]
    other = _other_plane(planes)
    if other:
        return _unsafe(
            shape,
            plane,
            f"its planes may be {planes[-2]} × {planes[-1]} or {other[0]} × {other[1]} pixels; "
            "bring the frames to the front (numpy.moveaxis) if they come last",
        )
    return _guess_leading(shape[: len(shape) - len(plane)], plane, why)


def _unsafe(shape: tuple[int, ...], plane: str, why: str) -> AxesGuess:
    """Return axes that end in a plane's, as a proposal."""
    return AxesGuess("TZ"[: len(shape) - len(plane)] + plane, False, why)


def _other_plane(shape: tuple[int, ...]) -> tuple[int, int] | None:
    """Return two neighbouring axes that are as likely the plane as the last two, or None.

    MATLAB, ITK and NIfTI put rows and columns first: (512, 512, 20) is not 512 planes of 512 × 20.
    """
    last = shape[-2:]
    for pair in pairwise(shape[:-1]):
        square = pair[0] == pair[1] != last[1]
        larger = min(pair) > 2 * min(last)
        if min(pair) >= 16 and (square or (larger and _aspect(pair) <= _aspect(last))):
            return pair
    return None


def _aspect(plane: tuple[int, ...]) -> float:
    return max(plane) / max(1, min(plane))


def _guess_leading(leading: tuple[int, ...], plane: str, why: str) -> AxesGuess:
    """Guess the axes in front of the plane."""
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
        return "lack Y or X; name the two axes of the plane Y and X"
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
    if guess.why == _SAID:
        return guess.axes, f"Axes {guess.axes}, as the file or layer says."
    return guess.axes, f"Axes guessed as {guess.axes}: {guess.why}."


def check_transparency(data: Any, axes: str) -> None:
    """Refuse four samples taken for RGBA if the fourth is no transparency.

    Transparency is one value everywhere, or the largest one in most places.
    """
    if not axes.endswith("S") or data.shape[-1] != 4:
        return
    steps = tuple(slice(None, None, max(1, size // 64)) for size in data.shape[-3:-1])
    fourth = np.asarray(data[(0,) * (len(data.shape) - 3) + (*steps, 3)])
    largest = np.iinfo(fourth.dtype).max if fourth.dtype.kind in "iu" else 1
    if (fourth == fourth.flat[0]).all() or np.isin(fourth, (0, largest)).mean() > 0.5:
        return
    raise InputError(
        f"The last axis of the image of shape {tuple(data.shape)} may be four channels or RGB with "
        f"transparency; give axes={axes[:-1] + 'C'!r} or axes={axes!r}."
    )
