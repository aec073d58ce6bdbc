"""The command line that computes a layer's labels again. Free of Qt."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.errors import KindredError
from ...images.image_folder import read_folder
from ...images.readers import is_image, read_image, stem_of
from ...results.recipe import flags, quoted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ...images.readers import ImageFile
    from ...methods import Method
    from ..common.layers import LayerImage

ROWS = 16
"""Of the first picture that are compared to tell whether a file holds what a layer shows."""


@dataclass(frozen=True, slots=True)
class Command:
    """Commands to be run one after the other, or why there are none.

    Attributes
    ----------
    lines : tuple of tuple of str
        Program and arguments of each.
    fault : str
        A sentence that says what to do instead, where there are none.
    """

    lines: tuple[tuple[str, ...], ...] = ()
    fault: str = ""

    @property
    def out(self) -> str:
        """Path that the last command writes to, empty if there is none."""
        words = self.lines[-1] if self.lines else ()
        return words[words.index("--out") + 1] if "--out" in words else ""

    def adding(self, *words: str) -> Command:
        """Return the same with more arguments for the last command."""
        if not self.lines:
            return self
        return replace(self, lines=(*self.lines[:-1], (*self.lines[-1], *words)))

    def after(self, first: Command) -> Command:
        """Return the same with other commands before it."""
        fault = first.fault or self.fault
        return Command(fault=fault) if fault else Command(first.lines + self.lines)

    def entry(self) -> dict[str, Any]:
        """Return it as a layer's metadata keep it."""
        return {"command": [list(line) for line in self.lines], "no_command": self.fault}


def text_of(entry: Mapping[str, Any]) -> tuple[str, str]:
    """Return the commands that a layer's metadata keep, a line each, or why there are none."""
    lines = entry.get("command", ())
    fault = "" if lines else entry.get("no_command") or "There is no command for this layer."
    return "\n".join(quoted([str(word) for word in line]) for line in lines), fault


def command_for(
    image: LayerImage, config: Any, method: Method, more: Sequence[str] = ()
) -> Command:
    """Return the command that repeats what was done with a layer that shows an image file."""
    path = image.file.path
    whole = path is not None and (is_image(path) or method.folder_is_movie)
    if path is None or not whole:
        return Command(
            fault=f"{image.name!r} does not come from a file. To get a command, save it with File "
            f"▸ "
            "Save Selected Layers, open that file and run again."
        )
    try:
        file = read_image(path) if is_image(path) else read_folder(path)
        found = as_in_file(image, file, config)
    except KindredError as error:
        return Command(fault=str(error))
    if found is None:
        return Command(
            fault=f"{path.name!r} is not what {image.name!r} shows. To get a command, save the "
            f"layer "
            "with File ▸ Save Selected Layers, open that file and run again."
        )
    out = f"{stem_of(path)} {method.suffix}.ome.zarr"
    words = ("napari-kindred", method.name, str(path), "--out", out, *more, *flags(found))
    return Command((words,))


def as_in_file(image: LayerImage, file: ImageFile, config: Any) -> Any:
    """Return the options that make of a file what was made of a layer, None where none do.

    A reader may have made a layer of each channel of a file; then the channel is found.
    """
    axes = config.axes or image.guess.axes
    if _same(image.data, axes, file.data, axes):
        return config
    whole = file.axes or ""
    if whole.replace("C", "") != axes or "C" not in whole:
        return None
    for channel in range(file.data.shape[whole.index("C")]):
        if _same(image.data, axes, file.data, whole, channel):
            return replace(config, axes=whole, channel=channel)
    return None


def _same(one: Any, axes: str, other: Any, other_axes: str, channel: int | None = None) -> bool:
    """Return whether arrays have equal shape, dtype and rows in the middle of a frame."""
    shape = tuple(
        size
        for size, letter in zip(other.shape, other_axes, strict=False)
        if channel is None or letter != "C"
    )
    types = [np.dtype(array.dtype).newbyteorder("=") for array in (one, other)]
    if len(other.shape) != len(other_axes) or tuple(one.shape) != shape or types[0] != types[1]:
        return False
    middle = one.shape[axes.index("Y")] // 2
    first, second = (
        np.asarray(array[tuple(_rows(letter, middle, fixed) for letter in letters)])
        for array, letters, fixed in ((one, axes, None), (other, other_axes, channel))
    )
    return np.array_equal(first, second, equal_nan=first.dtype.kind == "f")


def _rows(letter: str, middle: int, channel: int | None) -> int | slice:
    if letter == "Y":
        return slice(middle, middle + ROWS)
    if letter == "C" and channel is not None:
        return channel
    return slice(None) if letter in "XSC" else 0
