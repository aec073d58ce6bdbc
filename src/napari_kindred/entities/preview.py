"""A part of one frame segmented as a run would do it, to try options in a second or two."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..compute.device import select
from ..core.events import Progress
from ..core.options import with_options
from ..images.stack import ImageStack
from ..images.tiling import Tile
from .blocks import ROOM, segment_block
from .channels import fit_channels
from .config import EntityConfig
from .diameter import at_diameter
from .engine import name_of, with_engine
from .frame_tasks import Frame, TaskContext, within_budget
from .map_cache import keeping
from .open_networks import borrowed
from .scale_choice import iter_scale
from .segment import object_filter_of

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from numpy.typing import NDArray

    from ..core.events import Event
    from ..images.tiling import Slices
    from .map_cache import MapCache

SIDE = 768
"""Longest side of a preview, in pixels of the scaled image: what a processor does in a second."""


@dataclass(frozen=True)
class Preview:
    """Labels (h, w) of a part of a frame, and where it lies."""

    labels: NDArray[np.int32]
    index: tuple[int, ...]
    window: Slices
    scale: float
    diameter: float | None
    """Measured diameter of the objects in pixels; None if the scale was given."""

    @property
    def count(self) -> int:
        """Number of objects."""
        return len(np.unique(self.labels[self.labels > 0]))


def iter_preview(
    image: Any,
    index: Sequence[int],
    window: Slices | None = None,
    *,
    config: EntityConfig | None = None,
    maps: MapCache | None = None,
    **options: Any,
) -> Generator[Event, None, Preview]:
    """Segment a part of one frame, at the scale and with the intensities of a whole run.

    Parameters
    ----------
    image, config, maps, **options
        As in :func:`.predict.iter_segment_entities`.
    index : sequence of int
        Place of the frame along the image's time and slice axes.
    window : pair of slices, optional
        Rows and columns of the part; its middle is taken if it has more than :data:`SIDE` scaled
        pixels.

    Returns
    -------
    Preview
        From the generator; objects that the part's edge cuts are cut there.
    """
    config = with_options(EntityConfig, config, options)
    frames = ImageStack.open(image, config.axes, config.channel)
    config = at_diameter(config, frames.scale, frames.units)
    yield Progress(0, 1, "loading the weights")
    device = select(config.device)
    with borrowed(config.weights, device) as (opened, _):
        network = with_engine(opened, config.engine, device)
        fit_channels(frames, config.weights, asdict(network.config))
        if maps is not None:
            network = keeping(network, maps)
        fitting, side, _ = within_budget(config, device, frames.plane_shape, name_of(network))
        context = TaskContext(network, fitting, frames)
        _, scale, diameter = yield from iter_scale(frames, context, side)
        frame = Frame(frames, tuple(index), side).at_scale(scale, fitting)
        place = _place(frames.plane_shape, window, scale)
        if frame.constant:
            labels = np.zeros([part.stop - part.start for part in place.inner], np.int32)
            return Preview(labels, frame.index, place.inner, scale, diameter)
        found = yield from segment_block(frame.source, place, network, fitting, scale)
        keep = np.append(False, object_filter_of(network, scale, fitting).keeps(found.stats))
        labels = np.where(keep[found.core], found.core, 0).astype(np.int32)
    return Preview(labels, frame.index, place.inner, scale, diameter)


def _place(shape: tuple[int, int], window: Slices | None, scale: float) -> Tile:
    """Return the part with room around it for the objects that its edge cuts."""
    most, room = math.ceil(SIDE / scale), math.ceil(ROOM / scale)
    inner, outer, local = [], [], []
    for axis, size in enumerate(shape):
        start, stop = (0, size) if window is None else (window[axis].start, window[axis].stop)
        start, stop = max(0, min(start, size - 1)), min(size, max(stop, 1))
        stop = max(stop, start + 1)
        if stop - start > most:
            start += (stop - start - most) // 2
            stop = start + most
        begin, end = max(0, start - room), min(size, stop + room)
        inner.append(slice(start, stop))
        outer.append(slice(begin, end))
        local.append(slice(start - begin, stop - begin))
    weights = tuple(np.ones(part.stop - part.start, np.float32) for part in inner)
    return Tile(
        (outer[0], outer[1]), (inner[0], inner[1]), (local[0], local[1]), (weights[0], weights[1])
    )
