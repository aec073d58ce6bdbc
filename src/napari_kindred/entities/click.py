"""The object that a click, or a box, means: for adding what a run missed.

A clicked pixel's feature is a line, and the connected pixels within 45 degrees of it are its
object.  What a run missed is often too small, too large or too faint at the scale of the run, so
the surroundings of the click are looked at at several scales; what comes out alike at different
scales is most likely an object.  A box tells the size, so that one scale, and how well a region
fills the box, decide.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from ..core.errors import InputError
from .auto_scale import LARGEST, TARGET
from .blocks import BLOCK
from .frame_tasks import Frame
from .looks import CORE, HALO, Candidate, Looks
from .regions import (
    Prompt,
    Region,
    as_region,
    clipped_region,
    ellipse_in,
    joined_regions,
    nearer_region,
    obeys,
    round_region,
    suggested_radius,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ..images.stack import ImageStack
    from .auto_scale import Pixels
    from .network import EntityNetwork

    Mask = NDArray[np.bool_]
    Point = tuple[float, float]
    Box = tuple[float, float, float, float]

OFFERED = 3
"""Outlines that are offered for a click."""

ALIKE = 0.7
"""IoU above which two outlines are one offer."""

SIZE = 0.3
"""Weight of the size that several points suggest, per factor of e."""


COVERS = 1.0
"""What is taken off the score of a region that lies in other objects."""

USUAL = 0.3
"""Weight of the usual size of the objects that are there, per factor of e."""

ENOUGH = 8
"""Objects from which on their usual size counts."""


INSIDE = 0.5
"""Weight of the share of a region that lies in the box, next to how well it fills the box."""

FILLS = 0.6
"""Share of the box that the region's own box covers, below which the box's ellipse is taken."""

GRID = 48
"""Rows and columns by which regions are compared."""


@dataclass(frozen=True)
class Outline:
    """An object: ``mask`` (h, w) bool, whose first pixel is ``corner`` (row, column) of the plane.

    ``score`` orders the outlines offered for one click, and means nothing beyond that.
    """

    mask: Mask
    corner: tuple[int, int]
    score: float

    @property
    def place(self) -> tuple[slice, slice]:
        """Rows and columns of the plane that the mask covers."""
        (top, left), (height, width) = self.corner, self.mask.shape
        return slice(top, top + height), slice(left, left + width)


class Clicker:
    """Finds objects of one plane from clicks; what the network says of it is kept.

    Parameters
    ----------
    network : EntityNetwork
        From :func:`~napari_kindred.entities.checkpoint.load_network`.
    pixels : ndarray of float32, shape (H, W, C), or a reader of windows of one
        Normalised as for a run: :func:`~napari_kindred.images.stack.normalise`.

    Examples
    --------
    >>> clicker = Clicker(network, normalise(pixels))  # doctest: +SKIP
    >>> outline = clicker(Prompt(inside=((120, 80),)))[0]  # doctest: +SKIP
    >>> labels[outline.place][outline.mask] = labels.max() + 1  # doctest: +SKIP
    """

    def __init__(self, network: EntityNetwork, pixels: Pixels) -> None:
        self._looks = Looks(network, pixels)

    @classmethod
    def of_frame(
        cls, network: EntityNetwork, frames: ImageStack, index: tuple[int, ...]
    ) -> Clicker:
        """Return the clicker of a frame, which is read region by region if it is large."""
        return cls(network, Frame(frames, index, BLOCK).pixels)

    def knows(self, y: float, x: float) -> bool:
        """Whether a click here needs no network any more."""
        return self._looks.knows(y, x)

    def __call__(self, prompt: Prompt, labels: NDArray[Any] | None = None) -> list[Outline]:
        """Return up to three outlines of different sizes, the likeliest first.

        ``labels`` (H, W) are the objects that are there already: what covers others is unlikely.

        Raises
        ------
        InputError
            If a point or the box lies outside the plane.
        """
        height, width = self._looks.shape
        for y, x in (*prompt.inside, *prompt.outside):
            if not (-0.5 <= y < height and -0.5 <= x < width):
                raise InputError("The click is outside of the image; click inside of it.")
        if prompt.box is not None:
            return self._in_box(prompt.box)
        return self._at_points(prompt, labels)

    # -- points ----------------------------------------------------------------------------

    def _at_points(self, prompt: Prompt, labels: NDArray[Any] | None) -> list[Outline]:
        found = [
            [one for look in self._looks.around(y, x) for one in look.candidates(y, x)]
            for y, x in prompt.inside
        ]
        regions = [as_region(one) for each in found for one in each]
        regions += joined_regions(found)
        if prompt.outside:
            regions += [nearer_region(one, prompt) for one in regions]
        single = len(prompt.inside) + len(prompt.outside) == 1
        if not single:
            regions.append(round_region(prompt))
        regions = [one for one in regions if obeys(one, prompt)]
        if not regions:
            return []
        y, x, weights = _rings(prompt.inside[0], self._looks.shape)
        samples = np.stack([one.holds(y, x) for one in regions]).astype(np.float32)
        areas = samples @ weights
        shared = (samples * weights) @ samples.T
        iou = shared / np.maximum(areas[:, None] + areas - shared, 1e-6)
        scores = np.array([one.bonus for one in regions]) + _agreement(iou, regions)
        if labels is not None:
            others = _others(labels, prompt.inside[0], y, x)
            scores -= COVERS * (samples @ (weights * others)) / np.maximum(areas, 1e-6)
            if single:
                usual = _usual_radius(labels)
                if usual:
                    scores -= USUAL * np.abs(np.log(np.sqrt(areas.clip(1) / np.pi) / usual))
        if not single:
            scores -= SIZE * np.abs(
                np.log(np.sqrt(areas.clip(1) / np.pi) / suggested_radius(prompt))
            )
        outlines = []
        for number in _different(scores, iou):
            outline = self._drawn(regions[number], float(scores[number]), prompt.inside[0])
            if outline is not None:
                outlines.append(outline)
        return outlines

    def _drawn(self, region: Region, score: float, point: Point | None) -> Outline | None:
        """Return a region's pixels: the connected ones at a point, without holes."""
        top, left = (max(int(at) - 1, 0) for at in region.bounds[:2])
        bottom, right = (
            min(int(np.ceil(at)) + 1, size)
            for at, size in zip(region.bounds[2:], self._looks.shape, strict=True)
        )
        if bottom <= top or right <= left:
            return None
        y, x = np.mgrid[top:bottom, left:right]
        parts, count = ndimage.label(region.smooth(y, x))
        if not count:
            return None
        here = 0
        if point is not None:
            row, column = round(point[0]) - top, round(point[1]) - left
            if 0 <= row < parts.shape[0] and 0 <= column < parts.shape[1]:
                here = int(parts[row, column])
        here = here or int(np.bincount(parts.ravel())[1:].argmax()) + 1
        (place,) = ndimage.find_objects(parts == here, 1)
        mask = ndimage.binary_fill_holes(parts[place] == here)
        return Outline(mask, (top + place[0].start, left + place[1].start), score)

    # -- box -------------------------------------------------------------------------------

    def _in_box(self, box: Box) -> list[Outline]:
        ends = [
            sorted((min(max(box[axis], 0), size), min(max(box[axis + 2], 0), size)))
            for axis, size in enumerate(self._looks.shape)
        ]
        (top, bottom), (left, right) = ends
        if bottom - top < 2 or right - left < 2:
            raise InputError("The box is too small; drag it around the whole object.")
        y, x = np.meshgrid(
            top + (np.arange(GRID) + 0.5) * (bottom - top) / GRID - 0.5,
            left + (np.arange(GRID) + 0.5) * (right - left) / GRID - 0.5,
            indexing="ij",
        )
        clipped = (top, left, bottom, right)
        ellipse = ellipse_in(clipped)
        cell = (bottom - top) * (right - left) / GRID**2
        best, most = ellipse, -np.inf
        for candidate in self._box_candidates(clipped):
            parts, count = ndimage.label(candidate.holds(y, x))
            if not count:
                continue
            sizes = np.bincount(parts.ravel())[1:]
            (place,) = ndimage.find_objects(parts == sizes.argmax() + 1, 1)
            fills = np.prod([part.stop - part.start for part in place]) / GRID**2
            inside = sizes.sum() * cell / max(candidate.area, 1.0)
            score = float(fills + INSIDE * min(inside, 1.0))
            if fills > FILLS and score > most:
                best, most = clipped_region(as_region(candidate), clipped), score
        outline = self._drawn(best, most, None)
        return [] if outline is None else [outline]

    def _box_candidates(self, box: Box) -> list[Candidate]:
        """Return what may be the object in a box, from looks at scales that suit its size."""
        top, left, bottom, right = box
        height, width = bottom - top, right - left
        usual = TARGET / np.sqrt(0.7 * height * width)
        found: list[Candidate] = []
        for scale in (usual / 1.7, usual, usual * 1.7):
            # A cut-out is as large as that of a click, and something around the box is seen.
            side = CORE + 2 * HALO
            scale = min(scale, LARGEST, (side - CORE) / max(height, width))
            around = (side - max(height, width) * scale) / 2 / scale
            rows, columns = (
                slice(max(int(first - around), 0), min(int(np.ceil(last + around)), size))
                for first, last, size in zip(
                    (top, left), (bottom, right), self._looks.shape, strict=True
                )
            )
            look = self._looks.look(rows, columns, scale)
            for share_y, share_x in ((0.5, 0.5), (0.3, 0.3), (0.3, 0.7), (0.7, 0.3), (0.7, 0.7)):
                found += look.candidates(top + share_y * height, left + share_x * width)
        return found


