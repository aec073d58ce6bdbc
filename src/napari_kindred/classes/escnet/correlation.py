"""How well each name fits each patch: eq. 1 of the paper, and what it says by itself."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def correlate(visual: Tensor, texts: Tensor) -> Tensor:
    """Cosine of every patch with every name (eq. 1).

    Parameters
    ----------
    visual : Tensor, (B, D, h, w)
        ``F_v``.
    texts : Tensor, (C, D)
        ``F_l``.

    Returns
    -------
    Tensor, (B, C, h, w)
        -1..1.
    """
    return torch.einsum("bdhw,cd->bchw", F.normalize(visual, dim=1), F.normalize(texts, dim=1))


def log_odds(correlation: Tensor, others: Tensor, sharpness: Tensor | float) -> Tensor:
    """Return the logits whose sigmoids are CLIP's own probabilities.

    The softmax of the cosines over the names and what is no name, as CLIP was trained to compare
    them, written so that a binary cross-entropy per class can go on from it.

    Parameters
    ----------
    correlation : Tensor, (B, C, h, w)
        Of the names.
    others : Tensor, (B, K, h, w)
        Of words that stand for none of the names; K may be 0.
    sharpness : Tensor or float
        Factor of the cosines.

    Returns
    -------
    Tensor, (B, C, h, w)
        -13.8..13.8.
    """
    every = sharpness * torch.cat([correlation, others], 1)
    return torch.logit(every.softmax(1)[:, : correlation.shape[1]], eps=1e-6)
