"""Segmentation of one plane: tiles through the network, maps to labels, resolutions merged."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as F

from ..compute.device import halving, inference
from ..core.events import Notice, Progress, finish
from ..images.tiling import Stitcher, tiles
from . import decode
from .auto_scale import QuickSegmenter, choose_scale
from .config import EntityConfig
from .meanshift import segment_features
from .multiresolution import merge_resolutions
from .projective import fourier_lift, kernel_width
from .resampling import GridMapping, scaled_shape
from .scoring import ObjectFilter

if TYPE_CHECKING:
    from collections.abc import Generator

    from numpy.typing import NDArray

    from .map_cache import MapCache
    from .network import EntityNetwork

HALO = 96
"""Pixels of context around each tile."""

BLEND = 16
"""Half the width, in pixels, of the strip over which neighbouring tiles pass into each other."""


MIRRORS: tuple[tuple[int, ...], ...] = ((), (-2, -1), (-1,), (-2,))
"""Axes along which a picture is mirrored for its first, second … view."""

SURE = 0.6
"""Mean quality of an entity below which it tells nothing of the scale."""

QUICK_TILE = 512
"""Side of the tiles of a trial scale."""

SMALLEST_TILE = 288
"""Tiles are not halved below this side when memory is not enough."""


@dataclass(frozen=True)
class Plane:
    """Result of one plane: labels (H, W) int32, scores (N,), the scale it was looked at."""

    labels: NDArray[np.int32]
    scores: NDArray[np.float32]
    scale: float


def resize(pixels: NDArray[np.float32], scale: float) -> torch.Tensor:
    """Scale a plane (H, W, C) and return it as (1, 3, H', W'), anti-aliased when shrinking."""
    return resize_to(pixels, scaled_shape((pixels.shape[0], pixels.shape[1]), scale))


def resize_to(pixels: NDArray[np.float32], size: tuple[int, int]) -> torch.Tensor:
    """Scale a plane as :func:`resize` does, to a size."""
    image = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))[None]
    before = (image.shape[2], image.shape[3])
    if before != size:
        shrinks = any(new < old for new, old in zip(size, before, strict=True))
        image = F.interpolate(image, size=size, mode="bilinear", antialias=shrinks)
    return image.expand(1, 3, -1, -1)


def iter_dense(
    network: EntityNetwork, image: torch.Tensor, tile: int, views: int = 1
) -> Generator[Progress, None, NDArray[np.float32]]:
    """Run the network over planes of one size in overlapping tiles.

    ``image`` (B, 3, H, W); returns (B C, h, w) float32, (C, h, w) for a single plane.
    """
    stride = network.config.output_stride
    device = next(network.parameters()).device
    shape = (-(-image.shape[2] // stride), -(-image.shape[3] // stride))
    parts = tiles(
        shape, tile // stride, HALO // stride, multiple=32 // stride, blend=BLEND // stride
    )
    stitcher = Stitcher(len(image) * channels(network), shape)
    for number, part in enumerate(parts):
        rows, columns = (slice(s.start * stride, s.stop * stride) for s in part.outer)
        window = pad_to_multiple(image[:, :, rows, columns])
        with inference():
            window = window.to(device, memory_format=torch.channels_last)
            dense = reduce(torch.add, (_seen(network, window, axes) for axes in MIRRORS[:views]))
        stitcher.add(part, (dense / views).float().cpu().numpy())
        yield Progress(number + 1, len(parts), "network")
    plane: NDArray[np.float32] = stitcher.plane
    return plane


def _seen(network: EntityNetwork, window: torch.Tensor, mirrors: tuple[int, ...]) -> torch.Tensor:
    """Return the maps (B C, h, w) of windows as they look mirrored along some axes."""
    maps = network(window.flip(mirrors) if mirrors else window)
    if maps.offset is not None:
        sign = [-1.0 if axis in mirrors else 1.0 for axis in (-2, -1)]
        offset = maps.offset * maps.offset.new_tensor(sign)[:, None, None]
        maps = maps._replace(offset=offset)
    wanted = (maps.background, maps.offset, maps.size, maps.content)
    dense = torch.cat([one for one in wanted if one is not None], 1).flatten(0, 1)
    return dense.flip(mirrors) if mirrors else dense


def channels(network: EntityNetwork) -> int:
    """Count the channels of a network's raw maps."""
    config = network.config
    count = 1 + 3 * (config.features != "content")
    return count + config.content_dim * (config.features != "positional")


