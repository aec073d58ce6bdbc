"""Encode whole frames: in overlapping tiles at full resolution, or scaled down to fit."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch.nn import functional as F

from ..compute.device import halving
from ..core.errors import InputError, OptionError
from ..core.events import Notice, Progress
from ..entities.segment import pad_to_multiple
from ..images.tiling import Stitcher, Tile, tiles
from .base import Encoder, Tokens, fitted_shape

if TYPE_CHECKING:
    from collections.abc import Generator

    from numpy.typing import NDArray

Large = Literal["tiles", "resize"]

HALO = 160
"""Pixels of context around each tile, for encoders that take any size; less in small tiles."""

BLEND = 32
"""Half the width, in pixels, of the strip over which tiles are blended."""

GRID = 32
"""Their tiles begin on this grid of pixels: a convolutional network's coarsest stride."""

SMALLEST_TILE = 256
"""Tiles are not halved below this side when memory is not enough."""


@dataclass(frozen=True)
class FrameTokens:
    """One frame in latent space."""

    values: NDArray[np.float32]
    """(h, w, D); token (i, j) has its centre at pixel ``((i + .5) * step_y - .5, …)``."""
    valid: NDArray[np.bool_]
    """Which tokens lie on the frame, (h, w)."""
    step: tuple[float, float]
    """Pixels of the frame per token, (step_y, step_x)."""
    embedding: NDArray[np.float32] | None = None
    """All of the encoder's tokens in each of the frame's N :func:`decoder_windows`, padding
    included, for its mask decoder, (N, h', w', D); None without a decoder, or if not wanted."""


@dataclass(frozen=True)
class DecoderWindow:
    """A part of a frame that was encoded by itself, where a mask decoder can be asked."""

    tokens: tuple[slice, slice]
    """Its rows and columns of the frame's tokens."""
    shape: tuple[int, int]
    """Its height and width in pixels of the frame; the last tokens may reach beyond the frame."""
    inner: tuple[slice, slice]
    """Rows and columns of pixels of the frame where its masks count; of two that overlap there,
    those of the later window."""


