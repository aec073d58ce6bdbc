"""A CLIP that knows three colours, a tiny SAM, and pictures of coloured squares with classes."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
import torch

from napari_kindred.classes.escnet.clip_dense import DenseFeatures
from napari_kindred.classes.escnet.network import EscNet, EscShape
from napari_kindred.classes.sam.model import new_sam, save_sam, shapes

if TYPE_CHECKING:
    from pathlib import Path

TINY_SAM = shapes(side=64, patch=8, width=16, depth=2, heads=2, window=2, channels=32)

COLOURS = {1: (0.9, 0.1, 0.1), 2: (0.1, 0.8, 0.1), 3: (0.1, 0.2, 0.9)}


@pytest.fixture
def sam():
    return new_sam(TINY_SAM, 1)


@pytest.fixture(scope="session")
def sam_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("sam") / "tiny.safetensors"
    save_sam(new_sam(TINY_SAM, 1), path, {})
    return path


@pytest.fixture
def shape():
    return EscShape(
        dimension=24, width=20, sam=TINY_SAM, blocks=2, hidden=16, heads=2, window=3, regions=3
    )


@pytest.fixture
def network(shape):
    """An ESC-Net with random weights everywhere, so that nothing of it is silent."""
    torch.manual_seed(0)
    network = EscNet(shape, 5.0)
    with torch.no_grad():
        for parameter in network.parameters():
            if not parameter.any():
                parameter.normal_(0, 0.1)
    return network.eval()


@pytest.fixture
def features():
    """Of two pictures, 6 x 5 patches, random."""
    torch.manual_seed(1)
    return DenseFeatures(
        torch.randn(2, 24, 6, 5), (torch.randn(2, 20, 6, 5), torch.randn(2, 20, 6, 5))
    )


def squares(seed: int, side: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """A red, a green and a blue square somewhere in their corners, on grey; picture and labels."""
    random = np.random.default_rng(seed)
    labels = np.zeros((side, side), np.uint8)
    pixels = 0.5 + 0.03 * random.normal(size=(side, side, 3))
    corners = random.permutation([(4, 4), (4, 36), (36, 4), (36, 36)])
    for value, (y, x) in zip(COLOURS, corners, strict=False):
        top, left = y + random.integers(5), x + random.integers(5)
        size = random.integers(14, 20)
        place = (slice(top, top + size), slice(left, left + size))
        labels[place], pixels[place] = value, COLOURS[value]
    return (pixels.clip(0, 1) * 255).astype(np.uint8), labels


@pytest.fixture(scope="session")
def draw_squares():
    """Write pictures of these names into a data folder with a classes.csv."""

    def write(folder: Path, names: list[str], classes=((1, "red"), (2, "green"))) -> Path:
        for part in ("images", "labels"):
            (folder / part).mkdir(parents=True)
        for seed, name in enumerate(names):
            image, labels = squares(seed)
            tifffile.imwrite(folder / "images" / f"{name}.tif", image, photometric="rgb")
            tifffile.imwrite(folder / "labels" / f"{name}.tif", labels)
        with (folder / "classes.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("value", "name"), *classes])
        return folder

    return write


@pytest.fixture(scope="session")
def data(draw_squares, tmp_path_factory):
    """A data folder with three pictures to train on and one to validate on."""
    names = ["train_0", "train_1", "train_2", "val_0"]
    return draw_squares(tmp_path_factory.mktemp("data") / "squares", names)
