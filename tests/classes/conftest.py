"""Drawn pictures of discs to train a promptable model on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile


def discs(seed: int, side: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Four discs of diameters about 22, each a little off its place; picture and labels."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:side, :side]
    labels = np.zeros((side, side), np.uint8)
    for number, (y, x) in enumerate(((15, 15), (15, 48), (48, 15), (48, 48)), start=1):
        dy, dx = random.integers(-2, 3, 2)
        labels[(rows - y - dy) ** 2 + (columns - x - dx) ** 2 < 11**2] = number
    noise = random.integers(0, 20, labels.shape)
    return ((labels > 0) * 150 + 30 + noise).astype(np.uint8), labels


@pytest.fixture(scope="session")
def draw():
    """Write pictures of these names into a data folder and return it."""

    def write(folder: Path, names: list[str], empty: bool = False) -> Path:
        for part in ("images", "labels"):
            (folder / part).mkdir(parents=True)
        for seed, name in enumerate(names):
            image, labels = discs(seed)
            tifffile.imwrite(folder / "images" / f"{name}.tif", image)
            tifffile.imwrite(folder / "labels" / f"{name}.tif", labels * (not empty))
        return folder

    return write


@pytest.fixture(scope="session")
def data(draw, tmp_path_factory):
    """A data folder with two pictures to train on and one to validate on."""
    return draw(tmp_path_factory.mktemp("data") / "drawn", ["train_0", "train_1", "val_0"])
