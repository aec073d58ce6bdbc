"""Which channels of an image are looked at: one, or several together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.errors import InputError, OptionError
from ..core.options import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

MOST = 3
"""Channels that can be looked at together: networks take an image's red, green and blue."""

SAMPLES = ("red", "green", "blue")


def as_option(channel: Any) -> int | str | None:
    """Return a channel, or several, as a config holds them: ``2``, ``"0+2"`` or None.

    Parameters
    ----------
    channel : int, str, sequence of int or None
        From 0; text may have ``+`` or ``,`` between several.

    Raises
    ------
    OptionError
        If these are no channels, one is named twice, or they are more than three.
    """
    if channel is None or (isinstance(channel, str) and not channel.strip()):
        return None
    numbers = _numbers_in(channel)
    if len(numbers) > MOST:
        raise OptionError(
            f"channel={shown(channel)} names {len(numbers)} channels, but at most {MOST} can be "
            f"looked at together; choose {MOST} of them."
        )
    twice = [number for number in numbers if numbers.count(number) > 1]
    if twice:
        raise OptionError(f"channel={shown(channel)} names channel {twice[0]} twice.")
    return numbers[0] if len(numbers) == 1 else "+".join(map(str, numbers))


def _numbers_in(channel: Any) -> list[int]:
    """Return the channels that are named."""
    parts: list[Any] = [channel]
    if isinstance(channel, str):
        parts = channel.replace(",", "+").split("+")
    elif isinstance(channel, list | tuple | range | np.ndarray):
        parts = list(np.ravel(np.asarray(channel, object)))
    whole = [
        int(part)
        for part in parts
        if (isinstance(part, str) and part.strip().isdecimal())
        or (isinstance(part, int | np.integer) and not isinstance(part, bool) and part >= 0)
    ]
    if not whole or len(whole) < len(parts):
        raise OptionError(
            f"channel={shown(channel)} must be the number of a channel, counted from 0, or two or "
            "three of them: 0+2 for example."
        )
    return whole


def chosen_channels(
    axes: str, shape: tuple[int, ...], channel: Any, names: Sequence[str] = ()
) -> tuple[int | tuple[int, ...] | None, str]:
    """Return what to take on the C or S axis (None: all there is) and a note about it.

    Raises
    ------
    InputError
        If the image lacks a channel that is named.
    """
    count = shape[axes.index("C")] if "C" in axes else 3 if "S" in axes else 1
    named = names if "C" in axes and len(names) == count else SAMPLES if "S" in axes else ()
    valid = f"0 to {count - 1}" if count > 1 else "only 0"
    try:
        numbers = [] if as_option(channel) is None else _numbers_in(channel)
    except OptionError as error:
        raise InputError(f"{str(error).rstrip('.')}; its channels are {valid}.") from error
    if not numbers:
        if "C" not in axes:
            return None, ""
        note = f"Channel {_named(0, named)} of {count} is used, since none was named."
        return 0, note if count > 1 else ""
    for number in numbers:
        if number >= count:
            raise InputError(f"The image has no channel {number}; its channels are {valid}.")
    if len(numbers) == 1:
        return (numbers[0] if "C" in axes or "S" in axes else None), ""
    *first, last = [_named(number, named) for number in numbers]
    return tuple(numbers), (
        f"Channels {', '.join(first)} and {last} are looked at together, each in its own range of "
        "intensities."
    )


def _named(number: int, names: Sequence[str]) -> str:
    return f"{number} ({names[number]})" if names and names[number] else str(number)


def as_planes(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return two channels (…, 2) as three, the third of them empty; others as they are.

    This is how networks are trained on images of two channels.
    """
    if pixels.shape[-1] != 2:
        return pixels
    return np.concatenate([pixels, np.zeros_like(pixels[..., :1])], axis=-1)
