"""OME-Zarr and plain zarr, on disk or on a server."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.errors import InputError
from .axes import letters_of
from .image_file import ImageFile, sentences
from .ome import Multiscale, ome_attributes, read_multiscale, unit_of

if TYPE_CHECKING:
    from collections.abc import Sequence

_LISTED = 8
"""Number of wells or images that a sentence lists."""


@dataclass(frozen=True)
class Place:
    """A zarr and the group or array in it that is asked for.

    Attributes
    ----------
    root : str
        Path or address of the zarr.
    inside : str
        Path in it, such as ``"A/1/0"``; empty for its root.
    """

    root: str
    inside: str = ""

    @property
    def name(self) -> str:
        """Name for messages."""
        return repr("/".join(filter(None, (self.root.rstrip("/").split("/")[-1], self.inside))))

    def path(self, *more: str) -> str:
        """Return what to give for something in it."""
        return repr("/".join(filter(None, (self.root.rstrip("/"), self.inside, *more))))


def read_zarr(place: Place) -> ImageFile:
    """Open an image in a zarr."""
    import zarr

    try:
        node = zarr.open(place.root, path=place.inside or None, mode="r")
    except (FileNotFoundError, KeyError) as error:
        raise InputError(f"There is no zarr at {place.path()}; check the path.") from error
    if isinstance(node, zarr.Array):
        return _read_array(node, place)
    about, version = ome_attributes(node)
    if "plate" in about:
        raise InputError(_plate_sentence(about["plate"], node, place))
    if "well" in about:
        return _read_well(about["well"], place)
    if not about.get("multiscales"):
        images = _numbered(node, about)
        if images:
            note = _further_note([place.path(name) for name in images[1:]], place)
            first = read_zarr(Place(place.root, _joined(place.inside, images[0])))
            return replace(first, note=sentences(note, first.note))
        return _read_group(node, place)
    found = _read_multiscale(node, about["multiscales"][0], version, place)
    names = _channel_names(about.get("omero"))
    more = len(about["multiscales"]) - 1
    note = f"{place.name} holds {more} more multiscales, which are not used." if more else ""
    return replace(
        found,
        channels=names if all(names) else (),
        note=sentences(found.note, note),
    )


def _channel_names(omero: Any) -> tuple[str, ...]:
    """Return the names of channels as OMERO writes them; empty for what is none of that."""
    channels = omero.get("channels") if isinstance(omero, dict) else None
    if not isinstance(channels, list) or not all(isinstance(one, dict) for one in channels):
        return ()
    return tuple(str(one.get("label") or "") for one in channels)


def fields_of(place: Place) -> list[str]:
    """Return the paths in a zarr of the images of a plate, or of a well of several; else nothing.

    Fields that the metadata names but that are not there are left out.
    """
    import zarr

    try:
        node = zarr.open(place.root, path=place.inside or None, mode="r")
    except (OSError, KeyError, ValueError):
        return []
    if isinstance(node, zarr.Array):
        return []
    about, _ = ome_attributes(node)
    if "plate" in about:
        wells = [str(well["path"]) for well in about["plate"].get("wells", ())]
        return [
            field
            for well in wells
            if well in node
            for field in fields_of(Place(place.root, _joined(place.inside, well)))
        ]
    images = [str(image["path"]) for image in about.get("well", {}).get("images", ())]
    return [_joined(place.inside, image) for image in images if image in node]


def _joined(*parts: str) -> str:
    return "/".join(filter(None, parts))


def _numbered(group: Any, about: dict[str, Any]) -> list[str]:
    """Return the groups of the images of a converted file, as bioformats2raw numbers them."""
    import zarr

    listed: list[str] = []
    if "OME" in group and isinstance(group["OME"], zarr.Group):
        listed = list(ome_attributes(group["OME"])[0].get("series", ()))
    if not listed and ("bioformats2raw.layout" in about or "0" in group):
        count = 0
        while str(count) in group and isinstance(group[str(count)], zarr.Group):
            listed.append(str(count))
            count += 1
    return [name for name in listed if name in group]


def _further_note(paths: Sequence[str], place: Place) -> str:
    if not paths:
        return ""
    more = "one more image" if len(paths) == 1 else f"{len(paths)} more images"
    return f"{place.name} holds {more}, not used; give {paths[0]} for the next."


def _plate_sentence(plate: Any, group: Any, place: Place) -> str:
    """Return what to give instead of a plate."""
    wells = [str(well["path"]) for well in plate.get("wells", ())]
    listed = ", ".join(wells[:_LISTED]) + (" …" if len(wells) > _LISTED else "")
    for well in wells:
        if well in group:
            about, _ = ome_attributes(group[well])
            images = about.get("well", {}).get("images", ()) or [{"path": "0"}]
            return (
                f"{place.name} is a plate of {len(wells)} wells ({listed}); give one of its "
                f"images, such as {place.path(well, str(images[0]['path']))}."
            )
    return f"{place.name} is a plate without wells; convert it again."


def _read_well(well: Any, place: Place) -> ImageFile:
    images = [str(image["path"]) for image in well.get("images", ())]
    if len(images) != 1:
        listed = ", ".join(images[:_LISTED])
        raise InputError(
            f"{place.name} is a well of {len(images)} images ({listed}); give one of them, such as "
            f"{place.path(*images[:1])}."
        )
    return read_zarr(Place(place.root, _joined(place.inside, images[0])))


# -- plain arrays -----------------------------------------------------------------------------


def _read_array(array: Any, place: Place) -> ImageFile:
    """Open an array: as a resolution of the image it belongs to, or by its own names of axes."""
    import zarr

    parent, _, name = place.inside.rpartition("/")
    if name:
        try:
            group = zarr.open_group(place.root, path=parent or None, mode="r")
        except (FileNotFoundError, KeyError, ValueError):
            group = None
        about, version = ({}, "") if group is None else ome_attributes(group)
        for entry in about.get("multiscales", ()):
            found, _ = read_multiscale(entry, version)
            if name in found.paths and found.axes and len(found.axes) == array.ndim:
                number = found.paths.index(name)
                return ImageFile(array, found.axes, **_placed(found, number))
    return ImageFile(array, _named_axes(array))


def _named_axes(array: Any) -> str | None:
    """Return the axes that an array's dimension names tell, as xarray writes them."""
    names = getattr(array.metadata, "dimension_names", None) or array.attrs.get("_ARRAY_DIMENSIONS")
    return (letters_of(names) or None) if names and len(names) == array.ndim else None


