"""Tokens and movies whose clusters are known, and an encoder that needs no network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_rand_score

from napari_kindred.clusters import pipeline
from napari_kindred.clusters.config import ClusterConfig
from napari_kindred.encoders.base import Tokens, projected

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(autouse=True)
def _nothing_known(tmp_path_factory: pytest.TempPathFactory, monkeypatch: Any) -> None:
    """No test finds frames that another one encoded."""
    monkeypatch.setenv("NAPARI_KINDRED_CACHE", str(tmp_path_factory.mktemp("cache")))


@dataclass(frozen=True)
class Planted:
    """Tokens (T, h, w, D) drawn around a few centres, and of which centre each is, (T, h, w)."""

    tokens: np.ndarray
    truth: np.ndarray

    def agreement(self, labels: np.ndarray) -> float:
        """1 where labels tell apart what the truth does, whatever their numbers."""
        return float(adjusted_rand_score(self.truth.ravel(), labels.ravel()))


@pytest.fixture
def planted() -> Callable[..., Planted]:
    """Make tokens of ``count`` kinds; kind k has about ``count - k`` parts of the area."""

    def make(
        frames: int = 6,
        size: tuple[int, int] = (12, 16),
        count: int = 5,
        dimension: int = 24,
        noise: float = 0.3,
        seed: int = 0,
    ) -> Planted:
        random = np.random.default_rng(seed)
        centres = 4 * random.standard_normal((count, dimension))
        share = np.arange(count, 0, -1) / np.arange(count, 0, -1).sum()
        truth = np.sort(random.choice(count, (frames, size[0] * size[1]), p=share))
        truth = truth.reshape(frames, *size)
        tokens = centres[truth] + noise * random.standard_normal((*truth.shape, dimension))
        return Planted(tokens.astype(np.float32), truth)

    return make


SHADES = np.array([20, 60, 100, 140, 180, 230])


@dataclass(frozen=True)
class Movie:
    """Grey frames (T, Y, X) uint8, and the kind of each pixel, 0 the largest, (T, Y, X)."""

    pixels: np.ndarray
    truth: np.ndarray


def draw_movie(
    frames: int = 5, size: tuple[int, int] = (48, 64), noise: float = 3, seed: int = 0
) -> Movie:
    """Six kinds of grey, five of them rectangles on a grid of eight pixels that move by eight."""
    height, width = size
    truth = np.zeros((frames, height, width), np.intp)
    corners = [(8, 0), (8, 32), (24, 0), (24, 24), (24, 48)]
    for kind, (top, left) in enumerate(corners, start=1):
        tall, wide = (16, 32 - 4 * kind) if kind < 5 else (8, 8)
        truth[:, top : top + tall, left : left + wide] = kind
    truth = np.stack([np.roll(frame, 8 * time, axis=1) for time, frame in enumerate(truth)])
    pixels = SHADES[truth] + noise * np.random.default_rng(seed).standard_normal(truth.shape)
    return Movie(pixels.round().clip(0, 255).astype(np.uint8), truth)


@pytest.fixture
def movie() -> Movie:
    return draw_movie()


@pytest.fixture
def draw() -> Callable[..., Movie]:
    return draw_movie


class GreyDecoder:
    """Masks of what has about the intensity of the points, from the tokens alone."""

    def decode(self, values: Any, points: Any, shape: tuple[int, int]) -> Any:
        grey = values[..., 0]
        rows = (points[:, 0] * grey.shape[0] / shape[0]).long().clamp_max(grey.shape[0] - 1)
        columns = (points[:, 1] * grey.shape[1] / shape[1]).long().clamp_max(grey.shape[1] - 1)
        like = 0.05 - (grey - grey[rows, columns].median()).abs()
        full = torch.nn.functional.interpolate(like[None, None], size=shape, mode="nearest")
        return full[0].expand(3, -1, -1)


class GreyEncoder:
    """Tokens are the mean colour of their pixels, and its square: a latent space without weights.

    Attributes
    ----------
    seen : list
        Height and width of every picture that was encoded.
    """

    dimension = 6
    licence, sha256, input_size = "none", "0" * 64, None

    def __init__(self, name: str, stride: int, device: Any) -> None:
        self.name, self.stride, self.device = name, stride, device
        self.decoder = GreyDecoder() if name == "grey with decoder" else None
        self.seen: list[tuple[int, int]] = []

    def encode(self, batch: Any, components: Any = None) -> Tokens:
        self.seen.append(tuple(batch.shape[-2:]))
        pooled = torch.nn.functional.avg_pool2d(batch, self.stride, ceil_mode=True)
        values = torch.cat([pooled, pooled.square() / 2], 1).permute(0, 2, 3, 1)
        valid = torch.ones(values.shape[1:3], dtype=torch.bool)
        return Tokens(projected(values, components), valid)


@pytest.fixture
def by_grey(monkeypatch: pytest.MonkeyPatch) -> list[GreyEncoder]:
    """Let every encoder be a GreyEncoder; those that were opened are in the list.

    No network looks for objects in what these movies show.
    """
    monkeypatch.setattr(ClusterConfig, "unfit_for_objects", lambda self: "a grey encoder")
    opened: list[GreyEncoder] = []

    def open_grey(name: str, *, stride: int, device: Any) -> GreyEncoder:
        opened.append(GreyEncoder(name, stride, device))
        return opened[-1]

    monkeypatch.setattr(pipeline, "open_encoder", open_grey)
    return opened
