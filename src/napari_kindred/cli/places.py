"""Where results go: never over their image, and somewhere else where the disk is full."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.errors import OutputError
from ..images.readers import container_of, images_in, is_image, is_there, list_images

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..results.segmentation import Segmentation


def place_of(out: Path, name: str) -> Path:
    """Return where a result goes: ``out`` itself, or a TIFF in it where it is a folder."""
    if not out.suffix or (out.is_dir() and out.suffix.lower() != ".zarr"):
        return out / f"{name}.tif"
    return out


def refuse_input(files: Sequence[Path], source: str | Path) -> None:
    """Raise OutputError for files of a result that would replace or delete an image."""
    holder = container_of(source)
    if holder is None:
        return
    images = {holder.resolve()}
    if not is_image(source) or images_in(source):
        images |= {path.resolve() for path in list_images(source)}
    around = {folder for path in images for folder in path.parents}
    same = {_identity_of(path) for path in images if path.exists()}  # a link may lead nowhere
    for file in files:
        place = file.resolve()
        if place in images or (file.exists() and _identity_of(file) in same):
            raise OutputError(
                f"{str(file)!r} is the input itself; choose another name for the output."
            )
        if place in around:
            raise OutputError(
                f"{str(file)!r} contains the input; choose another name for the output."
            )
        if is_image(source) and holder.resolve() in place.parents:
            raise OutputError(
                f"{str(file)!r} lies in the input; choose another folder for the output."
            )


def _identity_of(path: Path) -> tuple[int, int]:
    """Return what two names of one file share."""
    found = path.stat()
    return found.st_dev, found.st_ino


def save_surely(
    save: Callable[[], object], result: Segmentation, out: Path, source: str | Path
) -> None:
    """Save a result where it should go; if that fails, as on a full disk, in another place.

    Raises
    ------
    OutputError
        Saying where it is instead.
    """
    try:
        save()
    except OutputError as error:
        place = _save_elsewhere(result, out, source)
        if place is None:
            raise
        reason = str(error).partition(";")[0]
        raise OutputError(f"{reason}; the result is in {str(place)!r} instead.") from error


def _save_elsewhere(result: Segmentation, out: Path, source: str | Path) -> Path | None:
    """Save a result in the first folder that takes it; None where none does.

    ``source`` is the image, or the folder that all images are in.
    """
    holder = container_of(source)
    # Not among the images of a folder.
    near = [holder.parent] if holder is not None and is_image(source) else []
    used = {out.parent.resolve()} | (set() if holder is None else {holder.resolve()})
    folders = (*near, Path.cwd(), Path.home(), Path(tempfile.gettempdir()))
    for folder in dict.fromkeys(folder.resolve() for folder in folders):
        if folder in used:
            continue
        with suppress(OutputError, OSError):
            return result.save(_free_name(folder / out.name))
    return None


def _free_name(path: Path) -> Path:
    """Return a path, numbered if something is there already."""
    stem, dot, suffix = path.name.partition(".")
    free, number = path, 2
    while is_there(free):
        free, number = path.with_name(f"{stem} {number}{dot}{suffix}"), number + 1
    return free
