"""The pixels of a volume, read from the frames of an image."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from ...core.events import Progress
from ...images.frame import sharing_range
from ...images.intensity import Levels, is_wide, normalise_to, note_on, percentiles

if TYPE_CHECKING:
    from collections.abc import Generator

    from numpy.typing import NDArray

    from ...images.stack import FrameStats, ImageStack
    from .grid import Block, Shape

SAMPLED = 32
"""Most slices whose values make the range of a volume."""

SAMPLE = 1 << 16
"""Values of each of them."""


class StackVolume:
    """The volume at one point in time of an image: its frames along ``Z``.

    Attributes
    ----------
    shape : tuple of int
        Slices, rows and columns.
    time : int or None
    indices : list of tuple
        Each slice's position on the image's leading axes.
    range : tuple of float, or of tuple of float
        Values that become 0 and 1, of each channel if there are several; known after
        :meth:`iter_stats`.
    plain : bool
        Whether slices that are read by themselves have the same values.
    """

    def __init__(self, frames: ImageStack, time: int | None, room: int) -> None:
        self.frames, self.time = frames, time
        place = {"T": time}
        depth = frames.leading_shape[frames.leading_axes.index("Z")]
        self.indices: list[tuple[int, ...]] = [
            tuple(z if axis == "Z" else int(place[axis] or 0) for axis in frames.leading_axes)
            for z in range(depth)
        ]
        self.shape: Shape = (depth, *frames.plane_shape)
        self._stats: list[FrameStats] = []
        self.range: Levels = (0.0, 0.0)
        self.plain = True
        values = int(np.prod(self.shape)) * frames.depth
        self._fits = 4 * values <= room

    def iter_stats(self) -> Generator[Progress, None, None]:
        """Look through all slices for the range of their values, which they share."""
        found = []
        for number, index in enumerate(self.indices):
            yield Progress(number, len(self.indices), "reading")
            found.append(self.frames.frame_stats(index))
        self._stats = sharing_range(found)
        one = self._stats[0]
        ranges = [part.value_range for part in one.parts or (one,)]
        self.plain = not any(note_on(self.frames.dtype, each) for each in ranges)
        inside = [number for number, stats in enumerate(found) if not stats.constant]
        inside = inside or list(range(len(found)))
        chosen = {inside[int(place)] for place in np.linspace(0, len(inside) - 1, SAMPLED)}
        sample = []
        for number in sorted(chosen):
            slices = self._raw(number, slice(None), slice(None))
            step = max(1, int(np.sqrt(slices.size / SAMPLE)))
            sample.append(slices[::step, ::step].reshape(-1, slices.shape[2]))
        pooled = np.concatenate(sample)
        if not one.parts:
            self.range = _range_of(pooled)
            return
        low, high = zip(*map(_range_of, pooled.T), strict=True)
        self.range = (low, high)

    @property
    def constant(self) -> bool:
        """Whether it has the same value everywhere."""
        return not is_wide(self.range)

    @property
    def note(self) -> str:
        """Note for the user on the values of its first slice that has one."""
        return next((stats.note for stats in self._stats if stats.note and not stats.constant), "")

    def grey(self, block: Block) -> NDArray[np.float32]:
        """Return the intensities of a block as they are, the mean of the channels, (z, y, x)."""
        slices, rows, columns = block
        parts = [
            self._raw(number, rows, columns).mean(axis=2)
            for number in range(slices.start, slices.stop)
        ]
        return np.stack(parts)

    def brightness(self, block: Block) -> NDArray[np.float32]:
        """Return how bright a block is above the background, (z, y, x)."""
        pixels: NDArray[np.float32] = self[block].mean(axis=3)
        return pixels

    def __getitem__(self, block: Block) -> NDArray[np.float32]:
        """Return a block normalised as part of the volume, (z, y, x, C)."""
        return self._whole[block] if self._fits else self._normalised(block)

    @cached_property
    def _whole(self) -> NDArray[np.float32]:
        depth, height, width = self.shape
        return self._normalised((slice(0, depth), slice(0, height), slice(0, width)))

    def _normalised(self, block: Block) -> NDArray[np.float32]:
        slices, rows, columns = block
        parts = [
            normalise_to(
                self._raw(number, rows, columns), *self.range, averaged=self.frames.averaged
            )
            for number in range(slices.start, slices.stop)
        ]
        return np.stack(parts)

    def _raw(self, number: int, rows: slice, columns: slice) -> NDArray[np.float32]:
        index = self.indices[number]
        pixels: NDArray[np.float32] = self.frames.read_region(
            index, rows, columns, self._stats[number]
        ).pixels
        return pixels


def _range_of(sample: NDArray[np.float32]) -> tuple[float, float]:
    """Return the percentiles of values, or what they reach from and to if these are equal."""
    low, high = percentiles(sample)
    return (low, high) if high > low else (float(sample.min()), float(sample.max()))
