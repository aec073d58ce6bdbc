"""From the token grid to pixels, with a mask decoder: the decoder path.

Every connected piece of a label is a prompt: the centres of its tokens are points on the object,
and the pixel-wise maximum of the decoder's three candidates is its mask.  Where a mask does not
fit its piece nothing changes, so that a decoder that does not know such images does no harm.  Where
masks overlap the larger logit wins; pixels in no mask keep their label.

The paper's public code prompts once with all tokens of a label, and takes every mask.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import ndimage
from skimage.measure import label as pieces_of

from ..encoders.encode import decoder_windows
from .refine import refine_none

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ..encoders.base import Encoder, MaskDecoder
    from ..encoders.encode import DecoderWindow
    from .frame_features import Encoding

POINTS = 32
"""Largest number of points in a prompt.

Decoders are trained with prompts of about ten points and attend from each point to all others and
to the whole embedding; the thousands of tokens of a background would be slow and unlike any prompt
of training, and neighbouring tokens are much the same.
"""

FIT = 0.5
"""Smallest agreement of a mask with the piece that prompted it.

Agreement is like an IoU (intersection over union), except that a mask may also cover other pieces
of the same label.
"""


class DecoderOutlines:
    """Outlines by a mask decoder, and how many of its masks fitted.

    Parameters
    ----------
    decoder : MaskDecoder
    windows : sequence of DecoderWindow
        The parts of a frame that have an embedding of their own.
    paper : bool
        Whether a label is one prompt, and every mask is taken.
    """

    def __init__(
        self, decoder: MaskDecoder, windows: Sequence[DecoderWindow], paper: bool = False
    ) -> None:
        self.decoder, self.windows, self.paper = decoder, windows, paper
        self.asked = self.fitting = 0

    @classmethod
    def of(
        cls, encoder: Encoder, how: Encoding, shape: tuple[int, int], paper: bool
    ) -> DecoderOutlines | None:
        """Return what outlines frames (H, W) encoded that way, None if no decoder is to do it."""
        if not how.embedding or encoder.decoder is None:
            return None
        return cls(encoder.decoder, decoder_windows(encoder, shape, how.large, how.tile), paper)

    @property
    def note(self) -> str:
        """A sentence for the user if few of the decoder's masks fitted, else empty."""
        if not self.asked or self.fitting >= self.asked / 2:
            return ""
        taken = "all were taken, as in the paper" if self.paper else "the others were left out"
        return (
            f"Only {self.fitting} of {self.asked} masks of the decoder fit the clusters that "
            f"prompted them; {taken}. This SAM may not know such images: refinement='edges' "
            "needs none."
        )

    def refine(
        self,
        labels: NDArray[np.integer[Any]],
        valid: NDArray[np.bool_] | None,
        embeddings: NDArray[np.floating[Any]],
        before: NDArray[np.int32],
        step: tuple[float, float],
    ) -> NDArray[np.int32]:
        """Outline a frame's labels (h, w) in its pixels (H, W), where ``before`` is their label.

        ``embeddings`` (N, h', w', D), one for each window; tokens that are not ``valid`` (h, w) lie
        in padding.
        """
        outlined = before.copy()
        inside = np.ones(labels.shape, bool) if valid is None else valid
        for window, values in zip(self.windows, embeddings, strict=True):
            rows, columns = window.inner
            top, left = (
                int((span.start or 0) * size)
                for span, size in zip(window.tokens, step, strict=True)
            )
            here = before[top : top + window.shape[0], left : left + window.shape[1]]
            beyond = [(0, a - b) for a, b in zip(window.shape, here.shape, strict=True)]
            masked = self._in_window(
                labels[window.tokens],
                inside[window.tokens],
                values.astype(np.float32),
                np.pad(here, beyond, mode="edge"),
                step,
            )
            local = masked[rows.start - top : rows.stop - top]
            outlined[rows, columns] = local[:, columns.start - left : columns.stop - left]
        return outlined

    def _in_window(
        self,
        labels: NDArray[np.integer[Any]],
        valid: NDArray[np.bool_],
        values: NDArray[np.float32],
        before: NDArray[np.int32],
        step: tuple[float, float],
    ) -> NDArray[np.int32]:
        shape = before.shape[0], before.shape[1]
        embedding = torch.from_numpy(np.ascontiguousarray(values))
        refined, largest = torch.from_numpy(before.copy()), torch.zeros(shape)
        unchanged = np.zeros(shape, bool)
        limits = np.array(shape, np.float32) - 1
        shown = np.where(valid, labels, -1)
        pieces = shown + 1 if self.paper else pieces_of(shown, background=-1, connectivity=1)
        coarse = refine_none(shown, step, shape)
        for piece in np.unique(pieces[valid]):
            mask = (pieces == piece) & valid
            points = ((spread_tokens(mask) + 0.5) * step - 0.5).astype(np.float32)
            masks = self.decoder.decode(embedding, torch.from_numpy(points.clip(0, limits)), shape)
            logits = masks.float().amax(0).cpu()
            area = refine_none(mask, step, shape) > 0
            claimed, own = logits.numpy() > 0, int(labels[mask][0])
            fits = (claimed & (coarse == own)).sum() >= FIT * (claimed | area).sum()
            self.asked, self.fitting = self.asked + 1, self.fitting + int(fits)
            if self.paper or fits:
                better = logits > largest
                refined[better] = own
                largest[better] = logits[better]
            else:
                unchanged |= area
        return np.where(unchanged, before, refined.numpy())


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
