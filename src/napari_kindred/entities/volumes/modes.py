"""Modes of all votes of a volume, found block by block."""

from __future__ import annotations

from itertools import pairwise, product
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.events import Progress
from ..decode import Modes, find_modes, thin
from .views import CellMaps

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from .grid import Block, Shape

ROOM = 40
"""Cells around a block whose votes count: those of an object reach less far from its centre."""

SIDE = 160
"""Side of a block, cells."""


def cut(shape: Shape, side: int) -> Iterator[Block]:
    """Cut a volume into blocks of at most ``side`` along each axis, of about equal size."""
    cuts = []
    for length in shape:
        count = -(-length // side)
        ends = [length * number // count for number in range(count + 1)]
        cuts.append([slice(a, b) for a, b in pairwise(ends)])
    yield from product(*cuts)


def iter_modes(maps: Any, threshold: float, side: int = SIDE) -> Generator[Progress, None, Modes]:
    """Find the modes of maps (5, z, y, x); places and widths are in cells."""
    shape: Shape = tuple(maps.shape[1:])
    blocks = list(cut(shape, side))
    found = []
    for number, block in enumerate(blocks):
        yield Progress(number, len(blocks), "finding the objects' centres")
        found.append(_modes_in(maps, block, threshold))
    joined = Modes(
        np.concatenate([modes.places for modes in found]),
        np.concatenate([modes.widths for modes in found]),
        np.concatenate([modes.mass for modes in found]),
    )
    return joined if len(blocks) == 1 else thin(joined)


def _modes_in(maps: Any, block: Block, threshold: float) -> Modes:
    """Return the modes that lie in a block."""
    outer = [
        slice(max(0, part.start - ROOM), min(length, part.stop + ROOM))
        for part, length in zip(block, maps.shape[1:], strict=True)
    ]
    cells = CellMaps.of(np.asarray(maps[(slice(None), *outer)], np.float32))
    foreground = cells.foreground
    mask = foreground >= threshold
    # A cell's vote for itself is the middle of its bin.
    votes = (np.argwhere(mask) + 0.5 + cells.offset[:, mask].T).astype(np.float32)
    modes = find_modes(votes, cells.width[mask], foreground[mask], mask.shape)
    places = modes.places + [part.start for part in outer]
    low = np.array([part.start for part in block]) - 0.5
    high = np.array([part.stop for part in block]) - 0.5
    inside = ((places >= low) & (places < high)).all(1)
    return Modes(places[inside], modes.widths[inside], modes.mass[inside])