def decoder_windows(
    encoder: Encoder, shape: tuple[int, int], large: Large, tile: int
) -> list[DecoderWindow]:
    """Return the parts in which a frame (H, W) is encoded; options as in :func:`iter_encode`."""
    if large == "resize" or max(shape) <= (encoder.input_size or tile):
        everything = slice(0, shape[0]), slice(0, shape[1])
        return [DecoderWindow((slice(None), slice(None)), shape, everything)]
    stride = encoder.stride
    grid = (-(-shape[0] // stride), -(-shape[1] // stride))
    return [
        DecoderWindow(
            (rows, columns),
            ((rows.stop - rows.start) * stride, (columns.stop - columns.start) * stride),
            _in_pixels(part.inner, stride, shape),
        )
        for part, (rows, columns) in _parts(encoder, grid, tile)
    ]


def _in_pixels(
    tokens: tuple[slice, slice], stride: int, shape: tuple[int, int]
) -> tuple[slice, slice]:
    rows, columns = (
        slice(span.start * stride, min(span.stop * stride, length))
        for span, length in zip(tokens, shape, strict=True)
    )
    return rows, columns


def iter_encode(
    encoder: Encoder,
    pixels: NDArray[np.float32],
    *,
    large: Large = "tiles",
    tile: int = 1024,
    components: NDArray[np.float32] | None = None,
    embedding: bool = False,
) -> Generator[Progress | Notice, None, FrameTokens]:
    """Encode one frame; yields Progress after every tile, and a Notice if tiles must be smaller.

    Parameters
    ----------
    encoder : Encoder
    pixels : ndarray of float32, shape (H, W, 1) or (H, W, 3)
        About 0..1, normalised the same way for all frames of a movie.
    large : {"tiles", "resize"}
        For a frame larger than the encoder's input, or than ``tile`` if the encoder takes any
        size: overlapping tiles at full resolution, for small objects; or the whole frame scaled
        down, for large ones.  Smaller frames are never cut.
    tile : int
        Largest side of a tile in pixels, for encoders that take any size.
    components : ndarray of float32, shape (n, D), optional
        See :meth:`.base.Encoder.encode`: ``values`` are then (h, w, n).
    embedding : bool
        Whether to return what a mask decoder needs, if the encoder has one.

    Returns
    -------
    FrameTokens

    Raises
    ------
    InputError
        If ``pixels`` is not a frame.
    OptionError
        If an option has an impossible value.
    """
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3) or 0 in pixels.shape:
        raise InputError(f"A frame must be (H, W, 1) or (H, W, 3), not {pixels.shape}.")
    if large not in ("tiles", "resize"):
        raise OptionError(f"large={large!r} is not possible; use 'tiles' or 'resize'.")
    shape = (pixels.shape[0], pixels.shape[1])
    free, whole = encoder.input_size is None, embedding and encoder.decoder is not None

    def attempt(side: int) -> Generator[Progress | Notice, None, FrameTokens]:
        if max(shape) > (encoder.input_size or side) and large == "tiles":
            return (yield from _tiled(encoder, pixels, side, components, whole))
        image = to_batch(pixels)
        if free and max(shape) > side:
            size = fitted_shape(shape, side)
            image = F.interpolate(image, size=size, mode="bilinear", antialias=True)
        return (yield from _whole(encoder, image, shape, components, whole))

    return (
        yield from halving(
            attempt,
            tile,
            smallest=min(tile, SMALLEST_TILE) if free and large == "tiles" else tile,
            unit=f"{encoder.name} with tiles of {{}} pixels",
            advice="choose a coarser stride, a smaller encoder or device='cpu'",
        )
    )


def to_batch(pixels: NDArray[np.float32]) -> torch.Tensor:
    """Return a frame (H, W, 1 or 3) as a batch of one, (1, 3, H, W)."""
    planes = np.ascontiguousarray(pixels.transpose(2, 0, 1), dtype=np.float32)
    return torch.from_numpy(planes)[None].expand(1, 3, -1, -1)


def _whole(
    encoder: Encoder,
    image: torch.Tensor,
    shape: tuple[int, int],
    components: NDArray[np.float32] | None,
    whole: bool,
) -> Generator[Progress, None, FrameTokens]:
    """Encode a frame in one go; ``shape`` is its size before it was scaled to ``image``."""
    # A mask decoder needs the tokens whole.
    tokens = _encode(encoder, image, None if whole else components)
    size = (image.shape[2], image.shape[3])
    if encoder.input_size is not None:
        size = fitted_shape(size, encoder.input_size)
    step = (encoder.stride * shape[0] / size[0], encoder.stride * shape[1] / size[1])
    values, valid = tokens.values[0].float().cpu().numpy(), tokens.valid.cpu().numpy()
    rows, columns = int(valid.any(1).sum()), int(valid.any(0).sum())
    yield Progress(1, 1, "encoding")
    on_frame, embedding = values[:rows, :columns], None
    if whole:
        embedding = values[None]
        on_frame = on_frame if components is None else on_frame @ components.T
    return FrameTokens(on_frame, valid[:rows, :columns], step, embedding)


def _encode(
    encoder: Encoder, image: torch.Tensor, components: NDArray[np.float32] | None
) -> Tokens:
    if components is None:
        return encoder.encode(image)
    return encoder.encode(image, torch.from_numpy(components))


def _tiled(
    encoder: Encoder,
    pixels: NDArray[np.float32],
    tile: int,
    components: NDArray[np.float32] | None,
    whole: bool,
) -> Generator[Progress, None, FrameTokens]:
    stride = encoder.stride
    shape = (-(-pixels.shape[0] // stride), -(-pixels.shape[1] // stride))
    parts = _parts(encoder, shape, tile)
    depth = encoder.dimension if components is None else len(components)
    stitcher, embeddings = Stitcher(depth, shape), []
    for number, (part, window) in enumerate(parts):
        rows, columns = (slice(s.start * stride, s.stop * stride) for s in window)
        image = to_batch(pixels[rows, columns])
        if encoder.input_size is not None:
            # Whole tokens, so that a window at the edge is not scaled up to the input's size.
            image = pad_to_multiple(image, stride)
        tokens = _encode(encoder, image, None if whole else components)
        values = tokens.values[0].float().cpu().numpy()
        if whole:
            embeddings.append(values)
            values = values if components is None else values @ components.T
        inside = tuple(
            slice(outer.start - span.start, outer.stop - span.start)
            for outer, span in zip(part.outer, window, strict=True)
        )
        stitcher.add(part, values[inside].transpose(2, 0, 1))
        yield Progress(number + 1, len(parts), "encoding")
    values = np.ascontiguousarray(stitcher.plane.transpose(1, 2, 0))
    embedding = np.stack(embeddings) if whole else None
    return FrameTokens(values, np.ones(shape, bool), (float(stride), float(stride)), embedding)


def _parts(
    encoder: Encoder, shape: tuple[int, int], tile: int
) -> list[tuple[Tile, tuple[slice, slice]]]:
    """Return tiles and the windows to encode for them, both counted in tokens."""
    stride = encoder.stride
    if encoder.input_size is None:
        halo, blend = min(HALO, tile // 5) // stride, min(BLEND, tile // 24) // stride
        grid = math.lcm(GRID, stride) // stride
        free = tiles(shape, tile // stride, halo, multiple=grid, blend=blend)
        return [(part, part.outer) for part in free]
    side = encoder.input_size // stride
    margin = max(1, side // 12) if side >= 6 else 0
    parts = tiles(shape, side, margin, blend=margin)
    return [(part, _fill(part, shape, side)) for part in parts]


def _fill(part: Tile, shape: tuple[int, int], side: int) -> tuple[slice, slice]:
    """Widen a tile to the encoder's whole input, where the frame is large enough."""
    starts = [
        max(0, min(outer.start, length - side))
        for outer, length in zip(part.outer, shape, strict=True)
    ]
    rows, columns = (
        slice(start, min(start + side, length)) for start, length in zip(starts, shape, strict=True)
    )
    return rows, columns
