"""Files of microscopes: ND2, LIF and CZI, through readers that the extra ``formats`` installs."""

from __future__ import annotations

import threading
import xml.etree.ElementTree as ET
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.errors import InputError
from .frame_array import FrameArray
from .image_file import ImageFile, sentences
from .ome import known_axes, size_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path


def _package(name: str, path: Path) -> Any:
    """Return a reader's module, or say how to install it."""
    try:
        return import_module(name)
    except ImportError as error:
        raise InputError(
            f"{path.name!r} needs the package {name}; install it with "
            "pip install 'napari-kindred[formats]', or export the file as OME-TIFF."
        ) from error


class _Frames(FrameArray):
    """Frames of a file that stays open; one is read at a time."""

    def __init__(
        self,
        read: Callable[[tuple[int, ...]], Any],
        leading: tuple[int, ...],
        frame: tuple[int, ...],
        dtype: Any,
    ) -> None:
        super().__init__(leading, frame, dtype)
        self._read, self._lock = read, threading.Lock()

    def frame(self, index: tuple[int, ...]) -> np.ndarray:
        """Read a frame."""
        with self._lock:
            return np.asarray(self._read(index))

    def __reduce__(self) -> Any:
        raise TypeError("frames of an open file cannot be sent to another process")


def _number(inside: str, count: int, path: Path) -> int:
    """Return which image of a file is asked for."""
    if not inside:
        return 0
    if not inside.isdigit() or int(inside) >= count:
        raise InputError(f"{path.name!r} has no image {inside!r}; its images are 0 to {count - 1}.")
    return int(inside)


def _further(number: int, names: Sequence[str], path: Path, inside: str) -> str:
    """Return what to say of further images, unless one was asked for."""
    if inside or len(names) < 2:
        return ""
    more = "one more image" if len(names) == 2 else f"{len(names) - 1} more images"
    name = f" ({names[1]})" if names[1] else ""
    return (
        f"{path.name!r} holds {more}, not used; give {str(path / str(number + 1))!r} for the "
        f"next{name}."
    )


def _image(
    data: Any,
    dims: Sequence[str],
    sizes: Mapping[str, tuple[float, str]],
    path: Path,
    note: str,
    channels: Sequence[str] = (),
) -> ImageFile:
    """Return an image, its planes named Y and X whichever way they were scanned."""
    letters = list(dims)
    scanned = [place for place, letter in enumerate(letters) if letter != "S"][-2:]
    before = [letters[place] for place in scanned]
    if before != ["Y", "X"]:
        for letter in ("Y", "X"):
            if letter in letters and letters.index(letter) not in scanned:
                letters[letters.index(letter)] = "Z"
        for place, letter in zip(scanned, "YX", strict=True):
            letters[place] = letter
        note = sentences(
            note, f"The planes of {path.name!r} are {' × '.join(before)}; they are taken for Y × X."
        )
    axes = known_axes("".join(letters))
    steps = [sizes.get(name, (1.0, "pixel")) for name in dims]
    scale, units = (tuple(part) for part in zip(*steps, strict=True))
    known = axes is not None and any(name in sizes for name in dims)
    return ImageFile(
        data,
        axes,
        scale if known else None,
        units if known else None,
        note=note,
        channels=tuple(channels),
    )


# -- Leica ------------------------------------------------------------------------------------


def _read_lif(path: Path, inside: str, **_: Any) -> ImageFile:
    """Open an image of a Leica file; its frames are read one by one."""
    lif = _package("liffile", path).LifFile(path)
    images = list(lif.images)
    if not images:
        raise InputError(f"{path.name!r} holds no image; export it again.")
    number = _number(inside, len(images), path)
    image = images[number]
    plane = 3 if image.dims[-1] == "S" else 2
    leading = tuple(image.dims[:-plane])

    def read(index: tuple[int, ...]) -> Any:
        return image.frame(**dict(zip(leading, index, strict=True)))

    shape = tuple(int(size) for size in image.shape)
    data: Any = image.asarray() if not leading else None
    if leading:
        data = _Frames(read, shape[: len(leading)], shape[len(leading) :], image.dtype)
    sizes = {}
    for name, values in image.coords.items():
        step = abs(float(values[-1] - values[0])) / max(len(values) - 1, 1)
        if size_of(step):
            # Positions are in metres, times in seconds.
            sizes[name] = (step, "second") if name == "T" else (step * 1e6, "micrometer")
    note = _further(number, [one.name for one in images], path, inside)
    return _image(data, image.dims, sizes, path, note)


