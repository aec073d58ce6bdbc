"""Image files, opened lazily, with what they say about their axes and pixel size."""

from __future__ import annotations

import logging
import weakref
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.errors import InputError, reason_of
from .ome import known_axes, ome_attributes, read_multiscale, size_of, sizes_of_xml, unit_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass(frozen=True, slots=True)
class ImageFile:
    """An image on disk.

    Attributes
    ----------
    data : array-like
        Read when sliced, where the format allows it: numpy (memory-mapped) or zarr.
    axes : str or None
        One letter of ``TCZYXS`` per axis, when the file says so.
    scale : tuple of float or None
        Size of a step along each axis, in ``units``.
    units : tuple of str or None
        Unit of each axis, such as ``"micrometer"``, ``"second"`` or ``"pixel"``.
    name : str
        File name without its suffix.
    note : str
        What the user should know about it, one sentence, or empty.
    levels : tuple of array-like
        The image at all its resolutions, finest first, ``data`` included; empty when there is
        but one.
    path : Path or None
        Where it lies.  Labels that are too large for memory are written beside it, or to the
        temporary folder where this is None.
    """

    data: Any
    axes: str | None = None
    scale: tuple[float, ...] | None = None
    units: tuple[str, ...] | None = None
    name: str = "image"
    note: str = ""
    levels: tuple[Any, ...] = ()
    path: Path | None = None

    def scale_of(self, axes: str) -> tuple[tuple[float, ...] | None, tuple[str, ...] | None]:
        """Return scale and units of some of the axes, such as those of the labels."""
        if self.axes is None or self.scale is None or not set(axes) <= set(self.axes):
            return None, None
        places = [self.axes.index(letter) for letter in axes]
        units = None if self.units is None else tuple(self.units[place] for place in places)
        return tuple(self.scale[place] for place in places), units


def read_image(path: str | Path) -> ImageFile:
    """Open an image file or an OME-Zarr, without reading its pixels where that is possible.

    Parameters
    ----------
    path : str or Path
        TIFF (ImageJ and OME included), OME-Zarr or zarr, PNG, JPEG, BMP, GIF, WebP or ``.npy``.

    Raises
    ------
    InputError
        When there is no such file, when it is damaged, or when its format is not supported.
    """
    path = Path(path).absolute()  # as other processes may be told of it
    if not is_there(path):
        raise InputError(f"There is no file {str(path)!r}; check the path.")
    reader = _READERS.get(_suffix(path))
    if reader is None:
        what = "folder" if path.is_dir() else "file"
        raise InputError(
            f"The {what} {path.name!r} is no image that can be read here; "
            f"export it as OME-TIFF or OME-Zarr (readable: {' '.join(_READERS)})."
        )
    try:
        found = reader(path)
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"The file {path.name!r} is damaged or not what its name says ({reason_of(error)}); "
            "export it again, for example as OME-TIFF."
        ) from error
    return replace(found, path=path)


def is_there(path: Path) -> bool:
    """Tell whether a path leads anywhere; one that cannot be looked at does not."""
    try:
        return path.exists()
    except (OSError, ValueError):  # too long, or no text for a path
        return False


def list_images(folder: str | Path) -> list[Path]:
    """Return a folder's images in name order, hidden files left out.

    Raises
    ------
    InputError
        When the folder holds no image.
    """
    folder = Path(folder)
    paths = sorted(
        path
        for path in folder.iterdir()
        if not path.name.startswith(".") and _suffix(path) in _READERS
    )
    if not paths:
        raise InputError(
            f"The folder {str(folder)!r} holds no image; readable are {' '.join(_READERS)}."
        )
    return paths


def is_image(path: str | Path) -> bool:
    """Tell from its name whether a path is an image rather than a folder of images."""
    return _suffix(Path(path)) in _READERS


def stem_of(path: str | Path) -> str:
    """Return a file's name without its suffix, ``.ome.tif`` and ``.ome.zarr`` taken as one."""
    name = Path(path).name
    stem = name[: len(name) - len(_suffix(Path(path)))] if is_image(path) else Path(name).stem
    return stem.removesuffix(".ome")


def _suffix(path: Path) -> str:
    return path.suffix.lower()


def _read_tiff(path: Path) -> ImageFile:
    import tifffile

    with tifffile.TiffFile(path) as tif:
        with _complaints("tifffile") as complaints:
            series = tif.series[0] if tif.series else None
        # A file cut short has a chain of pages that leads nowhere, which is only logged.
        if series is None or any("invalid page offset" in text for text in complaints):
            raise InputError(f"The file {path.name!r} is damaged or cut short; export it again.")
        axes = known_axes(series.axes)
        scale, units = _tiff_sizes(tif, axes) if axes else (None, None)
        mapped, count = series.dataoffset is not None, len(series.levels)
    first = tifffile.memmap(path, mode="r", series=0) if mapped else _tiff_pages(path, 0)
    levels = (first, *(_tiff_pages(path, level) for level in range(1, count)))
    return ImageFile(first, axes, scale, units, stem_of(path), levels=levels if count > 1 else ())


