"""Cosines of patches with names, and what CLIP says by them."""

from __future__ import annotations

import numpy as np
import torch

from napari_kindred.classes.escnet.network import correlate, log_odds


def test_it_is_the_cosine_whatever_the_lengths():
    visual, texts = torch.randn(2, 5, 3, 4), torch.randn(6, 5)
    found = correlate(7 * visual, 0.1 * texts)
    assert found.shape == (2, 6, 3, 4)
    v, t = visual[1, :, 2, 0].numpy(), texts[4].numpy()
    expected = v @ t / np.linalg.norm(v) / np.linalg.norm(t)
    np.testing.assert_allclose(found[1, 4, 2, 0], expected, rtol=1e-5)


def test_the_sigmoids_of_the_log_odds_are_the_softmax_over_names_and_contrast():
    names, others = torch.rand(1, 3, 2, 2) - 0.5, torch.rand(1, 2, 2, 2) - 0.5
    powers = torch.exp(10 * torch.cat([names, others], 1))
    expected = powers[:, :3] / powers.sum(1, keepdim=True)
    torch.testing.assert_close(log_odds(names, others, 10.0).sigmoid(), expected)


def test_a_single_name_without_contrast_stays_finite():
    assert log_odds(torch.zeros(1, 1, 2, 2), torch.zeros(1, 0, 2, 2), 10.0).isfinite().all()
