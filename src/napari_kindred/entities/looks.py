"""Cut-outs of a plane, looked at by the network at several scales, and kept for the next click."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import ndimage

from ..core.events import finish
from . import decode
from .auto_scale import LARGEST
from .resampling import GridMapping
from .segment import QUICK_TILE, iter_dense, lines_of, resize, to_maps

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from .auto_scale import Pixels
    from .network import EntityNetwork

    Mask = NDArray[np.bool_]

SCALES = tuple(0.25 * 1.8**step for step in range(6))
"""Scales of the cut-outs around a click, whose object may have any size."""

CORE, HALO = 64, 64
"""Pixels of a cut-out, after scaling, in which a click may lie, and those around it."""

KEPT = 96
"""Cut-outs that are kept, 0.6 MB each."""

CUTS = (0.6, 0.3, 0.1)
"""Foreground probabilities above which pixels may belong to the object."""

REACHES = (decode.FLAT_KERNEL, 1.3)
"""Distances from the object's line, in kernel widths: 45 degrees, and somewhat further."""

SMALLEST = 6
"""Pixels of a cut-out below which a candidate is a speck."""

STEPS = 6
"""Steps of mean-shift from the clicked pixel's line to that of its object."""


@dataclass(frozen=True)
class Candidate:
    """A region of a cut-out that may be the object, connected and without holes."""

    look: Look
    place: tuple[slice, slice]
    mask: Mask
    """Of ``place``, pixels of the cut-out."""

    @cached_property
    def bounds(self) -> tuple[float, float, float, float]:
        """First row and column, last row and column, in pixels of the plane."""
        rows, columns = self.place
        top, left = self.look.corner
        y, x = self.look.steps
        return (
            top + rows.start / y,
            left + columns.start / x,
            top + rows.stop / y,
            left + columns.stop / x,
        )

    @cached_property
    def area(self) -> float:
        """Pixels of the plane."""
        return float(np.count_nonzero(self.mask) / np.prod(self.look.steps))

    def holds(self, y: NDArray[np.float64], x: NDArray[np.float64]) -> Mask:
        """Tell which places of the plane, (y, x) in pixels, lie inside."""
        rows, columns = (
            np.floor((at + 0.5 - first) * step).astype(np.int64) - part.start
            for at, first, step, part in zip(
                (y, x), self.look.corner, self.look.steps, self.place, strict=True
            )
        )
        height, width = self.mask.shape
        within = (rows >= 0) & (columns >= 0) & (rows < height) & (columns < width)
        inside: Mask = within & self.mask[rows.clip(0, height - 1), columns.clip(0, width - 1)]
        return inside

    def smooth(self, y: NDArray[np.float64], x: NDArray[np.float64]) -> Mask:
        """Tell the same, with the edge between pixels of a cut-out that was shrunk."""
        places = [
            (at + 0.5 - first) * step - 0.5 - part.start
            for at, first, step, part in zip(
                (y, x), self.look.corner, self.look.steps, self.place, strict=True
            )
        ]
        values = self.mask.astype(np.float32)
        return np.asarray(ndimage.map_coordinates(values, places, order=1, mode="constant") >= 0.5)


