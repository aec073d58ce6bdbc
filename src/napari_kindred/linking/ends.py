"""Ends of tracks: objects that were last seen a frame or more ago and wait for their next."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from .objects import count_pairs, diameters

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .objects import FrameObjects


@dataclass(frozen=True)
class Ends:
    """Objects that wait for a link; see :class:`.FrameObjects` for what they have in common.

    Attributes
    ----------
    node : ndarray of int, shape (m,)
        Number of the object, counted over all frames.
    age : ndarray of int, shape (m,)
        Frames since it was seen: 1 is the previous frame.
    area, centroid, at_edge
        As measured in its frame.
    offset : ndarray of float, shape (m, d)
        Displacement that is expected since then, in units of ``spacing``.
    velocity : ndarray of float, shape (m, d)
        Displacement of the last link beyond the drift, per frame.
    pixels : ndarray of int32, shape (P, d)
        Coordinates of all pixels, in the frame where they were seen.
    which : ndarray of int32, shape (P,)
        Place of the end that a pixel belongs to.
    """

    node: NDArray[np.int64]
    age: NDArray[np.int64]
    area: NDArray[np.float64]
    centroid: NDArray[np.float64]
    offset: NDArray[np.float64]
    velocity: NDArray[np.float64]
    pixels: NDArray[np.int32]
    which: NDArray[np.int32]
    spacing: NDArray[np.float64]
    at_edge: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.node)

    @classmethod
    def of(cls, objects: FrameObjects, first_node: int) -> Ends:
        """Return the objects of a frame as ends."""
        pixels, which = objects.pixels()
        n = len(objects)
        return cls(
            np.arange(first_node, first_node + n),
            np.ones(n, np.int64),
            objects.area,
            objects.centroid,
            np.zeros_like(objects.centroid),
            np.zeros_like(objects.centroid),
            pixels,
            which,
            objects.spacing,
            objects.at_edge,
        )

    @property
    def places(self) -> NDArray[np.float64]:
        """Where they are expected, (m, d)."""
        return self.centroid + self.offset

    @property
    def diameter(self) -> NDArray[np.float64]:
        """Diameters of circles or balls of the same size."""
        return diameters(self.area, self.spacing)

    def moved(self, by: NDArray[np.float64]) -> Ends:
        """Return them displaced by (d,) or (m, d)."""
        return replace(self, offset=self.offset + by)

    def where(self, kept: NDArray[np.bool_]) -> Ends:
        """Return some of them."""
        place = np.cumsum(kept, dtype=np.int32) - np.int32(1)
        pixel = kept[self.which] if len(kept) else np.zeros(0, bool)
        return replace(
            self,
            node=self.node[kept],
            age=self.age[kept],
            area=self.area[kept],
            centroid=self.centroid[kept],
            offset=self.offset[kept],
            velocity=self.velocity[kept],
            at_edge=self.at_edge[kept],
            pixels=self.pixels[pixel],
            which=place[self.which[pixel]],
        )

    def older(self) -> Ends:
        """Return them one frame later."""
        return replace(self, age=self.age + 1)

    def followed_by(self, other: Ends) -> Ends:
        """Return both."""
        names = ("node", "age", "area", "centroid", "offset", "velocity", "at_edge", "pixels")
        both = {name: np.concatenate([getattr(self, name), getattr(other, name)]) for name in names}
        which = np.concatenate([self.which, other.which + np.int32(len(self))])
        return replace(self, **both, which=which)

    def coverage(self, objects: FrameObjects) -> float:
        """Return how much of each object one end covers, a sum of shares."""
        _, column, shared = self.overlaps(objects)
        most = np.zeros(len(objects))
        np.maximum.at(most, column, shared)
        return float((most / objects.area).sum())

    def overlaps(
        self, objects: FrameObjects
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """Return places of ends, objects they overlap where they are expected, and pixels."""
        steps = np.rint(self.offset / self.spacing).astype(np.int32)
        place = self.pixels + steps[self.which]
        inside = ((place >= 0) & (place < objects.labels.shape)).all(1)
        found = objects.labels[tuple(place[inside].T)]
        hit = found > 0
        return count_pairs(self.which[inside][hit], found[hit] - 1, len(self), max(len(objects), 1))
