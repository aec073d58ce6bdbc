"""What a click or a box means, and regions that may be it, cut and joined as the points ask."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from .looks import Candidate

    Mask = NDArray[np.bool_]
    Point = tuple[float, float]
    Box = tuple[float, float, float, float]

WIDE, NARROW = 0.65, 0.5
"""Radius of an object over the distance of points inside it, and of one in- from one outside."""

CUT_OFF = 0.3
"""What is taken off the score of a region that had to be cut between points."""


@dataclass(frozen=True)
class Prompt:
    """What the user points at, in pixels of the plane.

    Attributes
    ----------
    inside, outside : tuple of (y, x)
        Places in the object, and beside it.
    box : (y0, x0, y1, x1), optional
        Box around the object, in place of points.
    """

    inside: tuple[Point, ...] = ()
    outside: tuple[Point, ...] = ()
    box: Box | None = None

    def __post_init__(self) -> None:
        if not self.inside and self.box is None:
            raise InputError("Click inside the object, or drag a box around it.")


@dataclass(frozen=True)
class Region:
    """A candidate, or one made from others: what it holds, where it may lie, and its score."""

    holds: Callable[[Any, Any], Mask]
    smooth: Callable[[Any, Any], Mask]
    bounds: Box
    bonus: float
    scale: float = 0.0
    """Scale that it was seen at; 0 if the network saw nothing."""


def as_region(one: Candidate) -> Region:
    """Return a candidate as a region."""
    return Region(one.holds, one.smooth, one.bounds, 0.0, one.look.steps[0])


def joined_regions(found: Sequence[Sequence[Candidate]]) -> list[Region]:
    """Return the regions at the first point and another together: they may be parts of one."""
    first, *others = found
    return [
        union_of(one, other)
        for one in first
        for other in (each for rest in others for each in rest)
        if one.look.steps == other.look.steps and one.look.corner == other.look.corner
    ]


def union_of(one: Candidate, other: Candidate) -> Region:
    """Return two candidates of one look as one region."""
    low, high = np.minimum(one.bounds, other.bounds), np.maximum(one.bounds, other.bounds)
    return Region(
        lambda y, x: one.holds(y, x) | other.holds(y, x),
        lambda y, x: one.smooth(y, x) | other.smooth(y, x),
        (float(low[0]), float(low[1]), float(high[2]), float(high[3])),
        -CUT_OFF,
        one.look.steps[0],
    )


def nearer_region(region: Region, prompt: Prompt) -> Region:
    """Cut off what is nearer to a point outside than to any inside."""

    def mine(y: Any, x: Any) -> Mask:
        near, far = (
            np.min([np.hypot(y - row, x - column) for row, column in points], axis=0)
            for points in (prompt.inside, prompt.outside)
        )
        return np.asarray(near < far)

    return Region(
        lambda y, x: region.holds(y, x) & mine(y, x),
        lambda y, x: region.smooth(y, x) & mine(y, x),
        region.bounds,
        region.bonus - CUT_OFF,
        region.scale,
    )


def clipped_region(region: Region, box: Box) -> Region:
    """Cut off what lies outside a box."""
    low, high = np.maximum(region.bounds, box), np.minimum(region.bounds, box)
    top, left, bottom, right = box

    def within(y: Any, x: Any) -> Mask:
        return np.asarray((y >= top - 0.5) & (y < bottom) & (x >= left - 0.5) & (x < right))

    return Region(
        lambda y, x: region.holds(y, x) & within(y, x),
        lambda y, x: region.smooth(y, x) & within(y, x),
        (float(low[0]), float(low[1]), float(high[2]), float(high[3])),
        region.bonus,
    )


def ellipse_in(box: Box) -> Region:
    """Return the ellipse in a box."""
    top, left, bottom, right = box

    def holds(y: Any, x: Any) -> Mask:
        across = (y + 0.5 - (top + bottom) / 2) / max((bottom - top) / 2, 0.5)
        along = (x + 0.5 - (left + right) / 2) / max((right - left) / 2, 0.5)
        return np.asarray(across**2 + along**2 <= 1)

    return Region(holds, holds, box, 0.0)


def suggested_radius(prompt: Prompt) -> float:
    """Return the radius that the distances between several points suggest, pixels."""
    y, x = prompt.inside[0]
    if prompt.outside:
        return NARROW * max(min(math.hypot(y - a, x - b) for a, b in prompt.outside), 2.0)
    return WIDE * max(*(math.hypot(y - a, x - b) for a, b in prompt.inside), 2.0)


def round_region(prompt: Prompt) -> Region:
    """Return a disc, or an ellipse along two points, for where the network sees nothing."""
    y0, x0 = prompt.inside[0]
    if prompt.outside:
        reach = 1.2 * suggested_radius(prompt)

        def holds(y: Any, x: Any) -> Mask:
            return np.asarray(np.hypot(y - y0, x - x0) <= reach)
    else:
        y1, x1 = prompt.inside[-1]
        reach = 2 * suggested_radius(prompt)

        def holds(y: Any, x: Any) -> Mask:
            return np.asarray(np.hypot(y - y0, x - x0) + np.hypot(y - y1, x - x1) <= reach)

    return Region(holds, holds, (y0 - reach, x0 - reach, y0 + reach, x0 + reach), 0.0)


def obeys(region: Region, prompt: Prompt) -> bool:
    """Whether a region holds all points inside and none outside."""
    signs = [(prompt.inside, True), (prompt.outside, False)]
    for points, wanted in signs:
        if points:
            y, x = np.array(points, float).T
            if (region.holds(y, x) != wanted).any():
                return False
    return True
