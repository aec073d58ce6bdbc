"""ESC-Net: N blocks of pseudo-prompts, SAM block and fusion between CLIP and the mask decoder."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...core.errors import OptionError
from ...encoders.sam import check_installed
from .dataset import IGNORE
from .decoder import Decoder, zero_init
from .fusion import FusionBlock
from .pseudo_prompts import ABOVE, REGIONS, pseudo_prompts
from .sam_block import SamBlock

if TYPE_CHECKING:
    from ...encoders.sam_shapes import SamShapes
    from .clip_dense import DenseFeatures


def correlate(visual: Tensor, texts: Tensor) -> Tensor:
    """Return the cosine of every patch (B, D, h, w) with every name (C, D), eq. 1: (B, C, h, w)."""
    return torch.einsum("bdhw,cd->bchw", F.normalize(visual, dim=1), F.normalize(texts, dim=1))


def log_odds(correlation: Tensor, others: Tensor, sharpness: Tensor | float) -> Tensor:
    """Return the logits whose sigmoids are CLIP's own probabilities, (B, C, h, w) float32.

    The softmax of the cosines (B, C, h, w), times ``sharpness``, over the names and the words
    (B, K, h, w) for none of them, as CLIP was trained to compare them; as logits for a binary
    cross-entropy per class.
    """
    # In half precision a probability near 1 would be 1, and its logit infinite.
    every = sharpness * torch.cat([correlation, others], 1).float()
    return torch.logit(every.softmax(1)[:, : correlation.shape[1]], eps=1e-6)


FINER = 4
"""Logits are this many times as fine as CLIP's patches."""


@dataclass(frozen=True)
class EscShape:
    """Sizes of an ESC-Net, stored with its weights.

    ``dimension`` is D of CLIP's space, ``width`` W of its intermediate features, ``blocks`` is N.
    Parts may be left out to measure their effect: without ``sam_block`` CLIP's own features guide
    the fusion; without ``fusion`` there is no decoder either, and the SAM block's features are
    compared with the texts directly.
    """

    dimension: int
    width: int
    sam: SamShapes
    blocks: int = 4
    hidden: int = 128
    heads: int = 4
    window: int = 7
    regions: int = REGIONS
    above: float = ABOVE
    sam_block: bool = True
    fusion: bool = True

    def __post_init__(self) -> None:
        if self.hidden % (4 * self.heads):
            raise OptionError(
                f"hidden={self.hidden} must be a multiple of four times heads={self.heads}."
            )


class EscBlock(nn.Module):
    """One block: prompts from the correlation, features from the prompts, a better correlation."""

    def __init__(self, shape: EscShape, prompt_encoder: Any, mask_decoder: Any) -> None:
        super().__init__()
        self.shape = shape
        channels = shape.sam.out_channels if shape.sam_block else shape.dimension
        self.sam: SamBlock | None = None
        self.fuse: FusionBlock | None = None
        self.correct: nn.Conv2d | None = None
        if shape.sam_block:
            self.sam = SamBlock(prompt_encoder, mask_decoder, shape.dimension)
        if shape.fusion:
            self.fuse = FusionBlock(
                channels, shape.dimension, shape.hidden, shape.heads, shape.window
            )
        elif shape.sam_block:
            self.correct = nn.Conv2d(channels, shape.dimension, 1)
            zero_init(self.correct)

    def forward(
        self, visual: Tensor, correlation: Tensor, embedded: Tensor | None, texts: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Refine the correlation (B, C, h, w) of features (B, D, h, w) and texts (C, D).

        ``embedded`` (B, C, h, w, hidden) comes from the block before, and goes to the next one.
        """
        guide = visual
        if self.sam is not None:
            prompts = pseudo_prompts(correlation, self.shape.regions, self.shape.above)
            guide = self.sam(visual, prompts)
        if self.fuse is not None:
            refined, embedded = self.fuse(correlation, embedded, guide, texts)
            return refined, embedded
        if self.correct is not None:
            moved = correlate(visual + self.correct(guide), texts) - correlate(visual, texts)
            correlation = correlation + moved
        return correlation, None


class EscNet(nn.Module):
    """The network without CLIP, whose features and texts are its input.

    ``sharpness`` is the factor that CLIP learned for its cosines; prompt encoder and mask decoder
    are copied from ``sam``, or random without one.
    """

    def __init__(self, shape: EscShape, sharpness: float = 20.0, sam: Any = None) -> None:
        super().__init__()
        check_installed()
        self.shape = shape
        prompts = shape.sam.prompt_encoder() if sam is None else sam.prompt_encoder
        decoder = shape.sam.mask_decoder() if sam is None else sam.mask_decoder
        self.blocks = nn.ModuleList(EscBlock(shape, prompts, decoder) for _ in range(shape.blocks))
        self.decoder = Decoder(shape.hidden, shape.width) if shape.fusion else None
        self.sharpness = nn.Parameter(torch.tensor(math.log(sharpness)))
        self.requires_grad_(True)

    def forward(self, features: DenseFeatures, texts: Tensor, contrast: Tensor) -> Tensor:
        """Return logits (B, C, 4 h, 4 w), each class by itself; before training CLIP's own.

        Texts (C, D) are those of the names, in any order and number, ``contrast`` (K, D) those of
        words for none of the names.
        """
        visual = features.final
        correlation = correlate(visual, texts)
        others = correlate(visual, contrast)
        embedded: Tensor | None = None
        for block in self.blocks:
            correlation, embedded = block(visual, correlation, embedded, texts)
        coarse = log_odds(correlation, others, self.sharpness.exp())
        size = [FINER * n for n in coarse.shape[2:]]
        logits = F.interpolate(coarse, size, mode="bilinear")
        if self.decoder is not None and embedded is not None:
            logits = logits + self.decoder(embedded, features.middle)
        return logits

    def pretrained(self) -> list[nn.Parameter]:
        """Return the parameters that come from a SAM."""
        blocks = [part for part in self.modules() if isinstance(part, SamBlock)]
        return [parameter for block in blocks for parameter in block.pretrained()]


def class_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean binary cross-entropy of logits (B, C, h, w) over labelled pixels and classes.

    Labels (B, H, W) are the number of the class, ``NOTHING`` for none of them, ``IGNORE`` for
    unknown; the loss is zero if all are unknown.
    """
    full = F.interpolate(logits.float(), labels.shape[1:], mode="bilinear")
    labelled = labels != IGNORE
    numbers = torch.arange(logits.shape[1], device=labels.device)
    truth = (labels[:, None] == numbers[:, None, None]).float()
    losses = F.binary_cross_entropy_with_logits(full, truth, reduction="none").mean(1)
    return (losses * labelled).sum() / labelled.sum().clamp_min(1)
