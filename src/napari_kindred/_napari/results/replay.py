"""The file that an image layer came from, if it holds what the layer shows. Free of Qt."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.errors import KindredError
from ...images.image_folder import read_folder
from ...images.readers import is_image, read_image
from ...results.atomic import plain
from ...results.recipe import FileInput

if TYPE_CHECKING:
    from ...images.readers import ImageFile
    from ...methods import Method
    from ..common.layers import LayerImage

ROWS = 16
"""Number of rows of the first frame that are compared between a file and a layer."""


def origin_in_file(image: LayerImage, config: Any, method: Method) -> dict[str, Any]:
    """Return the file that holds what a layer shows, or why none does, as provenance has it."""
    path = image.file.path
    steps = "File ▸ Save Selected Layers, open that file and run again."
    if path is None or not (is_image(path) or method.folder_is_movie):
        why = f"{image.name!r} does not come from a file. To get a command, save it with {steps}"
        return {"file": None, "no_file": why}
    try:
        file = read_image(path) if is_image(path) else read_folder(path)
        found = as_in_file(image, file, config)
    except KindredError as error:
        return {"file": None, "no_file": str(error)}
    if found is None:
        why = (
            f"{path.name!r} is not what {image.name!r} shows. To get a command, save the layer "
            f"with {steps}"
        )
        return {"file": None, "no_file": why}
    return {"file": plain(FileInput(str(path), found.axes, found.channel))}


def as_in_file(image: LayerImage, file: ImageFile, config: Any) -> Any:
    """Return the options that make a file give the layer, its channel included; None if none do."""
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