def pad_to_multiple(window: torch.Tensor, multiple: int = 32) -> torch.Tensor:
    """Pad (1, C, h, w) at the bottom and right by reflection, or by its edge where too narrow."""
    height, width = window.shape[-2:]
    down, right = -height % multiple, -width % multiple
    if not (down or right):
        return window
    mode = "reflect" if down < height and right < width else "replicate"
    return F.pad(window, (0, right, 0, down), mode=mode)


def to_maps(dense: NDArray[np.float32], mapping: GridMapping) -> decode.Maps:
    """Bring positional maps (C, h, w) of a scaled plane to the window's own size and pixels."""
    full, scale = mapping.bilinear(dense[:4]), mapping.scale
    foreground = torch.sigmoid(-full[0]).numpy()
    votes: NDArray[np.float32] = (full[1:3].permute(1, 2, 0) / scale).numpy()
    votes[..., 0] += np.arange(votes.shape[0], dtype=np.float32)[:, None]
    votes[..., 1] += np.arange(votes.shape[1], dtype=np.float32)
    width = (kernel_width(full[3]) / scale).numpy()
    return decode.Maps(foreground, votes, width)


def iter_dense_bounded(
    network: EntityNetwork, image: torch.Tensor, tile: int, views: int = 1
) -> Generator[Progress | Notice, None, NDArray[np.float32]]:
    """Run :func:`iter_dense`, with smaller tiles when memory is not enough.

    Maps that the network keeps are not computed again.
    """
    kept: MapCache | None = getattr(network, "kept", None)
    key = kept.key(network, image, tile, views) if kept else None
    dense = kept.find(key) if kept else None
    if dense is None:
        dense = yield from halving(
            lambda side: iter_dense(network, image, side, views),
            tile,
            smallest=SMALLEST_TILE,
            device=next(network.parameters()).device,
            unit="tiles of {} pixels",
        )
        if kept:
            kept.keep(key, dense)
    return dense


def instances_of(
    network: EntityNetwork, dense: NDArray[np.float32], mapping: GridMapping, config: EntityConfig
) -> decode.InstanceMap:
    """Cluster raw maps (C, h, w) of a scaled plane to labels of the plane's own size."""
    if network.config.features == "positional":
        maps = to_maps(dense, mapping)
        return decode.find_pieces(maps, config.threshold, config.fill_holes)
    foreground = torch.sigmoid(-torch.from_numpy(dense[0]))
    background = (foreground < config.threshold).numpy()
    coarse = segment_features(lines_of(network, dense), background)
    labels = mapping.nearest(coarse)
    full = torch.sigmoid(-mapping.bilinear(dense[:1])[0]).numpy()
    labels[full < config.threshold] = 0
    if config.fill_holes:
        labels = decode.fill_holes(labels)
    return decode.InstanceMap(labels, full, full, None)


def lines_of(network: EntityNetwork, dense: NDArray[np.float32]) -> torch.Tensor:
    """Return the line (h, w, D) of every cell of raw maps with content features."""
    lines = torch.from_numpy(dense[-network.config.content_dim :]).permute(1, 2, 0)
    lines = lines / lines.norm(dim=-1, keepdim=True).clamp_min(1e-6)
    if network.config.features == "both":
        height, width = dense.shape[1:]
        places = torch.stack(
            torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij"), -1
        )
        offsets = torch.from_numpy(dense[1:3]).permute(1, 2, 0)
        votes = places * network.config.output_stride + offsets
        typical = float(kernel_width(torch.from_numpy(dense[3])).median())
        lifted = fourier_lift(votes.reshape(-1, 2), torch.full((height * width,), -50.0), typical)
        lines = torch.cat([lines, lifted[:, 1:].view(height, width, -1)], -1) / 2**0.5
    return lines