def _rings(point: Point, shape: tuple[int, int]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return places on rings around a point, further apart the further away, and their areas."""
    edges = np.geomspace(0.5, max(8.0, float(max(shape))), GRID + 1)
    radii = np.sqrt(edges[1:] * edges[:-1])
    angles = 2 * np.pi * np.arange(GRID) / GRID
    y = point[0] + np.outer(radii, np.sin(angles)).ravel()
    x = point[1] + np.outer(radii, np.cos(angles)).ravel()
    areas = np.repeat(np.pi * (edges[1:] ** 2 - edges[:-1] ** 2) / GRID, GRID)
    inside = (y >= -0.5) & (x >= -0.5) & (y < shape[0] - 0.5) & (x < shape[1] - 0.5)
    return y[inside], x[inside], areas[inside].astype(np.float32)


def _others(labels: NDArray[Any], point: Point, y: NDArray[Any], x: NDArray[Any]) -> Mask:
    """Tell which places lie in objects, without the one at a point."""
    here = labels[round(point[0]), round(point[1])]
    there = labels[np.rint(y).astype(int), np.rint(x).astype(int)]
    return np.asarray((there > 0) & (there != here))


def _usual_radius(labels: NDArray[Any]) -> float:
    """Return the median radius of a plane's objects, 0 for a few."""
    areas = np.unique(labels[labels > 0], return_counts=True)[1]
    return float(np.sqrt(np.median(areas) / np.pi)) if len(areas) >= ENOUGH else 0.0


def _agreement(iou: NDArray[Any], regions: Sequence[Region]) -> NDArray[Any]:
    """Return how well each region agrees with the two most alike of other scales, 0 … 1."""
    scales = np.array([one.scale for one in regions])
    best = []
    for scale in np.unique(scales):
        there = iou[:, scales == scale].max(1)
        there[scales == scale] = 0
        best.append(there)
    top = np.sort(np.stack(best), axis=0)[-2:]
    return np.asarray(top.sum(0) / 2)


def _different(scores: NDArray[Any], iou: NDArray[Any]) -> list[int]:
    """Return the best region, and the next ones that differ from it and each other."""
    chosen: list[int] = []
    for number in np.argsort(-scores, kind="stable").tolist():
        if all(iou[number, other] <= ALIKE for other in chosen):
            chosen.append(number)
        if len(chosen) == OFFERED:
            break
    return chosen
