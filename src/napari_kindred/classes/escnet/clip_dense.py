"""A CLIP's image encoder, patch by patch and with gradients, with intermediate features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...core.errors import OptionError

if TYPE_CHECKING:
    from ...encoders.clip import OpenedClip


@dataclass(frozen=True)
class DenseFeatures:
    """Features of B images in a CLIP, on a grid of h x w patches.

    ``final`` (B, D, h, w) is ``F_v`` of the paper, in the space of texts; ``middle`` (B, W, h, w)
    twice are those inside the transformer, after a third and two thirds of its blocks.
    """

    final: Tensor
    middle: tuple[Tensor, Tensor]


class DenseClip(nn.Module):
    """A CLIP's vision transformer with an output for every patch.

    In the last block every patch attends to itself alone: what CLIP learned there is to gather the
    whole image, which blurs where objects are (Zhou et al., "Extract Free Dense Labels from CLIP",
    2022, section 3.1).  ``dimension`` and ``width`` are D and W of :class:`DenseFeatures`,
    ``patch`` and ``side`` are in pixels.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, opened: OpenedClip) -> None:
        super().__init__()
        self.visual: Any = opened.network.visual
        blocks = self.visual.transformer.resblocks
        if not all(isinstance(getattr(b, "attn", None), nn.MultiheadAttention) for b in blocks):
            raise OptionError(
                f"CLIP {opened.model!r} has an attention of its own, whose patches cannot be had; "
                "use a plain one, for example ViT-B-16."
            )
        self.patch, self.side = int(self.visual.patch_size[0]), opened.side
        self.width = int(self.visual.conv1.out_channels)
        projected = self.visual.proj is not None
        self.dimension = int(self.visual.proj.shape[1]) if projected else self.width
        self.taken = (max(1, len(blocks) // 3), max(1, 2 * len(blocks) // 3))
        self.register_buffer("mean", torch.tensor(opened.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer(
            "deviation", torch.tensor(opened.deviation).view(1, 3, 1, 1), persistent=False
        )
        self.requires_grad_(False)

    def attention(self) -> dict[str, nn.Parameter]:
        """Return the parameters of all attention, by name: those that ESC-Net fine-tunes."""
        return {name: p for name, p in self.named_parameters() if ".attn." in name}

    def train(self, mode: bool = True) -> DenseClip:  # noqa: ARG002
        """Stay in evaluation mode."""
        return super().train(False)

    def forward(self, images: Tensor) -> DenseFeatures:
        """Encode images (B, 3, H, W), 0..1, sides multiples of the patch; h = H / patch."""
        visual = self.visual
        grid = visual.conv1((images - self.mean) / self.deviation)
        shape = grid.shape[2:]
        class_position, positions = self._positions(shape)
        first = (visual.class_embedding + class_position).expand(len(grid), 1, -1)
        x = visual.ln_pre(torch.cat([first, grid.flatten(2).transpose(1, 2) + positions], 1))
        middle = []
        blocks = visual.transformer.resblocks
        for number, block in enumerate(blocks[:-1], start=1):
            x = block(x)
            middle += [x] * self.taken.count(number)
        # With so few blocks that the last one would be taken, its input is taken.
        middle += [x] * (2 - len(middle))
        x = visual.ln_post(_attending_to_itself(blocks[-1], x))
        if visual.proj is not None:
            x = x @ visual.proj
        final, one, two = (_on_grid(tokens, shape) for tokens in (x, *middle))
        return DenseFeatures(final, (one, two))

    def _positions(self, shape: torch.Size) -> tuple[Tensor, Tensor]:
        """Return the codes (1, W) of the class token and (1, h w, W) of the grid's positions."""
        table = self.visual.positional_embedding
        class_position, positions = table[:1], table[1:]
        if tuple(shape) != tuple(self.visual.grid_size):
            plane = positions.reshape(1, *self.visual.grid_size, -1).permute(0, 3, 1, 2)
            plane = F.interpolate(plane, tuple(shape), mode="bicubic", antialias=True)
            positions = plane.flatten(2).transpose(1, 2)[0]
        return class_position, positions[None]


def _attending_to_itself(block: Any, x: Tensor) -> Tensor:
    """Run a transformer's block as if every token attended to itself alone."""
    attention: nn.MultiheadAttention = block.attn
    width = x.shape[-1]
    weight, bias = attention.in_proj_weight, attention.in_proj_bias
    values = F.linear(block.ln_1(x), weight[-width:], bias[-width:])
    x = x + block.ls_1(attention.out_proj(values))
    out: Tensor = x + block.ls_2(block.mlp(block.ln_2(x)))
    return out


def _on_grid(tokens: Tensor, shape: torch.Size) -> Tensor:
    """Reshape tokens (B, 1 + h w, W), the class token first, to an image (B, W, h, w)."""
    return tokens[:, 1:].transpose(1, 2).reshape(len(tokens), -1, *shape)
