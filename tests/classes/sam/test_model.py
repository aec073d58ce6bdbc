"""The small promptable model is a SAM like any other: built, saved, opened, asked."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from napari_kindred.classes.sam.model import (
    FORMAT,
    Correction,
    Prompts,
    embed,
    load_sam,
    new_sam,
    predict_masks,
    save_sam,
    shapes,
)
from napari_kindred.core.errors import OutputError, WeightsError
from napari_kindred.encoders.registry import describe_encoder, open_encoder
from napari_kindred.encoders.sam_shapes import read_shapes
from napari_kindred.models.download import file_sha256
from napari_kindred.models.weights import read_header

TINY = shapes(side=64, patch=8, width=32, depth=2, heads=2, window=2)


@pytest.fixture(scope="module")
def sam():
    return new_sam(TINY).eval()


@pytest.fixture(scope="module")
def file(sam, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_sam(sam, path, {"steps": 7, "data_sha256": "ab" * 32})
    return path


def points(*places):
    return Prompts(torch.tensor(places, dtype=torch.float32), torch.zeros(0, 4))


def boxes(*places):
    return Prompts(torch.zeros(0, 2), torch.tensor(places, dtype=torch.float32))


def test_the_model_is_small_enough_to_ship(tmp_path):
    sam = new_sam(shapes())
    save_sam(sam, tmp_path / "sam.safetensors", {})
    assert (tmp_path / "sam.safetensors").stat().st_size < 16_000_000
    with torch.no_grad():
        assert sam.image_encoder(torch.zeros(1, 3, 256, 256)).shape == (1, 256, 32, 32)


def test_a_disk_without_room_leaves_the_earlier_file(sam, file, files_up_to):
    names, before = {*file.parent.iterdir()}, file.read_bytes()
    with files_up_to(1000), pytest.raises(OutputError, match=r"Cannot write .* choose another"):
        save_sam(sam, file, {})
    assert {*file.parent.iterdir()} == names
    assert file.read_bytes() == before


@pytest.mark.parametrize("sizes", [shapes(), shapes(side=64, width=32, depth=4, heads=2, window=2)])
def test_its_sizes_can_be_read_off_its_tensors(sizes):
    with torch.device("meta"):
        parts = {
            "image_encoder": sizes.image_encoder(),
            "prompt_encoder": sizes.prompt_encoder(),
            "mask_decoder": sizes.mask_decoder(),
        }
    tensors = {f"{part}.{k}": v for part, net in parts.items() for k, v in net.state_dict().items()}
    assert read_shapes(tensors, "drawn") == sizes


def test_a_saved_model_comes_back_as_it_was_but_for_half_precision(sam, file):
    loaded, info = load_sam(file)
    assert info == {"steps": 7, "data_sha256": "ab" * 32}
    assert not loaded.training
    before, after = sam.state_dict(), loaded.state_dict()
    assert before.keys() == after.keys()
    for name, value in before.items():
        assert torch.equal(after[name], value.half().float()), name
    places = "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"
    assert torch.equal(before[places], after[places]), "positions are not moved by saving"
    assert {value.dtype for value in load_file(file).values()} == {torch.float16}
    metadata = read_header(file)["__metadata__"]
    assert metadata["format"] == FORMAT
    assert json.loads(metadata["shapes"])["patch"] == 8
    assert not list(file.parent.glob("*.part"))


def test_it_opens_as_an_encoder_with_its_decoder(file):
    assert describe_encoder(str(file)).here
    encoder = open_encoder(str(file))
    assert (encoder.stride, encoder.dimension, encoder.input_size) == (8, 256, 64)
    assert encoder.sha256 == file_sha256(file)
    tokens = encoder.encode(torch.rand(1, 3, 64, 48))
    assert tokens.values.shape == (1, 8, 8, 256)
    assert encoder.decoder is not None
    masks = encoder.decoder.decode(tokens.values[0], torch.tensor([[20.0, 30.0]]), (64, 48))
    assert masks.shape == (3, 64, 48)


def test_the_decoder_gives_what_asking_the_model_itself_gives(file):
    sam, _ = load_sam(file)
    encoder = open_encoder(str(file))
    picture = torch.rand(1, 3, 64, 64)
    values = encoder.encode(picture).values[0]
    through = encoder.decoder.decode(values, torch.tensor([[20.0, 30.0]]), (64, 64))
    with torch.no_grad():
        embedding = embed(sam, sam.preprocess(picture * 255))
        logits, _ = predict_masks(sam, embedding, points((30, 20)))
    full = F.interpolate(logits[:, 1:], (64, 64), mode="bilinear", align_corners=False)
    torch.testing.assert_close(full[0], through, rtol=1e-3, atol=1e-4)


@torch.no_grad()
def test_points_and_boxes_asked_together_are_answered_as_one_by_one(sam):
    embedding = torch.randn(1, 256, 8, 8)
    together = Prompts(
        torch.tensor([[10.0, 20.0], [40.0, 50.0]]), torch.tensor([[5.0, 6.0, 30.0, 40.0]])
    )
    logits, quality = predict_masks(sam, embedding, together)
    assert (logits.shape, quality.shape) == ((3, 4, 32, 32), (3, 4))
    alone = [points((10, 20)), points((40, 50)), boxes((5, 6, 30, 40))]
    for i, prompts in enumerate(alone):
        one, value = predict_masks(sam, embedding, prompts)
        torch.testing.assert_close(logits[i], one[0], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(quality[i], value[0], rtol=1e-4, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("prompts", [points((10, 20)), boxes((5, 6, 30, 40))])
def test_a_correction_and_its_side_change_the_answer(sam, prompts):
    embedding = torch.randn(1, 256, 8, 8)
    first, _ = predict_masks(sam, embedding, prompts)
    place = torch.tensor([[25.0, 25.0]])
    answers = [
        predict_masks(
            sam, embedding, prompts, Correction(place, torch.tensor([side]), first[:, 0])
        )[0]
        for side in (True, False)
    ]
    assert answers[0].shape == first.shape
    assert not torch.allclose(answers[0], first)
    assert not torch.allclose(*answers)


@torch.no_grad()
def test_an_untrained_decoder_looks_where_the_prompt_is(sam):
    """A token that carries a place's code attends to that place from the start."""
    attention = sam.mask_decoder.transformer.layers[0].cross_attn_token_to_image
    places = sam.prompt_encoder.get_dense_pe()[0].flatten(1).T  # (64, 256)
    queries, keys = attention.q_proj(places), attention.k_proj(places)
    looked_at = (queries @ keys.T).argmax(1)
    assert torch.equal(looked_at, torch.arange(64))


