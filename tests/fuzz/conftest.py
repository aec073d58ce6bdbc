"""How many cases are drawn: about 200 in all, or with KINDRED_FUZZ=nightly more than 2,000.

Encoders and networks with which they are tried.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import HealthCheck, settings
from torch.nn import functional as F

from napari_kindred.clusters import pipeline
from napari_kindred.encoders.base import Tokens, projected
from napari_kindred.entities.checkpoint import load_network

if TYPE_CHECKING:
    from collections.abc import Iterator

_SHARED = {
    "deadline": None,  # the machine may be busy; nothing here asserts a time
    "database": None,  # what ever failed is kept as an example in the test itself
    "suppress_health_check": list(HealthCheck),
}
settings.register_profile("normal", max_examples=8, derandomize=True, **_SHARED)
settings.register_profile("nightly", max_examples=100, print_blob=True, **_SHARED)
settings.load_profile(os.environ.get("KINDRED_FUZZ") or "normal")


@pytest.fixture(scope="module")
def network() -> Any:
    return load_network("kindred-entities")


@dataclass
class Blurred:
    """A latent space without weights: each token is what its pixels are like."""

    name: str
    stride: int
    dimension = 4
    licence, sha256, input_size, decoder = "none", "0" * 64, None, None

    def encode(self, batch: Any, components: Any = None) -> Tokens:
        grey = batch.mean(1, keepdim=True)
        mean = F.avg_pool2d(grey, self.stride, ceil_mode=True)
        most = F.max_pool2d(grey, self.stride, ceil_mode=True)
        values = torch.cat([mean, most, mean * most, mean**2], 1).permute(0, 2, 3, 1)
        valid = torch.ones(values.shape[1:3], dtype=torch.bool)
        return Tokens(projected(values, components), valid)


@pytest.fixture(scope="module")
def blurred() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            pipeline, "open_encoder", lambda name, *, stride, device: Blurred(name, stride)
        )
        yield
