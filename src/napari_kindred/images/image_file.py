"""An image from a file: its array, and what the file says about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class ImageFile:
    """An image on disk or on a server.

    Attributes
    ----------
    data : array-like
        Read when sliced, if the format allows it: numpy (memory-mapped), zarr or dask.
    axes : str or None
        One letter of ``TCZYXS`` per axis, if the file says so.
    scale : tuple of float or None
        Size of a step along each axis, in ``units``.
    units : tuple of str or None
        Unit of each axis, such as ``"micrometer"``, ``"second"`` or ``"pixel"``.
    name : str
        File name without its suffix.
    note : str
        What the user should know: what the file holds besides this image, and what was converted.
        Sentences, or empty.
    levels : tuple of array-like
        The image at all its resolutions, finest first, ``data`` included; empty if there is only
        one.
    path : Path or None
        Where it lies.  Labels that are too large for memory are written next to it, or to the
        temporary folder if this is None.
    translate : tuple of float or None
        Position of the first pixel along each axis, in ``units``.
    channels : tuple of str
        Names of the channels, empty if unknown.
    url : str
        Address of an image on a server; ``path`` is None then.
    """

    data: Any
    axes: str | None = None
    scale: tuple[float, ...] | None = None
    units: tuple[str, ...] | None = None
    name: str = "image"
    note: str = ""
    levels: tuple[Any, ...] = ()
    path: Path | None = None
    translate: tuple[float, ...] | None = None
    channels: tuple[str, ...] = ()
    url: str = ""

    @property
    def source(self) -> str:
        """Path or address, empty if unknown."""
        return self.url or ("" if self.path is None else str(self.path))

    def scale_of(self, axes: str) -> tuple[tuple[float, ...] | None, tuple[str, ...] | None]:
        """Return scale and units of some of the axes, such as those of the labels."""
        places = self._places(axes)
        if self.scale is None or not places:
            return None, None
        units = None if self.units is None else tuple(self.units[place] for place in places)
        return tuple(self.scale[place] for place in places), units

    def translate_of(self, axes: str) -> tuple[float, ...] | None:
        """Return the position along some of the axes."""
        if self.translate is None:
            return None
        return tuple(self.translate[place] for place in self._places(axes)) or None

    def _places(self, axes: str) -> list[int]:
        if self.axes is None or not set(axes) <= set(self.axes):
            return []
        return [self.axes.index(letter) for letter in axes]


def sentences(*notes: str) -> str:
    """Join notes, leaving out empty ones."""
    return " ".join(filter(None, notes))
