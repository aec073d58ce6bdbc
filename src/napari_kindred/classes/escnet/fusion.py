"""Vision-language fusion: the correlation refined in space, then across the classes (figure 4).

In space, attention inside windows and between them (a pair of Swin layers), guided by the SAM
block's features; across the classes, at every position, linear attention guided by the names'
texts.  The guide takes part in queries and keys only, so that it decides what belongs together and
adds nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .decoder import zero_init


class Feed(nn.Module):
    """The usual two linear layers after an attention, with the residual."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(hidden)
        self.layers = nn.Sequential(
            nn.Linear(hidden, 4 * hidden), nn.GELU(), nn.Linear(4 * hidden, hidden)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the same shape (..., hidden)."""
        out: Tensor = x + self.layers(self.norm(x))
        return out


class WindowLayer(nn.Module):
    """Attention inside square windows, guided by features of the image.

    ``window`` is the side of a window in patches, ``shift`` the windows' shift up and left.
    """

    between: Tensor

    def __init__(self, hidden: int, heads: int, window: int, shift: int) -> None:
        super().__init__()
        self.heads, self.window, self.shift = heads, window, shift
        self.norm = nn.LayerNorm(hidden)
        self.qkv = nn.Linear(hidden, 3 * hidden)
        self.lead = nn.Linear(hidden, 2 * hidden, bias=False)
        self.out = nn.Linear(hidden, hidden)
        self.places = nn.Parameter(torch.zeros(heads, (2 * window - 1) ** 2))
        line = torch.arange(window)
        rows, columns = (grid.flatten() for grid in torch.meshgrid(line, line, indexing="ij"))
        between = (rows[:, None] - rows + window - 1) * (2 * window - 1)
        between = between + columns[:, None] - columns + window - 1
        self.register_buffer("between", between, persistent=False)
        self.feed = Feed(hidden)

    def forward(self, x: Tensor, guide: Tensor) -> Tensor:
        """Attend within (B, C, h, w, hidden), guided by (B, h, w, hidden)."""
        height, width = x.shape[2:4]
        q, k, v = self.qkv(self.norm(x)).chunk(3, -1)
        guide_q, guide_k = self.lead(guide)[:, None].chunk(2, -1)
        cut = [self._cut(part) for part in (q + guide_q, k + guide_k, v)]
        visible = self._cut(x.new_ones(1, height, width, 1))[..., 0] > 0  # (1, n, T)
        bias = self.places[:, self.between]  # (heads, T, T)
        mask = bias.masked_fill(~visible[0][:, None, None, :], -torch.inf)  # (n, heads, T, T)
        q, k, v = (p.reshape(*p.shape[:-1], self.heads, -1).transpose(-3, -2) for p in cut)
        found = F.scaled_dot_product_attention(q, k, v, attn_mask=mask.to(q.dtype))
        found = self._join(found.transpose(-3, -2).flatten(-2), height, width)
        out: Tensor = self.feed(x + self.out(found))
        return out

    def _frame(self, length: int) -> tuple[int, int]:
        """Return the padding before and after a side that makes it whole windows."""
        return self.shift, -(length + self.shift) % self.window

    def _cut(self, x: Tensor) -> Tensor:
        """Cut (..., h, w, c) into n windows, (..., n, T, c)."""
        top, bottom = self._frame(x.shape[-3])
        left, right = self._frame(x.shape[-2])
        x = F.pad(x, (0, 0, left, right, top, bottom))
        n = self.window
        rows, columns = x.shape[-3] // n, x.shape[-2] // n
        x = x.reshape(*x.shape[:-3], rows, n, columns, n, x.shape[-1])
        return x.transpose(-4, -3).flatten(-3, -2).flatten(-4, -3)

    def _join(self, x: Tensor, height: int, width: int) -> Tensor:
        """Join windows (..., n, T, c) again, (..., h, w, c)."""
        n = self.window
        (top, bottom), (left, right) = self._frame(height), self._frame(width)
        rows, columns = (top + height + bottom) // n, (left + width + right) // n
        x = x.reshape(*x.shape[:-3], rows, columns, n, n, x.shape[-1]).transpose(-4, -3)
        x = x.reshape(*x.shape[:-5], rows * n, columns * n, x.shape[-1])
        return x[..., top : top + height, left : left + width, :]


class ClassLayer(nn.Module):
    """Linear attention among the classes at each position, guided by the names' texts.

    Katharopoulos et al., "Transformers are RNNs" (2020), with elu(x) + 1 as there: the cost grows
    with the number of classes, not with its square.  Classes have no order.
    """

    def __init__(self, hidden: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(hidden)
        self.qkv = nn.Linear(hidden, 3 * hidden)
        self.lead = nn.Linear(hidden, 2 * hidden, bias=False)
        self.out = nn.Linear(hidden, hidden)
        self.feed = Feed(hidden)

    def forward(self, x: Tensor, guide: Tensor) -> Tensor:
        """Attend across the classes of (B, C, h, w, hidden), guided by (C, hidden)."""
        q, k, v = self.qkv(self.norm(x)).chunk(3, -1)
        guide_q, guide_k = self.lead(guide)[:, None, None].chunk(2, -1)
        q, k = (F.elu(part) + 1 for part in (q + guide_q, k + guide_k))
        q, k, v = (part.reshape(*part.shape[:-1], self.heads, -1) for part in (q, k, v))
        table = torch.einsum("bcywnd,bcywne->bywnde", k, v)
        weight = torch.einsum("bcywnd,bywnd->bcywn", q, k.sum(1))
        found = torch.einsum("bcywnd,bywnde->bcywne", q, table) / (weight[..., None] + 1e-6)
        out: Tensor = self.feed(x + self.out(found.flatten(-2)))
        return out


class FusionBlock(nn.Module):
    """Refines the correlation of C classes.

    ``channels`` are those of the guiding features, ``dimension`` is that of the guiding texts.
    """

    def __init__(
        self, channels: int, dimension: int, hidden: int = 128, heads: int = 4, window: int = 7
    ) -> None:
        super().__init__()
        self.embed = nn.Conv2d(1, hidden, 7, padding=3)
        self.picture = nn.Linear(channels, hidden)
        self.texts = nn.Linear(dimension, hidden)
        self.inside = WindowLayer(hidden, heads, window, 0)
        self.between = WindowLayer(hidden, heads, window, window // 2)
        self.classes = ClassLayer(hidden, heads)
        self.read = nn.Linear(hidden, 1)
        zero_init(self.read)

    def forward(
        self, correlation: Tensor, before: Tensor | None, guide: Tensor, texts: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Refine a correlation (B, C, h, w) by ``F_v'`` (B, channels, h, w) and texts (C, D).

        ``before`` is the embedding that the block before returned, (B, C, h, w, hidden).  Returns
        the correlation, unchanged before training, and its own embedding.
        """
        batch, classes = correlation.shape[:2]
        x = self.embed(correlation.flatten(0, 1)[:, None]).permute(0, 2, 3, 1)
        x = x.reshape(batch, classes, *x.shape[1:])
        if before is not None:
            x = x + before
        lead = self.picture(guide.permute(0, 2, 3, 1))
        x = self.between(self.inside(x, lead), lead)
        x = self.classes(x, self.texts(texts))
        return correlation + self.read(x)[..., 0], x
