"""The whole network: any names in any order, silent before training, every part with gradients."""

from __future__ import annotations

import dataclasses
from functools import partial

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from napari_kindred.classes.escnet.config import EscTrainConfig
from napari_kindred.classes.escnet.decoder import Decoder
from napari_kindred.classes.escnet.network import EscNet, correlate, log_odds
from napari_kindred.core.errors import OptionError

PARTS = [{}, {"sam_block": False}, {"fusion": False}, {"sam_block": False, "fusion": False}]


def texts(count, seed=5):
    return torch.randn(count, 24, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("count", [1, 4])
def test_one_map_per_name_four_times_as_fine_as_patches(network, features, count):
    with torch.no_grad():
        assert network(features, texts(count), texts(1, 6)).shape == (2, count, 24, 20)
        assert network(features, texts(count), texts(0)).isfinite().all()


def test_names_in_another_order_give_the_same_maps_in_that_order(network, features):
    names, contrast = texts(4), texts(1, 6)
    order = [2, 0, 3, 1]
    with torch.no_grad():
        straight = network(features, names, contrast)
        turned = network(features, names[order], contrast)
    torch.testing.assert_close(straight[:, order], turned, atol=1e-4, rtol=1e-3)


def test_pictures_of_a_batch_do_not_know_of_each_other(network, features):
    names, contrast = texts(3), texts(1, 6)
    one = dataclasses.replace(
        features, final=features.final[1:], middle=tuple(m[1:] for m in features.middle)
    )
    with torch.no_grad():
        both, alone = network(features, names, contrast), network(one, names, contrast)
    torch.testing.assert_close(both[1:], alone, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("parts", PARTS)
def test_before_training_it_says_what_clip_says(shape, features, parts):
    network = EscNet(dataclasses.replace(shape, **parts), sharpness=5.0)
    names, contrast = texts(3), texts(1, 6)
    with torch.no_grad():
        found = network(features, names, contrast)
        cosines = correlate(features.final, torch.cat([names, contrast]))
        expected = log_odds(cosines[:, :3], cosines[:, 3:], 5.0)
    expected = F.interpolate(expected, (24, 20), mode="bilinear")
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_certain_cosines_in_half_precision_have_finite_log_odds(kind):
    """A probability of 1 - 1e-6 would be 1 in half precision, and its logit infinite."""
    cosines = torch.tensor([1.0, -1.0], dtype=kind).view(1, 2, 1, 1)
    found = log_odds(cosines[:, :1], cosines[:, 1:], 100.0)
    assert found.dtype == torch.float32
    assert 13 < found.item() < 14


@pytest.mark.parametrize("parts", PARTS)
def test_each_part_can_be_left_out_and_what_remains_learns(shape, features, parts):
    torch.manual_seed(0)
    network = EscNet(dataclasses.replace(shape, **parts))
    names, contrast = texts(3), texts(1, 6)
    truth = (torch.randn(2, 3, 24, 20) > 0).float()
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3)
    losses = []
    for _ in range(12):
        logits = network(features, names, contrast)
        loss = F.binary_cross_entropy_with_logits(logits, truth)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    held = {name.split(".")[2] for name, _ in network.named_parameters() if "blocks." in name}
    assert ("sam" in held) == network.shape.sam_block
    assert ("fuse" in held) == network.shape.fusion
    assert (network.decoder is not None) == network.shape.fusion


def test_a_sam_s_blocks_are_what_every_block_begins_with(shape, sam):
    network = EscNet(shape, sam=sam)
    wanted = sam.mask_decoder.transformer.layers.state_dict()
    for block in network.blocks:
        found = block.sam.layers.state_dict()
        assert all(torch.equal(found[k], v) for k, v in wanted.items())
    count = sum(p.numel() for p in network.pretrained())
    one = [*sam.prompt_encoder.parameters(), *sam.mask_decoder.transformer.layers.parameters()]
    assert count == 2 * (sum(p.numel() for p in one) + 5 * 32)


def test_its_own_sam_learns_though_the_given_one_was_fixed(shape, sam):
    network = EscNet(shape, sam=sam.requires_grad_(False))
    assert all(p.requires_grad for p in network.parameters())


def test_the_decoder_joins_early_features_at_the_finer_step():
    decoder = Decoder(16, 20)
    torch.nn.init.normal_(decoder.read.weight)
    embedded = torch.randn(2, 3, 6, 5, 16)
    early, late = torch.randn(2, 20, 6, 5), torch.randn(2, 20, 6, 5)
    with torch.no_grad():
        found = decoder(embedded, (early, late))
        assert found.shape == (2, 3, 24, 20)
        assert decoder.first.skip.weight.shape[:2] == (4, 20)
        assert decoder.second.skip.weight.shape[:2] == (2, 20)
        assert (decoder(embedded, (early + 1, late)) - found).abs().max() > 1e-4
        assert (decoder(embedded, (early, late + 1)) - found).abs().max() > 1e-4


def test_hidden_must_be_a_multiple_of_heads(shape):
    for make in (partial(dataclasses.replace, shape), EscTrainConfig):
        with pytest.raises(OptionError, match="multiple of four times heads"):
            make(hidden=20, heads=3)


def test_the_correlation_is_the_cosine_whatever_the_lengths():
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
