"""Losses of the promptable model, and a dense helper that is dropped when training is over."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...entities.objective import BACKGROUND, RING, grid_places, make_targets
from ...entities.projective import OFFSET_UNIT
from ...models.augment import IGNORE

FOCAL_WEIGHT = 20.0
"""Of the focal loss beside the Dice loss (Segment Anything, appendix A)."""

GAMMA, ALPHA = 2.0, 0.25
"""Of the focal loss (Lin et al. 2017)."""

MASK_STRIDE = 2
"""Input pixels per pixel of the dense helper's maps."""


def mask_loss(logits: Tensor, targets: Tensor, valid: Tensor) -> Tensor:
    """20 focal + Dice of each mask.

    ``logits`` (N, K, h, w), ``targets`` (N, h, w), ``valid`` (h, w); returns (N, K).
    """
    truth = targets[:, None].expand_as(logits)
    chance = logits.sigmoid()
    right = chance * truth + (1 - chance) * (1 - truth)
    entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    balance = ALPHA * truth + (1 - ALPHA) * (1 - truth)
    focal = balance * (1 - right) ** GAMMA * entropy
    focal = (focal * valid).sum((-2, -1)) / valid.sum().clamp_min(1)
    shared = (chance * truth * valid).sum((-2, -1))
    total = ((chance + truth) * valid).sum((-2, -1))
    dice = 1 - (2 * shared + 1) / (total + 1)
    return FOCAL_WEIGHT * focal + dice


@torch.no_grad()
def real_quality(logits: Tensor, targets: Tensor, valid: Tensor) -> Tensor:
    """IoU of each mask with its target, (N, K); 0 where there is none. Shapes as above."""
    seen = valid > 0.5
    mask = (logits > 0) & seen
    truth = (targets > 0.5)[:, None] & seen
    shared = (mask & truth).sum((-2, -1)).float()
    return shared / (mask | truth).sum((-2, -1)).clamp_min(1)


def answer_loss(
    logits: Tensor, quality: Tensor, targets: Tensor, valid: Tensor, single: Tensor, empty: Tensor
) -> dict[str, Tensor]:
    """Loss of the decoder's answers, each term a mean over prompts.

    Of the three candidates for an ambiguous prompt only the best one learns; the predicted
    quality of all that a prompt may use does.  Prompts on background teach quality alone.

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
    """Reads every entity off the image embedding: background, inside, ring, way to the centre.

    A few prompts a step teach an image encoder slowly; this teaches it every pixel.  It is one
    linear map and never part of the saved model.

    Parameters
    ----------
    channels : int
        Of the embedding.
    patch : int
        Input pixels per token.
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
    """Cross-entropy of background, inside and ring, and the L1 of the way to the centre.

    ``maps`` (5, H / 2, W / 2) float32, ``labels`` (H, W) int64.
    """
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
        places = grid_places(height, width, MASK_STRIDE, maps.device)
        way = (targets.centres[targets.ids[inside]] - places[inside]) / OFFSET_UNIT
        loss = loss + (maps[3:].permute(1, 2, 0)[inside] - way).abs().mean()
    return loss