@torch.no_grad()
def test_a_window_is_encoded_and_asked_at_its_corner():
    """With no attention but within the windows, a part of a picture is like the whole's part."""
    sizes = shapes(side=64, patch=8, width=32, depth=2, heads=2, window=4)
    sam = new_sam(sizes).eval()
    for value in sam.image_encoder.parameters():
        value.add_(torch.randn_like(value) * 0.02)
    for block in sam.image_encoder.blocks:
        block.window_size = 4  # a quarter of the picture sees nothing of the others
        block.attn.use_rel_pos = False
    sam.image_encoder.neck = sam.image_encoder.neck[0]  # the rest looks beyond borders
    picture = torch.randn(1, 3, 64, 64)
    whole = embed(sam, picture)[..., 4:, :4]
    part = embed(sam, picture[..., 32:, :32], corner=(4, 0))
    torch.testing.assert_close(part, whole, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_window_takes_the_relative_positions_that_occur_in_it(sam):
    seen = {}
    block = sam.image_encoder.blocks[1].attn

    def look(module, inputs):
        seen[inputs[0].shape[1]] = module.rel_pos_h

    table = block.rel_pos_h.clone()
    hook = block.register_forward_pre_hook(look)
    for side in (64, 32):
        embed(sam, torch.zeros(1, 3, side, side))
    hook.remove()
    assert len(table) == 15
    assert torch.equal(seen[8], table)
    assert torch.equal(seen[4], table[4:11]), "-3 … 3 tokens of -7 … 7"
    assert torch.equal(block.rel_pos_h, table), "and the model keeps all of them"


@torch.no_grad()
def test_moving_picture_and_prompt_together_asks_with_the_same_codes_of_places(sam):
    """What lies at a corner is asked about like what lies there in a whole picture."""
    whole = torch.zeros(1, 256, 8, 8)
    sparse = []
    hook = sam.mask_decoder.transformer.register_forward_pre_hook(
        lambda module, inputs: sparse.append((inputs[1][0], inputs[2][0]))
    )
    predict_masks(sam, whole, points((40, 44)))
    predict_masks(sam, whole[..., :4, :4], points((8, 28)), corner=(2, 4))
    hook.remove()
    (codes, tokens), (window_codes, window_tokens) = sparse
    torch.testing.assert_close(codes[:, 2:6, 4:8], window_codes)
    torch.testing.assert_close(tokens, window_tokens)


def test_files_that_are_no_sam_are_refused(tmp_path, file):
    with pytest.raises(WeightsError, match="no weights"):
        load_sam(tmp_path / "none.safetensors")
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(WeightsError, match="damaged or cut short"):
        load_sam(cut)


def test_a_sam_of_another_is_opened_without_a_story(sam, tmp_path):
    torch.save(sam.state_dict(), tmp_path / "other.pth")
    loaded, info = load_sam(tmp_path / "other.pth")
    assert info == {}
    assert np.allclose(loaded.image_encoder.pos_embed, sam.image_encoder.pos_embed.detach())


def test_the_same_seed_gives_the_same_model_and_leaves_chance_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one, two, other = (new_sam(TINY, seed) for seed in (0, 0, 1))
    assert torch.equal(torch.rand(3), expected)
    key = "neck.0.weight"
    states = [sam.image_encoder.state_dict()[key] for sam in (one, two, other)]
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])
