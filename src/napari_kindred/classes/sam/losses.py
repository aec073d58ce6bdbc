"""Losses of the promptable model, and a dense auxiliary head that is dropped after training."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...entities.objective import BACKGROUND, RING, grid_places, make_targets
from ...entities.projective import OFFSET_UNIT
from ...models.augment import IGNORE

FOCAL_WEIGHT = 20.0
"""Weight of the focal loss relative to the Dice loss (Segment Anything, appendix A)."""

GAMMA, ALPHA = 2.0, 0.25
"""Parameters of the focal loss (Lin et al. 2017)."""

MASK_STRIDE = 2
"""Input pixels per pixel of the dense helper's maps."""


def mask_loss(logits: Tensor, targets: Tensor, valid: Tensor) -> Tensor:
    """Return 20 focal + Dice (N, K) of logits (N, K, h, w), targets (N, h, w), valid (h, w)."""
    truth = targets[:, None].expand_as(logits)
    probability = logits.sigmoid()
    correct = probability * truth + (1 - probability) * (1 - truth)
    entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    balance = ALPHA * truth + (1 - ALPHA) * (1 - truth)
    focal = balance * (1 - correct) ** GAMMA * entropy
    focal = (focal * valid).sum((-2, -1)) / valid.sum().clamp_min(1)
    shared = (probability * truth * valid).sum((-2, -1))
    total = ((probability + truth) * valid).sum((-2, -1))
    dice = 1 - (2 * shared + 1) / (total + 1)
    return FOCAL_WEIGHT * focal + dice


@torch.no_grad()
def real_quality(logits: Tensor, targets: Tensor, valid: Tensor) -> Tensor:
    """Return the IoU of each mask with its target, (N, K), 0 without one; see :func:`mask_loss`."""
    visible = valid > 0.5
    mask = (logits > 0) & visible
    truth = (targets > 0.5)[:, None] & visible
    shared = (mask & truth).sum((-2, -1)).float()
    return shared / (mask | truth).sum((-2, -1)).clamp_min(1)


def answer_loss(
    logits: Tensor, quality: Tensor, targets: Tensor, valid: Tensor, single: Tensor, empty: Tensor
) -> dict[str, Tensor]:
    """Return the loss terms of the decoder's output, each a mean over prompts.

    Of the three candidates for an ambiguous prompt only the best one is trained; the predicted
    quality of all of them is.  Prompts on background train quality alone.

    ``logits``, ``quality`` (N, 4, h, w) and (N, 4), ``targets``, ``valid`` (N, h, w) and (h, w),
    ``single``, ``empty`` (N,) bool.
    """
    losses = mask_loss(logits, targets, valid)
    chosen = torch.where(single, losses[:, 0], losses[:, 1:].amin(1))
    weight = (~empty).float()
    error = (quality - real_quality(logits, targets, valid)).square()
    quality_loss = torch.where(single, error[:, 0], error[:, 1:].mean(1))
    return {
        "mask": (chosen * weight).sum() / weight.sum().clamp_min(1),
        "quality": quality_loss.mean(),
    }


class DenseHead(nn.Module):
    """Predicts every entity from the image embedding: background, inside, ring, way to the centre.

    A few prompts a step train an image encoder slowly; this trains it on every pixel.  It is one
    linear map and never part of the saved model.
    """

    def __init__(self, channels: int, patch: int) -> None:
        super().__init__()
        fold = max(1, patch // MASK_STRIDE)
        self.project = nn.Conv2d(channels, 5 * fold**2, 1)
        self.unfold = nn.PixelShuffle(fold)

    def forward(self, embedding: Tensor) -> Tensor:
        """Map an embedding (B, C, h, w) to maps (B, 5, H / 2, W / 2)."""
        maps: Tensor = self.unfold(self.project(embedding))
        return maps


def dense_loss(maps: Tensor, labels: Tensor, complete: bool) -> Tensor:
    """Cross-entropy of background, inside, ring, and L1 of the way, of maps (5, H / 2, W / 2)."""
    targets = make_targets(labels, MASK_STRIDE)
    outside = (labels == IGNORE)[::MASK_STRIDE, ::MASK_STRIDE]
    kinds = torch.ones_like(targets.ids)
    kinds[targets.ids == BACKGROUND] = 0 if complete else IGNORE
    kinds[targets.ids == RING] = 2
    kinds[outside] = IGNORE
    if bool((kinds == IGNORE).all()):
        return maps.sum() * 0
    loss = F.cross_entropy(maps[None, :3], kinds[None], ignore_index=IGNORE)
    inside = targets.ids >= 0
    if bool(inside.any()):
        height, width = inside.shape
        positions = grid_places(height, width, MASK_STRIDE, maps.device)
        way = (targets.centres[targets.ids[inside]] - positions[inside]) / OFFSET_UNIT
        loss = loss + (maps[3:].permute(1, 2, 0)[inside] - way).abs().mean()
    return loss
