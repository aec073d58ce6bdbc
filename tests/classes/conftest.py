"""Drawn pictures of discs to train a promptable model on, and a CLIP that knows three colours."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from safetensors.torch import load_file

from napari_kindred.core.events import finish

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


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


COLOURS = {"red": (0.9, 0.1, 0.1), "green": (0.1, 0.8, 0.1), "blue": (0.1, 0.2, 0.9)}
"""What the CLIP of these tests has words for, besides background."""


@pytest.fixture(scope="session")
def colour_clip(tmp_path_factory):
    """Name of a small CLIP that was shown blobs of three colours for a few seconds."""
    import open_clip
    import torch
    from torch.nn import functional as F

    folder = tmp_path_factory.mktemp("clip")
    config = folder / "kindred-test-colours.json"
    # Patches averaged, for after so few steps a token that gathers them knows no places.
    vision = {"image_size": 32, "layers": 3, "width": 48, "patch_size": 8, "head_width": 16}
    vision["pool_type"] = "avg"
    text = {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
    config.write_text(json.dumps({"embed_dim": 24, "vision_cfg": vision, "text_cfg": text}))
    open_clip.add_model_config(config)
    mean, deviation = (
        torch.tensor(v).view(3, 1, 1)
        for v in (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # more of them add up in any order, and another CLIP comes out
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = open_clip.create_model("kindred-test-colours").train()
        words = open_clip.get_tokenizer("kindred-test-colours")([*COLOURS, "background"])
        optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3)
        schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1, 0.1, total_iters=100)
        rows, columns = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
        for _ in range(100):
            pictures = torch.rand(4, 4, 3, 1, 1).mul(0.2).add(0.4) + 0.1 * torch.randn(
                4, 4, 3, 32, 32
            )
            for kind, colour in enumerate(COLOURS.values()):
                for one in pictures[:, kind]:
                    (y, x), r = 8 + 16 * torch.rand(2), 8 + 14 * torch.rand(1)
                    blob = (rows - y) ** 2 + (columns - x) ** 2 < r**2
                    one[:, blob] = torch.tensor(colour)[:, None] + 0.05 * torch.randn(
                        3, int(blob.sum())
                    )
            seen = network.encode_image(
                ((pictures.flatten(0, 1) - mean) / deviation), normalize=True
            )
            cosines = seen @ network.encode_text(words, normalize=True).T
            loss = F.cross_entropy(network.logit_scale.exp() * cosines, torch.arange(4).repeat(4))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    torch.set_num_threads(threads)
    torch.save(network.state_dict(), folder / "colours.pt")
    return f"kindred-test-colours/{folder / 'colours.pt'}"


def flags(config: Any) -> list[str]:
    """Return the command-line flags of the options that differ from their defaults."""
    changed = {
        f"--{name.replace('_', '-')}": str(value)
        for name, value in dataclasses.asdict(config).items()
        if value != getattr(type(config)(), name)
    }
    return [part for pair in changed.items() for part in pair]


def assert_resumes_to_the_bit(start: Callable[..., Any], kind: type, folder: Path) -> None:
    """Train as a whole, and in two parts, interrupted before the second step as by Ctrl+C."""
    import torch

    class Stopped(kind):  # type: ignore[misc]
        def train_step(self) -> dict[str, float]:
            if self.step == 1:
                raise KeyboardInterrupt
            return super().train_step()

    whole = start(folder / "whole", kind)
    finish(whole.iter_train())
    with pytest.raises(KeyboardInterrupt):
        finish(start(folder / "parts", Stopped).iter_train())
    torch.manual_seed(123)  # another process has drawn other random numbers
    resumed = start(folder / "parts", kind)
    assert resumed.resume()
    assert resumed.step == 1
    finish(resumed.iter_train())
    assert resumed.step == whole.step
    written = [load_file(folder / part / "last.safetensors") for part in ("whole", "parts")]
    states = (whole.network.state_dict(), resumed.network.state_dict())
    for one, two in (states, (whole.average, resumed.average), written):
        assert one.keys() == two.keys()
        assert all(torch.equal(one[k], two[k]) for k in one)
