"""A run on an image with slices: volume after volume, in 3-D or stitched through z."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from ...compute.device import memory_budget
from ...core.events import Event, Progress
from .measure import measure_volume
from .modes import cut
from .source import StackVolume
from .through_z import Filling, ZStitcher, drawn_between
from .volume import SIDE, iter_volume, iter_volume_scale

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    import pandas as pd

    from ...images.intensity import Levels
    from ...images.stack import ImageStack
    from ..config import EntityConfig
    from ..network import EntityNetwork
    from .assembly import LabelsAt, VolumeAssembly
    from .way import Way

SHARE = 0.2
"""Share of a job's memory that a volume's pixels, and its maps, may each take."""


class VolumeRun:
    """The volumes of an image, one for each point in time.

    Parameters
    ----------
    frames : ImageStack
    network : EntityNetwork
    config : EntityConfig
        Its tile fits into memory.
    way : Way
    assembly : VolumeAssembly
    """

    def __init__(
        self,
        frames: ImageStack,
        network: EntityNetwork,
        config: EntityConfig,
        way: Way,
        assembly: VolumeAssembly,
    ) -> None:
        self.frames, self.network, self.config = frames, network, config
        self.way, self.assembly = way, assembly
        self.times: list[int | None] = [None]
        if "T" in frames.leading_axes:
            self.times = list(range(frames.leading_shape[frames.leading_axes.index("T")]))
        self._room = int(SHARE * memory_budget(config.memory))
        self._volume: StackVolume | None = None

    def iter_open(self, number: int) -> Generator[Progress, None, StackVolume]:
        """Open a volume by its number, and look through it for the range of its values."""
        if self._volume is None or self._volume.time != self.times[number]:
            self._volume = StackVolume(self.frames, self.times[number], self._room)
            yield from self._counted(self._volume.iter_stats(), number, 0.0, 0.02)
        return self._volume

    def iter_scale(self) -> Generator[Event, None, tuple[int, float, float | None]]:
        """Choose a scale by the first volume with objects; returns its number and the choice."""
        if self.config.scale != "auto":
            return 0, float(self.config.scale), None
        diameter: float | None = None
        for number in range(len(self.times)):
            volume = yield from self.iter_open(number)
            if volume.constant:
                continue
            looks = iter_volume_scale(self.network, volume, self.config)
            scale, diameter = yield from self._counted(looks, number, 0.02, 0.02)
            if diameter:
                return number, scale, diameter
        return 0, 1.0, diameter

    def iter_levels(
        self,
    ) -> Generator[Event, None, dict[tuple[int, ...], Levels]]:
        """Return for each frame what becomes 0 and 1: the same in all slices of a volume."""
        levels: dict[tuple[int, ...], Levels] = {}
        for number in range(len(self.times)):
            volume = yield from self.iter_open(number)
            if volume.plain:
                levels |= dict.fromkeys(volume.indices, volume.range)
        return levels

    def iter_views(self, scale: float) -> Generator[Event, None, None]:
        """Segment all volumes in 3-D."""
        for number, time in enumerate(self.times):
            volume = yield from self.iter_open(number)
            labels = self.assembly.at(time)
            job = iter_volume(
                self.network, volume, labels, self.config, scale, self.way.spacing, self._room
            )
            with _cleared_on_stop(labels):
                table = yield from self._counted(job, number, 0.02, 1.0)
            yield from self.assembly.take(time, table, volume.note)
            yield self._done(number)

    def iter_stitched(self) -> Generator[Event, None, None]:
        """Stitch the slices of all volumes, which are there."""
        for number, time in enumerate(self.times):
            volume = yield from self.iter_open(number)
            table = yield from self._stitch(time, volume)
            yield from self.assembly.take(time, table, volume.note)
            yield self._done(number)

    def _stitch(
        self, time: int | None, volume: StackVolume
    ) -> Generator[Event, None, pd.DataFrame]:
        """Stitch the slices of one volume; returns its table."""
        labels, depth = self.assembly.at(time), volume.shape[0]
        stitcher = ZStitcher(self.way.anisotropy)
        whole = (slice(0, volume.shape[1]), slice(0, volume.shape[2]))
        for z in range(depth):
            yield Progress(z, 2 * depth, "stitching")
            place = (slice(z, z + 1), *whole)
            plane = np.asarray(labels[place])[0]
            ids, sections = np.unique(plane, return_inverse=True)
            if ids[0] != 0:
                ids, sections = np.append(0, ids), sections + 1
            scores = self.assembly.scores_of(ids[1:])
            sections = sections.reshape(plane.shape)
            labels[place] = stitcher.add(
                sections.astype(np.int32), scores, volume.brightness(place)[0]
            )[None]
        found = stitcher.finish()
        filled: dict[int, list[Filling]] = {}
        for filling in found.fillings:
            filled.setdefault(filling.slice, []).append(filling)
        before = np.zeros(volume.shape[1:], np.int32)
        for z in range(depth):
            yield Progress(depth + z, 2 * depth, "stitching")
            place = (slice(z, z + 1), *whole)
            sections = np.asarray(labels[place])[0]
            plane = found.ids[sections]
            for filling in filled.get(z, ()):
                after = np.asarray(labels[(slice(z + 1, z + 2), *whole)])[0]
                between = drawn_between(before == filling.below, after == filling.above)
                plane[between & (plane == 0)] = found.ids[filling.below]
            labels[place] = plane[None]
            before = sections
        blocks = list(cut(volume.shape, SIDE))
        return measure_volume(labels, blocks, volume.grey, found.scores, self.way.spacing)

    def _counted(
        self, job: Generator[Any, None, Any], number: int, start: float, stop: float
    ) -> Generator[Any, None, Any]:
        """Count a volume's progress in the image's planes."""
        planes = len(self.frames)
        each = planes / len(self.times)
        while True:
            try:
                event = next(job)
            except StopIteration as stopped:
                return stopped.value
            if isinstance(event, Progress):
                share = start + (stop - start) * event.done / max(event.total, 1)
                done = (number + share) * each
                event = Progress(done, planes, event.what, int(number * each), planes)
            yield event

    def _done(self, number: int) -> Progress:
        planes = len(self.frames)
        done = planes * (number + 1) // len(self.times)
        return Progress(done, planes, "done", done, planes)


@contextmanager
def _cleared_on_stop(labels: LabelsAt) -> Iterator[None]:
    """Leave nothing of a volume whose objects are still in pieces."""
    try:
        yield
    except BaseException:
        labels.clear()
        raise
