"""The mask decoder: two upsampling steps with CLIP's intermediate features, one map per class."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def zero_init(layer: nn.Conv2d | nn.Linear) -> None:
    """Make a layer return zeros before training."""
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()


class UpStage(nn.Module):
    """Doubles the resolution, ``channels`` to ``wanted``, joined with W features of the image."""

    def __init__(self, channels: int, wanted: int, width: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(channels, wanted, 2, 2)
        self.skip = nn.Conv2d(width, wanted // 2, 1)
        self.mix = nn.Sequential(
            nn.Conv2d(wanted + wanted // 2, wanted, 3, padding=1),
            nn.GroupNorm(max(1, wanted // 16), wanted),
            nn.GELU(),
            nn.Conv2d(wanted, wanted, 3, padding=1),
            nn.GroupNorm(max(1, wanted // 16), wanted),
            nn.GELU(),
        )

    def forward(self, x: Tensor, features: Tensor) -> Tensor:
        """Return (B C, wanted, 2 h, 2 w), of (B C, channels, h, w) and (B, W, any size)."""
        x = self.up(x)
        skip = F.interpolate(self.skip(features), x.shape[2:], mode="bilinear")
        skip = skip.repeat_interleave(len(x) // len(skip), 0)
        mixed: Tensor = self.mix(torch.cat([x, skip], 1))
        return mixed


class Decoder(nn.Module):
    """Decodes the fused correlation to a logit per class, at four times the resolution."""

    def __init__(self, hidden: int = 128, width: int = 768) -> None:
        super().__init__()
        self.first = UpStage(hidden, hidden // 2, width)
        self.second = UpStage(hidden // 2, hidden // 4, width)
        self.read = nn.Conv2d(hidden // 4, 1, 3, padding=1)
        zero_init(self.read)

    def forward(self, embedded: Tensor, middle: tuple[Tensor, Tensor]) -> Tensor:
        """Decode (B, C, h, w, hidden) to logits (B, C, 4 h, 4 w); all zero before training.

        ``middle`` is CLIP's features (B, W, h, w), early ones first; the late ones join the first
        step.
        """
        batch, classes = embedded.shape[:2]
        x = embedded.flatten(0, 1).permute(0, 3, 1, 2)
        x = self.second(self.first(x, middle[1]), middle[0])
        logits: Tensor = self.read(x).reshape(batch, classes, *x.shape[2:])
        return logits
