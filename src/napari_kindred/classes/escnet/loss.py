"""What ESC-Net learns by: a binary cross-entropy for each class, where labels are known."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .dataset import IGNORE


def class_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Binary cross-entropy of every class, the mean over known pixels and classes.

    Parameters
    ----------
    logits : Tensor, (B, C, h, w)
        Scaled to the labels' size first.
    labels : Tensor, (B, H, W) int64
        Number of the class, ``NOTHING`` for none of them, ``IGNORE`` where it is not known.

    Returns
    -------
    Tensor, ()
        Zero where nothing is known.
    """
    full = F.interpolate(logits.float(), labels.shape[1:], mode="bilinear")
    known = labels != IGNORE
    numbers = torch.arange(logits.shape[1], device=labels.device)
    truth = (labels[:, None] == numbers[:, None, None]).float()
    losses = F.binary_cross_entropy_with_logits(full, truth, reduction="none").mean(1)
    return (losses * known).sum() / known.sum().clamp_min(1)
