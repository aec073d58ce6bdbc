"""The SAM block: a pre-trained SAM's prompt encoder and two-way attention on CLIP's features."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from .pseudo_prompts import PseudoPrompts

CERTAIN = 8.0
"""Logit of a certain mask for a SAM; pseudo-masks are given as logits between -8 and 8."""


class SamBlock(nn.Module):
    """Refines CLIP's features of ``width`` channels where the prompts of each class point to.

    For each class, its prompts attend to each other, then prompts and image to each other in turn,
    as in SAM's mask decoder: ``(F_v^n)' = BCA(SA(P^n), F_v)``; the classes' images are merged by a
    1x1 convolution.  It has the same weights for every class, and takes the classes' mean, because
    number and order of the names are the user's.  Its output is added to the input features, which
    the paper does not state: the SAM's attention was trained on other features.
    """

    def __init__(self, prompt_encoder: Any, mask_decoder: Any, width: int) -> None:
        super().__init__()
        from segment_anything.modeling.common import LayerNorm2d

        channels = prompt_encoder.embed_dim
        self.project = nn.Conv2d(width, channels, 1)
        # A SAM's image embedding ends in such a norm, which its attention expects.
        self.norm: Any = LayerNorm2d(channels)
        self.prompts: Any = deepcopy(prompt_encoder)
        self.layers: Any = deepcopy(mask_decoder.transformer.layers)
        outputs = (mask_decoder.iou_token.weight, mask_decoder.mask_tokens.weight)
        self.tokens = nn.Parameter(torch.cat([t.detach() for t in outputs]))
        self.merge = nn.Conv2d(channels, channels, 1)

    def pretrained(self) -> list[nn.Parameter]:
        """Return the parameters that come from a SAM."""
        return [*self.prompts.parameters(), *self.layers.parameters(), self.tokens]

    def forward(self, visual: Tensor, prompts: PseudoPrompts) -> Tensor:
        """Refine features ``F_v`` (B, D, h, w) to ``F_v'`` (B, d, h, w)."""
        batch, classes = prompts.valid.shape[:2]
        height, width = visual.shape[2:]
        image: Tensor = self.norm(self.project(visual))
        sparse, dense = self.embed(prompts)
        keys = image[:, None] + dense.reshape(batch, classes, *dense.shape[1:])
        keys = keys.flatten(0, 1).flatten(2).transpose(1, 2)  # (B C, h w, d)
        positions = self._positions(height, width)
        tokens = torch.cat([self.tokens.expand(len(sparse), -1, -1), sparse], 1)
        queries = tokens
        for layer in self.layers:
            queries, keys = layer(queries=queries, keys=keys, query_pe=tokens, key_pe=positions)
        refined = keys.reshape(batch, classes, height * width, -1).mean(1)
        merged: Tensor = self.merge(refined.transpose(1, 2).reshape(batch, -1, height, width))
        return image + merged

    def embed(self, prompts: PseudoPrompts) -> tuple[Tensor, Tensor]:
        """Embed prompts for B C classes as SAM does.

        Returns ``sparse`` (B C, k + 1, d), ``dense`` (B C, d, h, w).
        """
        height, width = prompts.masks.shape[-2:]
        scale = self.prompts.input_image_size[0] / max(height, width)
        # SAM adds half a pixel to whole-numbered coordinates; ours are middles already.
        points = prompts.points.flatten(0, 1) * scale - 0.5
        valid = prompts.valid.flatten(0, 1)
        labels = torch.where(valid, 1, -1)
        logits = CERTAIN * (2 * prompts.masks.amax(2).flatten(0, 1)[:, None] - 1)
        enlarged = logits.repeat_interleave(4, 2).repeat_interleave(4, 3)
        sparse, dense = self.prompts(points=(points, labels), boxes=None, masks=enlarged)
        nothing = self.prompts.no_mask_embed.weight.reshape(1, -1, 1, 1)
        return sparse, torch.where(valid.any(1)[:, None, None, None], dense, nothing)

    def _positions(self, height: int, width: int) -> Tensor:
        """Return SAM's position codes (1, h w, d) of a grid that is not square."""
        side = max(height, width)
        table: Tensor = self.prompts.pe_layer((side, side))[:, :height, :width]
        return table.flatten(1).T[None]
