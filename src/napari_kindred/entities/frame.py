"""One frame of a stack: segmented whole, or in blocks where it is too large for that."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ..device import fitting_side, halving, memory_budget
from ..events import Event, Notice, Partial, Progress, within_stack
from ..images import Frames, PlaneRange, RawFrame, is_constant, normalise
from ..results import Assembly, empty_table, measure
from .blocks import BLOCK, SMALLEST_BLOCK, PlaneSource, cut, finest, nearest, segment_block
from .joining import Joiner, table_of
from .plane import SMALLEST_TILE, iter_plane

if TYPE_CHECKING:
    import pandas as pd
    import torch
    from numpy.typing import NDArray

    from ..config import EntityConfig
    from ..tiling import Tile
    from .network import EntityNetwork

TILE_BYTES = 160
"""Memory that the network needs per pixel of a tile.  Measured: by how much a process's peak rose
above what it held before, on a CPU with the shipped network; 126 bytes for a tile of 512 pixels,
146 for one of 1,024."""

BLOCK_BYTES = 110
"""Memory that a block needs per pixel of its window beside the network's, from reading it to its
labels.  Measured likewise, on nuclei that cover a quarter to a third: 70 to 88 bytes for windows of
800 to 2,400 pixels."""


def within_budget(config: EntityConfig, device: torch.device) -> tuple[EntityConfig, int, str]:
    """Fit tiles and blocks into the memory that may be used.

    Returns
    -------
    config : EntityConfig
        With a smaller ``tile`` where that is needed.
    block : int
        Side of a block; larger planes are cut.
    note : str
        What became smaller, one sentence; empty where nothing did.
    """
    ram = memory_budget(config.memory)
    own = memory_budget(config.memory, device) if device.type == "cuda" else ram // 2
    tile = fitting_side(config.tile, own, TILE_BYTES, min(SMALLEST_TILE, config.tile))
    rest = ram if device.type == "cuda" else ram - TILE_BYTES * tile**2
    side = fitting_side(BLOCK, max(rest, 1), BLOCK_BYTES, SMALLEST_BLOCK)
    smaller = [f"tiles of {tile} pixels"] * (tile < config.tile)
    smaller += [f"blocks of {side} pixels"] * (side < BLOCK)
    note = f"Memory is short ({ram / 2**30:.1f} GB may be used): working in {{}}."
    return replace(config, tile=tile), side, note.format(" and ".join(smaller)) if smaller else ""


class Frame:
    """One frame of an image; read when it is first asked for, whole if it is not too large.

    Parameters
    ----------
    frames : Frames
    index : tuple of int
        Of the frame.
    block : int
        Side of a plane above which it is not read whole.
    seen : Frames, optional
        The image at a lower resolution, to be read in its place.
    """

    def __init__(
        self, frames: Frames, index: tuple[int, ...], block: int, seen: Frames | None = None
    ) -> None:
        self.frames, self.index, self.block = frames, index, block
        self.seen = seen or frames
        self.large = max(frames.plane_shape) > block

    def looked_at(self, scale: float, config: EntityConfig) -> Frame:
        """Return the frame at the lowest resolution that is stored and enough for a scale."""
        seen = self.frames.at(scale * 2 ** (config.resolutions - 1))
        return self if seen is self.seen else Frame(self.frames, self.index, self.block, seen)

    @cached_property
    def raw(self) -> RawFrame:
        """The whole frame."""
        return self.seen.read(self.index)

    @cached_property
    def known(self) -> PlaneRange:
        """What its regions have in common."""
        return self.seen.plane_range(self.index)

    @property
    def source(self) -> PlaneSource:
        """What reads its regions."""
        return PlaneSource(self.seen, self.index, self.known, self.frames.plane_shape)

    @property
    def pixels(self) -> NDArray[np.float32] | PlaneSource:
        """Its normalised pixels; those of a large frame are read window by window."""
        return self.source if self.large else normalise(self.raw.pixels)

    @property
    def shrunk(self) -> Callable[[int], NDArray[np.float32]] | None:
        """What shrinks a large frame to a longest side."""
        return self.source.overview if self.large else None

    @cached_property
    def constant(self) -> bool:
        """Whether it has the same value everywhere."""
        return self.known.constant if self.large else is_constant(self.raw.pixels)

    @property
    def note(self) -> str:
        """What had to be done to its values."""
        return self.known.note if self.large else self.raw.note

    @property
    def number(self) -> int | None:
        """Its place in the stack, from 0; None for a single picture."""
        shape = self.frames.leading_shape
        return int(np.ravel_multi_index(self.index, shape)) if self.index else None


def segment_frame(
    frame: Frame, network: EntityNetwork, config: EntityConfig, scale: float, assembly: Assembly
) -> Generator[Event, None, Partial]:
    """Segment a frame, and put it into the assembly: whole, or block by block."""
    shape = frame.frames.plane_shape
    if frame.constant:
        table = empty_table(stack=frame.number is not None)
        labels = yield from assembly.settle(frame.index, np.zeros(1, np.int32), table)
        return Partial(frame.index, labels, table, frame.note)

    def attempt(side: int) -> Generator[Event, None, Partial]:
        places = cut(shape, scale, config, side)
        if len(places) > 1:
            return (yield from _in_blocks(frame, places, network, config, scale, assembly))
        labels, table = yield from segment_whole(
            frame.raw, frame.number, network, config, scale, shape
        )
        partial = Partial(frame.index, labels, table, frame.note)
        assembly.add(partial)
        return partial

    longest = math.ceil(max(shape) * finest(scale, config))
    return (
        yield from halving(
            attempt,
            min(frame.block, 1 << (longest - 1).bit_length()),
            smallest=SMALLEST_BLOCK,
            device=next(network.parameters()).device,
            unit="blocks of {} pixels",
        )
    )


def segment_whole(
    raw: RawFrame,
    number: int | None,
    network: EntityNetwork,
    config: EntityConfig,
    scale: float,
    shape: tuple[int, int] | None = None,
) -> Generator[Progress | Notice, None, tuple[NDArray[np.int32], pd.DataFrame]]:
    """Segment a frame that is not too large.

    ``shape`` is that of the frame, where the pixels are those of a lower resolution of it.

    Returns
    -------
    labels : ndarray, (H, W) int32
    table : DataFrame
    """
    plane = yield from iter_plane(network, normalise(raw.pixels), config, scale, shape)
    grey = raw.pixels.mean(axis=2)
    if grey.shape != plane.labels.shape:
        rows, columns = (
            nearest(slice(0, full), full, low)
            for full, low in zip(plane.labels.shape, grey.shape, strict=True)
        )
        grey = grey[rows[:, None], columns]
    return plane.labels, measure(plane.labels, grey, plane.scores, number)


def _in_blocks(
    frame: Frame,
    places: Sequence[Tile],
    network: EntityNetwork,
    config: EntityConfig,
    scale: float,
    assembly: Assembly,
) -> Generator[Event, None, Partial]:
    """Segment a large frame block by block, then make one of the entities that cuts go through."""
    joiner, source = Joiner(places), frame.source
    for number, place in enumerate(places):
        job: Generator[Any, None, Any] = segment_block(source, place, network, config, scale)
        block = yield from within_stack(job, number, len(places))
        rows = table_of(block.sums, frame.number, joiner.count)
        partial = Partial(frame.index, joiner.add(block), rows, block=place.inner)
        assembly.add(partial)
        yield partial
    lut, total = joiner.finish(config, network.config.features == "positional")
    table = table_of(total, frame.number)
    labels = yield from assembly.settle(frame.index, lut, table)
    return Partial(frame.index, labels, table, frame.note)
