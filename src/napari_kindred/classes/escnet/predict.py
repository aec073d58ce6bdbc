"""Prediction by a trained ESC-Net: the probability of every name, pixel by pixel."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from torch.nn import functional as F

from ...compute.device import inference, is_out_of_memory, select
from ...core.errors import KindredError
from ...core.events import Progress
from ...encoders.base import fitted_shape
from ...entities.segment import pad_to_multiple
from ...images.tiling import Stitcher, tiles
from ...models.spec import Spec, absolute, check_hash, spec_of
from ..clip.matching import ClipSpec
from ..clip.text import ClipTexts
from ..pixels import to_tensor
from .checkpoint import load_esc

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence
    from pathlib import Path

    import torch
    from numpy.typing import NDArray
    from torch import Tensor

    from .checkpoint import TrainedModel

LARGE = 1.5
"""Images whose longer side is this many times the network's input are processed in tiles too."""


@dataclass(frozen=True)
class EscNetSpec(Spec["EscPredictor"]):
    """Weights of a trained ESC-Net by path and hash, and the CLIP that they belong to."""

    kind: ClassVar[str] = "ESC-Net"

    name: str
    sha256: str
    clip: ClipSpec

    def open(self, device: str | torch.device = "auto") -> EscPredictor:
        """Load the weights; see :meth:`.Spec.open`."""
        opened = open_esc(self.name, device=device, clip=self.clip.name)
        check_hash(self.name, spec_of(opened).sha256, self.sha256)
        return opened


class EscPredictor:
    """Predicts the names of pixels by a trained network.

    ``model`` is in evaluation mode on its device, ``texts`` are those of its CLIP, ``side`` is the
    longer side of the network's input, a multiple of CLIP's patch, ``contrast`` words for none of
    the names; there is no ``spec`` during training.
    """

    def __init__(
        self,
        model: TrainedModel,
        texts: ClipTexts,
        side: int,
        contrast: Sequence[str],
        spec: EscNetSpec | None = None,
    ) -> None:
        self._model, self._texts, self._side = model, texts, side
        self._contrast, self.spec = tuple(contrast), spec

    def iter_class_map(
        self, pixels: NDArray[np.float32], names: Sequence[str]
    ) -> Generator[Progress, None, NDArray[np.float32]]:
        """Return the probability of every name at every pixel, each name by itself: (C, H, W).

        An image (H, W, 1 or 3) much larger than the network's input is processed as a whole and in
        overlapping tiles, and the two are averaged: what an object is may need all of the image,
        where it ends may not.
        """
        image = to_tensor(pixels)
        shape = (pixels.shape[0], pixels.shape[1])
        parts = []
        if max(shape) > LARGE * self._side:
            margin = self._side // 8
            parts = tiles(shape, self._side, margin, blend=margin)
        total = 1 + len(parts)
        plane = self._predict(image, names)
        yield Progress(1, total, "looking for names")
        if parts:
            stitcher = Stitcher(len(names), shape)
            for number, part in enumerate(parts, start=2):
                stitcher.add(part, self._predict(image[:, *part.outer], names))
                yield Progress(number, total, "looking for names")
            plane = (plane + stitcher.plane) / 2
        return plane

    def _predict(self, image: Tensor, names: Sequence[str]) -> NDArray[np.float32]:
        """Return probabilities (C, H, W) for an image (3, H, W), scaled to the input."""
        model = self._model
        device = model.network.sharpness.device
        shape = (image.shape[1], image.shape[2])
        size = fitted_shape(shape, self._side)
        advice = "for ESC-Net; ask for fewer names at once, or use device='cpu'"
        with raise_memory_errors(advice):
            texts, contrast = self._texts.embed_with_contrast(names, self._contrast, device)
            scaled = F.interpolate(image[None].to(device), size, mode="bilinear", antialias=True)
            padded = pad_to_multiple(scaled.clamp(0, 1), model.clip.patch)
            logits = model.network(model.clip(padded), texts, contrast)
            full = F.interpolate(logits, padded.shape[2:], mode="bilinear")
            visible = full[:, :, : size[0], : size[1]]
            found = F.interpolate(visible, shape, mode="bilinear", antialias=True)
            return np.asarray(found.sigmoid()[0].float().cpu().numpy(), np.float32)


@contextmanager
def raise_memory_errors(advice: str) -> Iterator[None]:
    """Run inference, raising KindredError with this advice if memory is not enough."""
    try:
        with inference():
            yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise KindredError(f"Memory is not enough {advice}.") from error


def open_esc(
    path: str | Path, *, device: str | torch.device = "auto", clip: str = ""
) -> EscPredictor:
    """Open a trained ESC-Net."""
    chosen = select(device)
    model, opened, info = load_esc(path, clip)
    texts = ClipTexts(opened)
    words = texts.templates, tuple(info["contrast"])
    clip_spec = ClipSpec(opened.name, opened.sha256, opened.licence, *words)
    spec = EscNetSpec(absolute(str(path)), info["sha256"], clip_spec)
    return EscPredictor(model.to(chosen), texts, info["side"], info["contrast"], spec)
