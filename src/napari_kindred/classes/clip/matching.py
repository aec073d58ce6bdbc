"""Masks named by CLIP: each is cut out of the image and compared with the names' texts.

The baseline SAM+CLIP of U-SAM (section "Additional baseline"): the image is multiplied by each
mask, and CLIP scores every name for the result.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...compute.device import halving, inference, select
from ...core.errors import InputError
from ...core.events import Notice, Progress, finish
from ...encoders.clip import open_whole_clip
from ...models.spec import Spec, check_hash
from ..names import key
from .text import TEMPLATES, ClipTexts

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from numpy.typing import NDArray

    from ..proposals.masks import Masks

CONTRAST: tuple[str, ...] = ("background",)
"""What a mask may be besides the names: without it, a single name would fit everything."""

MARGIN = 0.1
"""Room left around a mask, as a share of its longer side."""

BATCH = 32
"""Number of cut-outs that are embedded at once."""


@dataclass(frozen=True)
class ClipSpec(Spec["ClipMatcher"]):
    """Weights of a CLIP, and the words that names are asked with.

    Attributes
    ----------
    name : str
        ``<model>/<pretrained>``.
    sha256, licence : str
        Of the weights.
    templates, contrast : tuple of str
        As in :class:`ClipMatcher`.
    """

    name: str
    sha256: str
    licence: str
    templates: tuple[str, ...]
    contrast: tuple[str, ...]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ClipSpec:
        """Build a spec from what :meth:`as_dict` gave, or JSON made of it."""
        words = {key: tuple(map(str, values[key])) for key in ("templates", "contrast")}
        return cls(**{**values, **words})

    def open(self, device: str | torch.device = "auto") -> ClipMatcher:
        """Load the weights; see :meth:`.Spec.open`."""
        opened = ClipMatcher(
            self.name, device=device, templates=self.templates, contrast=self.contrast
        )
        check_hash(self.name, opened.spec.sha256, self.sha256)
        return opened


@dataclass(frozen=True, eq=False)
class WordVectors:
    """Vectors of some words in CLIP's space, to score masks without opening CLIP.

    Attributes
    ----------
    words : tuple of str
    vectors : ndarray of float32, shape (len(words), D)
    sharpness : float
        CLIP's own factor before its cosines.
    """

    words: tuple[str, ...]
    vectors: NDArray[np.float32]
    sharpness: float

    def knows(self, words: Sequence[str]) -> bool:
        """Whether all of these words are among them."""
        return set(words) <= set(self.words)

    def scores(
        self, embeddings: NDArray[np.float32], words: Sequence[str], count: int
    ) -> NDArray[np.float32]:
        """Return the probabilities of the first ``count`` words for masks (N, D): (N, count)."""
        texts = self.vectors[[self.words.index(word) for word in words]]
        return chances(embeddings, texts, self.sharpness, count)


class ClipMatcher:
    """Scores masks for names by CLIP.

    Parameters
    ----------
    name : str
        ``<model>/<pretrained>``: a model and a tag of open_clip, or a model and the path of a
        checkpoint, for example ``ViT-B-16/laion2b_s34b_b88k``.
    device : str or torch.device
    templates : sequence of str
        Sentences with ``{}`` where a name goes.
    contrast : sequence of str
        What a mask may be besides the names; their probability goes to none of the names.  With
        none, as in the paper, the names' probabilities add up to 1.

    Raises
    ------
    OptionError
        If open_clip has no such model or weights.
    WeightsError
        If open_clip is not installed, or the weights are not here and cannot be downloaded.
    """

    def __init__(
        self,
        name: str,
        *,
        device: str | torch.device = "auto",
        templates: Sequence[str] = TEMPLATES,
        contrast: Sequence[str] = CONTRAST,
    ) -> None:
        self._device = select(device)
        self._clip = open_whole_clip(name)
        self._clip.network.to(self._device).requires_grad_(False)
        self._texts = ClipTexts(self._clip, templates)
        self.contrast = tuple(contrast)
        self.spec = ClipSpec(
            self._clip.name,
            self._clip.sha256,
            self._clip.licence,
            tuple(self._texts.templates),
            self.contrast,
        )

    def embed(self, pixels: NDArray[np.float32], masks: Masks) -> NDArray[np.float32]:
        """Embed the content of each mask; see :meth:`iter_embed`."""
        return finish(self.iter_embed(pixels, masks))

    def iter_embed(
        self, pixels: NDArray[np.float32], masks: Masks
    ) -> Generator[Progress | Notice, None, NDArray[np.float32]]:
        """Embed the content of N masks as unit vectors (N, D), before names are known.

        A mask's box is cut out as a square; outside the mask it takes the mean colour of CLIP's
        training images.
        """
        picture = self._normalised(pixels)
        if tuple(masks.shape) != pixels.shape[:2]:
            raise InputError(
                f"The masks are of an image of shape {tuple(masks.shape)}, not "
                f"{pixels.shape[:2]}; give both of the same image."
            )
        found: list[Tensor] = []

        def embed(batch: int) -> Generator[Progress, None, None]:
            while (done := sum(map(len, found))) < len(masks):
                some = range(done, min(done + batch, len(masks)))
                cuts = torch.stack([cut_out(picture, masks, i, self._clip.side) for i in some])
                with inference():
                    vectors = self._clip.network.encode_image(cuts.to(self._device))
                    found.append(F.normalize(vectors.float(), dim=1).cpu())
                yield Progress(some.stop, len(masks), "comparing masks with names")

        yield from halving(
            embed,
            BATCH,
            smallest=1,
            unit="{} masks at once",
            device=self._device,
            advice="choose a smaller model or device='cpu'",
        )
        if not found:
            return np.zeros((0, len(self._texts.embed(["nothing"])[0])), np.float32)
        vectors = torch.cat(found)
        return np.asarray(vectors.numpy(), np.float32)

    def scores(self, embeddings: NDArray[np.float32], names: Sequence[str]) -> NDArray[np.float32]:
        """Return the probabilities of C names for masks embedded as (N, D): (N, C).

        The softmax of the cosines with CLIP's own factor, over the names and the contrast.
        """
        texts = self._texts.embed([*names, *contrast_beside(names, self.contrast)])
        return chances(embeddings, texts, self._texts.sharpness, len(names))

    def word_vectors(self, words: Sequence[str]) -> WordVectors:
        """Return the vectors of words."""
        texts = self._texts.embed(words).cpu().numpy()
        return WordVectors(tuple(words), np.asarray(texts, np.float32), self._texts.sharpness)

    def _normalised(self, pixels: NDArray[np.float32]) -> Tensor:
        """Return an image with the mean and deviation of CLIP's training images, (3, H, W)."""
        if pixels.ndim != 3 or pixels.shape[2] not in (1, 3) or 0 in pixels.shape:
            raise InputError(f"An image must be (H, W, 1) or (H, W, 3), not {pixels.shape}.")
        planes = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1), np.float32))
        mean, deviation = (
            torch.tensor(v).view(3, 1, 1) for v in (self._clip.mean, self._clip.deviation)
        )
        return (planes.clamp(0, 1).expand(3, -1, -1) - mean) / deviation


