"""A folder of images as one movie, a frame per file, each read when it is looked at."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.errors import InputError
from .axes import guess_axes
from .readers import ImageFile, list_images, read_image

if TYPE_CHECKING:
    from collections.abc import Sequence

_DIGITS = re.compile(r"(\d+)")
_PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")


class FolderMovie:
    """Files of one size behind the face of an array.

    Parameters
    ----------
    paths : sequence of Path
        One per frame, in order.
    shape : tuple of int
        Of one frame.
    dtype : dtype

    Attributes
    ----------
    shape : tuple of int
        The number of files, then the shape of a frame.
    dtype : dtype
    ndim : int
    portable : bool
        Whether another process that sees the files can read them.
    source : Path
        The folder of the first file.
    """

    portable = True

    def __init__(self, paths: Sequence[Path], shape: tuple[int, ...], dtype: Any) -> None:
        self.paths = [path.absolute() for path in paths]
        self.source = self.paths[0].parent
        self.shape = (len(self.paths), *shape)
        self.dtype = np.dtype(dtype)
        self.ndim = len(self.shape)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, key: Any) -> np.ndarray:
        first, *rest = key if isinstance(key, tuple) else (key,)
        if isinstance(first, slice):
            frames = [self._frame(path)[tuple(rest)] for path in self.paths[first]]
            return np.stack(frames) if frames else np.zeros((0, *self.shape[1:]), self.dtype)
        frame: np.ndarray = self._frame(self.paths[first])[tuple(rest)]
        return frame

    @staticmethod
    def _frame(path: Path) -> np.ndarray:
        return np.asarray(read_image(path).data)


def read_folder(folder: str | Path) -> ImageFile:
    """Open a folder of images as one movie, in the order of their names.

    Parameters
    ----------
    folder : str or Path
        Names with a number in them are ordered by it, so that ``9`` comes before ``10``.

    Returns
    -------
    ImageFile
        Its first axis is ``T``; nothing but the files' headers was read. ``note`` says where a
        number of the sequence is missing.

    Raises
    ------
    InputError
        When the folder holds no image, when the sizes or types of the frames differ, or when a
        file is damaged or is itself a stack.
    """
    folder = Path(folder)
    paths, note = in_sequence(list_images(folder))
    first = read_image(paths[0])
    shape, dtype = tuple(first.data.shape), np.dtype(first.data.dtype)
    axes = first.axes or guess_axes(shape, dtype).axes
    if set(axes) & set("TZ"):
        raise InputError(
            f"{paths[0].name!r} is itself a stack of shape {shape}; give that file as the input, "
            "not its folder."
        )
    seen = _look(paths[0])
    for path in paths[1:]:
        if _look(path) != seen:
            raise InputError(
                f"The frames differ: {paths[0].name!r} is {_describe(seen)} and {path.name!r} is "
                f"{_describe(_look(path))}; export all of them alike, or take the odd ones out."
            )
    data = FolderMovie(paths, shape, dtype)
    scale = None if first.scale is None else (1.0, *first.scale)
    units = None if first.units is None else ("pixel", *first.units)
    path = folder.resolve()
    return ImageFile(data, f"T{axes}", scale, units, path.name, note, path=path)


def in_sequence(paths: list[Path]) -> tuple[list[Path], str]:
    """Order files by the one number in which their names differ, if that is how they differ."""
    parts = [_DIGITS.split(path.name) for path in paths]
    texts = {tuple(part[::2]) for part in parts}
    if len(paths) < 2 or len(texts) > 1:
        return paths, ""
    numbers = np.array([[int(digits) for digits in part[1::2]] for part in parts])
    varying = np.flatnonzero((numbers != numbers[0]).any(axis=0))
    if len(varying) != 1:
        return paths, ""
    number = numbers[:, varying[0]]
    order = np.argsort(number, kind="stable")
    ordered = [paths[place] for place in order]
    steps = np.diff(number[order])
    gaps = np.flatnonzero(steps > steps.min())
    if not len(gaps):
        return ordered, ""
    before, after = ordered[gaps[0]].name, ordered[gaps[0] + 1].name
    missing = int((steps // steps.min() - 1).sum())
    count = "One frame is" if missing == 1 else f"{missing} frames are"
    return ordered, (
        f"{count} missing in the sequence, first between {before!r} and {after!r}; the movie goes "
        "on without."
    )


def _look(path: Path) -> tuple[tuple[int, ...], str]:
    """Return shape and dtype of a file's image, from its header where that is possible."""
    if path.suffix.lower() in _PICTURES:
        import imageio.v3 as iio

        try:
            with path.open("rb") as file:
                seen = iio.improps(file, plugin="pillow")
        except Exception:
            read_image(path)  # says what is wrong
            raise
        return tuple(seen.shape), str(seen.dtype)
    data = read_image(path).data
    return tuple(data.shape), str(data.dtype)


def _describe(seen: tuple[tuple[int, ...], str]) -> str:
    shape, dtype = seen
    return f"{' × '.join(map(str, shape))} pixels of {dtype}"
