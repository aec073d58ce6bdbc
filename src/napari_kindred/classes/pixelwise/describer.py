"""Every pixel's vector: filters of its image at several scales, and an encoder's tokens."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from ...compute.device import select
from ...core.errors import InputError
from ...core.events import Notice, Progress
from ...encoders.encode import FrameTokens, iter_encode
from ...encoders.registry import open_encoder
from ...entities.auto_scale import GOOD, choose_scale
from ...entities.checkpoint import load_network
from ...entities.config import EntityConfig
from ...entities.segment import quick_segmenter, resize
from ...images.tiling import Tile, tiles
from ...models.spec import absolute
from ..pixels import check_pixels
from ..proposals.base import SPACE, ProposerSpec
from ..proposals.entities import IGNORED, iter_scale, joint_hash

if TYPE_CHECKING:
    from collections.abc import Generator

    import torch
    from numpy.typing import NDArray

    from ...encoders.base import Encoder
    from ...entities.network import EntityNetwork
    from .head import PixelHead

SIGMAS = (0.5, 16.0)
"""Narrowest and widest of the Gaussians of the filters, in the image's own pixels."""

PER_CHANNEL = 24
"""Filters of a channel: intensity, edges and two curvatures at six widths."""

HALO = 72
"""Pixels around a tile on which its filters depend: four widths, and two for derivatives."""

TILE = 640
"""Largest side of a tile of filters, halo included."""

STRIDE = 2
"""Pixels per token, as the encoder gets the image."""

COVERED = 0.1
"""Share of an image that its cells cover at least, if it is one of cells."""


class PixelSpec(ProposerSpec):
    """How pixels are described."""

    kind = "pixels"

    def _open(self, device: str | torch.device) -> PixelDescriber:
        config, channels = EntityConfig(**self.options["entities"]), self.options["channels"]
        return PixelDescriber.open(self.encoder, config, channels=channels, device=device)


