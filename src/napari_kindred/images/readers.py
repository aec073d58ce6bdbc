"""Image files, opened lazily, with what they say about their axes and pixel size."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import url2pathname

import numpy as np

from ..core.errors import InputError, KindredError, reason_of
from .formats import FORMATS
from .image_file import ImageFile
from .pictures import read_picture
from .remote import is_url, open_url
from .tiff import files_of_set, read_tiff
from .zarr_images import Place, fields_of, read_zarr

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "ImageFile",
    "container_of",
    "images_in",
    "is_image",
    "is_there",
    "list_images",
    "natural_key",
    "read_image",
    "source_of_text",
    "stem_of",
]

_DIGITS = re.compile(r"([0-9]+)")

_ZARR = (".zarr",)


def read_image(path: str | Path) -> ImageFile:
    """Open an image file or an OME-Zarr, without reading its pixels if that is possible.

    Parameters
    ----------
    path : str or Path
        TIFF (ImageJ and OME included), OME-Zarr or zarr, PNG, JPEG, BMP, GIF, WebP or ``.npy``;
        with the extra ``formats`` also ND2, LIF and CZI.  Of a file that holds several images,
        ``FILE/2`` is the third; of a zarr, ``FILE.zarr/A/1/0`` is the image or array at that path.
        With the extra ``remote`` also the address of an OME-Zarr, such as ``https://…``.

    Raises
    ------
    InputError
        If there is no such file, if it is damaged, or if its format is not supported.
    """
    return _read(path)


def read_indices(path: str | Path) -> ImageFile:
    """Open an image of labels: of a colour map, the indices are read and not the colours."""
    return _read(path, indices=True)


def _read(path: str | Path, **options: Any) -> ImageFile:
    if is_url(path):
        address = str(path)
        if not address.lower().startswith("file://"):
            return replace(open_url(address), name=stem_of(address))
        path = url2pathname(address[len("file://") :])
    path = Path(path).absolute()  # other processes may open it
    container, inside = split_path(path)
    if not is_there(container):
        raise InputError(f"There is no file {str(path)!r}; check the path.")
    reader = _READERS.get(_suffix(container))
    if reader is None:
        what = "folder" if container.is_dir() else "file"
        raise InputError(
            f"The {what} {path.name!r} is not an image that can be read; "
            f"export it as OME-TIFF or OME-Zarr (readable: {' '.join(_READERS)})."
        )
    if container.is_dir() and _suffix(container) not in _ZARR:
        raise InputError(f"{path.name!r} is a folder, not a file of this format; give the file.")
    try:
        found = reader(container, inside, **options)
    except KindredError:
        raise
    except Exception as error:
        raise InputError(
            f"The file {container.name!r} is damaged or not what its name says "
            f"({reason_of(error)}); export it again, for example as OME-TIFF."
        ) from error
    return replace(found, path=path, name=stem_of(path))


def split_path(path: str | Path) -> tuple[Path, str]:
    """Return the file or zarr that a path leads into, and the path in it, empty for all of it."""
    path = Path(path)
    parents = [path, *path.parents]
    zarrs = [one for one in parents if one.suffix.lower() in _ZARR and not _is_plain_folder(one)]
    if zarrs:  # the outermost is what people see
        return zarrs[-1], path.relative_to(zarrs[-1]).as_posix().removeprefix(".")
    for one in parents[1:3]:
        if one.suffix.lower() in _READERS and is_there(one) and one.is_file():
            return one, path.relative_to(one).as_posix()
    return path, ""


def container_of(source: str | Path) -> Path | None:
    """Return the file, zarr or folder on this machine that holds an image, None for an address."""
    return None if is_url(source) else split_path(source)[0]


def _is_plain_folder(path: Path) -> bool:
    """Whether a path that ends like a zarr is a folder that is none."""
    try:
        return path.is_dir() and not any(
            (path / name).exists() for name in ("zarr.json", ".zgroup", ".zarray", ".zattrs")
        )
    except OSError:
        return False


def is_there(path: Path) -> bool:
    """Whether a path leads anywhere; one that cannot be looked up does not."""
    try:
        return path.exists()
    except (OSError, ValueError):  # too long, or no text for a path
        return False


def source_of_text(text: str) -> str | Path:
    """Return an address as it is, anything else as a path."""
    return text if is_url(text) else Path(text)


def natural_key(name: str) -> tuple[Any, ...]:
    """Return what names are sorted by: their texts and numbers, so that 9 comes before 10."""
    stem, suffix = stem_of(name), Path(name).suffix.lower()
    parts = [
        (1, int(part), "") if part.isdigit() else (0, 0, part.casefold())
        for part in _DIGITS.split(stem)
        if part
    ]
    return (parts, suffix, len(name), name)


def list_images(folder: str | Path) -> list[Path]:
    """Return a folder's images in natural order of their names, hidden files left out.

    Of an OME-TIFF that is kept in several files, the first stands for all.  A plate of wells
    stands for all of its images, in the folder or as the folder.

    Raises
    ------
    InputError
        If the folder holds no image.
    """
    folder = Path(folder)
    if is_image(folder):
        return images_in(folder) or [folder]
    paths = sorted(
        (
            path
            for path in folder.iterdir()
            if not path.name.startswith(".") and _suffix(path) in _READERS
        ),
        key=lambda path: natural_key(path.name),
    )
    if not paths:
        raise InputError(
            f"The folder {str(folder)!r} holds no image; readable are {' '.join(_READERS)}."
        )
    return [image for path in _without_parts(paths) for image in images_in(path) or [path]]


def images_in(path: str | Path) -> list[Path]:
    """Return the images of an OME-Zarr plate, or of a well of several; empty for anything else."""
    if is_url(path):
        return []
    container, inside = split_path(Path(path))
    if _suffix(container) not in _ZARR or not container.is_dir():
        return []
    try:
        fields = fields_of(Place(str(container), inside))
    except (AttributeError, KeyError, TypeError):  # of another form; said when it is read
        return []
    return [container / field for field in fields] if len(fields) > 1 or not inside else []


def _without_parts(paths: list[Path]) -> list[Path]:
    """Leave out files that hold further planes of an OME-TIFF that is listed already."""
    covered: set[str] = set()
    kept = []
    for path in paths:
        if path.name in covered:
            continue
        kept.append(path)
        if _suffix(path) in (".tif", ".tiff"):
            covered.update(files_of_set(path))
    return kept


def is_image(path: str | Path) -> bool:
    """Whether a path names an image rather than a folder of images."""
    return is_url(path) or _suffix(split_path(path)[0]) in _READERS


def stem_of(path: str | Path) -> str:
    """Return a file's name without its suffix, ``.ome.tif`` and ``.ome.zarr`` taken as one.

    The path inside a file becomes part of it: ``plate_A_1_0`` for ``plate.ome.zarr/A/1/0``.
    """
    if is_url(path):
        text = str(path).split("?", 1)[0].rstrip("/")
        path = Path(*text.split("://", 1)[1].split("/"))
    container, inside = split_path(path)
    suffix = _suffix(container)
    name = container.name
    stem = name[: len(name) - len(suffix)] if suffix in _READERS else container.stem
    return "_".join([stem.removesuffix(".ome"), *filter(None, inside.split("/"))])


def _suffix(path: Path) -> str:
    return path.suffix.lower()


def _read_zarr(path: Path, inside: str, **_: Any) -> ImageFile:
    return read_zarr(Place(str(path), inside))


def _read_npy(path: Path, inside: str, **_: Any) -> ImageFile:  # noqa: ARG001
    # Unlike np.load, which takes a zip file or a pickle for what its content says.
    return ImageFile(np.lib.format.open_memmap(path, mode="r"))


_READERS: dict[str, Callable[..., ImageFile]] = {
    ".tif": read_tiff,
    ".tiff": read_tiff,
    ".zarr": _read_zarr,
    ".png": read_picture,
    ".jpg": read_picture,
    ".jpeg": read_picture,
    ".bmp": read_picture,
    ".gif": read_picture,
    ".webp": read_picture,
    ".npy": _read_npy,
    **FORMATS,
}
