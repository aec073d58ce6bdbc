"""A tiny network in a file, and pictures that it can learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_kindred.entities.checkpoint import save_weights
from napari_kindred.entities.config import NetworkConfig
from napari_kindred.entities.learning import fine_tune as module
from napari_kindred.entities.network import EntityNetwork


def discs(seed, side=128):
    """Sixteen discs on a grid, each a little off its place; picture and labels."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:side, :side]
    labels = np.zeros((side, side), np.uint16)
    for number, (y, x) in enumerate(np.ndindex(4, 4), start=1):
        dy, dx = 16 + 32 * np.array([y, x]) + rng.integers(-3, 4, 2)
        labels[(rows - dy) ** 2 + (columns - dx) ** 2 < rng.integers(8, 12) ** 2] = number
    return ((labels > 0) * 150 + 30 + rng.integers(0, 30, labels.shape)).astype(np.uint8), labels


@pytest.fixture
def weights(request, tmp_path):
    """A file with a network that was never trained; its parameter is the foreground's branch."""
    torch.manual_seed(0)
    branch = getattr(request, "param", 0)
    config = NetworkConfig(encoder="test_resnet", width=16, foreground=branch)
    path = tmp_path / "start.safetensors"
    save_weights(EntityNetwork(config), path, {"steps": 0, "pictures": 7})
    return path


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path):
    """One small control image, and a folder of its own for what is learnt."""
    monkeypatch.setenv("NAPARI_KINDRED_WEIGHTS", str(tmp_path / "learnt"))
    few = module.control_set()[:1]
    monkeypatch.setattr(module, "control_set", lambda: few)
