"""What OME's metadata says of an image: axes, pixel sizes and resolutions, in XML and in JSON."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .axes import AXES

if TYPE_CHECKING:
    from collections.abc import Sequence

_OME_UNITS = {"µm": "micrometer", "μm": "micrometer", "um": "micrometer", "micron": "micrometer"}
_SHORT_UNITS = {"nm": "nanometer", "mm": "millimeter", "s": "second", "sec": "second"}

AXIS_TYPES = {"T": "time", "C": "channel", "Z": "space", "Y": "space", "X": "space"}


@dataclass(frozen=True, slots=True)
class Multiscale:
    """Metadata of an OME-Zarr image.

    Attributes
    ----------
    paths : tuple of str
        Where its resolutions are, finest first.
    axes : str or None
        One letter of ``TCZYXS`` per axis, when they are known here.
    scale : tuple of float or None
        Size of a step along each axis at the finest resolution.
    units : tuple of str or None
    """

    paths: tuple[str, ...]
    axes: str | None = None
    scale: tuple[float, ...] | None = None
    units: tuple[str, ...] | None = None


def known_axes(axes: str) -> str | None:
    """Return axes when all letters mean something here; readers have letters for 'unknown'."""
    axes = axes.upper()
    return axes if set(axes) <= set(AXES) and len(set(axes)) == len(axes) else None


def unit_of(text: str | None) -> str:
    """Return the full name of a unit; ``"pixel"`` for none."""
    text = (text or "").replace("\\u00B5", "µ").strip()
    return _OME_UNITS.get(text) or _SHORT_UNITS.get(text) or text or "pixel"


def sizes_of_xml(xml: str) -> dict[str, tuple[float, str]]:
    """Return step and unit of the axes of which an OME-TIFF's description tells them."""
    sizes = {}
    # The standard parser expands entities, which an image's metadata has no use for.
    if "<!ENTITY" in xml:
        return {}
    pixels = ET.fromstring(xml).find(".//{*}Pixels")  # noqa: S314 - entities are refused above
    if pixels is None:
        return {}
    for letter in "XYZ":
        value = size_of(pixels.get(f"PhysicalSize{letter}"))
        if value:
            sizes[letter] = (value, unit_of(pixels.get(f"PhysicalSize{letter}Unit", "µm")))
    value = size_of(pixels.get("TimeIncrement"))
    if value:
        sizes["T"] = (value, unit_of(pixels.get("TimeIncrementUnit", "s")))
    return sizes


def size_of(value: Any) -> float:
    """Return the size of a step as a file tells it; 0 where that is none."""
    try:
        size = float(value)
    except (TypeError, ValueError):
        return 0.0
    return size if 0 < size < math.inf else 0.0


def ome_attributes(group: Any) -> tuple[dict[str, Any], str]:
    """Return what a zarr group's attributes hold of OME-Zarr's, and by which version's rules."""
    attributes = dict(group.attrs)
    about = attributes.get("ome")  # version 0.5 has its own key, 0.4 the root
    return (about, "0.5") if isinstance(about, dict) else (attributes, "0.4")


def read_multiscale(about: dict[str, Any], version: str) -> tuple[Multiscale, str]:
    """Check and read the metadata of an OME-Zarr image."""
    import ome_zarr_models.v04.multiscales as v04
    import ome_zarr_models.v05.multiscales as v05
    from pydantic import ValidationError

    model = v05.Multiscale if version == "0.5" else v04.Multiscale
    try:
        # Checked as JSON, in which a number written as an integer is a number.
        found: Any = model.model_validate(about)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(step) for step in first["loc"])
        paths = tuple(level["path"] for level in about["datasets"])
        return Multiscale(paths), " ".join(f"{where}: {first['msg']}".split()).rstrip(".")
    paths = tuple(level.path for level in found.datasets)
    names = [str(axis.name) for axis in found.axes]
    axes = known_axes("".join(names)) if all(len(name) == 1 for name in names) else None
    if axes is None:
        return Multiscale(paths), ""
    scale = np.ones(len(axes))
    for step in (
        *found.datasets[0].coordinateTransformations,
        *(found.coordinateTransformations or ()),
    ):
        scale *= getattr(step, "scale", 1.0)
    units = tuple(unit_of(axis.unit) for axis in found.axes)
    if not all(map(size_of, scale.tolist())):
        return Multiscale(paths, axes), "a scale is not above 0"
    return Multiscale(paths, axes, tuple(scale.tolist()), units), ""


def label_attributes(
    axes: str, scale: Sequence[float] | None, units: Sequence[str] | None
) -> dict[str, Any]:
    """Return the metadata of an OME-Zarr 0.5 label image of one resolution, at the path ``0``."""
    entries = []
    for letter, unit in zip(axes, units or ("pixel",) * len(axes), strict=True):
        axis = {"name": letter.lower(), "type": AXIS_TYPES[letter]}
        entries.append(axis if unit == "pixel" else {**axis, "unit": unit})
    steps = [float(step) for step in scale or (1.0,) * len(axes)]
    level = {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": steps}]}
    return {
        "version": "0.5",
        "multiscales": [{"name": "labels", "axes": entries, "datasets": [level]}],
        "image-label": {},
    }
