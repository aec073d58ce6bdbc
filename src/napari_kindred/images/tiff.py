"""TIFF files, OME and ImageJ included, opened lazily."""

from __future__ import annotations

import logging
import struct
import weakref
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.errors import InputError
from .colour import as_lazy, cmyk_to_rgb, indexed, inverted, palette_of, samples_last
from .image_file import ImageFile, sentences
from .ome import OmeImage, images_of_xml, known_axes, positions_of
from .tiff_sizes import sizes_of, steps_along

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_THUMBNAIL, _MASK = 1, 4
"""Bits of a page's kind: a smaller copy of another page, and a mask of one."""

_SMALL = 1 / 4
"""A series whose planes have less than this share of the largest one's pixels is a thumbnail."""

_MINISWHITE, _MINISBLACK, _RGB, _PALETTE, _CMYK, _YCBCR = 0, 1, 2, 3, 5, 6
_UNREADABLE = {
    8: "CIELAB colours",
    9: "ICCLAB colours",
    10: "ITULAB colours",
    32803: "the raw pattern of a camera's colour filter",
    32844: "logarithmic luminance",
    32845: "logarithmic colours",
}
_UNCONVERTED = (1, 5, 8, 32773, 32946, 50000)
"""Compressions whose YCbCr is returned as it is stored; the others decode to RGB."""

_ORIENTED = "shown mirrored or turned by other programs (its orientation tag is {})"


@dataclass(frozen=True)
class _Found:
    """Series of a file, the chosen one first among its equals, and what to say."""

    chosen: tuple[int, ...]
    note: str = ""


def read_tiff(path: Path, inside: str = "", *, indices: bool = False) -> ImageFile:
    """Open a TIFF.

    Parameters
    ----------
    path : Path
    inside : str
        Number of the image in the file, from 0; empty for the first that is not a thumbnail.
    indices : bool
        Whether the indices into a colour map are read instead of its colours, as labels need them.
    """
    import tifffile

    with _unprinted("tifffile"), tifffile.TiffFile(path) as tif:
        if not tif.pages or _is_cut_short(tif):
            raise _damaged(path)
        described = images_of_xml(tif.ome_metadata) if tif.is_ome else []
        series = list(tif.series)
        if not series:
            raise _damaged(path)
        found = _choose(tif, series, described, path, inside)
        first = series[found.chosen[0]]
        if any(_ends_early(tif, series[number]) for number in found.chosen):
            raise _damaged(path)
        about = _about(described, series, found.chosen[0])
        sizes, stage = sizes_of(tif, about), positions_of(described, about)
        set_note = _set_note(first, about, path)
        levels, letters = _levels(path, series, found.chosen)
        shown = [
            _as_shown(level, letters, first.keyframe, first.kind, path, indices) for level in levels
        ]
        note = sentences(found.note, set_note, shown[0][2], _orientation_note(first.keyframe, path))
    levels, axes = [level for level, _, _ in shown], shown[0][1]
    known = known_axes(axes)
    scale, units = (None, None) if known is None else steps_along(sizes, known)
    return ImageFile(
        levels[0],
        known,
        scale,
        units,
        note=note,
        levels=tuple(levels) if len(levels) > 1 else (),
        translate=tuple(stage.get(letter, 0.0) for letter in known or "") if stage else None,
        channels=() if about is None else about.channels,
    )


@contextmanager
def _unprinted(name: str) -> Iterator[None]:
    """Keep what a library logs from being printed where nobody listens to it."""
    handler = logging.NullHandler()
    logger = logging.getLogger(name)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def _damaged(path: Path) -> InputError:
    return InputError(f"The file {path.name!r} is damaged or cut short; export it again.")


# -- whether all of it is there ---------------------------------------------------------------


def _is_cut_short(tif: Any) -> bool:
    """Whether the chain of pages leads out of the file."""
    rules, file, size = tif.tiff, tif.filehandle, tif.filehandle.size
    offset, seen = int(tif.pages.first.offset), set[int]()
    while offset:
        if offset in seen or offset + rules.tagnosize > size:
            return True
        seen.add(offset)
        file.seek(offset)
        (count,) = struct.unpack(rules.tagnoformat, file.read(rules.tagnosize))
        end = offset + rules.tagnosize + count * rules.tagsize
        if end + rules.offsetsize > size:
            return True
        file.seek(end)
        (offset,) = struct.unpack(rules.offsetformat, file.read(rules.offsetsize))
    return False