# -- Nikon ------------------------------------------------------------------------------------


def _read_nd2(path: Path, inside: str, **_: Any) -> ImageFile:
    """Open an image of a Nikon file; each position of the stage is an image."""
    file = _package("nd2", path).ND2File(path)
    data, dims = file.to_dask(), list(file.sizes)
    count, number = 1, 0
    if "P" in dims:
        count = int(file.sizes["P"])
        number = _number(inside, count, path)
        data = data[(slice(None),) * dims.index("P") + (number,)]
        dims.remove("P")
    else:
        number = _number(inside, 1, path)
    voxel = file.voxel_size()
    sizes = {
        letter: (size_of(getattr(voxel, letter.lower())), "micrometer")
        for letter in "XYZ"
        if size_of(getattr(voxel, letter.lower(), None))
    }
    names = [str(one.channel.name) for one in getattr(file.metadata, "channels", None) or ()]
    note = _further(number, [""] * count, path, inside)
    return _image(data, dims, sizes, path, note, names)


# -- Zeiss ------------------------------------------------------------------------------------


def _read_czi(path: Path, inside: str, **_: Any) -> ImageFile:
    """Open a scene of a Zeiss file; a scene is read as a whole."""
    with _package("czifile", path).CziFile(path) as czi:
        blocks = list(czi.filtered_subblock_directory)
        names, dtype = str(czi.axes), czi.dtype
        scenes = sorted({_start(block, "S", names) for block in blocks})
        if "M" in names and any(_start(block, "M", names) for block in blocks):
            raise InputError(
                f"{path.name!r} is a mosaic of tiles, which cannot be read; stitch it and export "
                "it as OME-TIFF or OME-Zarr."
            )
        number = _number(inside, len(scenes), path)
        chosen = [block for block in blocks if _start(block, "S", names) == scenes[number]]
        data, dims = _assembled(chosen, names, dtype)
        sizes = _czi_sizes(czi.metadata())
    note = _further(number, [""] * len(scenes), path, inside)
    return _image(data, dims, sizes, path, note)


def _start(block: Any, letter: str, names: str) -> int:
    return int(block.start[names.index(letter)]) if letter in names else 0


def _assembled(blocks: Sequence[Any], names: str, dtype: Any) -> tuple[Any, list[str]]:
    """Put the planes of a scene together; axes of length 1 are left out, except Y and X."""
    starts = np.array([block.start for block in blocks])
    ends = starts + np.array([block.shape for block in blocks])
    origin, shape = starts.min(0), ends.max(0) - starts.min(0)
    data = np.zeros(shape, dtype)
    for block in blocks:
        begin = np.array(block.start) - origin
        place = tuple(slice(a, a + n) for a, n in zip(begin, block.shape, strict=True))
        data[place] = block.data_segment().data()
    kept = [place for place, letter in enumerate(names) if letter in "YX" or data.shape[place] > 1]
    dims = ["S" if names[place] == "0" else names[place] for place in kept]
    return data.reshape([data.shape[place] for place in kept]), dims


def _czi_sizes(xml: str) -> dict[str, tuple[float, str]]:
    if "<!ENTITY" in xml:
        return {}
    sizes = {}
    # Entities, which the standard parser expands, are refused above.
    for distance in ET.fromstring(xml).iterfind(".//Scaling/Items/Distance"):  # noqa: S314
        value = size_of(distance.findtext("Value"))
        if value:
            sizes[str(distance.get("Id"))] = (value * 1e6, "micrometer")
    return sizes


FORMATS: dict[str, Callable[..., ImageFile]] = {
    ".nd2": _read_nd2,
    ".lif": _read_lif,
    ".czi": _read_czi,
}
"""Readers by suffix."""
