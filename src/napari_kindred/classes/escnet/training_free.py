"""ESC mode without training: CLIP's pseudo-prompts for a SAM that encodes the image itself.

Any CLIP with patches and any SAM will do.  The correlation of patches and names gives points and
masks as in ESC-Net; here they prompt a whole SAM, with its own image encoder, whose masks are
classified by the correlation under them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...compute.device import select
from ...core.events import Progress
from ...encoders.base import fitted_shape
from ...encoders.clip import open_whole_clip
from ...encoders.sam import open_sam
from ...images.tiling import Stitcher, tiles
from ...models.spec import Spec, absolute, check_hash
from ..clip.matching import CONTRAST, ClipSpec
from ..clip.text import TEMPLATES, ClipTexts
from ..pixels import to_tensor
from .clip_dense import DenseClip
from .network import correlate, log_odds
from .predict import LARGE, raise_memory_errors
from .pseudo_prompts import ABOVE, REGIONS, PseudoPrompts, pseudo_prompts
from .sam_block import CERTAIN

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from numpy.typing import NDArray

CHUNK = 32
"""Number of prompts that are decoded at once."""

FINER = 2
"""Size of CLIP's input, as a multiple of the images that it was trained on."""

SMALLEST = 256
"""Side of the smallest tiles that large images are cut into, in pixels."""


@dataclass(frozen=True)
class ImageFeatures:
    """Log odds (C, h, w) of every name in every patch of an image, and prompts made of them."""

    odds: Tensor
    prompts: PseudoPrompts


@dataclass(frozen=True)
class FreeEscSpec(Spec["FreeEscPredictor"]):
    """Weights of a SAM by name and hash, and of the CLIP that prompts it, used as they are."""

    kind: ClassVar[str] = "ESC, training-free"

    name: str
    sha256: str
    clip: ClipSpec
    regions: int
    above: float

    def open(self, device: str | torch.device = "auto") -> FreeEscPredictor:
        """Load the weights; see :meth:`.Spec.open`."""
        opened = FreeEscPredictor(
            self.clip.name,
            self.name,
            device=device,
            templates=self.clip.templates,
            contrast=self.clip.contrast,
            regions=self.regions,
            above=self.above,
        )
        check_hash(self.name, opened.spec.sha256, self.sha256)
        check_hash(self.clip.name, opened.spec.clip.sha256, self.clip.sha256)
        return opened


