"""OME metadata of images, in XML and in JSON: axes, pixel sizes, positions and resolutions."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from .axes import AXES, letters_of

if TYPE_CHECKING:
    from collections.abc import Sequence

_OME_UNITS = {"µm": "micrometer", "μm": "micrometer", "um": "micrometer", "micron": "micrometer"}
_SHORT_UNITS = {
    "nm": "nanometer", "mm": "millimeter", "cm": "centimeter", "m": "meter",
    "s": "second", "sec": "second",
}  # fmt: skip

_METERS = {
    "angstrom": 1e-10, "nanometer": 1e-9, "micrometer": 1e-6, "millimeter": 1e-3,
    "centimeter": 1e-2, "meter": 1.0,
}  # fmt: skip
"""Meters in a unit of length."""


def micrometers_in(unit: str) -> float | None:
    """Return the micrometers in a unit of length by its name, None for another unit."""
    meters = _METERS.get(unit)
    return None if meters is None else round(meters * 1e6, 9)


AXIS_TYPES = {"T": "time", "C": "channel", "Z": "space", "Y": "space", "X": "space"}


@dataclass(frozen=True, slots=True)
class Multiscale:
    """Metadata of an OME-Zarr image.

    Attributes
    ----------
    paths : tuple of str
        Where its resolutions are, finest first.
    axes : str or None
        One letter of ``TCZYXS`` per axis, if they are known here.
    scales : tuple of tuple of float
        Size of a step along each axis, for each resolution; empty if unknown.
    units : tuple of str or None
    translations : tuple of tuple of float
        Position of the first pixel along each axis, for each resolution; empty if unknown.
    """

    paths: tuple[str, ...]
    axes: str | None = None
    scales: tuple[tuple[float, ...], ...] = ()
    units: tuple[str, ...] | None = None
    translations: tuple[tuple[float, ...], ...] = ()


def known_axes(axes: str) -> str | None:
    """Return axes when all letters mean something here; readers have letters for 'unknown'."""
    axes = axes.upper()
    return axes if set(axes) <= set(AXES) and len(set(axes)) == len(axes) else None


def unit_of(text: str | None) -> str:
    """Return the full name of a unit; ``"pixel"`` for none."""
    text = (text or "").replace("\\u00B5", "µ").strip()
    return _OME_UNITS.get(text) or _SHORT_UNITS.get(text) or text or "pixel"


@dataclass(frozen=True, slots=True)
class OmeImage:
    """Metadata of one image in an OME-TIFF's description.

    Attributes
    ----------
    name : str
    sizes : dict
        Step and unit of each axis for which they are known.
    channels : tuple of str
        Their names, empty if not all have one.
    files : tuple of str
        Names of the files that hold its planes; empty if that is this file alone.
    stage : dict
        Position of the stage along X and Y in units of the pixel size, if both are known.
    """

    name: str
    sizes: dict[str, tuple[float, str]]
    channels: tuple[str, ...]
    files: tuple[str, ...]
    stage: dict[str, float] = field(default_factory=dict)


def images_of_xml(xml: str | None) -> list[OmeImage]:
    """Return what an OME-TIFF's description says of its images."""
    # The standard parser expands entities, which an image's metadata has no use for.
    if not xml or "<!ENTITY" in xml:
        return []
    try:
        root = ET.fromstring(xml)  # noqa: S314 - entities are refused above
    except ET.ParseError:
        return []
    found = []
    for image in root.iterfind("{*}Image"):
        pixels = image.find("{*}Pixels")
        if pixels is None:
            continue
        names = tuple(channel.get("Name", "") for channel in pixels.iterfind("{*}Channel"))
        files = (uuid.get("FileName", "") for uuid in pixels.iterfind("{*}TiffData/{*}UUID"))
        sizes = _sizes_of(pixels)
        found.append(
            OmeImage(
                image.get("Name", ""),
                sizes,
                names if all(names) else (),
                tuple(dict.fromkeys(filter(None, files))),
                _stage_of(pixels.find("{*}Plane"), sizes),
            )
        )
    return found


