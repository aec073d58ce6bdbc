"""Classification of masks by CLIP: each is cut out of the image and compared with the names.

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
from ...core.events import Notice, Progress
from ...encoders.clip import open_whole_clip
from ...models.spec import Spec, check_hash
from ..pixels import to_tensor
from .text import TEMPLATES, ClipTexts

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from numpy.typing import NDArray

    from ..proposals.masks import Masks

CONTRAST: tuple[str, ...] = ("background",)
"""Default words for none of the names: without them a single name would fit everything."""

MARGIN = 0.1
"""Room left around a mask, as a share of its longer side."""

BATCH = 32
"""Number of cut-outs that are embedded at once."""


@dataclass(frozen=True)
class ClipSpec(Spec["ClipMatcher"]):
    """Weights of a CLIP, and the words around the names; see :class:`ClipMatcher`."""

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
    """Vectors (N, D) of N words in CLIP's space, to score masks without opening CLIP.

    ``sharpness`` is the factor that CLIP learned for its cosines.
    """

    words: tuple[str, ...]
    vectors: NDArray[np.float32]
    sharpness: float

    def covers(self, words: Sequence[str]) -> bool:
        """Whether all of these words have vectors."""
        return set(words) <= set(self.words)

    def scores(
        self, embeddings: NDArray[np.float32], words: Sequence[str], count: int
    ) -> NDArray[np.float32]:
        """Return the probabilities of the first ``count`` words for masks (N, D): (N, count).

        The softmax of the cosines, times ``sharpness``, over all of the words.
        """
        texts = torch.from_numpy(self.vectors[[self.words.index(word) for word in words]])
        vectors = torch.from_numpy(np.asarray(embeddings, np.float32))
        probabilities = (self.sharpness * vectors @ texts.T).softmax(1)[:, :count]
        return np.asarray(probabilities.numpy(), np.float32)


class ClipMatcher:
    """Scores masks for names with CLIP.

    ``name`` is ``<model>/<pretrained>``: a model and a tag of open_clip, or a model and the path of
    a checkpoint, for example ``ViT-B-16/laion2b_s34b_b88k``; ``templates`` are sentences with
    ``{}`` where a name goes, ``contrast`` words for none of the names.  Without any, as in the
    paper, the names' probabilities add up to 1.
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
        self.spec = ClipSpec(
            self._clip.name,
            self._clip.sha256,
            self._clip.licence,
            self._texts.templates,
            tuple(contrast),
        )

    def iter_embed(
        self, pixels: NDArray[np.float32], masks: Masks
    ) -> Generator[Progress | Notice, None, NDArray[np.float32]]:
        """Embed the content of N masks as unit vectors (N, D); names do not matter.

        A mask's box is cut out as a square; outside the mask it takes the mean colour of CLIP's
        training images.
        """
        mean, deviation = (
            torch.tensor(v).view(3, 1, 1) for v in (self._clip.mean, self._clip.deviation)
        )
        image = (to_tensor(pixels) - mean) / deviation
        if tuple(masks.shape) != pixels.shape[:2]:
            raise InputError(
                f"The masks are of an image of shape {tuple(masks.shape)}, not "
                f"{pixels.shape[:2]}; give both of the same image."
            )
        found: list[Tensor] = []

        def embed(batch: int) -> Generator[Progress, None, None]:
            while (done := sum(map(len, found))) < len(masks):
                some = range(done, min(done + batch, len(masks)))
                cuts = torch.stack([cut_out(image, masks, i, self._clip.side) for i in some])
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

    def word_vectors(self, words: Sequence[str]) -> WordVectors:
        """Return the vectors of words."""
        texts = self._texts.embed(words).cpu().numpy()
        return WordVectors(tuple(words), np.asarray(texts, np.float32), self._texts.sharpness)


def cut_out(image: Tensor, masks: Masks, index: int, side: int) -> Tensor:
    """Cut one mask out of an image (3, H, W) as a square (3, side, side), zero outside the mask."""
    rows, columns = masks.place(index)
    height, width = rows.stop - rows.start, columns.stop - columns.start
    length = max(1, round(max(height, width) * (1 + 2 * MARGIN)))
    square = image.new_zeros(3, length, length)
    top, left = (length - height) // 2, (length - width) // 2
    inside = torch.from_numpy(np.ascontiguousarray(masks.crops[index]))
    square[:, top : top + height, left : left + width] = image[:, rows, columns] * inside
    size = (side, side)
    scaled = F.interpolate(square[None], size, mode="bicubic", antialias=True, align_corners=False)
    return scaled[0]
