"""Weights that do not know separate channels get the mean of them, and it is said."""

from __future__ import annotations

import numpy as np
import pytest

from napari_kindred.entities.channels import fit_channels
from napari_kindred.images.stack import ImageStack

PLANES = np.stack([np.full((16, 20), 100), np.full((16, 20), 300)]).astype(np.uint16)
PLANES[:, 4:8] += 200


@pytest.mark.parametrize("foreground", [0, 24])
def test_only_weights_with_a_foreground_branch_get_channels_apart(foreground: int) -> None:
    frames = ImageStack.open(PLANES, "CYX", [0, 1])
    note = fit_channels(frames, "mine.safetensors", {"foreground": foreground})
    pixels = frames.read(()).normalised()
    assert pixels.shape[-1] == (1 if foreground == 0 else 3)  # the mean alone, or planes apart
    assert ("'mine.safetensors' do not know separate channels" in note) == (foreground == 0)


def test_the_shipped_weights_know_separate_channels() -> None:
    assert fit_channels(ImageStack.open(PLANES, "CYX", [0, 1])) == ""


def test_one_channel_is_no_matter() -> None:
    frames = ImageStack.open(PLANES[0], "YX")
    assert fit_channels(frames, "mine.safetensors", {"foreground": 0}) == ""