class PixelDescriber:
    """Describes pixels.

    Filters are of the image's own pixels, so that edges stay as sharp as they are.  The encoder
    gets the image so large that its cells have the size that the entity network is made for;
    classes taught at one magnification are then found at another.  Images without cells it gets as
    they are (``config.scale`` is 1).
    """

    def __init__(
        self,
        network: EntityNetwork,
        encoder: Encoder,
        config: EntityConfig,
        weights: str,
        channels: int,
    ) -> None:
        self._network, self._encoder, self._config = network, encoder, config
        self._weights = weights
        self.filters, self._channels = PER_CHANNEL * channels, channels
        options = {k: v for k, v in dataclasses.asdict(config).items() if k not in IGNORED}
        name, sha256 = absolute(encoder.name), joint_hash(weights, encoder.sha256)
        space = f"filters 1, tokens, stride {encoder.stride}, of {channels} channels"
        if config.scale != "auto":
            space += f", at scale {config.scale:g}"
        self.spec: ProposerSpec = PixelSpec(
            name,
            sha256,
            {SPACE: space, "channels": channels, "filters": self.filters, "entities": options},
        )

    @classmethod
    def open(
        cls,
        encoder: str,
        config: EntityConfig | None = None,
        *,
        channels: int,
        device: str | torch.device = "auto",
    ) -> PixelDescriber:
        """Load the weights; ``channels`` is 1, or 3 if any image has colours."""
        config = config or EntityConfig()
        chosen = select(device)
        network, info = load_network(config.weights, chosen)
        opened = open_encoder(encoder, stride=STRIDE, device=chosen)
        return cls(network, opened, config, info["sha256"], channels)

    def unscaled(self) -> PixelDescriber:
        """Return the same for images without cells."""
        config = dataclasses.replace(self._config, scale=1.0)
        return PixelDescriber(
            self._network, self._encoder, config, self._weights, channels=self._channels
        )

    def iter_vectors(
        self,
        pixels: NDArray[np.float32],
        places: NDArray[np.intp],
        scale: float | None = None,
    ) -> Generator[Progress | Notice, None, NDArray[np.float32]]:
        """Return the vectors (N, D) of the pixels of an image (H, W, C) at (N, 2)."""
        pixels = self._checked(pixels)
        tokens = yield from self.iter_tokens(pixels, scale=scale)
        values = np.zeros((len(places), self.filters), np.float32)
        for part in _parts(pixels):
            inside = np.flatnonzero(
                np.all([_within(places[:, i], part.inner[i]) for i in (0, 1)], axis=0)
            )
            if len(inside):
                yield Progress(0.5, 1, "filtering")
                y, x = (places[inside, i] - part.outer[i].start for i in (0, 1))
                values[inside] = self.filtered(pixels[part.outer])[y, x]
        at = at_points(tokens, places.astype(np.float64))
        return np.concatenate([values, at], 1)

    def iter_maps(
        self, pixels: NDArray[np.float32], head: PixelHead
    ) -> Generator[Progress | Notice, None, NDArray[np.uint8]]:
        """Return the probabilities of a head's classes for an image, (C, H, W), of 255."""
        pixels = self._checked(pixels)
        tokens = yield from self.iter_tokens(pixels, head.weights)
        maps = np.zeros((head.classes, *pixels.shape[:2]), np.uint8)
        parts = _parts(pixels)
        for number, part in enumerate(parts):
            yield Progress(0.3 + 0.7 * number / len(parts), 1, "classifying pixels")
            values = self.filtered(pixels[part.outer])[part.local]
            logits = on_grid(tokens, part.inner) + head.bias
            shape = values.shape[:2]
            found = head.mixed(values.reshape(-1, self.filters), logits.reshape(-1, len(head.bias)))
            levels = np.rint(255 * found[:, : head.classes]).astype(np.uint8)
            maps[(slice(None), *part.inner)] = levels.T.reshape(-1, *shape)
        return maps

    def iter_filters(
        self, pixels: NDArray[np.float32], window: tuple[slice, slice]
    ) -> Generator[Progress | Notice, None, NDArray[np.float16]]:
        """Return the filters of a window of an image (H, W, C), (h, w, F), in half precision."""
        pixels = self._checked(pixels)
        rows, columns = (part.stop - part.start for part in window)
        values = np.zeros((rows, columns, self.filters), np.float16)
        parts = tiles((rows, columns), TILE, HALO)
        for number, part in enumerate(parts):
            yield Progress(number / len(parts), 1, "filtering")
            # Beyond the window the image goes on.
            places = [
                (whole.start + inner.start, whole.start + inner.stop)
                for whole, inner in zip(window, part.inner, strict=True)
            ]
            outer = tuple(slice(max(0, start - HALO), stop + HALO) for start, stop in places)
            local = tuple(
                slice(start - span.start, stop - span.start)
                for (start, stop), span in zip(places, outer, strict=True)
            )
            values[part.inner] = self.filtered(pixels[outer])[local]
        return values

    def iter_tokens(
        self,
        pixels: NDArray[np.float32],
        components: NDArray[np.float32] | None = None,
        scale: float | None = None,
    ) -> Generator[Progress | Notice, None, FrameTokens]:
        """Encode an image, its tokens' steps counted in its own pixels; ``scale`` if known."""
        if scale is None:
            scale = yield from self.iter_scale(pixels)
        image = resize(pixels, scale)[0, : pixels.shape[2]].numpy().transpose(1, 2, 0)
        tokens = yield from iter_encode(
            self._encoder, np.ascontiguousarray(image), components=components
        )
        y, x = (
            step * full / scaled
            for step, full, scaled in zip(
                tokens.step, pixels.shape[:2], image.shape[:2], strict=True
            )
        )
        return dataclasses.replace(tokens, step=(y, x), embedding=None)

    def iter_scale(self, pixels: NDArray[np.float32]) -> Generator[Progress, None, float]:
        """Return the factor at which the encoder gets an image."""
        return (yield from iter_scale(pixels, self._network, self._config))

    def iter_cells(
        self, pixels: NDArray[np.float32]
    ) -> Generator[Progress, None, tuple[float, bool]]:
        """Return the factor, and whether the image is one of cells without doubt."""
        segment, sure = quick_segmenter(self._network, self._config), False

        def tried(window: NDArray[np.float32], scale: float) -> tuple[NDArray[Any], NDArray[Any]]:
            nonlocal sure
            labels, scores = segment(window, scale)
            areas = np.bincount(labels.ravel(), minlength=len(scores) + 1)[1:]
            total = areas.sum()
            sure |= bool(total >= COVERED * labels.size and scores @ areas >= GOOD * total > 0)
            return labels, scores

        scale, _ = yield from choose_scale(pixels, tried)
        return scale, sure

    def filtered(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the filters of an image or tile (H, W, C), (H, W, F)."""
        from skimage.feature import multiscale_basic_features

        found = multiscale_basic_features(
            pixels, channel_axis=-1, sigma_min=SIGMAS[0], sigma_max=SIGMAS[1]
        ).astype(np.float32, copy=False)
        missing = self.filters // found.shape[2]
        values: NDArray[np.float32] = np.tile(found, (1, 1, missing)) if missing > 1 else found
        return values

    def _checked(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        check_pixels(pixels)
        if pixels.shape[2] > self._channels:
            raise InputError(
                "These classes were taught on images of one channel, and this one has colours; "
                "choose one channel of it."
            )
        return pixels


def _parts(pixels: NDArray[np.float32]) -> list[Tile]:
    return tiles((pixels.shape[0], pixels.shape[1]), TILE, HALO)


def _within(places: NDArray[np.intp], span: slice) -> NDArray[np.bool_]:
    inside: NDArray[np.bool_] = (places >= span.start) & (places < span.stop)
    return inside


def _neighbours(
    places: NDArray[np.floating[Any]], step: float, count: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """Return the cells before and after places of an axis, and the share of the latter."""
    exact = np.clip((places + 0.5) / step - 0.5, 0, count - 1)
    before = np.floor(exact).astype(np.intp)
    return before, np.minimum(before + 1, count - 1), (exact - before).astype(np.float32)


def at_points(tokens: FrameTokens, places: NDArray[np.float64]) -> NDArray[np.float32]:
    """Interpolate tokens at places (N, 2), (N, D)."""
    height, width = tokens.values.shape[:2]
    y0, y1, down = _neighbours(places[:, 0], tokens.step[0], height)
    x0, x1, right = _neighbours(places[:, 1], tokens.step[1], width)
    down, right = down[:, None], right[:, None]
    values = tokens.values
    above = values[y0, x0] * (1 - right) + values[y0, x1] * right
    below = values[y1, x0] * (1 - right) + values[y1, x1] * right
    return np.asarray(above * (1 - down) + below * down, np.float32)


def on_grid(
    tokens: FrameTokens, window: tuple[slice, slice], every: int = 1
) -> NDArray[np.float32]:
    """Interpolate tokens at the pixels of a window, or ``every`` so many of them, (h, w, D)."""
    values = tokens.values
    for axis, span in enumerate(window):
        before, after, share = _neighbours(
            np.arange(span.start, span.stop, every), tokens.step[axis], values.shape[axis]
        )
        share = share.reshape([-1, 1, 1] if axis == 0 else [1, -1, 1])
        first = values.take(before, axis)
        values = np.asarray(first + (values.take(after, axis) - first) * share, np.float32)
    return values
