"""The shipped promptable model, where SAMs are used: as a latent space, and asked for masks."""

from __future__ import annotations

import numpy as np
import torch

from napari_kindred.encoders.registry import open_encoder
from napari_kindred.images.samples import open_sample
from napari_kindred.images.stack import ImageStack, normalise


def test_a_click_on_a_nucleus_gives_mostly_that_nucleus() -> None:
    """Half of the clicks or more overlap by half, on the shipped sample, a simulation."""
    sample = open_sample("nuclei")
    assert sample.truth is not None
    frames = ImageStack.open(sample.data, "TYX")
    picture, truth = normalise(frames.read((0,)).pixels), np.asarray(sample.truth[0])
    encoder = open_encoder("kindred-sam", device="cpu")
    assert encoder.decoder is not None
    batch = torch.from_numpy(picture).permute(2, 0, 1)[None].expand(1, 3, -1, -1)
    values = encoder.encode(batch).values[0]
    overlaps = []
    for number in np.unique(truth[truth > 0])[:24]:
        mask = truth == number
        y, x = np.argwhere(mask).mean(0)
        logits = encoder.decoder.decode(values, torch.tensor([[y, x]]).float(), truth.shape)
        answers = (logits > 0).numpy()
        ious = (answers & mask).sum((1, 2)) / (answers | mask).sum((1, 2))
        overlaps.append(ious.max())
    assert np.median(overlaps) > 0.5
