"""Bottom-up, class-agnostic entity segmentation: network, losses, clustering, training."""

from __future__ import annotations

from ..compute.native import load_triton_apart

load_triton_apart()
