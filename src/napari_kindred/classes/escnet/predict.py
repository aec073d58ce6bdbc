"""Prediction by a trained ESC-Net: the probability of every name, pixel by pixel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...compute.device import inference, is_out_of_memory, select
from ...core.errors import InputError, KindredError
from ...core.events import Progress
from ...encoders.base import fitted_shape
from ...entities.segment import pad_to_multiple
from ...images.tiling import Stitcher, tiles
from ...models.spec import Spec, absolute, check_hash, spec_of
from ..clip.matching import ClipSpec, contrast_beside
from ..clip.text import ClipTexts
from .checkpoint import load_esc

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from .checkpoint import TrainedModel

LARGE = 1.5
"""Images whose longer side is this many times the network's input are processed in tiles too."""


@dataclass(frozen=True)
class EscNetSpec(Spec["EscPredictor"]):
    """Weights of a trained ESC-Net, and the CLIP that they belong to.

    Attributes
    ----------
    name : str
        Path of a file written by ``napari-kindred train classes``.
    sha256 : str
    clip : ClipSpec
    """

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

    Parameters
    ----------
    model : TrainedModel
        In evaluation mode, on its device.
    texts : ClipTexts
        Of its CLIP.
    side : int
        Longer side of the network's input, a multiple of CLIP's patch.
    contrast : sequence of str
        Words for none of the names.
    spec : EscNetSpec, optional
        Left out for a network that is still trained.
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
        picture = to_picture(pixels)
        shape = (pixels.shape[0], pixels.shape[1])
        parts = []
        if max(shape) > LARGE * self._side:
            margin = self._side // 8
            parts = tiles(shape, self._side, margin, blend=margin)
        total = 1 + len(parts)
        plane = self._look(picture, names)
        yield Progress(1, total, "looking for names")
        if parts:
            stitcher = Stitcher(len(names), shape)
            for number, part in enumerate(parts, start=2):
                stitcher.add(part, self._look(picture[:, *part.outer], names))
                yield Progress(number, total, "looking for names")
            plane = (plane + stitcher.plane) / 2
        return plane

    def _look(self, picture: Tensor, names: Sequence[str]) -> NDArray[np.float32]:
        """Return probabilities (C, H, W) for a picture (3, H, W), scaled to the input."""
        model = self._model
        device = model.network.sharpness.device
        shape = picture.shape[1:]
        size = fitted_shape((shape[0], shape[1]), self._side)
        try:
            with inference():
                texts = self._texts.embed(names).to(device)
                words = contrast_beside(names, self._contrast)
                contrast = self._texts.embed(words).to(device) if words else texts[:0]
                scaled = F.interpolate(
                    picture[None].to(device), size, mode="bilinear", antialias=True
                )
                padded = pad_to_multiple(scaled.clamp(0, 1), model.clip.patch)
                logits = model.network(model.clip(padded), texts, contrast)
                full = F.interpolate(logits, padded.shape[2:], mode="bilinear")
                own = full[:, :, : size[0], : size[1]]
                found = F.interpolate(own, shape, mode="bilinear", antialias=True)
                return np.asarray(found.sigmoid()[0].float().cpu().numpy(), np.float32)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise KindredError(
                "Memory is not enough for ESC-Net; ask for fewer names at once, or use "
                "device='cpu'."
            ) from error


def open_esc(
    path: str | Path, *, device: str | torch.device = "auto", clip: str = ""
) -> EscPredictor:
    """Open a trained ESC-Net."""
    chosen = select(device)
    model, opened, info = load_esc(path, clip)
    texts = ClipTexts(opened)
    words = tuple(texts.templates), tuple(info["contrast"])
    about = ClipSpec(opened.name, opened.sha256, opened.licence, *words)
    spec = EscNetSpec(absolute(str(path)), info["sha256"], about)
    return EscPredictor(model.to(chosen), texts, info["side"], info["contrast"], spec)


def to_picture(pixels: NDArray[np.float32]) -> Tensor:
    """Return an image (H, W, 1 or 3) as (3, H, W), clipped to 0..1; else InputError."""
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3) or 0 in pixels.shape:
        raise InputError(f"A picture must be (H, W, 1) or (H, W, 3), not {pixels.shape}.")
    planes = np.ascontiguousarray(pixels.transpose(2, 0, 1), np.float32)
    return torch.from_numpy(planes).clamp(0, 1).expand(3, -1, -1)
