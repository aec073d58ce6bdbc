"""The mask decoder: two steps up, CLIP's intermediate features beside them, one map per class."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def silence(layer: nn.Conv2d | nn.Linear) -> None:
    """Make a layer return zeros until it has learnt something."""
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()


class UpStage(nn.Module):
    """Twice the resolution, with features of the picture joined in.

    Parameters
    ----------
    channels, wanted : int
        Coming in and going out.
    width : int
        Channels W of the picture's features.
    """

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
    """From the fused correlation to a logit per class, four times as fine.

    Parameters
    ----------
    hidden : int
        Of the fusion.
    width : int
        Channels W of CLIP's intermediate features.
    """

    def __init__(self, hidden: int = 128, width: int = 768) -> None:
        super().__init__()
        self.first = UpStage(hidden, hidden // 2, width)
        self.second = UpStage(hidden // 2, hidden // 4, width)
        self.read = nn.Conv2d(hidden // 4, 1, 3, padding=1)
        silence(self.read)

    def forward(self, embedded: Tensor, middle: tuple[Tensor, Tensor]) -> Tensor:
        """Decode.

        Parameters
        ----------
        embedded : Tensor, (B, C, h, w, hidden)
        middle : tuple of two Tensors, (B, W, h, w)
            CLIP's features, early ones first; the late ones join the first step.

        Returns
        -------
        Tensor, (B, C, 4 h, 4 w)
            Logits; all zero before training.
        """
        batch, classes = embedded.shape[:2]
        x = embedded.flatten(0, 1).permute(0, 3, 1, 2)
        x = self.second(self.first(x, middle[1]), middle[0])
        logits: Tensor = self.read(x).reshape(batch, classes, *x.shape[2:])
        return logits