def _ends_early(tif: Any, series: Any) -> bool:
    """Whether the file ends before a series' pixels do."""
    size = int(tif.filehandle.size)
    if series.dataoffset is not None:
        return bool(series.dataoffset + series.nbytes > size)
    own = [page for page in series.pages if page is not None and page.parent is tif]
    return any(
        offset + length > size
        for page in own[:1] + own[-1:]
        for offset, length in zip(page.dataoffsets, page.databytecounts, strict=True)
    )


# -- which of the images ----------------------------------------------------------------------


def _choose(
    tif: Any, series: Sequence[Any], described: Sequence[OmeImage], path: Path, inside: str
) -> _Found:
    """Choose among the series of a file."""
    if inside:
        if not inside.isdigit() or int(inside) >= len(series):
            raise InputError(
                f"{path.name!r} has no image {inside!r}; its images are 0 to {len(series) - 1}."
            )
        return _Found((int(inside),))
    own = [number for number, one in enumerate(series) if _is_own(tif, one)] or [0]
    images = [number for number in own if not _kind_of(series[number]) & (_THUMBNAIL | _MASK)]
    images = images or own
    largest = max(_plane(series[number]) for number in images)
    chosen = next(number for number in images if _plane(series[number]) >= _SMALL * largest)
    same = [number for number in images if _is_alike(series[number], series[chosen])]
    frames = len(same) > 1 and not described and "T" not in series[chosen].axes
    taken = tuple(same) if frames else (chosen,)
    note = ""
    if frames:
        note = f"The {len(same)} images in {path.name!r} are of one size and taken as frames."
    left = [number for number in own if number not in taken]
    if left:
        one = f"{path}/{left[0]}"
        shapes = " × ".join(str(size) for size in series[left[0]].shape)
        more = "one more image" if len(left) == 1 else f"{len(left)} more images"
        note = sentences(
            note,
            f"{path.name!r} holds {more}, which {'is' if len(left) == 1 else 'are'} not used; "
            f"give {one!r} for the one of {shapes}.",
        )
    return _Found(taken, note)


def _is_own(tif: Any, series: Any) -> bool:
    """Whether pixels of a series are in this file; of a set, others may be elsewhere."""
    return any(page is not None and page.parent is tif for page in series.pages)


def _kind_of(series: Any) -> int:
    return int(series.keyframe.subfiletype)


def _plane(series: Any) -> int:
    sizes = dict(zip(series.axes, series.shape, strict=True))
    return int(sizes.get("Y", 1) * sizes.get("X", 1))


def _is_alike(one: Any, other: Any) -> bool:
    return bool(one.shape == other.shape and one.dtype == other.dtype and one.axes == other.axes)


def _about(described: Sequence[OmeImage], series: Sequence[Any], number: int) -> OmeImage | None:
    """Return what OME's metadata says of a series."""
    if len(described) == len(series):
        return described[number]
    named = [one for one in described if one.name and one.name == series[number].name]
    return next(iter(named or described), None)


def _set_note(series: Any, about: OmeImage | None, path: Path) -> str:
    """Return what to say of an image that several files hold together."""
    if about is None or len(about.files) < 2:
        return ""
    missing = sorted(
        name for name in about.files if name != path.name and not (path.parent / name).is_file()
    )
    note = f"{path.name!r} is one of {len(about.files)} files of an image, which are read together."
    if not missing or all(page is not None for page in series.pages):
        return note
    listed = ", ".join(repr(name) for name in missing[:3]) + " …" * (len(missing) > 3)
    one = len(missing) == 1
    return (
        f"{note} The {'file' if one else 'files'} {listed} of the set cannot be found; what "
        f"{'it holds' if one else 'they hold'} is left black."
    )


# -- pixels -----------------------------------------------------------------------------------


def _levels(path: Path, series: Sequence[Any], chosen: tuple[int, ...]) -> tuple[list[Any], str]:
    """Open an image at all its resolutions, or several images as frames; and its axes."""
    import tifffile

    first, number = series[chosen[0]], chosen[0]
    mapped = first.dataoffset is not None
    data = tifffile.memmap(path, mode="r", series=number) if mapped else _pages(path, number, 0)
    if len(chosen) > 1:
        return [
            _stacked([data, *(_pages(path, other, 0) for other in chosen[1:])])
        ], f"T{first.axes}"
    more = (_pages(path, number, level) for level in range(1, len(first.levels)))
    return [data, *more], first.axes


