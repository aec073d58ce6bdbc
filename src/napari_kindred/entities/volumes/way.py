"""How the slices of an image become objects: in 3-D, stitched through z, or each by itself."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ...core.errors import InputError, OptionError
from ...images.ome import micrometers_in
from ..config import steps_in

if TYPE_CHECKING:
    from ...images.stack import ImageStack
    from ..config import EntityConfig
    from ..network import EntityNetwork

Spacing = tuple[float, float, float]

FEWEST = 8
"""Number of slices from which objects are sought in 3-D."""

FLATTEST = 8.0
"""Largest step along z over that in the plane with which objects are sought in 3-D."""

UNKNOWN = (
    "The step along z is not known and counts as equal to that in the plane; spacing='z, y, x' "
    "sets it."
)


@dataclass(frozen=True, slots=True)
class Way:
    """How slices become objects.

    Attributes
    ----------
    name : {"slices", "z", "3-D"}
        Each slice by itself, stitched through z, or in 3-D.
    spacing : tuple of float
        Steps along z, y and x.
    notes : tuple of str
        Sentences for the user.
    """

    name: Literal["slices", "z", "3-D"]
    spacing: Spacing = (1.0, 1.0, 1.0)
    notes: tuple[str, ...] = ()

    @property
    def anisotropy(self) -> float:
        """Step along z over the finer step in the plane."""
        return self.spacing[0] / min(self.spacing[1:])


def way_of(config: EntityConfig, frames: ImageStack, network: EntityNetwork) -> Way:
    """Choose how the slices of an image become objects.

    Raises
    ------
    InputError
        If objects are asked for through slices that the image lacks.
    OptionError
        If they are asked for in 3-D of a network that cannot.
    """
    if "Z" not in frames.leading_axes:
        if config.link in ("z", "3-D"):
            raise InputError(
                f"link={config.link!r} needs slices, but the axes are {frames.axes}; name the axis "
                "of the slices Z in axes."
            )
        return Way("slices")
    if config.link == "off":
        return Way("slices")
    spacing, notes = spacing_of(config, frames)
    way = Way("3-D", spacing, notes)
    depth = frames.leading_shape[frames.leading_axes.index("Z")]
    why = ""
    if config.link == "z":
        return Way("z", spacing, notes)
    if network.config.features == "content":
        if config.link == "3-D":
            raise OptionError(
                "link='3-D' needs weights that predict objects' centres, which these do not; "
                "choose link='z'."
            )
        why = "these weights do not predict objects' centres"
    elif depth < 2 or (config.link == "auto" and depth < FEWEST):
        why = "there are fewer than 8 slices" if depth > 1 else "there is one slice"
    elif config.link == "auto" and way.anisotropy > FLATTEST:
        why = f"slices are {way.anisotropy:.3g} times as far apart as pixels"
    if why:
        note = f"Objects are stitched through z instead of sought in 3-D: {why}."
        return Way("z", spacing, (*notes, note))
    return way


def spacing_of(config: EntityConfig, frames: ImageStack) -> tuple[Spacing, tuple[str, ...]]:
    """Return the steps along z, y and x, and what the user should know about them."""
    if config.spacing is not None:
        return steps_in(config.spacing), ()
    if frames.scale is None:
        return (1.0, 1.0, 1.0), (UNKNOWN,)
    places = [frames.output_axes.index(axis) for axis in "ZYX"]
    units = ["pixel" if frames.units is None else frames.units[place] for place in places]
    # A negative step only turns an axis round.
    steps = [
        abs(float(frames.scale[place])) * (micrometers_in(unit) or 1.0)
        for place, unit in zip(places, units, strict=True)
    ]
    if not all(step > 0 and math.isfinite(step) for step in steps):
        return (1.0, 1.0, 1.0), (UNKNOWN,)
    measured = [micrometers_in(unit) is not None for unit in units]
    plain = not any(measured) and len(set(steps)) == 1
    if plain or (any(measured) and not all(measured)):
        return (min(steps[1:]), steps[1], steps[2]), (UNKNOWN,)
    return (steps[0], steps[1], steps[2]), ()
