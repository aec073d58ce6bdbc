"""The SAM block is SAM's own prompt encoder and attention, class by class, in one batch."""

from __future__ import annotations

import pytest
import torch

from napari_kindred.classes.escnet.pseudo_prompts import pseudo_prompts
from napari_kindred.classes.escnet.sam_block import SamBlock


@pytest.fixture
def block(sam):
    torch.manual_seed(0)
    return SamBlock(sam.prompt_encoder, sam.mask_decoder, 24).eval()


@pytest.fixture
def prompts():
    torch.manual_seed(2)
    return pseudo_prompts(2 * torch.rand(2, 3, 8, 8), 4)


def test_shapes_and_gradients(block, prompts):
    visual = torch.randn(2, 24, 8, 8, requires_grad=True)
    found = block(visual, prompts)
    assert found.shape == (2, 32, 8, 8)
    found.square().sum().backward()
    assert visual.grad.abs().sum() > 0
    moved = {name for name, p in block.named_parameters() if p.grad is not None and p.grad.any()}
    for part in ("project", "norm", "prompts.mask_downscaling", "layers.0", "layers.1", "merge"):
        assert any(name.startswith(part) for name in moved), part
    assert {"tokens", "prompts.point_embeddings.1.weight"} <= moved


def test_it_is_sam_s_own_transformer_on_sam_s_own_prompts(block, sam, prompts):
    """Class by class and with SAM's modules alone, on a grid as large as SAM's own."""
    visual = torch.randn(2, 24, 8, 8)
    with torch.no_grad():
        found = block(visual, prompts)
        picture = block.norm(block.project(visual))
        for number in range(2):
            each = []
            for kind in range(3):
                seen = []
                sam.mask_decoder.transformer.layers[-1].register_forward_hook(
                    lambda module, given, out, seen=seen: seen.append(out[1])
                )
                points = prompts.points[number, kind] * 8 - 0.5
                labels = torch.where(prompts.valid[number, kind], 1, -1)
                mask = prompts.masks[number, kind].amax(0)
                logits = (16 * mask - 8).repeat_interleave(4, 0).repeat_interleave(4, 1)
                sparse, dense = sam.prompt_encoder(
                    (points[None], labels[None]), None, logits[None, None]
                )
                sam.mask_decoder.predict_masks(
                    picture[number : number + 1], sam.prompt_encoder.get_dense_pe(), sparse, dense
                )
                each.append(seen[0])
            mean = torch.stack(each).mean(0)[0].T.reshape(1, 32, 8, 8)
            torch.testing.assert_close(
                found[number], picture[number] + block.merge(mean)[0], atol=1e-4, rtol=1e-3
            )


def test_a_class_without_regions_is_coded_as_sam_codes_no_mask(block):
    sparse, dense = block.embed(pseudo_prompts(torch.zeros(1, 1, 4, 6), 2))
    assert sparse.shape == (1, 3, 32)
    none = block.prompts.not_a_point_embed.weight
    assert torch.equal(sparse[0], none.expand(3, -1))
    expected = block.prompts.no_mask_embed.weight[0]
    assert torch.equal(dense, expected[None, :, None, None].expand(1, 32, 4, 6))


def test_grids_that_are_not_square_lie_at_the_top_left_as_sam_s_pictures_do(block):
    places = block._positions(4, 8).reshape(4, 8, 32)
    whole = block._positions(8, 8).reshape(8, 8, 32)
    assert torch.equal(places, whole[:4])
    assert block(torch.randn(1, 24, 4, 8), pseudo_prompts(torch.rand(1, 2, 4, 8))).shape == (
        1, 32, 4, 8,
    )  # fmt: skip


def test_the_sam_it_was_made_from_is_left_alone(block, sam, prompts):
    before = {k: v.clone() for k, v in sam.state_dict().items()}
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.add_(1)
    assert all(torch.equal(v, before[k]) for k, v in sam.state_dict().items())
