"""The pixels of an image as every part of this room takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..core.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor


def check_pixels(pixels: NDArray[Any]) -> None:
    """Raise InputError unless an image is (H, W, 1) or (H, W, 3) and not empty."""
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3) or 0 in pixels.shape:
        raise InputError(f"An image must be (H, W, 1) or (H, W, 3), not {pixels.shape}.")


def to_tensor(pixels: NDArray[np.float32]) -> Tensor:
    """Return an image (H, W, 1 or 3) as (3, H, W), clipped to 0..1; else InputError."""
    check_pixels(pixels)
    planes = np.ascontiguousarray(pixels.transpose(2, 0, 1), np.float32)
    return torch.from_numpy(planes).clamp(0, 1).expand(3, -1, -1)
