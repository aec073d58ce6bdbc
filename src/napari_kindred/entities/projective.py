"""Features as lines: similarities on the real projective sphere (paper sections 3.1, 3.2).

A pixel's feature is a line through the origin; all that losses and clustering need are cosines
between lines.  Two kinds of features provide them:

*content*: explicit vectors ``f`` of unit length (``f`` and ``-f`` are the same line);
*positional*: a pixel *points* to the place ``v = p + o(p)`` with a width ``s`` and a background
angle ``theta``.  Its line is ``[sin(theta) e0, cos(theta) phi(v, s)]`` where ``phi`` is the
feature map of the non-stationary Gaussian kernel

    <phi(v, s), phi(u, r)> = 2 s r / (s^2 + r^2) * exp(-|v - u|^2 / (s^2 + r^2)),

positive definite in the plane (Gibbs 1997), 1 for equal places and widths, near 0 for places
further apart than a few widths.  With one width for all it is the Gaussian kernel that random
Fourier features approximate (:func:`fourier_lift`); the kernel itself is their exact limit, so
losses and clustering use it and no random numbers are left in them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

OFFSET_UNIT = 16.0
"""Pixels per unit of the offset channels."""

SIZE_UNIT = 24.0
"""Diameter in pixels at which the size channel is 0; one unit is a factor of two."""


WIDTH_PER_DIAMETER = 0.35
"""Kernel width of an entity over its equivalent diameter.

Lines of 45 degrees then are votes 0.29 diameters apart, well inside the half diameter at which
the centre of a touching neighbour lies.
"""


def unit(features: Tensor) -> Tensor:
    """Scale features (..., D) to unit length."""
    length: Tensor = features.norm(dim=-1, keepdim=True)
    return features / length.clamp_min(1e-8)


def target_lines(features: Tensor, ids: Tensor, count: int, iterations: int = 24) -> Tensor:
    """Target line of every entity (paper eq. 4), (count, D) of arbitrary sign.

    The eigenvector of the largest eigenvalue of ``sum f f^T`` over the entity's pixels, by power
    iteration for all entities at once; no D x D matrix is formed.  Without gradient: at the
    maximum of a quadratic form the derivative with respect to the maximiser vanishes.

    ``features`` (P, D) are unit vectors, ``ids`` (P,) int64 the entities, 0 … count - 1.
    """
    with torch.no_grad():
        generator = torch.Generator().manual_seed(0)
        random = torch.randn(features.shape[1], generator=generator).to(features)
        # Start from the sum of features turned towards one of the entity's own pixels; a little
        # of a fixed random direction keeps the start from being orthogonal to the answer.
        some = torch.zeros(count, dtype=torch.long, device=ids.device)
        some[ids] = torch.arange(len(ids), device=ids.device)
        lines = unit(features[some] + 1e-3 * random)
        for _ in range(iterations):
            cosine = (features * lines[ids]).sum(1, keepdim=True)
            lines = torch.zeros_like(lines).index_add_(0, ids, cosine * features)
            lines = unit(lines)
    return lines


def means_by_id(values: Tensor, ids: Tensor, count: int) -> Tensor:
    """Mean of ``values`` (P, C) over the pixels of each id, (count, C)."""
    total = torch.zeros(count, values.shape[1], dtype=values.dtype, device=values.device)
    total = total.index_add(0, ids, values)
    number = torch.bincount(ids, minlength=count).clamp_min(1).to(values)
    return total / number[:, None]


def kernel_width(log_size: Tensor) -> Tensor:
    """Kernel width in pixels of a predicted log2 size (any shape)."""
    return SIZE_UNIT * WIDTH_PER_DIAMETER * torch.exp2(log_size)


def positional_cosines(
    votes: Tensor, widths: Tensor, centres: Tensor, centre_widths: Tensor
) -> Tensor:
    """Cosines between positional lines, background angle left out.

    ``votes`` (P, 2), ``widths`` (P,), ``centres`` (N, 2), ``centre_widths`` (N,); returns (P, N).
    """
    distance2 = (votes[:, None] - centres[None]).square().sum(-1)
    total = widths[:, None].square() + centre_widths[None].square()
    return 2 * widths[:, None] * centre_widths[None] / total * torch.exp(-distance2 / total)


def background_split(logit: Tensor) -> tuple[Tensor, Tensor]:
    """|sin|, |cos| of the angle to the background's plane; by log-sigmoid: finite gradients."""
    log_sigmoid = torch.nn.functional.logsigmoid
    return torch.exp(0.5 * log_sigmoid(logit)), torch.exp(0.5 * log_sigmoid(-logit))


def fourier_lift(
    votes: Tensor, background_logit: Tensor, width: float, frequencies: int = 64, seed: int = 0
) -> Tensor:
    """Lift votes to explicit unit features by random Fourier features.

    ``f = [sin(theta), cos(theta) phi(v)]``, ``phi(x) = K^-1/2 [cos(w_k x), sin(w_k x)]``,
    ``w_k ~ N(0, width^-2)``, so that ``f g`` is about ``exp(-|v - u|^2 / (2 width^2))`` for two
    foreground pixels, with an error of about ``K^-1/2``.

    ``votes`` (P, 2), ``background_logit`` (P,); returns (P, 1 + 2 K).
    """
    generator = torch.Generator().manual_seed(seed)
    waves = torch.randn(2, frequencies, generator=generator).to(votes) / width
    phase = votes @ waves
    sine, cosine = background_split(background_logit)
    wave = torch.cat([phase.cos(), phase.sin()], dim=1) / math.sqrt(frequencies)
    return torch.cat([sine[:, None], cosine[:, None] * wave], dim=1)
