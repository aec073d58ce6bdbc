"""Segmentation of planes and stacks into entities: the public functions and their generators."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as F

from ..device import inference
from ..events import Progress, finish
from ..tiling import Stitcher, tiles
from . import decode
from .lines import kernel_width

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..config import EntityConfig
    from .network import EntityNetwork

HALO = 96
"""Pixels of context around each tile."""

BLEND = 16
"""Half the width, in pixels, of the strip over which neighbouring tiles pass into each other."""


@dataclass(frozen=True)
class Plane:
    """Result of one plane: labels (H, W) int32, scores (N,), the scale it was looked at."""

    labels: NDArray[np.int32]
    scores: NDArray[np.float32]
    scale: float
    diameter: float


def resize(pixels: NDArray[np.float32], scale: float) -> torch.Tensor:
    """Scale a plane (H, W, C) and return it as (1, 3, H', W'), anti-aliased when shrinking."""
    image = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))[None]
    if scale != 1:
        size = [max(1, round(n * scale)) for n in image.shape[-2:]]
        image = F.interpolate(image, size=size, mode="bilinear", antialias=scale < 1)
    return image.expand(1, 3, -1, -1)


def iter_dense(
    network: EntityNetwork, image: torch.Tensor, tile: int
) -> Generator[Progress, None, NDArray[np.float32]]:
    """Run the network over a plane in overlapping tiles.

    Parameters
    ----------
    image : Tensor, (1, 3, H, W)
    tile : int
        Largest side of a tile, pixels.

    Returns
    -------
    ndarray, (C, h, w) float32
        Raw maps at the network's output stride: background logit, then offset (2) and size (1),
        then content, as far as the network has them.
    """
    stride = network.config.output_stride
    device = next(network.parameters()).device
    shape = (-(-image.shape[2] // stride), -(-image.shape[3] // stride))
    parts = tiles(
        shape, tile // stride, HALO // stride, multiple=32 // stride, blend=BLEND // stride
    )
    stitcher: Stitcher | None = None
    for number, part in enumerate(parts):
        rows, columns = (slice(s.start * stride, s.stop * stride) for s in part.outer)
        window = pad_to_multiple(image[:, :, rows, columns])
        with inference():
            maps = network(window.to(device, memory_format=torch.channels_last))
            dense = torch.cat([m for m in maps if m is not None], 1)[0].float().cpu().numpy()
        if stitcher is None:
            stitcher = Stitcher(len(dense), shape)
        stitcher.add(part, dense)
        yield Progress(number + 1, len(parts), "network")
    assert stitcher is not None
    plane: NDArray[np.float32] = stitcher.plane
    return plane


def pad_to_multiple(window: torch.Tensor, multiple: int = 32) -> torch.Tensor:
    """Pad (1, C, h, w) at the bottom and right by reflection, or by its edge where too narrow."""
    height, width = window.shape[-2:]
    down, right = -height % multiple, -width % multiple
    if not (down or right):
        return window
    mode = "reflect" if down < height and right < width else "replicate"
    return F.pad(window, (0, right, 0, down), mode=mode)


def to_maps(dense: NDArray[np.float32], shape: tuple[int, int], scale: float) -> decode.Maps:
    """Bring positional maps (C, h, w) of a scaled plane to the plane's own size and pixels."""
    tensor = torch.from_numpy(dense[:4])[None]
    full = F.interpolate(tensor, size=shape, mode="bilinear", align_corners=False)[0]
    foreground = torch.sigmoid(-full[0]).numpy()
    places = np.stack(np.mgrid[: shape[0], : shape[1]], -1).astype(np.float32)
    votes = places + full[1:3].permute(1, 2, 0).numpy() / np.float32(scale)
    return decode.Maps(foreground, votes, kernel_width(full[3]).numpy() / np.float32(scale))


def iter_plane(
    network: EntityNetwork, pixels: NDArray[np.float32], config: EntityConfig, scale: float
) -> Generator[Progress, None, Plane]:
    """Segment one normalised plane (H, W, C) at one scale."""
    image = resize(pixels, scale)
    dense = yield from iter_dense(network, image, config.tile)
    shape = pixels.shape[:2]
    yield Progress(1, 1, "clustering")
    maps = to_maps(dense, shape, scale)
    labels, scores = decode.segment_maps(maps, config.threshold, config.min_area, config.fill_holes)
    return Plane(labels, scores, scale, 0.0)


def segment_plane(
    network: EntityNetwork, pixels: NDArray[np.float32], config: EntityConfig
) -> Plane:
    """Segment one normalised plane (H, W, C); see :func:`iter_plane`."""
    scale = 1.0 if config.scale == "auto" else float(config.scale)
    return finish(iter_plane(network, pixels, config, scale))