class FreeEscPredictor:
    """Predicts the names of pixels by a CLIP and a SAM as they are.

    ``clip``, ``templates`` and ``contrast`` are those of :class:`.ClipMatcher`, ``regions`` and
    ``above`` of :func:`.pseudo_prompts`; the CLIP must have a token per patch.
    """

    def __init__(
        self,
        clip: str,
        sam: str = "kindred-sam",
        *,
        device: str | torch.device = "auto",
        templates: Sequence[str] = TEMPLATES,
        contrast: Sequence[str] = CONTRAST,
        regions: int = REGIONS,
        above: float = ABOVE,
    ) -> None:
        self._device = select(device)
        opened = open_whole_clip(clip, patches=True)
        opened.network.to(self._device).requires_grad_(False)
        self._clip = DenseClip(opened).to(self._device)
        self._texts = ClipTexts(opened, templates)
        self._encoder = open_sam(sam, self._device)
        self._sam: Any = self._encoder.sam
        self._contrast, self._regions, self._above = tuple(contrast), regions, above
        words = tuple(templates), tuple(contrast)
        clip_spec = ClipSpec(opened.name, opened.sha256, opened.licence, *words)
        self.spec = FreeEscSpec(absolute(sam), self._encoder.sha256, clip_spec, regions, above)

    def iter_class_map(
        self, pixels: NDArray[np.float32], names: Sequence[str]
    ) -> Generator[Progress, None, NDArray[np.float32]]:
        """Return the probability of every name at every pixel, (C, H, W).

        An image (H, W, 1 or 3) much larger than the SAM's input is cut into overlapping tiles, each
        of them processed by itself.
        """
        image = to_tensor(pixels)
        shape = (pixels.shape[0], pixels.shape[1])
        side = max(SMALLEST, self._sam.image_encoder.img_size)
        cut = side if max(shape) > LARGE * side else max(shape)
        parts = tiles(shape, cut, cut // 8, blend=cut // 16)
        stitcher = Stitcher(len(names), shape)
        for number, part in enumerate(parts, start=1):
            stitcher.add(part, self._predict(image[:, *part.outer], names))
            yield Progress(number, len(parts), "looking for names")
        plane: NDArray[np.float32] = stitcher.plane
        return plane

    def _predict(self, image: Tensor, names: Sequence[str]) -> NDArray[np.float32]:
        """Return probabilities (C, H, W) for an image (3, H, W)."""
        advice = "for this CLIP and this SAM; choose smaller ones, or device='cpu'"
        with raise_memory_errors(advice):
            batch = image[None].to(self._device)
            found = self._classify(batch, self.features(batch, names))
            return np.asarray(found.float().cpu().numpy(), np.float32)

    def features(self, batch: Tensor, names: Sequence[str]) -> ImageFeatures:
        """Correlate an image (1, 3, H, W) with names, and make prompts of it."""
        clip = self._clip
        fitted = fitted_shape((batch.shape[2], batch.shape[3]), FINER * clip.side)
        # Whole patches, so that CLIP's grid covers the image and nothing else.
        size = [max(1, round(length / clip.patch)) * clip.patch for length in fitted]
        visual = clip(F.interpolate(batch, size, mode="bilinear", antialias=True)).final
        texts, others = self._texts.embed_with_contrast(names, self._contrast, visual.device)
        sharpness = self._texts.sharpness
        odds = log_odds(correlate(visual, texts), correlate(visual, others), sharpness)
        # The odds locate a class better than its cosine alone, in which large differences between
        # positions are the same for every name.
        return ImageFeatures(odds[0], pseudo_prompts(odds, self._regions, self._above))

    def _classify(self, batch: Tensor, features: ImageFeatures) -> Tensor:
        """Prompt the SAM for masks, and return the probability of each name, (C, H, W)."""
        shape = (batch.shape[2], batch.shape[3])
        size = fitted_shape(shape, self._sam.image_encoder.img_size)
        embedding = self._encoder.encode(batch).values.permute(0, 3, 1, 2)
        grid = embedding.shape[-1]
        # Masks are decided on SAM's own grid, four cells a token, as far as the image covers it.
        whole = self._sam.image_encoder.img_size
        rows, columns = (max(1, round(4 * grid * n / whole)) for n in size)
        odds = F.interpolate(features.odds[None], (rows, columns), mode="bilinear")[0]
        probabilities = odds.sigmoid()
        classified, cover = probabilities.clone(), torch.zeros_like(probabilities[:1])
        points, masks, kinds = self._to_sam(features.prompts, size, (rows, columns), 4 * grid)
        confidence, remaining = cover.clone(), torch.ones_like(probabilities)
        for start in range(0, len(kinds), CHUNK):
            some = slice(start, start + CHUNK)
            inside, quality = self._predict_masks(embedding, points[some], masks[some])
            inside, scores, trust = best_masks(
                inside[..., :rows, :columns], quality, probabilities, kinds[some]
            )
            # Where several masks lie, the most confident one decides.
            highest, which = (inside * trust[:, None, None]).max(0)
            better = highest > confidence[0]
            classified = torch.where(better, scores[which].permute(2, 0, 1), classified)
            cover = torch.where(better, inside.gather(0, which[None]), cover)
            confidence = torch.where(better, highest, confidence)
            prompted = (masks[some, 0, :rows, :columns] > -CERTAIN).float()
            doubt = 1 - trust[:, None, None] * prompted * (1 - inside)
            place = kinds[some, None, None].expand_as(doubt)
            remaining = remaining.scatter_reduce(0, place, doubt, "amin")
        # Where no mask lies CLIP's own probability counts, except in a prompted region beyond the
        # end of its mask.
        found = cover * classified + (1 - cover) * probabilities * remaining
        return F.interpolate(found[None], shape, mode="bilinear")[0]

    def _to_sam(
        self, prompts: PseudoPrompts, size: tuple[int, int], part: tuple[int, int], side: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Convert one image's prompts from CLIP's grid to SAM's input.

        ``size`` is the image's in SAM's input, ``part`` that on the grid of its masks, which has
        ``side`` rows.

        Returns ``points`` (N, 1, 2), ``masks`` (N, 1, side, side), ``kinds`` (N,) int64.
        """
        kinds = prompts.valid[0].nonzero()[:, 0]
        height, width = prompts.masks.shape[-2:]
        points = prompts.points[0][prompts.valid[0]]
        scale = points.new_tensor([size[1] / width, size[0] / height])
        own = F.interpolate(prompts.masks[0][prompts.valid[0]][:, None], part, mode="bilinear")
        masks = own.new_zeros(len(own), 1, side, side)
        masks[..., : part[0], : part[1]] = own
        return points[:, None] * scale - 0.5, CERTAIN * (2 * masks - 1), kinds

    def _predict_masks(
        self, embedding: Tensor, points: Tensor, masks: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return three masks (N, 3, 4 h, 4 w), 0..1, of each prompt, and their quality (N, 3)."""
        sam = self._sam
        labels = torch.ones(points.shape[:2], device=points.device)
        sparse, dense = sam.prompt_encoder(points=(points, labels), boxes=None, masks=masks)
        logits, quality = sam.mask_decoder(
            image_embeddings=embedding,
            image_pe=sam.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=True,
        )
        return logits.sigmoid(), quality


def best_masks(
    inside: Tensor, quality: Tensor, probabilities: Tensor, kinds: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Choose one of each prompt's M masks, and classify it by CLIP's probabilities under it.

    ``inside`` (N, M, h, w), ``quality`` (N, M), ``probabilities`` (C, h, w), ``kinds`` (N,) int64;
    returns ``inside`` (N, h, w), ``scores`` (N, C), ``trust`` (N,).
    """
    weight = inside.sum((2, 3)).clamp_min(1e-6)
    scores = torch.einsum("nmyx,cyx->nmc", inside, probabilities) / weight[..., None]
    each = torch.arange(len(inside), device=inside.device)
    quality = quality.clamp(0, 1)
    chosen = (quality * scores[each, :, kinds]).argmax(1)
    own = scores[each, chosen]
    return inside[each, chosen], own, quality[each, chosen] * own.amax(1)