def _read_group(group: Any, place: Place) -> ImageFile:
    """Open the only image in a group without metadata; coordinates along axes are none."""
    arrays = dict(group.arrays())
    images = [name for name, array in arrays.items() if array.ndim > 1]
    if len(images) != 1:
        raise InputError(
            f"The zarr {place.name} is not an OME-Zarr image; give the path of one array inside it"
            + (f", such as {place.path(images[0])}." if images else ".")
        )
    array = arrays[images[0]]
    axes = _named_axes(array)
    if axes is None:
        return ImageFile(array)
    names = getattr(array.metadata, "dimension_names", None) or array.attrs["_ARRAY_DIMENSIONS"]
    steps = [_step_along(arrays.get(str(name))) for name in names]
    if not any(step != (1.0, 0.0) for step in steps):
        return ImageFile(array, axes)
    scale, translate = (tuple(part) for part in zip(*steps, strict=True))
    units = tuple(_unit_along(arrays.get(str(name))) for name in names)
    return ImageFile(array, axes, scale, units, translate=translate if any(translate) else None)


def _step_along(coordinates: Any) -> tuple[float, float]:
    """Return step and start of evenly spaced coordinates; 1 and 0 for others."""
    if coordinates is None or coordinates.ndim != 1 or coordinates.dtype.kind not in "iuf":
        return 1.0, 0.0
    values = np.asarray(coordinates[:], float)
    steps = np.diff(values)
    if not len(steps) or not steps[0] > 0 or not np.allclose(steps, steps[0], rtol=1e-3):
        return 1.0, 0.0
    return float(values[-1] - values[0]) / len(steps), float(values[0])


def _unit_along(coordinates: Any) -> str:
    text = None if coordinates is None else coordinates.attrs.get("units")
    return unit_of(text if isinstance(text, str) else None)


# -- several resolutions ----------------------------------------------------------------------


def _read_multiscale(group: Any, about: dict[str, Any], version: str, place: Place) -> ImageFile:
    """Open an OME-Zarr image at all its resolutions that are there and fit."""
    found, fault = read_multiscale(about, version)
    there = [number for number, path in enumerate(found.paths) if path in group]
    if 0 not in there:
        raise InputError(
            f"{place.name} lacks the image {found.paths[0]!r} that its metadata names; convert it "
            "again."
        )
    levels = {number: group[found.paths[number]] for number in there}
    axes = found.axes or _named_axes(levels[0])
    note = ""
    if fault:
        note = (
            f"The metadata of {place.name} breaks the rules of OME-Zarr {version} ({fault}), so "
            f"its {'axes and ' if axes is None else ''}pixel sizes are not known."
        )
    missing = [found.paths[number] for number in range(len(found.paths)) if number not in levels]
    if missing:
        listed = ", ".join(map(repr, missing))
        note = sentences(note, f"{place.name} lacks its lower resolutions {listed}.")
    data = levels[0]
    if found.axes is None or len(found.axes) != data.ndim:
        kept = tuple(levels.values())
        return ImageFile(data, axes, note=note, levels=kept if len(kept) > 1 else ())
    odd = [number for number in there[1:] if not _is_as_said(levels, found, number)]
    for number in odd:
        del levels[number]
    if odd:
        listed = ", ".join(repr(found.paths[number]) for number in odd)
        note = sentences(
            note,
            f"The resolution {listed} of {place.name} is not used, because its size is not what "
            "its metadata says.",
        )
    kept = tuple(levels.values())
    return ImageFile(
        data, found.axes, note=note, levels=kept if len(kept) > 1 else (), **_placed(found, 0)
    )


def _is_as_said(levels: dict[int, Any], found: Multiscale, number: int) -> bool:
    """Whether a lower resolution has the size that its scale in the metadata tells."""
    if not found.scales or found.axes is None:
        return True
    for axis, letter in enumerate(found.axes):
        if letter not in "YX":
            continue
        factor = found.scales[number][axis] / found.scales[0][axis]
        expected = levels[0].shape[axis] / factor
        if abs(levels[number].shape[axis] - expected) > max(1.0, 0.02 * expected):
            return False
    return True


def _placed(found: Multiscale, number: int) -> dict[str, Any]:
    """Return scale, units and position of a resolution."""
    if not found.scales:
        return {}
    start = found.translations[number]
    return {
        "scale": found.scales[number],
        "units": found.units,
        "translate": start if any(start) else None,
    }