def _pages(path: Path, series: int, level: int) -> Any:
    """Open one resolution of a TIFF as zarr, a page or tile of the file per chunk."""
    import tifffile
    import zarr

    tif = tifffile.TiffFile(path)
    data = zarr.open_array(tif.series[series].aszarr(level=level), mode="r")
    weakref.finalize(data, tif.close)  # pages are read from the open file until then
    return data


def _stacked(images: Sequence[Any]) -> Any:
    import dask.array as da

    return da.stack([as_lazy(image) for image in images])


def _as_shown(
    data: Any, axes: str, page: Any, kind: str, path: Path, indices: bool
) -> tuple[Any, str, str]:
    """Return grey values or RGB, their axes, and what was done to the values."""
    photometric = int(page.photometric)
    if photometric in _UNREADABLE or (
        photometric == _YCBCR and int(page.compression) in _UNCONVERTED
    ):
        what = _UNREADABLE.get(photometric, "YCbCr colours that are not compressed as JPEG")
        raise InputError(
            f"The file {path.name!r} holds {what}, which cannot be read; convert it to grey values "
            "or RGB."
        )
    if "S" in axes and axes[-1] != "S":
        data, axes = samples_last(data, axes.index("S")), axes.replace("S", "") + "S"
    if photometric == _PALETTE and page.colormap is not None and not indices:
        return _with_colours(data, axes, page, kind, path)
    if photometric == _CMYK:
        return _from_cmyk(data, axes, page, path)
    if photometric == _MINISWHITE and "S" not in axes:
        if np.dtype(data.dtype).kind not in "bu":
            note = (
                f"The smallest value of {path.name!r} means white; its values are read as stored."
            )
            return data, axes, note
        return inverted(data, 2 ** int(page.bitspersample) - 1), axes, ""
    if "S" not in axes:
        return data, axes, ""
    return _with_samples(data, axes, page, path)


def _with_colours(data: Any, axes: str, page: Any, kind: str, path: Path) -> tuple[Any, str, str]:
    """Return the colours of a colour map, or grey values that it only tints."""
    table = palette_of(page.colormap)
    if kind == "imagej":
        return data, axes, f"The colours that {path.name!r} is shown in are not used."
    if table is None:
        return data, axes, ""
    if "S" in axes:
        raise InputError(f"The colour map of {path.name!r} has several samples; convert it to RGB.")
    return indexed(data, table), f"{axes}S" if table.ndim > 1 else axes, ""


def _from_cmyk(data: Any, axes: str, page: Any, path: Path) -> tuple[Any, str, str]:
    inks = page.tags.get("InkSet")
    fits = "S" in axes and data.shape[-1] == 4 and np.dtype(data.dtype).kind == "u"
    if not fits or (inks is not None and int(inks.value) != 1):
        raise InputError(
            f"The inks of {path.name!r} are not cyan, magenta, yellow and black; convert it to RGB."
        )
    return cmyk_to_rgb(data), axes, f"The CMYK colours of {path.name!r} were converted to RGB."


def _with_samples(data: Any, axes: str, page: Any, path: Path) -> tuple[Any, str, str]:
    """Return colours, or channels if the samples are none."""
    count, extra = int(data.shape[-1]), tuple(int(one) for one in page.extrasamples)
    colours = 1 if int(page.photometric) in (_MINISWHITE, _MINISBLACK) else 3
    if colours == 1 and count == 2 and extra and extra[-1] in (1, 2):
        note = f"The transparency of {path.name!r} is not used."
        return as_lazy(data)[..., 0], axes[:-1], note
    if colours == 3 and count == 4:
        seen = extra and extra[-1] in (1, 2)
        what = "transparency" if seen else "fourth sample, which is no colour,"
        return data, axes, f"The {what} of {path.name!r} is not used."
    if colours == 3 and count == 3:
        return data, axes, ""
    return data, f"{axes[:-1]}C", ""


def _orientation_note(page: Any, path: Path) -> str:
    tag = page.tags.get("Orientation")
    if tag is None or int(tag.value) == 1:
        return ""
    return f"{path.name!r} is {_ORIENTED.format(int(tag.value))}; it is read as stored."


# -- pixel sizes ------------------------------------------------------------------------------


def files_of_set(path: Path) -> tuple[str, ...]:
    """Return the names of all files that hold the image of an OME-TIFF; empty if it is one file."""
    import tifffile

    try:
        with tifffile.TiffFile(path) as tif:
            images = images_of_xml(tif.ome_metadata) if tif.is_ome else []
    except Exception:  # noqa: BLE001 - reported when its turn comes
        return ()
    own = [image for image in images if path.name in image.files]
    files = own[0].files if own else ()
    return files if len(files) > 1 else ()
