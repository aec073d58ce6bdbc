"""Folders of training data: which files there are, and their images as a run would read them."""

from __future__ import annotations

import codecs
import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.errors import InputError
from ..images.readers import ImageFile, is_image, list_images, stem_of
from ..images.stack import ImageStack

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

LISTED = 3
"""Number of images that are named in notes."""


def files_by_stem(folder: Path) -> dict[str, Path]:
    """Return the images of a folder by their stems; InputError for two of one stem."""
    found: dict[str, Path] = {}
    for path in list_images(folder):
        other = found.setdefault(stem_of(path), path)
        if other is not path:
            raise InputError(
                f"{folder.parent.name}/{folder.name} has two images of one name, {other.name!r} "
                f"and {path.name!r}; take one of them out."
            )
    return found


def _text_of(path: Path) -> str:
    """Return a table as text, whatever a spreadsheet saved it as."""
    content = path.read_bytes()
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252")  # Excel's on Windows


def read_rows(path: Path) -> list[dict[str, str]]:
    """Read a table whose columns are separated by commas, semicolons or tabs."""
    try:
        text = _text_of(path)
        separator = max(",;\t", key=text.partition("\n")[0].count)
        rows = list(csv.DictReader(text.splitlines(), delimiter=separator))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path.name} cannot be read as a table; save it as CSV.") from error
    return [
        {key.strip(): (value or "").strip() for key, value in row.items() if isinstance(key, str)}
        for row in rows
    ]


def read_index(folder: Path, stems: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return the rows of ``index.csv`` by stem; InputError for a name that is no image's."""
    path, found = folder / "index.csv", {}
    if not path.exists():
        return {}
    known = set(stems)
    for row in read_rows(path):
        name = row.get("id") or row.get("name") or ""
        if not name:
            raise InputError(
                f"{folder.name}/index.csv needs a column id or name with the names of images."
            )
        stem = stem_of(name) if name not in known and is_image(name) else name
        if stem not in known:
            raise InputError(
                f"{folder.name}/index.csv names {name!r}, but {folder.name}/images has no such "
                "image; correct the name."
            )
        found[stem] = row
    return found


def read_boxes(path: Path) -> dict[str, list[tuple[float, ...]]]:
    """Return the boxes (ymin, xmin, ymax, xmax) of each image; empty without the file."""
    found: dict[str, list[tuple[float, ...]]] = {}
    for row in read_rows(path) if path.exists() else ():
        try:
            box = tuple(float(row[key]) for key in ("ymin", "xmin", "ymax", "xmax"))
            name = row["name"]
        except (KeyError, ValueError) as error:
            raise InputError(
                f"{path.name} must have the columns name, xmin, ymin, xmax and ymax, the last four "
                "numbers."
            ) from error
        found.setdefault(stem_of(name) if is_image(name) else name, []).append(box)
    return found


def pixels_of(
    image: Any, labels: tuple[int, ...] | None, name: str
) -> tuple[NDArray[np.float32], str]:
    """Read an image as a run would, and what to say of it.

    Returns finite values, (Y, X), (Y, X, 3), (Z, Y, X) or (Z, Y, X, 3).  The shape of its labels
    tells the axes if the file does not.
    """
    file = image if isinstance(image, ImageFile) else ImageFile(image)
    shape = tuple(int(size) for size in np.shape(file.data))
    axes = file.axes or (None if labels is None else _axes_by(labels, shape))
    try:
        stack = ImageStack.open(file, axes)
        frames = [stack.read(index) for index in stack.indices()]
    except InputError as error:
        raise InputError(f"{name}: {error}") from error
    planes = [frame.pixels if stack.rgb else frame.pixels[..., 0] for frame in frames]
    pixels = np.stack(planes) if stack.leading_axes else planes[0]
    while labels is not None and pixels.ndim > len(labels) + stack.rgb and pixels.shape[0] == 1:
        pixels = pixels[0]
    notes = [note for note in stack.notes if not note.startswith("Axes ")]
    notes += [frame.note for frame in frames if frame.note]
    return pixels, " ".join(dict.fromkeys(notes))


def few(notes: Sequence[tuple[str, str]]) -> list[str]:
    """Return the first notes on images, (name, note) each, and how many more there are."""
    told = [f"{name}: {note}" for name, note in notes[:LISTED]]
    left = len(notes) - LISTED
    return [*told, f"There is something to say of {left} more images."] if left > 0 else told


def _axes_by(labels: tuple[int, ...], shape: tuple[int, ...]) -> str | None:
    """Return axes of an image that fit the shape of its labels, None if none do."""
    plane = "ZYX"[-len(labels) :] if len(labels) in (2, 3) else ""
    if not plane:
        return None
    if shape == labels:
        return plane
    if shape[:-1] == labels:
        return f"{plane}S" if shape[-1] in (3, 4) else f"{plane}C"
    return f"C{plane}" if shape[1:] == labels else None
