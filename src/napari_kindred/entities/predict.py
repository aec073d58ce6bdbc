"""Segmentation of planes and stacks into entities: the public functions and their generators."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional as F

from ..config import EntityConfig, with_options
from ..device import describe, inference, is_out_of_memory, release, select
from ..errors import KindredError
from ..events import Event, Notice, Partial, Progress, finish
from ..images import Frames, is_constant, normalise
from ..results import Assembly, Segmentation, measure, provenance
from ..tiling import Stitcher, tiles
from . import decode
from .checkpoint import load_network
from .lines import fourier_lift, kernel_width
from .meanshift import segment_features
from .multiresolution import merge_resolutions
from .scale import Look, choose_scale

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .network import EntityNetwork

HALO = 96
"""Pixels of context around each tile."""

BLEND = 16
"""Half the width, in pixels, of the strip over which neighbouring tiles pass into each other."""


SMALLEST_TILE = 256
"""Tiles are not halved below this side when memory is not enough."""


@dataclass(frozen=True)
class Plane:
    """Result of one plane: labels (H, W) int32, scores (N,), the scale it was looked at."""

    labels: NDArray[np.int32]
    scores: NDArray[np.float32]
    scale: float


def resize(pixels: NDArray[np.float32], scale: float) -> torch.Tensor:
    """Scale a plane (H, W, C) and return it as (1, 3, H', W'), anti-aliased when shrinking."""
    image = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))[None]
    if scale != 1:
        size = scaled_shape((image.shape[2], image.shape[3]), scale)
        image = F.interpolate(image, size=size, mode="bilinear", antialias=scale < 1)
    return image.expand(1, 3, -1, -1)


def scaled_shape(shape: tuple[int, int], scale: float) -> tuple[int, int]:
    """Size of a plane after scaling."""
    return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))


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
    stitcher = Stitcher(channels(network), shape)
    for number, part in enumerate(parts):
        rows, columns = (slice(s.start * stride, s.stop * stride) for s in part.outer)
        window = pad_to_multiple(image[:, :, rows, columns])
        with inference():
            maps = network(window.to(device, memory_format=torch.channels_last))
            dense = torch.cat([m for m in maps if m is not None], 1)[0].float().cpu().numpy()
        stitcher.add(part, dense)
        yield Progress(number + 1, len(parts), "network")
    plane: NDArray[np.float32] = stitcher.plane
    return plane


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


def cells(shape: tuple[int, int], scale: float, stride: int) -> list[float]:
    """Return how many pixels of a plane one cell of its raw maps spans along each axis.

    Not the ratio of the two sizes: a scaled plane of odd size ends in half a cell.
    """
    return [
        stride * n / scaled for n, scaled in zip(shape, scaled_shape(shape, scale), strict=True)
    ]


def upsample(
    dense: NDArray[np.float32], shape: tuple[int, int], scale: float, stride: int
) -> torch.Tensor:
    """Bring raw maps (C, h, w) of a scaled plane to the plane's own size, bilinearly."""
    factors = [step * (1 + 1e-9) for step in cells(shape, scale, stride)]
    full = F.interpolate(
        torch.from_numpy(dense)[None],
        scale_factor=factors,
        mode="bilinear",
        align_corners=False,
        recompute_scale_factor=False,
    )
    return full[0, :, : shape[0], : shape[1]]


def to_maps(
    dense: NDArray[np.float32], shape: tuple[int, int], scale: float, stride: int
) -> decode.Maps:
    """Bring positional maps (C, h, w) of a scaled plane to the plane's own size and pixels."""
    full = upsample(dense[:4], shape, scale, stride)
    foreground = torch.sigmoid(-full[0]).numpy()
    votes: NDArray[np.float32] = (full[1:3].permute(1, 2, 0) / scale).numpy()
    votes[..., 0] += np.arange(shape[0], dtype=np.float32)[:, None]
    votes[..., 1] += np.arange(shape[1], dtype=np.float32)
    width = (kernel_width(full[3]) / scale).numpy()
    return decode.Maps(foreground, votes, width)


def iter_dense_bounded(
    network: EntityNetwork, image: torch.Tensor, tile: int
) -> Generator[Progress | Notice, None, NDArray[np.float32]]:
    """Run :func:`iter_dense`, with smaller tiles when memory is not enough."""
    while True:
        try:
            return (yield from iter_dense(network, image, tile))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if tile // 2 < SMALLEST_TILE:
                raise KindredError(
                    f"Memory is not enough even for tiles of {tile} pixels; close other programs "
                    "or choose device='cpu'."
                ) from error
            tile //= 2
        release(next(network.parameters()).device)
        yield Notice(f"Memory was not enough; going on with tiles of {tile} pixels.")


