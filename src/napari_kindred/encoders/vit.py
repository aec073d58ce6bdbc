"""Vision transformers: one token per patch of the picture."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from ..compute.device import inference
from ..entities.segment import pad_to_multiple
from .base import MaskDecoder, Tokens, fitted_shape, projected


class PatchEncoder:
    """Tokens of a vision transformer's patches; see :class:`.base.Encoder`.

    Parameters
    ----------
    name, licence, sha256 : str
    patches : callable
        Takes normalised pictures (B, 3, H, W), sides multiples of ``patch``, and returns the
        patches' tokens (B, D, h, w).
    patch, dimension : int
    input_size : int or None
        Side that the longer side of a picture is scaled to; None for pictures as they are.
    mean, deviation : tuple of three floats
        Of the pictures that the network was trained on, 0..1.
    device : torch.device
    """

    decoder: MaskDecoder | None = None

    def __init__(
        self,
        name: str,
        patches: Callable[[Tensor], Tensor],
        *,
        patch: int,
        dimension: int,
        input_size: int | None,
        mean: tuple[float, ...],
        deviation: tuple[float, ...],
        device: torch.device,
        licence: str,
        sha256: str,
    ) -> None:
        self.name, self.licence, self.sha256 = name, licence, sha256
        self.stride, self.dimension, self.input_size = patch, dimension, input_size
        self._patches, self._device = patches, device
        self._mean = torch.tensor(mean, device=device).view(1, 3, 1, 1)
        self._deviation = torch.tensor(deviation, device=device).view(1, 3, 1, 1)

    def encode(self, batch: Tensor, components: Tensor | None = None) -> Tokens:
        """Encode pictures (B, 3, H, W); see :meth:`.base.Encoder.encode`.

        Every token is valid: those at the bottom and right edges may look at reflected pixels,
        but each covers at least one of the picture's own.
        """
        with inference():
            batch = batch.to(self._device, torch.float32)
            if self.input_size is not None:
                size = fitted_shape((batch.shape[2], batch.shape[3]), self.input_size)
                batch = F.interpolate(batch, size, mode="bicubic", antialias=True)
            padded = pad_to_multiple((batch - self._mean) / self._deviation, self.stride)
            # One after the other: attention among all tokens of a picture fills the memory.
            values = torch.cat([self._patches(one[None]) for one in padded])
            values = projected(values.permute(0, 2, 3, 1).float(), components)
        valid = torch.ones(values.shape[1:3], dtype=torch.bool, device=self._device)
        return Tokens(values, valid)
