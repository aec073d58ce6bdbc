"""A folder of images as one movie, a frame per file, each read when it is needed."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.errors import InputError
from .axes import MOST_CHANNELS, guess_axes
from .frame_array import FrameArray
from .image_file import ImageFile, sentences
from .readers import list_images, natural_key, read_image, stem_of
from .tiff import files_of_set

if TYPE_CHECKING:
    from collections.abc import Sequence

_DIGITS = re.compile(r"([0-9]+)")
_CHANNEL = re.compile(r"(?<![a-z0-9])(?:ch|channel|c|w)[_-]?([0-9]+)(?![0-9])", re.IGNORECASE)
"""The part of a name that numbers a channel: ``_ch1``, ``channel000``, ``_C0``, ``_w2``."""

_HEADERS = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
"""Files whose shape can be read without their pixels."""


class FolderMovie(FrameArray):
    """Files of one size behind the face of an array.

    Parameters
    ----------
    paths : sequence of Path, or of sequences of Path
        One per frame, in order; or for each frame one per channel.
    shape : tuple of int
        Of one file.
    dtype : dtype

    Attributes
    ----------
    shape : tuple of int
        The number of frames, then of channels if there are several, then the shape of a file.
    dtype : dtype
    ndim : int
    portable : bool
        Whether another process that sees the files can read them.
    source : Path
        The folder of the first file.
    """

    portable = True

    def __init__(
        self, paths: Sequence[Path] | Sequence[Sequence[Path]], shape: tuple[int, ...], dtype: Any
    ) -> None:
        table = np.array([[str(one) for one in _listed(frame)] for frame in paths])
        self.paths = [Path(path).absolute() for path in table.ravel()]
        leading = table.shape if table.shape[1] > 1 else table.shape[:1]
        super().__init__(tuple(leading), shape, dtype)
        self.source = self.paths[0].parent

    def frame(self, index: tuple[int, ...]) -> np.ndarray:
        """Read a file."""
        number = int(np.ravel_multi_index(index, self._leading))
        return np.asarray(read_image(self.paths[number]).data)


def _listed(frame: Path | Sequence[Path]) -> Sequence[Path]:
    return [frame] if isinstance(frame, Path) else frame


def read_folder(folder: str | Path) -> ImageFile:
    """Open a folder of images as one movie, in natural order of their names.

    Parameters
    ----------
    folder : str or Path
        Names are ordered by their texts and numbers, so that ``9`` comes before ``10``.  Files
        that differ by ``_ch1``, ``_ch2`` … are the channels of a frame.

    Returns
    -------
    ImageFile
        Its first axis is ``T``; nothing but the files' headers was read.  ``note`` says if a
        number of the sequence is missing, if the order is uncertain, and what was taken for
        channels.

    Raises
    ------
    InputError
        If the folder holds no image, if the sizes or types of the frames differ, or if a file is
        damaged or is itself a stack.
    """
    folder = Path(folder)
    listed = list_images(folder)
    if len(listed) == 1 and files_of_set(listed[0]):
        whole = read_image(listed[0])
        if set(whole.axes or "") & set("TZ"):
            return whole
    _refuse_twins(listed)
    frames, names, channel_note = _channels_of(listed)
    ordered, note = in_sequence([frame[0] for frame in frames])
    by_first = {frame[0]: frame for frame in frames}
    paths = [by_first[first] for first in ordered]
    first = read_image(paths[0][0])
    shape, dtype = tuple(first.data.shape), np.dtype(first.data.dtype)
    axes = first.axes or guess_axes(shape, dtype).axes
    if set(axes) & set("TZ"):
        raise InputError(
            f"{paths[0][0].name!r} is itself a stack of shape {shape}; give that file as the "
            "input, not its folder."
        )
    if names and "C" in axes:
        raise InputError(
            f"{paths[0][0].name!r} has channels of its own; name the files without a number for "
            "channels."
        )
    seen = _size_of(paths[0][0])
    for path in (path for frame in paths for path in frame):
        if _size_of(path) != seen:
            raise InputError(
                f"The frames differ: {paths[0][0].name!r} is {_describe(seen)} and {path.name!r} "
                f"is {_describe(_size_of(path))}; export all of them alike, or take the odd ones "
                "out."
            )
    data = FolderMovie(paths, shape, dtype)
    more = 2 if names else 1
    scale = None if first.scale is None else ((1.0,) * more + first.scale)
    units = None if first.units is None else (("pixel",) * more + first.units)
    start = None if first.translate is None else ((0.0,) * more + first.translate)
    path = folder.resolve()
    return ImageFile(
        data,
        f"T{'C' * (more - 1)}{axes}",
        scale,
        units,
        path.name,
        sentences(channel_note, note, first.note),
        path=path,
        translate=start,
        channels=names or first.channels,
    )


def _refuse_twins(paths: Sequence[Path]) -> None:
    """Refuse two files of one name but different suffix, such as a picture and its export."""
    stems: dict[str, Path] = {}
    for path in paths:
        other = stems.setdefault(stem_of(path), path)
        if other is not path:
            raise InputError(
                f"{other.name!r} and {path.name!r} have the same name, so they may be the same "
                "frame; take one of them out of the folder."
            )


def _channels_of(paths: Sequence[Path]) -> tuple[list[list[Path]], tuple[str, ...], str]:
    """Group files that differ by the number of a channel; one file a frame if there are none.

    Returns the files of each frame, the channels' names, and what to say of them.
    """
    alone = [[path] for path in paths]
    found = [_CHANNEL.search(stem_of(path)) for path in paths]
    if not all(found):
        return alone, (), ""
    frames: dict[str, dict[str, Path]] = {}
    for path, match in zip(paths, found, strict=True):
        if match is None:
            continue
        stem = stem_of(path)
        frames.setdefault(stem[: match.start()] + stem[match.end() :], {})[match.group()] = path
    names = sorted({name for frame in frames.values() for name in frame}, key=natural_key)
    listed = ", ".join(names)
    uneven = next((frame for frame in frames.values() if len(frame) < len(names)), None)
    if len(names) < 2 or len(frames) < 2 or uneven:
        note = ""
        if uneven and len(names) <= MOST_CHANNELS:
            lacking = next(name for name in names if name not in uneven)
            note = (
                f"Each file is taken for a frame, not for a channel ({listed}), because there is "
                f"no {lacking} to {next(iter(uneven.values())).name!r}."
            )
        elif 2 <= len(names) <= MOST_CHANNELS:
            note = f"Each file is taken for a frame; they may be channels ({listed})."
        return alone, (), note
    note = f"The numbers {listed} in the names of the files are taken for channels."
    return [[frame[name] for name in names] for frame in frames.values()], tuple(names), note


def in_sequence(paths: list[Path]) -> tuple[list[Path], str]:
    """Put files into natural order, and say what is uncertain about it or missing in it."""
    ordered = sorted(paths, key=lambda path: natural_key(path.name))
    parts = [_DIGITS.split(stem_of(path)) for path in ordered]
    numbers = [[int(digits) for digits in part[1::2]] for part in parts]
    columns = list(zip(*numbers, strict=False))
    varying = [column for column in columns if len(set(column)) > 1]
    if len(ordered) < 2:
        return ordered, ""
    alike = len({tuple(part[::2]) for part in parts}) == 1
    if len(varying) == 1 and alike:
        return ordered, _gap_note(ordered, np.array(varying[0]))
    if any(all(np.diff(column) > 0) for column in varying):
        return ordered, ""
    first, last = ordered[0].name, ordered[-1].name
    return ordered, (
        f"No number in the names of the files grows from frame to frame; they are in the order of "
        f"their names, from {first!r} to {last!r}."
    )


def _gap_note(ordered: Sequence[Path], numbers: np.ndarray) -> str:
    """Return what to say of numbers that are missing or come twice."""
    twice = [number for number, count in Counter(numbers.tolist()).items() if count > 1]
    if twice:
        return f"The number {twice[0]} comes more than once in the names of the files."
    steps = np.diff(numbers)
    gaps = np.flatnonzero(steps > steps.min())
    if not len(gaps):
        return ""
    before, after = ordered[gaps[0]].name, ordered[gaps[0] + 1].name
    missing = int((steps // steps.min() - 1).sum())
    if not missing:
        return ""
    count = "One frame is" if missing == 1 else f"{missing} frames are"
    return (
        f"{count} missing in the sequence, first between {before!r} and {after!r}; the movie goes "
        "on without."
    )


def _size_of(path: Path) -> tuple[tuple[int, ...], str]:
    """Return shape and dtype of a file's image, from its header if that is possible."""
    from .pictures import is_png_of_16_bits

    if path.suffix.lower() in _HEADERS:
        from PIL import Image

        try:
            with Image.open(path) as image:
                plain, size = image.mode in ("L", "RGB"), (image.height, image.width)
                colours, frames = image.mode == "RGB", getattr(image, "n_frames", 1)
        except Exception:
            read_image(path)  # says what is wrong
            raise
        if plain and frames == 1 and not is_png_of_16_bits(path):
            return (*size, *([3] if colours else [])), "uint8"
    data = read_image(path).data
    return tuple(data.shape), str(data.dtype)


def _describe(seen: tuple[tuple[int, ...], str]) -> str:
    shape, dtype = seen
    return f"{' × '.join(map(str, shape))} pixels of {dtype}"