def _stage_of(plane: ET.Element | None, sizes: dict[str, tuple[float, str]]) -> dict[str, float]:
    """Return where the stage was at a plane, in the units of its pixel size.

    Positions without a unit of length, which OME allows, tell nothing.
    """
    found: dict[str, float] = {}
    if plane is None:
        return found
    for letter in "XY":
        unit = _METERS.get(unit_of(plane.get(f"Position{letter}Unit")))
        step = _METERS.get(sizes[letter][1]) if letter in sizes else None
        try:
            place = float(plane.get(f"Position{letter}", ""))
        except ValueError:
            continue
        if unit and step and math.isfinite(place):
            found[letter] = round(place * unit / step, 9)
    return found if len(found) == 2 else {}


def positions_of(described: Sequence[OmeImage], chosen: OmeImage | None) -> dict[str, float]:
    """Return the position of one of several images that do not all lie at one place."""
    places = {tuple(one.stage.items()) for one in described}
    return {} if chosen is None or len(places) < 2 or () in places else chosen.stage


def _sizes_of(pixels: ET.Element) -> dict[str, tuple[float, str]]:
    sizes = {}
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
    axes = _axes_of(found.axes)
    if axes is None:
        return Multiscale(paths), ""
    overall = found.coordinateTransformations or ()
    placed = [
        _transformed((*level.coordinateTransformations, *overall), len(axes))
        for level in found.datasets
    ]
    scales, translations = (
        tuple(tuple(map(float, one)) for one in part) for part in zip(*placed, strict=True)
    )
    units = tuple(unit_of(axis.unit) for axis in found.axes)
    if not all(map(size_of, scales[0])):
        return Multiscale(paths, axes), "a scale is not above 0"
    return Multiscale(paths, axes, scales, units, translations), ""


def _axes_of(axes: Sequence[Any]) -> str | None:
    """Return one letter per axis, by its name or else by its type."""
    letters = letters_of([axis.name for axis in axes])
    if letters:
        return letters
    space = [place for place, axis in enumerate(axes) if axis.type == "space"]
    by_place = dict(zip(space[-3:], "ZYX"[-len(space) :], strict=False))
    by_type = {"time": "T", "channel": "C"}
    found = "".join(
        by_place.get(place, by_type.get(str(axis.type), "?")) for place, axis in enumerate(axes)
    )
    return known_axes(found)


def _transformed(steps: Sequence[Any], count: int) -> tuple[Any, Any]:
    """Return scale and translation of transformations carried out one after the other."""
    scale, start = np.ones(count), np.zeros(count)
    for step in steps:
        factor = np.asarray(getattr(step, "scale", 1.0), float)
        scale, start = scale * factor, start * factor
        start = start + np.asarray(getattr(step, "translation", 0.0), float)
    return scale, start


def label_attributes(
    axes: str,
    scale: Sequence[float] | None,
    units: Sequence[str] | None,
    translate: Sequence[float] | None = None,
) -> dict[str, Any]:
    """Return the metadata of an OME-Zarr 0.5 label image of one resolution, at the path ``0``."""
    entries = []
    for letter, unit in zip(axes, units or ("pixel",) * len(axes), strict=True):
        axis = {"name": letter.lower(), "type": AXIS_TYPES[letter]}
        entries.append(axis if unit == "pixel" else {**axis, "unit": unit})
    steps = [float(step) for step in scale or (1.0,) * len(axes)]
    transformations: list[dict[str, Any]] = [{"type": "scale", "scale": steps}]
    if translate is not None and any(translate):
        start = [float(place) for place in translate]
        transformations.append({"type": "translation", "translation": start})
    level = {"path": "0", "coordinateTransformations": transformations}
    return {
        "version": "0.5",
        "multiscales": [{"name": "labels", "axes": entries, "datasets": [level]}],
        "image-label": {},
    }
