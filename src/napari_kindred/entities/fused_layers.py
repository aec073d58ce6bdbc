"""Convolutional networks made ready for use: batch norm folded, wide maps computed in bands.

In evaluation mode batch norm is a linear function of each channel, and becomes part of the
convolution before it.  An inverted residual block widens its narrow input up to six times and
narrows it again.  Computed in bands of rows, the wide maps in between stay in a processor's cache,
and are small enough that the memory of the last one is used again: larger blocks go back to the
system each time, which zeroes them page by page when they are asked for anew.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor, nn

from ..compute.device import inference

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

BAND = 8 << 20
"""Approximate bytes of the widest map of a band."""

CLOSE = 1e-4
"""Share of the largest value by which maps may differ once batch norm is folded."""

Network = TypeVar("Network", bound=nn.Module)

_POINTWISE = (
    nn.BatchNorm2d, nn.Identity, nn.ReLU, nn.ReLU6, nn.SiLU, nn.Hardswish, nn.GELU,
)  # fmt: skip


def in_bands(
    function: Callable[..., Tensor], maps: Sequence[Tensor], units: int, size: int, margin: int
) -> Tensor:
    """Apply a function to maps in bands of rows, which it must compute from nearby rows only."""
    if size >= units or maps[0].device.type != "cpu" or torch.is_grad_enabled():
        return function(*maps)
    parts = []
    for first in range(0, units, size):
        stop = min(first + size, units)
        low, high = max(first - margin, 0), min(stop + margin, units)
        rows = [one.shape[2] // units for one in maps]
        found = function(
            *(one[:, :, low * n : high * n] for one, n in zip(maps, rows, strict=True))
        )
        n = found.shape[2] // (high - low)
        parts.append(found[:, :, (first - low) * n : (stop - low) * n])
    return torch.cat(parts, 2)


def band_size(channels: int, width: int, batch: int = 1) -> int:
    """Return how many rows of a map of float32 make a band."""
    return max(8, BAND // (4 * channels * width * batch))


class Bands(nn.Module):
    """A block of convolutions (see :func:`is_local`) that is computed in bands."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block
        layers = [layer for layer in block.modules() if isinstance(layer, nn.Conv2d)]
        self._channels = max(layer.out_channels for layer in layers)
        self._stride, reach = 1, 0
        for layer in layers:
            reach += layer.kernel_size[0] // 2 * layer.dilation[0] * self._stride
            # Padding to the same size is uneven where pixels are skipped.
            reach += (layer.stride[0] > 1) * self._stride
            self._stride *= layer.stride[0]
        self._reach = -(-reach // self._stride)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's result for ``x``, (B, C, h, w)."""
        if x.shape[2] % self._stride:
            whole: Tensor = self.block(x)
            return whole
        rows = band_size(self._channels, x.shape[3], x.shape[0])
        units, size = x.shape[2] // self._stride, max(1, rows // self._stride)
        return in_bands(self.block, [x], units, size, self._reach)


def is_local(block: nn.Module) -> bool:
    """Whether a block is made of convolutions that keep the size, apart from their stride."""
    from timm.layers import Conv2dSame  # type: ignore[attr-defined]

    for layer in block.modules():
        if isinstance(layer, nn.Conv2d):
            sizes = zip(layer.kernel_size, layer.dilation, strict=True)
            same = tuple((n - 1) * dilation // 2 for n, dilation in sizes)
            if not isinstance(layer, Conv2dSame) and layer.padding != same:
                return False
        elif not isinstance(layer, _POINTWISE) and not any(layer.children()):
            return False
    return True


def optimise_for_inference(network: Network) -> Network:
    """Return a faster network in evaluation mode that gives the same maps except for rounding.

    If batch norm cannot be folded safely the network stays as it is.  Not for training: its
    tensors differ from those it was loaded with.
    """
    ready = copy.deepcopy(network).eval().requires_grad_(requires_grad=False)
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with inference():
        before, pairs = _followed(ready, image)
        _fold(ready, pairs)
        after = _maps(ready, image)
    if not all(_close(a, b) for a, b in zip(before, after, strict=True)):
        ready = copy.deepcopy(network).eval().requires_grad_(requires_grad=False)
    for parent in list(ready.modules()):
        for name, block in list(parent.named_children()):
            if hasattr(block, "conv_dw") and is_local(block):
                setattr(parent, name, Bands(block))
    return ready


def _maps(network: nn.Module, image: Tensor) -> list[Tensor]:
    """Return copies of a network's maps, which its blocks may overwrite otherwise."""
    return [one.clone() for one in network(image) if one is not None]


def _close(one: Tensor, other: Tensor) -> bool:
    return bool((one - other).abs().max() <= CLOSE * one.abs().max())


def _followed(
    network: nn.Module, image: Tensor
) -> tuple[list[Tensor], list[tuple[nn.Conv2d, nn.BatchNorm2d]]]:
    """Run a network; returns its maps, and the convolutions that a batch norm follows."""
    made_by: dict[int, nn.Conv2d] = {}
    held: list[Tensor] = []  # so that no later one has the same place in memory
    pairs = []

    def record(layer: nn.Module, _inputs: object, result: Tensor) -> None:
        made_by[id(result)] = layer  # type: ignore[assignment]
        held.append(result)

    def pair(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if id(inputs[0]) in made_by:
            pairs.append((made_by[id(inputs[0])], layer))

    hooks = []
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            hooks.append(layer.register_forward_hook(record))
        elif isinstance(layer, nn.BatchNorm2d):
            hooks.append(layer.register_forward_pre_hook(pair))
    maps = _maps(network, image)
    for hook in hooks:
        hook.remove()
    return maps, pairs  # type: ignore[return-value]


def _fold(network: nn.Module, pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d]]) -> None:
    """Make batch norms part of the convolutions before them; only their activations remain."""
    rest: dict[nn.Module, nn.Module] = {}
    for layer, norm in pairs:
        if norm.running_mean is None or norm.running_var is None:
            continue
        gain = torch.rsqrt(norm.running_var.double() + norm.eps)
        shift = -norm.running_mean.double() * gain
        if norm.affine:
            gain, shift = gain * norm.weight, shift * norm.weight + norm.bias
        if layer.bias is not None:
            shift = shift + layer.bias * gain
        layer.weight.copy_(layer.weight * gain[:, None, None, None])
        layer.bias = nn.Parameter(shift.float(), requires_grad=False)
        rest[norm] = getattr(norm, "act", nn.Identity())  # timm's are one with what follows
    for parent in network.modules():
        for name, child in list(parent.named_children()):
            if child in rest:
                setattr(parent, name, rest[child])