def chances(
    embeddings: NDArray[np.float32],
    texts: NDArray[np.float32] | Tensor,
    sharpness: float,
    count: int,
) -> NDArray[np.float32]:
    """Return the softmax of cosines, times CLIP's own factor, of the first ``count`` texts."""
    words = torch.as_tensor(texts)
    vectors = torch.from_numpy(np.asarray(embeddings, np.float32)).to(words.device)
    every = (sharpness * vectors @ words.T).softmax(1)[:, :count]
    return np.asarray(every.cpu().numpy(), np.float32)


def contrast_beside(names: Sequence[str], contrast: Sequence[str]) -> list[str]:
    """Return the words of the contrast that are not names themselves."""
    taken = {key(name) for name in names}
    return [word for word in contrast if key(word) not in taken]


def cut_out(picture: Tensor, masks: Masks, index: int, side: int) -> Tensor:
    """Cut one mask out of an image (3, H, W) as a square (3, side, side) with some margin.

    Outside the mask the square is zero.
    """
    rows, columns = masks.place(index)
    height, width = rows.stop - rows.start, columns.stop - columns.start
    length = max(1, round(max(height, width) * (1 + 2 * MARGIN)))
    square = picture.new_zeros(3, length, length)
    top, left = (length - height) // 2, (length - width) // 2
    inside = torch.from_numpy(np.ascontiguousarray(masks.crops[index]))
    square[:, top : top + height, left : left + width] = picture[:, rows, columns] * inside
    size = (side, side)
    scaled = F.interpolate(square[None], size, mode="bicubic", antialias=True, align_corners=False)
    return scaled[0]