@dataclass(frozen=True)
class Look:
    """What the network says of a cut-out, at its scaled pixels."""

    corner: tuple[int, int]
    """Row and column of its first pixel in the plane."""
    steps: tuple[float, float]
    """Scaled pixels per pixel of the plane."""
    cut: tuple[bool, bool, bool, bool]
    """Which of its sides, top, left, bottom, right, are not those of the plane."""
    foreground: NDArray[np.float32]
    maps: decode.Maps | None
    """Votes and widths; None for networks with content features."""
    lines: NDArray[np.float32] | None
    """Lines (h, w, D) of such networks."""

    def candidates(self, y: float, x: float) -> Iterator[Candidate]:
        """Yield what the object around a place (y, x) of the plane may be."""
        p = tuple(
            min(max(int((at + 0.5 - first) * step), 0), size - 1)
            for at, first, step, size in zip(
                (y, x), self.corner, self.steps, self.foreground.shape, strict=True
            )
        )
        distance = self._distance(p[0], p[1])
        for cut in CUTS:
            likely = self.foreground >= cut
            if not likely[p]:
                continue
            for reach in REACHES:
                parts, _ = ndimage.label(likely & (distance <= reach))
                here = parts[p]
                if not here:
                    continue
                (place,) = ndimage.find_objects(parts == here, 1)
                mask = parts[place] == here
                if np.count_nonzero(mask) >= SMALLEST and not self._is_cut(place):
                    yield Candidate(self, place, ndimage.binary_fill_holes(mask))

    def _is_cut(self, place: tuple[slice, slice]) -> bool:
        """Whether a region reaches a side where the plane goes on."""
        (rows, columns), (height, width) = place, self.foreground.shape
        ends = (rows.start == 0, columns.start == 0, rows.stop == height, columns.stop == width)
        return any(cut and end for cut, end in zip(self.cut, ends, strict=True))

    def _distance(self, row: int, column: int) -> NDArray[np.float32]:
        """Return how far each pixel's line is from that of the object at a pixel, in widths.

        Lines at an angle have a cosine of ``exp(-d^2 / 2)``.  The object's line is where
        mean-shift with the 45 degree kernel ends that begins at the pixel's own.
        """
        if self.maps is None:
            assert self.lines is not None  # noqa: S101 - one of the two is there
            line = self.lines[row, column]
            for _ in range(STEPS):
                cosine = self.lines @ line
                near = (np.abs(cosine) >= 0.5**0.5) & (self.foreground >= CUTS[-1])
                near[row, column] = True
                line = (self.lines[near] * np.sign(cosine[near])[:, None]).sum(0)
                line = line / max(float(np.linalg.norm(line)), 1e-6)
            cosine = np.abs(self.lines @ line).clip(1e-6, 1.0)
            return np.asarray(np.sqrt(-2 * np.log(cosine)), np.float32)
        votes, widths = self.maps.votes, self.maps.width
        place, width = votes[row, column].astype(np.float64), float(widths[row, column])
        likely = self.foreground >= CUTS[-1]
        likely[row, column] = True
        points, sizes, weights = votes[likely], np.log(widths[likely]), self.foreground[likely]
        for _ in range(STEPS):
            near = np.hypot(*(points - place).T) <= decode.FLAT_KERNEL * width
            if not near.any():
                break
            share = weights[near] / weights[near].sum()
            moved = share @ points[near]
            width = float(np.exp(share @ sizes[near]))
            if np.hypot(*(moved - place)) < 0.1 * width:
                place = moved
                break
            place = moved
        away: NDArray[np.float32] = np.hypot(votes[..., 0] - place[0], votes[..., 1] - place[1])
        return away / np.float32(width)


class Looks:
    """Looks at a plane around places of it, each made once."""

    def __init__(self, network: EntityNetwork, pixels: Pixels) -> None:
        self._network, self._pixels = network, pixels
        self.shape = (pixels.shape[0], pixels.shape[1])
        self._kept: OrderedDict[tuple[float, int, int], Look] = OrderedDict()

    def around(self, y: float, x: float, scales: tuple[float, ...] = SCALES) -> list[Look]:
        """Return looks at a place, the coarsest first."""
        return [self._at(y, x, scale) for scale in scales]

    def knows(self, y: float, x: float) -> bool:
        """Whether all looks at a place are there already."""
        return all(self._cell(y, x, scale) in self._kept for scale in SCALES)

    @staticmethod
    def _cell(y: float, x: float, scale: float) -> tuple[float, int, int]:
        return scale, int(y * scale // CORE), int(x * scale // CORE)

    def _at(self, y: float, x: float, scale: float) -> Look:
        cell = self._cell(y, x, scale)
        look = self._kept.get(cell)
        if look is None:
            parts = []
            for number, size in zip(cell[1:], self.shape, strict=True):
                first = round((number * CORE - HALO) / scale)
                last = round(((number + 1) * CORE + HALO) / scale)
                parts.append(slice(max(first, 0), min(max(last, 1), size)))
            look = self._kept[cell] = self.look(parts[0], parts[1], scale)
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(cell)
        return look

    def look(self, rows: slice, columns: slice, scale: float) -> Look:
        """Look at a cut-out of the plane at a scale."""
        network = self._network
        image = resize(self._pixels[rows, columns], min(scale, LARGEST))
        size = (image.shape[2], image.shape[3])
        dense = finish(iter_dense(network, image, QUICK_TILE))
        mapping = GridMapping.whole(size, 1.0, network.config.output_stride)
        maps = lines = None
        if network.config.features == "positional":
            maps = to_maps(dense, mapping)
            foreground = maps.foreground
        else:
            foreground = torch.sigmoid(-mapping.bilinear(dense[:1])[0]).numpy()
            flat = lines_of(network, dense).permute(2, 0, 1).contiguous().numpy()
            full = mapping.bilinear(flat).permute(1, 2, 0)
            lines = (full / full.norm(dim=-1, keepdim=True).clamp_min(1e-6)).numpy()
        height, width = rows.stop - rows.start, columns.stop - columns.start
        return Look(
            (rows.start, columns.start),
            (size[0] / height, size[1] / width),
            (
                rows.start > 0,
                columns.start > 0,
                rows.stop < self.shape[0],
                columns.stop < self.shape[1],
            ),
            foreground,
            maps,
            lines,
        )
