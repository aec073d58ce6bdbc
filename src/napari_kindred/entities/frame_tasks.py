"""Tasks of a segmentation into entities: a whole frame, and a block of a large one."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ..compute.device import select
from ..compute.tasks import absolute, check_same
from ..core.errors import InputError
from ..images.stack import is_constant, normalise
from ..results.segmentation import empty_table, measure
from .blocks import BlockLabels, nearest, region_of, segment_block
from .checkpoint import load_network
from .region_reader import PlaneSource
from .segment import iter_plane

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from ..compute.tasks import FrameAt
    from ..core.events import Notice, Progress
    from ..images.stack import FrameStats, ImageStack
    from ..images.tiling import Tile
    from .config import EntityConfig
    from .network import EntityNetwork
    from .region_reader import Source


@dataclass(frozen=True)
class TaskContext:
    """What the tasks of a run have in common.

    Attributes
    ----------
    network : EntityNetwork
    config : EntityConfig
        Its tile fits into memory.
    frames : ImageStack or None
        The image at full size, unless its pixels come with the calls.
    """

    network: EntityNetwork
    config: EntityConfig
    frames: ImageStack | None

    def at_scale(self, scale: float) -> ImageStack | None:
        """Return the image at the lowest resolution that is stored and enough for a scale."""
        return self.frames and image_at_scale(self.frames, scale, self.config)


def image_at_scale(frames: ImageStack, scale: float, config: EntityConfig) -> ImageStack:
    """Return the image at the lowest resolution that is stored and enough for a scale."""
    return frames.at(scale * 2 ** (config.resolutions - 1))


def opener_of(
    info: Mapping[str, Any], config: EntityConfig, frames: ImageStack | None, device: str
) -> Callable[[], TaskContext]:
    """Return what opens a kit in another process, from the file of its weights.

    Parameters
    ----------
    info : mapping
        ``sha256`` of the weights, and their ``name`` if it is not ``config.weights``.
    config, frames
        Of the kit.
    device : str
        As in the run's options.
    """
    name = absolute(str(info.get("name", config.weights)))
    return partial(_open, name, info["sha256"], config, frames, device)


def _open(
    name: str, sha256: str, config: EntityConfig, frames: ImageStack | None, device: str
) -> TaskContext:
    network, info = load_network(name, select(device))
    check_same(name, info["sha256"], sha256)
    return TaskContext(network, config, frames)


@dataclass(frozen=True)
class Whole:
    """A frame that was segmented in one go.

    Attributes
    ----------
    labels : ndarray of int32, (H, W)
    table : DataFrame
    note : str
        What had to be done to the frame's values.
    digest : bytes
        The frame's part of the image's signature.
    """

    labels: NDArray[np.int32]
    table: pd.DataFrame
    note: str
    digest: bytes


def iter_whole(
    context: TaskContext, frame: FrameAt, number: int | None, scale: float, shape: tuple[int, int]
) -> Generator[Progress | Notice, None, Whole]:
    """Segment a frame in one go.

    Parameters
    ----------
    context : TaskContext
    frame : FrameAt
    number : int or None
        Its place in the stack, from 0; None for a single picture.
    scale : float
        At which the network looks at it first.
    shape : tuple of int
        Of the frame, which may be read at a lower resolution.
    """
    raw = frame.read(context.at_scale(scale))
    if is_constant(raw.pixels):
        nothing = np.zeros(shape, np.int32)
        return Whole(nothing, empty_table(stack=number is not None), raw.note, raw.digest)
    plane = yield from iter_plane(
        context.network, normalise(raw.pixels), context.config, scale, shape
    )
    grey = raw.pixels.mean(axis=2)
    if grey.shape != shape:
        rows, columns = (
            nearest(slice(0, full), full, low) for full, low in zip(shape, grey.shape, strict=True)
        )
        grey = grey[rows[:, None], columns]
    table = measure(plane.labels, grey, plane.scores, number)
    return Whole(plane.labels, table, raw.note, raw.digest)


@dataclass(frozen=True)
class BlockAt:
    """A block as a task takes it: what it is read from, and with its pixels where it must be.

    Attributes
    ----------
    index : tuple of int
        Of the frame.
    place : Tile
        One of :func:`.blocks.cut`.
    stats : FrameStats
        What the frame's regions have in common.
    shape, stored : tuple of int
        Of the frame, and of the resolution that is read.
    pixels : ndarray of float32, or None
        The region that the block is made from, where a worker could not read it.
    """

    index: tuple[int, ...]
    place: Tile
    stats: FrameStats
    shape: tuple[int, int]
    stored: tuple[int, int]
    pixels: NDArray[np.float32] | None = None

    @classmethod
    def of(cls, source: PlaneSource, place: Tile) -> BlockAt:
        """Return a block of a plane."""
        return cls(source.index, place, source.stats, source.shape, source.stored)

    def carrying(self, source: PlaneSource, scale: float, config: EntityConfig) -> BlockAt:
        """Return the block with its pixels."""
        region = region_of(source, self.place, scale, config)
        return replace(self, pixels=source.raw(*region))

    def raw(self, rows: slice, columns: slice) -> NDArray[np.float32]:  # noqa: ARG002
        """Return the region that came along; no other is asked for."""
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
