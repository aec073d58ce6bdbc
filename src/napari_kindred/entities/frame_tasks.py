"""Tasks of a segmentation into entities: a whole frame, and a block of a large one."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from ..compute.device import fitting_side, halving, memory_budget, select
from ..core.errors import InputError
from ..core.events import Event, Partial, within_stack
from ..images.frame import faint_note, frame_name
from ..models.spec import check_hash
from ..results.segmentation import empty_table, measure
from .auto_scale import LARGEST
from .blocks import (
    BLOCK,
    SMALLEST_BLOCK,
    BlockLabels,
    cut,
    finest,
    nearest,
    region_of,
    segment_block,
)
from .engine import TILE_BYTES, with_engine
from .open_networks import give_back, take
from .region_reader import PlaneSource
from .segment import SMALLEST_TILE, iter_plane, object_filter_of
from .stitching import BlockStitcher, table_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    import pandas as pd
    import torch
    from numpy.typing import NDArray

    from ..compute.tasks import FrameAt, Task
    from ..compute.workers import Job, Workers
    from ..core.events import Notice, Progress
    from ..images.intensity import Levels
    from ..images.stack import FrameData, FrameStats, ImageStack
    from ..images.tiling import Tile
    from .assembly import EntityAssembly
    from .checkpoint import EntityNetSpec
    from .config import EntityConfig
    from .network import EntityNetwork
    from .region_reader import Source


@dataclass(frozen=True)
class TaskContext:
    """Common context of the tasks of a run."""

    network: EntityNetwork
    config: EntityConfig
    """Its tile fits into memory."""
    frames: ImageStack | None
    """The image at full size, unless its pixels come with the calls."""
    closing: Callable[[], None] | None = None

    @classmethod
    def open(
        cls, spec: EntityNetSpec, config: EntityConfig, frames: ImageStack | None, device: str
    ) -> TaskContext:
        """Open the network in another thread or process."""
        pair = take(spec.name, select(device))
        check_hash(spec.name, pair[1]["sha256"], spec.sha256)
        network = with_engine(pair[0], config.engine, select(device))
        return cls(network, config, frames, partial(give_back, pair))

    def close(self) -> None:
        """Give the network back, so that other runs can use it."""
        if self.closing is not None:
            self.closing()

    def at_scale(self, scale: float) -> ImageStack | None:
        """Return the image at the lowest resolution that is stored and enough for a scale."""
        return self.frames and image_at_scale(self.frames, scale, self.config)


def image_at_scale(frames: ImageStack, scale: float, config: EntityConfig) -> ImageStack:
    """Return the image at the lowest resolution that is stored and enough for a scale."""
    return frames.at(scale * 2 ** (config.resolutions - 1))


@dataclass(frozen=True)
class Whole:
    """A frame that was segmented as a whole."""

    labels: NDArray[np.int32]
    table: pd.DataFrame
    note: str
    digest: bytes
    """The frame's part of the image's signature."""


def iter_whole(
    context: TaskContext,
    frame: FrameAt,
    number: int | None,
    scale: float,
    shape: tuple[int, int],
    levels: Levels | None = None,
) -> Generator[Progress | Notice, None, Whole]:
    """Segment a frame as a whole; it may be read at a lower resolution than its ``shape``.

    ``levels`` become 0 and 1, if they are not those of the frame itself.
    """
    raw = frame.read(context.at_scale(scale))
    if raw.empty:
        background = np.zeros(shape, np.int32)
        return Whole(background, empty_table(stack=number is not None), raw.note, raw.digest)
    pixels = raw.normalised(levels)
    plane = yield from iter_plane(context.network, pixels, context.config, scale, shape)
    grey = raw.pixels.mean(axis=2)
    if grey.shape != shape:
        rows, columns = (
            nearest(slice(0, full), full, low) for full, low in zip(shape, grey.shape, strict=True)
        )
        grey = grey[rows[:, None], columns]
    table = measure(plane.labels, grey, plane.scores, number)
    note = raw.note or (faint_note(frame_name(number)) if raw.faint and len(table) else "")
    return Whole(plane.labels, table, note, raw.digest)


@dataclass(frozen=True)
class BlockAt:
    """A block of a frame as a task takes it."""

    index: tuple[int, ...]
    place: Tile
    stats: FrameStats
    shape: tuple[int, int]
    stored: tuple[int, int]
    """Shape of the resolution that is read."""
    pixels: NDArray[np.float32] | None = None
    """The region that the block is made from, if a worker cannot read it."""

    @classmethod
    def of(cls, source: PlaneSource, place: Tile) -> BlockAt:
        """Return a block of a plane."""
        return cls(source.index, place, source.stats, source.shape, source.stored)

    def carrying(self, source: PlaneSource, scale: float, config: EntityConfig) -> BlockAt:
        """Return the block with its pixels."""
        region = region_of(source, self.place, scale, config)
        return replace(self, pixels=source.raw(*region))

    def raw(self, rows: slice, columns: slice) -> NDArray[np.float32]:  # noqa: ARG002
        """Return the region that came with the block; no other is read."""
        if self.pixels is None:
            raise InputError("A block came without its pixels; give the image itself.")
        return self.pixels


def iter_block(
    context: TaskContext, block: BlockAt, scale: float
) -> Generator[Progress | Notice, None, BlockLabels]:
    """Segment a block; see :func:`.blocks.segment_block`."""
    source: Source = block
    image = context.at_scale(scale)
    if image is not None and block.pixels is None:
        source = PlaneSource(image, block.index, block.stats, block.shape)
    return (yield from segment_block(source, block.place, context.network, context.config, scale))


Result = TypeVar("Result")

BLOCK_BYTES = 110
"""Memory of a block per pixel of its window, without the network's, from reading to labels.
Measured likewise, on nuclei that cover a quarter to a third: 70 to 88 bytes for windows of 800 to
2,400 pixels."""


def within_budget(
    config: EntityConfig, device: torch.device, shape: tuple[int, int], engine: str = "torch"
) -> tuple[EntityConfig, int, str]:
    """Fit tiles and blocks into the memory limit; the engine is one of :data:`.TILE_BYTES`.

    Returns the config with a tile that fits, the side of blocks, and a note, empty for planes of
    this shape that are not affected.
    """
    ram = memory_budget(config.memory)
    own = memory_budget(config.memory, device) if device.type == "cuda" else ram // 2
    pixel = TILE_BYTES[engine]
    tile = fitting_side(config.tile, own, pixel, min(SMALLEST_TILE, config.tile))
    rest = ram if device.type == "cuda" else ram - pixel * tile**2
    side = fitting_side(BLOCK, max(rest, 1), BLOCK_BYTES, SMALLEST_BLOCK)
    longest = max(shape) * finest(LARGEST if config.scale == "auto" else config.scale, config)
    smaller = [f"tiles of {tile} pixels"] * (tile < min(config.tile, longest))
    smaller += [f"blocks of {side} pixels"] * (side < min(BLOCK, longest))
    note = f"Memory is short ({ram / 2**30:.1f} GB may be used): working in {{}}."
    return replace(config, tile=tile), side, note.format(" and ".join(smaller)) if smaller else ""


class Frame:
    """One frame, read on first use: whole, or in regions if its side exceeds ``block``.

    ``image`` is the image at a lower resolution, if that is to be read instead.
    """

    def __init__(
        self,
        frames: ImageStack,
        index: tuple[int, ...],
        block: int,
        image: ImageStack | None = None,
        levels: Levels | None = None,
    ) -> None:
        self.frames, self.index, self.block, self.levels = frames, index, block, levels
        self.image = image or frames
        self.large = max(frames.plane_shape) > block

    def at_scale(self, scale: float, config: EntityConfig) -> Frame:
        """Return the frame at the lowest resolution that is stored and enough for a scale."""
        image = image_at_scale(self.frames, scale, config)
        return (
            self
            if image is self.image
            else Frame(self.frames, self.index, self.block, image, self.levels)
        )

    @cached_property
    def raw(self) -> FrameData:
        """The whole frame."""
        return self.image.read(self.index)

    @cached_property
    def stats(self) -> FrameStats:
        """Statistics of the whole frame, which all its regions share."""
        stats = self.image.frame_stats(self.index)
        if self.levels is None:
            return stats
        return replace(stats, low=self.levels[0], high=self.levels[1])

    @property
    def source(self) -> PlaneSource:
        """Reader of its regions."""
        return PlaneSource(self.image, self.index, self.stats, self.frames.plane_shape)

    @property
    def pixels(self) -> NDArray[np.float32] | PlaneSource:
        """Its normalised pixels; those of a large frame are read window by window."""
        return self.source if self.large else self.raw.normalised()

    @property
    def shrunk(self) -> Callable[[int], NDArray[np.float32]] | None:
        """Function that shrinks a large frame to a longest side."""
        return self.source.overview if self.large else None

    @cached_property
    def constant(self) -> bool:
        """Whether it has the same value everywhere, or hardly more."""
        return self.stats.empty if self.large else self.raw.empty

    @property
    def faint(self) -> bool:
        """Whether no edge stands out from the noise."""
        return self.stats.faint if self.large else self.raw.faint

    @property
    def note(self) -> str:
        """Note for the user on its values."""
        return self.stats.note if self.large else self.raw.note

    @property
    def number(self) -> int | None:
        """Its place in the stack, from 0; None for a single image."""
        shape = self.frames.leading_shape
        return int(np.ravel_multi_index(self.index, shape)) if self.index else None


@dataclass(frozen=True)
class Crew:
    """Workers of a run, their context (``opener`` opens it there), and the result's assembly."""

    workers: Workers
    context: TaskContext
    opener: Callable[[], TaskContext]
    assembly: EntityAssembly

    def jobs(self, task: Task[Result], calls: Iterable[tuple[Any, ...]]) -> Iterator[Job[Result]]:
        """Yield a job for each call; see :meth:`.workers.Workers.jobs`."""
        return self.workers.jobs(task, self.context, self.opener, calls)


