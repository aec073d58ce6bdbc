"""From the token grid to pixels, with a mask decoder: the decoder path.

As in the paper's public code, every label of a frame is a prompt: the centres of its tokens are
points on the object, and the pixel-wise maximum of the decoder's three candidates is
its mask.  Where masks overlap the larger logit wins; pixels in no mask keep their token's label.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import ndimage

from .refine import refine_none

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..encoders.base import MaskDecoder

POINTS = 32
"""Largest number of points in a prompt.

Decoders are trained with prompts of about ten points and attend from each point to all others and
to the whole embedding; the thousands of tokens of a background would be slow and unlike any prompt
of training, and neighbouring tokens are much the same.
"""


def refine_decoder(
    labels: NDArray[np.integer[Any]],
    valid: NDArray[np.bool_],
    values: NDArray[np.float32],
    decoder: MaskDecoder,
    shape: tuple[int, int],
    step: tuple[float, float],
) -> NDArray[np.int32]:
    """Label the pixels (H, W) of a frame by prompting a mask decoder with each label's tokens.

    ``labels``, ``valid`` (h, w), of which some are valid; ``values`` (h', w', D), the embedding.
    """
    embedding = torch.from_numpy(np.ascontiguousarray(values, np.float32))
    # A pixel that no mask claims with a logit above 0 keeps its token's label.
    refined = torch.from_numpy(refine_none(_nearest_valid(labels, valid), step, shape))
    largest = torch.zeros(shape)
    limits = np.array(shape, np.float32) - 1
    for label in np.unique(labels[valid]):
        tokens = spread_tokens((labels == label) & valid)
        points = ((tokens + 0.5) * step - 0.5).astype(np.float32).clip(0, limits)
        masks = decoder.decode(embedding, torch.from_numpy(points), shape)
        logits = masks.float().amax(0).cpu()
        better = logits > largest
        refined[better] = int(label)
        largest[better] = logits[better]
    return refined.numpy()


def spread_tokens(mask: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Choose up to :data:`POINTS` tokens of a label (h, w) that represent all, always the same.

    Tokens on the outline of a connected part are left out if the part has others, because half of
    them may show something else.  Of the rest, the one deepest inside is taken first, then always
    the one furthest from those taken.
    """
    depth = ndimage.distance_transform_cdt(np.pad(mask, 1), "taxicab")[1:-1, 1:-1]
    parts, number = ndimage.label(mask)
    deepest = np.concatenate([[0], ndimage.maximum(depth, parts, np.arange(1, number + 1))])
    candidates = np.argwhere(mask & (depth >= np.minimum(deepest[parts], 2)))
    if len(candidates) <= POINTS:
        return candidates
    chosen = [int(depth[tuple(candidates.T)].argmax())]
    distance = np.full(len(candidates), math.inf)
    while len(chosen) < POINTS:
        offset = candidates - candidates[chosen[-1]]
        np.minimum(distance, (offset**2).sum(1), out=distance)
        chosen.append(int(distance.argmax()))
    return candidates[chosen]


def _nearest_valid(
    labels: NDArray[np.integer[Any]], valid: NDArray[np.bool_]
) -> NDArray[np.integer[Any]]:
    """Replace the labels of invalid tokens by those of the nearest valid ones."""
    if valid.all():
        return labels
    nearest = ndimage.distance_transform_edt(~valid, return_distances=False, return_indices=True)
    filled: NDArray[np.integer[Any]] = labels[tuple(nearest)]
    return filled
