"""Shapes and intensities of objects, chosen by scikit-image's names, as a table."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ...core.errors import InputError, OptionError
from ...images.arrays import as_array
from ..atomic import as_spreadsheet
from ..tables import steps_of
from .objects import Objects, position

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from ..base import Result
    from . import Named

LENGTHS = (
    "perimeter", "perimeter_crofton", "axis_major_length", "axis_minor_length",
    "equivalent_diameter_area", "feret_diameter_max",
)  # fmt: skip
AREAS = ("area", "area_bbox", "area_convex", "area_filled")
PLACES = ("centroid", "centroid_weighted")
PLAIN = ("bbox", "eccentricity", "euler_number", "extent", "orientation", "solidity")
INTENSITIES = (
    "intensity_max", "intensity_mean", "intensity_median", "intensity_min", "intensity_std",
)  # fmt: skip

PROPERTIES = tuple(sorted((*AREAS, *LENGTHS, *PLACES, *PLAIN, *INTENSITIES)))
"""All that can be measured, by the names of ``skimage.measure.regionprops``."""

SHAPES = (
    "area", "centroid", "perimeter", "axis_major_length", "axis_minor_length", "eccentricity",
    "solidity", "orientation",
)  # fmt: skip
"""What is measured if nothing is chosen, with the intensities that follow if there is an image."""

OF_PIXELS = ("intensity_mean", "intensity_std", "intensity_min", "intensity_max")

_SQUARE = ("perimeter", "perimeter_crofton")
"""What has no meaning for pixels that are not square."""

_FLAT = (*_SQUARE, "eccentricity", "orientation")
"""What only planes have."""

_FROM_TABLE = ("score", "class", "name", "track_id", "parent_id")
"""Columns of the result's own table that go along."""


def write(path: Path, results: Sequence[Named], options: Mapping[str, Any]) -> None:
    """Write a row per object and frame as CSV."""
    ((_stem, result),) = results
    table = measure_objects(result, options.get("image"), options.get("properties"))
    as_spreadsheet(table)(path)


def measure_objects(
    result: Result, image: Any = None, properties: Sequence[str] | None = None
) -> pd.DataFrame:
    """Measure the objects of a result; see :meth:`.Segmentation.measure`."""
    source = _image_of(result, image, properties)
    objects = Objects(result)
    letters = "ZYX" if objects.are_volumes else "YX"
    spacing, unit = _spacing(letters, result)
    chosen = _chosen(properties, source is not None, spacing)
    leading = result.axes[: -len(letters)]
    tables = []
    for number, index in enumerate(np.ndindex(*objects.labels.shape[: len(leading)])):
        # Labels are those of all channels: an axis C has length 1.
        place = {letter: at for letter, at in position(leading, index).items() if letter != "C"}
        pixels = None if source is None else source.frame(place, letters)
        table = _measure(np.asarray(objects.labels[index]), pixels, chosen, spacing)
        rows = objects.rows(number)
        for name in _FROM_TABLE:
            if name in objects.table:
                table[name] = [rows.get(label, {}).get(name) for label in table["label"]]
        if index:
            table.insert(1, "frame", number)
        tables.append(table)
    whole = pd.concat(tables, ignore_index=True)
    whole = whole.rename(columns={name: _named(str(name), letters, unit) for name in whole})
    return whole.rename(columns={"label": "index"})


def _spacing(letters: str, result: Result) -> tuple[tuple[float, ...], str]:
    """Return the size of a pixel or voxel and its unit; 1 px each if it is not calibrated."""
    steps = steps_of(result.axes, result.scale, result.units)
    units = {steps[letter][1] for letter in letters if letter in steps}
    if len(units) == 1 and all(letter in steps for letter in letters):
        return tuple(steps[letter][0] for letter in letters), units.pop()
    return (1.0,) * len(letters), "px"


def _chosen(
    properties: Sequence[str] | None, with_image: bool, spacing: tuple[float, ...]
) -> tuple[str, ...]:
    square = math.isclose(spacing[-2], spacing[-1], rel_tol=1e-5)
    left_out = _FLAT if len(spacing) > 2 else () if square else _SQUARE
    if properties is None:
        shapes = (name for name in SHAPES if name not in left_out)
        return (*shapes, *(OF_PIXELS if with_image else ()))
    for name in properties:
        if name not in PROPERTIES:
            raise OptionError(
                f"{name!r} is no property that is measured; choose among {', '.join(PROPERTIES)}."
            )
        if name in left_out and len(spacing) > 2:
            raise OptionError(f"{name!r} is a property of planes, not of volumes; leave it out.")
        if name in left_out:
            raise OptionError(
                f"{name!r} cannot be measured with pixels of {spacing[0]:g} by {spacing[1]:g}; "
                "leave it out, or resample the image to square pixels."
            )
    return tuple(dict.fromkeys(properties))


