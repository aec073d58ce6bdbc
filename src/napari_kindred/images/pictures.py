"""PNG, JPEG, BMP, GIF and WebP files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .image_file import ImageFile, sentences

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from PIL.Image import Image

_ORIENTATION = 0x0112
"""EXIF tag of how an image is to be turned."""

_CONVERTED = ("CMYK", "YCbCr", "HSV", "LAB", "RGBX", "RGBa")
"""Modes whose values are no RGB or grey values."""


def read_picture(path: Path, inside: str = "", *, indices: bool = False) -> ImageFile:  # noqa: ARG001
    """Open a picture file; ``indices`` as in :func:`.tiff.read_tiff`."""
    from PIL import Image

    with Image.open(path) as image:
        image.load()
        moving = getattr(image, "n_frames", 1) > 1
        movie = moving and image.format in ("GIF", "PNG", "WEBP")
        turned = image.getexif().get(_ORIENTATION, 1)
        if movie:
            data, note = _frames_of(image), ""
        elif is_png_of_16_bits(path):
            data, note = _png_of_16_bits(path), ""
        else:
            data, note = values_of(image, indices=indices)
        left = moving and not movie
        count = getattr(image, "n_frames", 1)
    notes = (
        note and f"The {note} of {path.name!r} were converted to RGB.",
        left and f"{path.name!r} holds {count} images, of which the first is used.",
        turned != 1
        and f"{path.name!r} is shown mirrored or turned by other programs (its EXIF orientation is "
        f"{turned}); it is read as stored.",
    )
    axes = "YXS" if data.shape[-1] in (3, 4) and data.ndim > 2 else "YX"
    return ImageFile(
        data, "T" * (data.ndim - len(axes)) + axes, note=sentences(*filter(None, notes))
    )


def values_of(image: Image, *, indices: bool = False) -> tuple[NDArray[Any], str]:
    """Return a Pillow image's grey values or RGB(A), and the colours converted to RGB, if any."""
    if image.mode in ("P", "PA"):
        if indices:
            return np.asarray(image.convert("P") if image.mode == "PA" else image), ""
        colours = "RGBA" if "transparency" in image.info or image.mode == "PA" else "RGB"
        return _grey_if_so(np.asarray(image.convert(colours))), ""
    if image.mode in _CONVERTED:
        return np.asarray(image.convert("RGB")), f"{image.mode} colours"
    data = np.asarray(image)
    if image.mode.startswith(("LA", "La")):
        data = data[..., 0]
    return data, ""


def _frames_of(movie: Image) -> NDArray[Any]:
    """Return the frames of an animation (T, Y, X) or (T, Y, X, S)."""
    from PIL import ImageSequence

    frames = [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(movie)]
    return _grey_if_so(np.stack(frames))


def _grey_if_so(colours: NDArray[Any]) -> NDArray[Any]:
    """Return one sample of colours (…, S) if all are grey."""
    grey = (colours[..., 1:3] == colours[..., :1]).all()
    return colours[..., 0] if grey else colours


def is_png_of_16_bits(path: Path) -> bool:
    """Whether a file is a PNG with 16 bits per sample, of which Pillow keeps 8 in colours."""
    with path.open("rb") as file:
        head = file.read(26)
    return head.startswith(b"\x89PNG") and head[24:25] == b"\x10"


def _png_of_16_bits(path: Path) -> NDArray[Any]:
    """Return all bits; transparency of grey values is left out."""
    import imagecodecs

    data: NDArray[Any] = imagecodecs.png_decode(path.read_bytes())
    return data[..., 0] if data.ndim == 3 and data.shape[-1] == 2 else data