def labels_of(
    network: EntityNetwork,
    dense: NDArray[np.float32],
    mapping: GridMapping,
    config: EntityConfig,
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Cluster raw maps, and leave out what is too small or doubtful; see :func:`instances_of`.

    Returns ``labels`` (H, W) int32, ``scores`` (N,) float32.
    """
    instances = instances_of(network, dense, mapping, config)
    return ObjectFilter(network.scoring, mapping.scale, config).finish(instances)


def iter_plane(
    network: EntityNetwork,
    pixels: NDArray[np.float32],
    config: EntityConfig,
    scale: float,
    shape: tuple[int, int] | None = None,
) -> Generator[Progress | Notice, None, Plane]:
    """Segment one normalised plane (H, W, C), at one scale or at several resolutions.

    ``shape`` is that of the plane, where the pixels are those of a lower resolution of it.
    """
    shape = shape or (pixels.shape[0], pixels.shape[1])
    found = []
    for step in range(config.resolutions):
        finer = scale * 2**step
        image = resize_to(pixels, scaled_shape(shape, finer))
        dense = yield from iter_dense_bounded(network, image, config.tile, config.views)
        yield Progress(1, 1, "clustering")
        mapping = GridMapping.whole(shape, finer, network.config.output_stride)
        found.append(labels_of(network, dense, mapping, config))
    labels, scores = found[0]
    if len(found) > 1:
        labels, scores = object_filter_of(network, scale, config).finish(merge(found))
    return Plane(labels, scores, scale)


def object_filter_of(network: EntityNetwork, scale: float, config: EntityConfig) -> ObjectFilter:
    """Return the filter of the entities of a plane, merged from several resolutions if need be.

    What is doubtful was left out before they were merged, and :func:`merge` gives their scores.
    """
    if config.resolutions > 1:
        return ObjectFilter(None, scale, replace(config, min_score=0.0))
    return ObjectFilter(network.scoring, scale, config)


def merge(found: list[tuple[NDArray[np.int32], NDArray[np.float32]]]) -> decode.InstanceMap:
    """Merge the labels of several resolutions, coarse to fine, and keep each pixel's score."""
    labels = merge_resolutions([one for one, _ in found])
    means = np.mean([np.append(0.0, scores)[one] for one, scores in found], axis=0)
    quality = means.astype(np.float32)
    return decode.InstanceMap(labels, quality, quality, None)


def quick_segmenter(network: EntityNetwork, config: EntityConfig) -> QuickSegmenter:
    """Return the function by which :func:`choose_scale` segments at a trial scale."""
    sure = replace(config, min_area=1, min_score=SURE, threshold=EntityConfig().threshold)

    def segment(
        pixels: NDArray[np.float32], scale: float
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        image = resize(pixels, scale)
        dense = finish(iter_dense_bounded(network, image, QUICK_TILE))
        shape = (image.shape[2], image.shape[3])
        mapping = GridMapping.whole(shape, 1.0, network.config.output_stride)
        instances = instances_of(network, dense, mapping, sure)
        return ObjectFilter(None, 1.0, sure).finish(instances)

    return segment


def chosen_scale(
    network: EntityNetwork, pixels: NDArray[np.float32], config: EntityConfig
) -> float:
    """Return the scale to look at a normalised plane (H, W, C) at, as the config says."""
    if config.scale == "auto":
        return finish(choose_scale(pixels, quick_segmenter(network, config)))[0]
    return float(config.scale)


def segment_plane(
    network: EntityNetwork, pixels: NDArray[np.float32], config: EntityConfig
) -> Plane:
    """Segment one normalised plane (H, W, C)."""
    return finish(iter_plane(network, pixels, config, chosen_scale(network, pixels, config)))