def _measure(
    labels: NDArray[Any],
    pixels: NDArray[Any] | None,
    chosen: Sequence[str],
    spacing: tuple[float, ...],
) -> pd.DataFrame:
    """Return a row per label of a plane or volume, of pixels (…, C)."""
    from skimage.measure import regionprops_table

    positive = np.where(labels > 0, labels, 0).astype(np.int64)
    table = regionprops_table(positive, pixels, ("label", *chosen), spacing=spacing)
    return pd.DataFrame(table).astype({"label": np.int64})


def _named(name: str, letters: str, unit: str) -> str:
    """Return the name of a column: scikit-image's, axes by their letter, its unit behind it."""
    base, _, number = name.rpartition("-")
    if base in PLACES:
        return f"{base}_{letters[int(number)].lower()} [{unit}]"
    if base == "bbox":
        end, axis = divmod(int(number), len(letters))
        return f"bbox_{letters[axis].lower()}_{('start', 'stop')[end]} [px]"
    if name in AREAS:
        return f"{name} [{unit}{'²³'[len(letters) - 2]}]" if unit != "px" else f"{name} [px]"
    if name in LENGTHS:
        return f"{name} [{unit}]"
    if name == "orientation":
        return f"{name} [rad]"
    return f"{base}_channel{number}" if base in INTENSITIES else name


class _Image:
    """An image whose frames are read with all their channels.

    Parameters
    ----------
    data : array-like
    axes : str
        One letter of ``TCZYXS`` per axis.
    """

    def __init__(self, data: Any, axes: str) -> None:
        self._data, self._axes = data, axes

    def frame(self, place: Mapping[str, int], letters: str) -> NDArray[Any]:
        """Return the pixels of a frame, its axes in the order of ``letters``, channels last."""
        rest = [letter for letter in self._axes if letter not in place]
        values = np.asarray(self._data[tuple(place.get(x, slice(None)) for x in self._axes)])
        order = [rest.index(letter) for letter in letters]
        others = [number for number in range(values.ndim) if number not in order]
        moved = values.transpose(order + others)
        channels = moved.reshape(*moved.shape[: len(letters)], -1)
        return channels[..., 0] if channels.shape[-1] == 1 else channels


def _image_of(result: Result, image: Any, properties: Sequence[str] | None) -> _Image | None:
    """Return the image that a result was made of, if it is given or still where it was."""
    wanted = properties is not None and any(
        name in INTENSITIES or name == "centroid_weighted" for name in properties
    )
    if image is None and properties is not None and not wanted:
        return None
    facts = result.provenance.get("input") or {}
    axes = str(facts.get("axes") or result.axes)
    if image is None:
        path = (result.provenance.get("file") or {}).get("path")
        if path is None or not Path(path).exists():
            if not wanted:
                return None
            where = f"is no longer at {path!r}" if path else "was not read from a file"
            raise InputError(f"The image {where}, so its intensities are not known; give it.")
        image = Path(path)
    if isinstance(image, str | Path):
        image = _opened(Path(image))
    return _fitting(image, axes, result)


def _opened(path: Path) -> Any:
    from ...images.image_folder import read_folder
    from ...images.readers import is_image, read_image

    return read_image(path) if is_image(path) else read_folder(path)


def _fitting(image: Any, axes: str, result: Result) -> _Image:
    """Return an image whose frames are those of the labels.

    Raises
    ------
    OptionError
        If it has other axes or another size.
    """
    data = as_array(image if isinstance(image, np.ndarray) else getattr(image, "data", image))
    # The axes that a file or layer guesses may be others than those that it was segmented with.
    for letters in (getattr(image, "axes", None), axes, result.axes):
        if letters and _fits(letters, tuple(data.shape), result):
            return _Image(data, letters)
    raise OptionError(
        f"The image of shape {tuple(data.shape)} is not that of labels of shape "
        f"{tuple(result.labels.shape)}; give the image that was segmented."
    )


def _fits(axes: str, shape: tuple[int, ...], result: Result) -> bool:
    """Return whether an image has the frames of the labels, whatever its channels."""
    if len(axes) != len(shape):
        return False
    sizes = {letter: size for letter, size in zip(axes, shape, strict=True) if letter not in "CS"}
    wanted = zip(result.axes, result.labels.shape, strict=True)
    return sizes == {letter: size for letter, size in wanted if letter != "C"}