def labels_of(
    network: EntityNetwork,
    dense: NDArray[np.float32],
    shape: tuple[int, int],
    scale: float,
    config: EntityConfig,
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Cluster raw maps (C, h, w) of a scaled plane to labels of the plane's own size.

    Returns
    -------
    labels : ndarray, (H, W) int32
    scores : ndarray, (N,) float32
    """
    if network.config.features == "positional":
        maps = to_maps(dense, shape, scale, network.config.output_stride)
        return decode.segment_maps(
            maps, config.threshold, config.min_area, config.fill_holes, config.min_score
        )
    stride = network.config.output_stride
    foreground = torch.sigmoid(-torch.from_numpy(dense[0]))
    lines = torch.from_numpy(dense[-network.config.content_dim :]).permute(1, 2, 0)
    lines = lines / lines.norm(dim=-1, keepdim=True).clamp_min(1e-6)
    if network.config.features == "both":
        height, width = dense.shape[1:]
        places = torch.stack(
            torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij"), -1
        )
        votes = places * stride + torch.from_numpy(dense[1:3]).permute(1, 2, 0)
        typical = float(kernel_width(torch.from_numpy(dense[3])).median())
        lifted = fourier_lift(votes.reshape(-1, 2), torch.full((height * width,), -50.0), typical)
        lines = torch.cat([lines, lifted[:, 1:].view(height, width, -1)], -1) / 2**0.5
    coarse = segment_features(lines, background=(foreground < config.threshold).numpy(), min_area=1)
    labels = enlarge(coarse, shape, cells(shape, scale, stride))
    full = torch.sigmoid(-upsample(dense[:1], shape, scale, stride)[0]).numpy()
    labels[full < config.threshold] = 0
    if config.fill_holes:
        labels = decode.fill_holes(labels)
    return decode.finish(labels, full, config.min_area, config.min_score)


def enlarge(
    labels: NDArray[np.int32], shape: tuple[int, int], steps: list[float]
) -> NDArray[np.int32]:
    """Bring labels (h, w), one cell spanning ``steps`` pixels, to another size."""
    rows, columns = (
        np.minimum(((np.arange(new) + 0.5) / step).astype(int), old - 1)
        for old, new, step in zip(labels.shape, shape, steps, strict=True)
    )
    enlarged: NDArray[np.int32] = labels[rows[:, None], columns[None]]
    return enlarged


def iter_plane(
    network: EntityNetwork, pixels: NDArray[np.float32], config: EntityConfig, scale: float
) -> Generator[Progress | Notice, None, Plane]:
    """Segment one normalised plane (H, W, C), at one scale or at several resolutions."""
    shape = (pixels.shape[0], pixels.shape[1])
    found = []
    for step in range(config.resolutions):
        finer = scale * 2**step
        dense = yield from iter_dense_bounded(network, resize(pixels, finer), config.tile)
        yield Progress(1, 1, "clustering")
        found.append(labels_of(network, dense, shape, finer, config))
    labels, scores = found[0]
    if len(found) > 1:
        labels, scores = merge(found)
    return Plane(labels, scores, scale)


def merge(
    found: list[tuple[NDArray[np.int32], NDArray[np.float32]]],
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Merge the labels of several resolutions, coarse to fine, and keep each pixel's score."""
    labels = merge_resolutions([one for one, _ in found])
    quality = np.mean([np.append(0.0, scores)[one] for one, scores in found], axis=0)
    return decode.finish(labels, quality.astype(np.float32), 1)


def look(network: EntityNetwork, config: EntityConfig, tile: int = 512) -> Look:
    """Return the quick look that :func:`choose_scale` takes with this network."""

    def segment(
        pixels: NDArray[np.float32], scale: float
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        image = resize(pixels, scale)
        dense = finish(iter_dense_bounded(network, image, tile))
        shape = (image.shape[2], image.shape[3])
        return labels_of(network, dense, shape, 1.0, replace(config, min_area=1))

    return segment


def segment_plane(
    network: EntityNetwork, pixels: NDArray[np.float32], config: EntityConfig
) -> Plane:
    """Segment one normalised plane (H, W, C), its scale chosen as the config says."""
    if config.scale == "auto":
        scale, _ = finish(choose_scale(pixels, look(network, config)))
    else:
        scale = float(config.scale)
    return finish(iter_plane(network, pixels, config, scale))


def iter_segment_entities(
    image: Any,
    *,
    config: EntityConfig | None = None,
    model: tuple[EntityNetwork, Mapping[str, Any]] | None = None,
    metadata_axes: str | None = None,
    **options: Any,
) -> Generator[Event, None, Segmentation]:
    """Segment cells or nuclei, telling what happens on the way.

    Same as :func:`segment_entities`, as a generator: yields
    :class:`~napari_kindred.events.Progress`, :class:`~napari_kindred.events.Notice` and, for each
    finished frame, :class:`~napari_kindred.events.Partial`; returns the whole
    :class:`~napari_kindred.results.Segmentation`.  Closing it cancels; frames yielded stay valid.

    Parameters
    ----------
    image, config, **options
        As in :func:`segment_entities`.
    model : tuple of network and info, optional
        From :func:`~napari_kindred.entities.checkpoint.load_network`, in place of
        ``config.weights``.
    metadata_axes : str, optional
        What a file or layer says about the axes; weighed when ``axes`` are guessed.
    """
    start = time.perf_counter()
    config = with_options(config or EntityConfig(), options)
    frames = Frames.open(image, config.axes, config.channel, metadata_axes)
    notes = [frames.axes_note] if frames.axes_note else []
    for note in notes:
        yield Notice(note)
    device = select(config.device)
    yield Progress(0, len(frames), "loading the weights", 0, len(frames))
    network, info = model or load_network(config.weights, device)
    assembly = Assembly(frames)
    scale = None if config.scale == "auto" else float(config.scale)
    diameter: float | None = None
    for number, index in enumerate(frames.indices()):
        raw = frames.read(index)
        pixels = normalise(raw.pixels)
        place = (number, len(frames))
        if scale is None and not is_constant(raw.pixels):
            chosen = choose_scale(pixels, look(network, config))
            scale, diameter = yield from _within(chosen, *place)
            yield Notice(_scale_note(scale, diameter))
            if not diameter:  # nothing seen in this frame: the next one may tell
                scale = None
        if raw.note:
            notes.append(raw.note)
            yield Notice(raw.note)
        if is_constant(raw.pixels):
            labels, scores = np.zeros(frames.plane_shape, np.int32), np.zeros(0, np.float32)
        else:
            plane = yield from _within(iter_plane(network, pixels, config, scale or 1.0), *place)
            labels, scores = plane.labels, plane.scores
        table = measure(labels, raw.pixels, scores, number if frames.leading_axes else None)
        partial = Partial(index, labels, table, raw.note)
        assembly.add(partial)
        yield partial
        yield Progress(number + 1, len(frames), "done", number + 1, len(frames))
    facts = provenance(
        method="entities",
        config=config,
        frames=frames,
        weights={"name": config.weights, "sha256": info["sha256"]},
        seconds=time.perf_counter() - start,
        device=describe(device),
        notes=notes,
        encoder=network.config.encoder,
        features=network.config.features,
        scale_used=scale or 1.0,
        typical_diameter=None if diameter is None else round(diameter, 1),
    )
    return assembly.segmentation(facts)


def _scale_note(scale: float, diameter: float) -> str:
    if not diameter:
        return "No entities seen at any scale; looking at the image as it is."
    return f"Scale {scale:g}: entities are about {diameter:.0f} pixels across."


def _within(job: Generator[Any, None, Any], number: int, total: int) -> Generator[Any, None, Any]:
    """Count a frame's progress (0 … 1) as the stack's; it never goes back."""
    highest = 0.0
    while True:
        try:
            event = next(job)
        except StopIteration as stop:
            return stop.value
        if isinstance(event, Progress):
            share = event.done / event.total if event.total else 0.0
            if event.what.startswith("measuring"):
                share = 0.0
            highest = max(highest, 0.95 * share)
            event = Progress(number + highest, total, event.what, number, total)
        yield event


def segment_entities(
    image: Any,
    *,
    config: EntityConfig | None = None,
    model: tuple[EntityNetwork, Mapping[str, Any]] | None = None,
    metadata_axes: str | None = None,
    **options: Any,
) -> Segmentation:
    """Segment every cell or nucleus of an image or stack: each its own label.

    Projective-sphere features from a network, clustered by mean-shift (Bottom-Up class-agnostic
    segmentation, sections 3 and 4).  A stack is segmented frame by frame and read lazily.

    Parameters
    ----------
    image : array-like
        numpy, dask, zarr or anything with ``shape``, ``dtype`` and slicing; bool, integer or
        float; ``YX``, ``CYX``, ``TYX``, ``TCYX``, ``ZYX`` (slice by slice) or RGB(A).
    config : EntityConfig, optional
        All options at once.
    model : tuple of network and info, optional
        From :func:`~napari_kindred.entities.checkpoint.load_network`.
    metadata_axes : str, optional
        What a file or layer says about the axes; weighed when ``axes`` are guessed.
    **options
        Single fields of :class:`~napari_kindred.config.EntityConfig`, for example ``axes="TYX"``,
        ``channel=0``, ``scale=0.5``.

    Returns
    -------
    Segmentation
        Labels of the image's time, slice and plane axes, int32; a table with a row per entity;
        provenance.

    Raises
    ------
    InputError
        When the image, its axes or its channel cannot be used.
    OptionError
        When an option has a value that it cannot take.
    WeightsError
        When the weights are missing, damaged or made for something else.

    Examples
    --------
    >>> import napari_kindred as nk
    >>> result = nk.segment_entities(movie, axes="TYX")  # doctest: +SKIP
    >>> result.save("cells.tif")  # doctest: +SKIP
    """
    return finish(
        iter_segment_entities(
            image, config=config, model=model, metadata_axes=metadata_axes, **options
        )
    )