def _tiff_pages(path: Path, level: int) -> Any:
    """Open one resolution of a TIFF as zarr, a page or tile of the file per chunk."""
    import tifffile
    import zarr

    tif = tifffile.TiffFile(path)
    data = zarr.open_array(tif.series[0].aszarr(level=level), mode="r")
    weakref.finalize(data, tif.close)  # pages are read from the open file until then
    return data


@contextmanager
def _complaints(name: str) -> Iterator[list[str]]:
    """Collect what a library logs, which is otherwise printed or lost."""
    texts: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: texts.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger(name)
    logger.addHandler(handler)
    try:
        yield texts
    finally:
        logger.removeHandler(handler)


def _tiff_sizes(
    tif: Any, axes: str
) -> tuple[tuple[float, ...], tuple[str, ...]] | tuple[None, None]:
    """Return scale and units of a TIFF's axes from its OME or ImageJ metadata."""
    if tif.is_ome:
        sizes = sizes_of_xml(tif.ome_metadata)
    elif tif.is_imagej:
        sizes = _imagej_sizes(tif)
    else:
        sizes = {}
    if not sizes:
        return None, None
    return (
        tuple(sizes.get(letter, (1.0, ""))[0] for letter in axes),
        tuple(sizes.get(letter, (1.0, "pixel"))[1] for letter in axes),
    )


def _imagej_sizes(tif: Any) -> dict[str, tuple[float, str]]:
    about = tif.imagej_metadata or {}
    unit = unit_of(about.get("unit"))
    sizes = {}
    for letter, tag in (("X", "XResolution"), ("Y", "YResolution")):
        found = tif.pages[0].tags.get(tag)
        if found is not None and unit != "pixel" and min(found.value) > 0:
            sizes[letter] = (found.value[1] / found.value[0], unit)
    spacing = about.get("spacing")
    if unit != "pixel" and isinstance(spacing, int | float):
        sizes["Z"] = (size_of(abs(spacing)), unit)
    sizes["T"] = (size_of(about.get("finterval")), unit_of(about.get("tunit", "s")))
    return {letter: size for letter, size in sizes.items() if size[0]}


def _read_zarr(path: Path) -> ImageFile:
    import zarr

    node = zarr.open(path, mode="r")
    if isinstance(node, zarr.Array):
        return ImageFile(node, name=stem_of(path))
    about, version = ome_attributes(node)
    if "multiscales" not in about and "0" in node and isinstance(node["0"], zarr.Group):
        node = node["0"]  # bioformats2raw puts each picture of a file into a numbered group
        about, version = ome_attributes(node)
    if "multiscales" in about:
        return _read_multiscale(node, about["multiscales"][0], version, path)
    arrays = [name for name, _ in node.arrays()]
    if len(arrays) != 1:
        raise InputError(
            f"The zarr {path.name!r} is no OME-Zarr image; give the path of one array inside it"
            + (f", such as {arrays[0]!r}." if arrays else ".")
        )
    return ImageFile(node[arrays[0]], name=stem_of(path))


def _read_multiscale(group: Any, about: dict[str, Any], version: str, path: Path) -> ImageFile:
    found, fault = read_multiscale(about, version)
    levels = tuple(group[place] for place in found.paths)
    note = ""
    if fault:
        note = (
            f"The metadata of {path.name!r} breaks the rules of OME-Zarr {version} ({fault}), so "
            f"its {'axes and ' if found.axes is None else ''}pixel sizes are not known."
        )
    data, more = levels[0], levels if len(levels) > 1 else ()
    if found.axes is None or len(found.axes) != data.ndim:
        return ImageFile(data, name=stem_of(path), note=note, levels=more)
    return ImageFile(data, found.axes, found.scale, found.units, stem_of(path), note, levels=more)


def _read_picture(path: Path) -> ImageFile:
    import imageio.v3 as iio

    with path.open("rb") as file:  # imageio itself leaves a damaged file open
        data = np.asarray(iio.imread(file, plugin="pillow"))
    if data.ndim >= 3 and data.shape[-1] == 2:  # grey with alpha
        data = data[..., 0]
    axes = {2: "YX", 3: "YXS" if data.shape[-1] in (3, 4) else "TYX", 4: "TYXS"}.get(data.ndim)
    return ImageFile(data, axes, name=stem_of(path))


def _read_npy(path: Path) -> ImageFile:
    # Unlike np.load, which takes a zip file or a pickle for what its content says.
    return ImageFile(np.lib.format.open_memmap(path, mode="r"), name=stem_of(path))


_READERS: dict[str, Callable[[Path], ImageFile]] = {
    ".tif": _read_tiff,
    ".tiff": _read_tiff,
    ".zarr": _read_zarr,
    ".png": _read_picture,
    ".jpg": _read_picture,
    ".jpeg": _read_picture,
    ".bmp": _read_picture,
    ".gif": _read_picture,
    ".webp": _read_picture,
    ".npy": _read_npy,
}