def fits(frames: ImageStack, scale: float, config: EntityConfig, block: int) -> bool:
    """Whether frames are segmented as a whole, not in blocks."""
    shape = frames.plane_shape
    return len(cut(shape, scale, config, _first_side(shape, scale, config, block))) == 1


def _first_side(shape: tuple[int, int], scale: float, config: EntityConfig, block: int) -> int:
    """Return the side of the blocks of the first attempt."""
    longest = math.ceil(max(shape) * finest(scale, config))
    return min(block, 1 << (longest - 1).bit_length())


def put_frame(
    frame: Frame, crew: Crew, scale: float, whole: Job[Whole] | None
) -> Generator[Event, None, Partial]:
    """Segment a frame into the assembly: by the job ``whole``, or block by block without it."""
    if whole is None and frame.constant:
        table = empty_table(stack=frame.number is not None)
        lut = np.zeros(1, np.int32)
        return (yield from crew.assembly.settle(frame.index, lut, table, frame.note))
    first = _first_side(frame.frames.plane_shape, scale, crew.context.config, frame.block)

    def attempt(side: int) -> Generator[Event, None, Partial]:
        if whole is None or side < first:
            return (yield from _in_blocks(frame, side, crew, scale))
        result = yield from whole
        frame.image.add_digest(frame.index, result.digest)
        return crew.assembly.add(Partial(frame.index, result.labels, result.table, result.note))

    return (
        yield from halving(
            attempt,
            first,
            smallest=SMALLEST_BLOCK,
            device=crew.workers.device,
            unit="blocks of {} pixels",
        )
    )


def _in_blocks(
    frame: Frame, side: int, crew: Crew, scale: float
) -> Generator[Event, None, Partial]:
    """Segment a large frame block by block, then join the entities that cuts go through."""
    config, source = crew.context.config, frame.source
    places = cut(source.shape, scale, config, side)
    stitcher = BlockStitcher(places)
    object_filter = object_filter_of(crew.context.network, scale, config)
    blocks = (BlockAt.of(source, place) for place in places)
    if crew.workers.sends(frame.image):
        blocks = (block.carrying(source, scale, config) for block in blocks)
    jobs = crew.jobs(iter_block, ((block, scale) for block in blocks))
    for number, (place, job) in enumerate(zip(places, jobs, strict=True)):
        block = yield from within_stack(job, number, len(places))
        rows = table_of(block.stats, object_filter, frame.number, stitcher.count)
        found = Partial(frame.index, stitcher.add(block), rows, block=place.inner)
        yield crew.assembly.add(found)
    lut, total = stitcher.finish(object_filter)
    table = table_of(total, object_filter, frame.number)
    faint = faint_note(frame_name(frame.number)) if frame.stats.faint and len(table) else ""
    return (yield from crew.assembly.settle(frame.index, lut, table, frame.note or faint))
