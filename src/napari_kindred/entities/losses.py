"""Losses of the projective sphere (paper sections 3.1 to 3.5), each its own function.

All of them are written in terms of cosines between pixels' lines and target lines, so the same
functions serve content features (cosines of vectors) and positional features (cosines from a
kernel).  One image at a time; P pixels, N entities.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

RECO_TEMPERATURE = 0.5
RECO_QUERIES = 256
RECO_NEGATIVES = 512
RECO_CONFIDENT = 0.97
SMALLEST_EIGENVALUE = 0.02
"""Segment space is skipped where ``T^T T`` has a smaller eigenvalue than this."""


def norm_regularisation(raw: Tensor) -> Tensor:
    """L_reg, ``mean (|f| - 1)^2`` over raw features (P, D) (paper eq. 3)."""
    error: Tensor = (raw.norm(dim=-1) - 1).square().mean()
    return error


def attraction(own: Tensor, ids: Tensor, count: int) -> Tensor:
    """L_attr, ``mean_i mean_{p in i} (1 - |f_p t_i|)`` (paper eq. 5); ``own``, ``ids`` (P,)."""
    total = torch.zeros(count, dtype=own.dtype, device=own.device)
    total = total.index_add(0, ids, 1 - own.abs())
    number = torch.bincount(ids, minlength=count)
    present = number > 0
    return (total[present] / number[present]).mean()


def repulsion(cosines: Tensor, ids: Tensor, background: Tensor, background_line: Tensor) -> Tensor:
    """L_rep, pixels against the target lines that are not theirs (paper eq. 6).

    ``(1/N) [ sum_{i} sum_{j != i} mean_{p in i} |f_p t_j| + sum_j mean_{p in bg} |f_p t_j|
    + sum_i mean_{p in i} |f_p t_0| ]``, normalised by N and not by the number of pairs.

    ``cosines`` (P, N), ``ids`` (P,) int64, ``background`` (Q, N), ``background_line`` (P,).
    """
    n = cosines.shape[1]
    number = torch.bincount(ids, minlength=n).clamp_min(1).to(cosines)
    weight = 1 / number[ids]
    others = cosines.abs().sum(1) - cosines.abs().gather(1, ids[:, None])[:, 0]
    total = (weight * (others + background_line.abs())).sum()
    if len(background):
        total = total + background.abs().mean(0).sum()
    return total / n


def reco(
    similarities: Tensor,
    gram: Tensor,
    ids: Tensor,
    generator: torch.Generator | None = None,
    *,
    queries: int = RECO_QUERIES,
    negatives: int = RECO_NEGATIVES,
    temperature: float = RECO_TEMPERATURE,
) -> Tensor:
    """Regional contrast (ReCo) on the projective sphere, with ``|cos|`` as similarity.

    Per entity: hard queries are its pixels whose confidence (``cos^2`` over its sum for all
    entities; a softmax of values up to ``1 / temperature`` never comes near 1) is below 0.97; the
    positive is the entity's target line; negatives are other target lines, drawn with probability
    proportional to ``softmax(|cos of the target lines| / temperature)``; cross-entropy, mean over
    entities.

    ``similarities`` (P, N), ``gram`` (N, N), ``ids`` (P,) int64.
    """
    n = gram.shape[0]
    present = torch.bincount(ids, minlength=n) > 0
    if present.sum() < 2:
        return similarities.sum() * 0
    scores = similarities.abs() / temperature
    with torch.no_grad():
        square = similarities.square()
        confidence = square.gather(1, ids[:, None])[:, 0] / square.sum(1).clamp_min(1e-12)
        # An entity without a pixel here has none to be drawn as a negative.
        affinity = (gram.abs() / temperature).fill_diagonal_(-torch.inf)
        affinity = affinity.masked_fill(~present, -torch.inf).softmax(1)
    terms = []
    for i in range(n):
        inside = torch.nonzero(ids == i)[:, 0]
        hard = inside[confidence[inside] < RECO_CONFIDENT]
        if not len(hard):
            continue
        pick = torch.randint(len(hard), (queries,), generator=generator, device="cpu")
        query = hard[pick.to(hard.device)]
        which = torch.multinomial(
            affinity[i].cpu(), queries * negatives, replacement=True, generator=generator
        ).view(queries, negatives)
        against = scores[query[:, None], which.to(query.device)]
        logits = torch.cat([scores[query, i][:, None], against], dim=1)
        terms.append(F.cross_entropy(logits, torch.zeros_like(query)))
    if not terms:
        return similarities.sum() * 0
    return torch.stack(terms).mean()


def segment_space(cosines: Tensor, gram: Tensor) -> Tensor | None:
    """Project lines to segment space, ``S = |(T^T T)^-1 T^T f|``, target lines in T (paper eq. 7).

    ``cosines`` (P, N), ``gram`` (N, N); returns (P, N).
    """
    with torch.no_grad():
        if torch.linalg.eigvalsh(gram.detach().double())[0] < SMALLEST_EIGENVALUE:
            return None
    projected: Tensor = torch.linalg.solve(gram, cosines.T).T.abs()
    return projected


def segment_error(segments: Tensor, truth: Tensor) -> Tensor:
    """L_seg, ``sum_i mean_p (S_i - GT_i)^2`` over (P, N) maps (first part of paper eq. 8)."""
    error: Tensor = (segments - truth).square().mean(0).sum()
    return error


def segment_gradient(
    segments: Tensor, truth: Tensor, scales: int = 4, valid: Tensor | None = None
) -> Tensor:
    """Multi-scale gradient term (second part of paper eq. 8).

    ``sum_i sum_s mean_p |d_x(S_i - GT_i)| + |d_y(S_i - GT_i)|`` with maps averaged over 2x2
    blocks from scale to scale.

    ``segments``, ``truth`` (N, h, w), ``valid`` (h, w) bool.
    """
    difference = segments - truth
    if valid is not None:
        difference = difference * valid
    total = difference.sum() * 0
    for _ in range(scales):
        if min(difference.shape[-2:]) < 2:
            break
        dy = (difference[:, 1:] - difference[:, :-1]).abs().mean((1, 2))
        dx = (difference[:, :, 1:] - difference[:, :, :-1]).abs().mean((1, 2))
        total = total + (dx + dy).sum()
        difference = F.avg_pool2d(difference[None], 2)[0]
    return total


def background_error(logit: Tensor, is_background: Tensor, weight: Tensor | None = None) -> Tensor:
    """Attraction of annotated background to the fixed background line, entities repelled.

    Cross-entropy of ``sin^2 = sigmoid(logit)``, every pixel with the same weight: weights per
    entity would bias the threshold and with it the masks at high IoU.

    ``logit`` (P,), ``is_background`` (P,) bool, ``weight`` (P,).
    """
    loss = F.binary_cross_entropy_with_logits(logit, is_background.to(logit), reduction="none")
    if weight is None:
        return loss.mean()
    return (loss * weight).sum() / weight.sum().clamp_min(1)


def lovasz_hinge(logit: Tensor, positive: Tensor) -> Tensor:
    """Lovasz hinge of a binary mask (P,): a convex surrogate of 1 - IoU (Berman et al. 2018)."""
    if not bool(positive.any()):
        return F.relu(1 + logit).mean()
    sign = positive.to(logit) * 2 - 1
    errors, order = torch.sort(1 - logit * sign, descending=True)
    truth = positive[order].to(logit)
    intersection = truth.sum() - truth.cumsum(0)
    union = truth.sum() + (1 - truth).cumsum(0)
    jaccard = 1 - intersection / union
    steps = torch.cat([jaccard[:1], jaccard[1:] - jaccard[:-1]])
    return torch.dot(F.relu(errors), steps)
