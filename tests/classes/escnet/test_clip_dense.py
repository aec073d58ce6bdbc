"""CLIP's patches, as open_clip's own modules give them when each attends to itself alone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from napari_kindred.classes.escnet.clip_dense import DenseClip
from napari_kindred.core.errors import OptionError
from napari_kindred.encoders.clip import open_whole_clip


@pytest.fixture
def opened(colour_clip):
    return open_whole_clip(colour_clip)


def normalised(opened, pictures):
    mean, deviation = (torch.tensor(v).view(1, 3, 1, 1) for v in (opened.mean, opened.deviation))
    return (pictures - mean) / deviation


def test_the_last_block_attends_to_itself_alone(opened):
    """open_clip's own last block, with a mask that hides every other token."""
    pictures = torch.rand(2, 3, 32, 32)
    visual = opened.network.visual
    with torch.no_grad():
        x = visual._embeds(normalised(opened, pictures))
        for block in visual.transformer.resblocks[:-1]:
            x = block(x)
        alone = torch.full((17, 17), -torch.inf).fill_diagonal_(0)
        x = visual.transformer.resblocks[-1](x, attn_mask=alone)
        expected = (visual.ln_post(x)[:, 1:] @ visual.proj).transpose(1, 2).reshape(2, 24, 4, 4)
        found = DenseClip(opened)(pictures)
    torch.testing.assert_close(found.final, expected, atol=1e-5, rtol=1e-4)


def test_the_middle_is_what_open_clip_gives_after_a_third_and_two_thirds(opened):
    pictures = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        wanted = opened.network.visual.forward_intermediates(
            normalised(opened, pictures), indices=[0, 1], intermediates_only=True
        )["image_intermediates"]
        found = DenseClip(opened)(pictures).middle
    for mine, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-4)


def test_pictures_of_other_sizes_give_other_grids(opened):
    clip = DenseClip(opened)
    assert (clip.patch, clip.side, clip.dimension, clip.width) == (8, 32, 24, 48)
    found = clip(torch.rand(1, 3, 24, 40))
    assert found.final.shape == (1, 24, 3, 5)
    assert all(part.shape == (1, 48, 3, 5) for part in found.middle)


def test_a_single_block_s_middle_is_what_goes_into_it(opened):
    blocks = opened.network.visual.transformer.resblocks
    opened.network.visual.transformer.resblocks = blocks[-1:]
    clip = DenseClip(opened)
    one, two = clip(torch.rand(1, 3, 32, 32)).middle
    assert torch.equal(one, two)


def test_only_attention_is_offered_for_training_and_it_gets_gradients(opened):
    clip = DenseClip(opened).train()
    assert not clip.visual.training, "a CLIP never leaves evaluation mode"
    assert not any(parameter.requires_grad for parameter in clip.parameters())
    attention = clip.attention()
    assert len(attention) == 3 * 4, "weights and biases, in and out, of three blocks"
    for parameter in attention.values():
        parameter.requires_grad_()
    clip(torch.rand(1, 3, 32, 32)).final.square().sum().backward()
    assert all(parameter.grad is not None for parameter in attention.values())


def test_an_attention_of_another_build_is_refused(opened):
    opened.network.visual.transformer.resblocks[1].attn = nn.Identity()
    with pytest.raises(OptionError, match="an attention of its own"):
        DenseClip(opened)
