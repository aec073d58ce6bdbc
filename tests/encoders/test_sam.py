"""SAM checkpoints of the official architecture, and small ones, through Meta's own modules."""

from __future__ import annotations

import sys
from functools import partial

import numpy as np
import pytest
import torch
from segment_anything import SamPredictor, sam_model_registry
from segment_anything.modeling import (
    ImageEncoderViT,
    MaskDecoder,
    PromptEncoder,
    Sam,
    TwoWayTransformer,
)
from torch.nn import functional as F

from napari_kindred.core.background import reporting
from napari_kindred.core.errors import InputError, WeightsError
from napari_kindred.core.events import finish
from napari_kindred.encoders.encode import decoder_windows, iter_encode
from napari_kindred.encoders.registry import describe_encoder, open_encoder
from napari_kindred.encoders.sam_shapes import read_shapes
from napari_kindred.models import download
from napari_kindred.models.weights import WEIGHTS, Weights


def small_sam(side=128, patch=16, width=48, depth=3, heads=3, window=3, everywhere=(1,), out=32):
    """A SAM of the same parts, other sizes and random values, none of them zero."""
    torch.manual_seed(0)
    grid = side // patch
    sam = Sam(
        ImageEncoderViT(
            img_size=side,
            patch_size=patch,
            embed_dim=width,
            depth=depth,
            num_heads=heads,
            out_chans=out,
            norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
            use_rel_pos=True,
            window_size=window,
            global_attn_indexes=everywhere,
        ),
        PromptEncoder(
            embed_dim=out,
            image_embedding_size=(grid, grid),
            input_image_size=(side, side),
            mask_in_chans=8,
        ),
        MaskDecoder(
            transformer_dim=out,
            transformer=TwoWayTransformer(depth=1, embedding_dim=out, mlp_dim=64, num_heads=8),
            iou_head_depth=2,
            iou_head_hidden_dim=24,
        ),
    ).eval()
    with torch.no_grad():
        for parameter in sam.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return sam


@pytest.fixture(scope="module")
def sam():
    return small_sam()


@pytest.fixture
def file(sam, tmp_path):
    path = tmp_path / "small_sam.pth"
    torch.save(sam.state_dict(), path)
    return path


def picture(height, width, seed=0):
    return np.random.default_rng(seed).random((height, width, 3)).astype(np.float32)


def batch_of(pixels):
    return torch.from_numpy(pixels.transpose(2, 0, 1))[None]


def predictor(sam, pixels):
    """Meta's own predictor, given the picture as it wants it: scaled, 0..255.

    Its transform of tensors takes batch and channels for height and width, so only the size that
    it computes is used.
    """
    predictor = SamPredictor(sam)
    transform = predictor.transform
    size = transform.get_preprocess_shape(*pixels.shape[:2], transform.target_length)
    scaled = F.interpolate(batch_of(pixels) * 255, size, mode="bilinear", antialias=True)
    predictor.set_torch_image(scaled, pixels.shape[:2])
    return predictor


# -- encoding ---------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(128, 128), (100, 300), (57, 40)])
def test_tokens_are_the_embedding_of_meta_s_predictor(sam, file, shape):
    pixels = picture(*shape)
    tokens = open_encoder(str(file), device="cpu").encode(batch_of(pixels))
    expected = predictor(sam, pixels).get_image_embedding()
    torch.testing.assert_close(tokens.values, expected.permute(0, 2, 3, 1), atol=1e-5, rtol=1e-4)


def test_tokens_in_the_padding_are_not_valid(file):
    tokens = open_encoder(str(file), device="cpu").encode(torch.rand(1, 3, 100, 400))
    assert tokens.valid[:2].all()  # 100 rows of 400 become 32 of 128: two rows of tokens
    assert not tokens.valid[2:].any()


def test_a_batch_gives_what_its_pictures_give(file):
    encoder = open_encoder(str(file), device="cpu")
    batch = torch.cat([batch_of(picture(60, 90, seed)) for seed in range(3)])
    together = encoder.encode(batch).values
    apart = torch.cat([encoder.encode(one[None]).values for one in batch])
    torch.testing.assert_close(together, apart)


def test_a_frame_comes_back_without_padding_and_with_its_embedding(file):
    encoder = open_encoder(str(file), device="cpu")
    tokens = finish(iter_encode(encoder, picture(64, 128), large="resize", embedding=True))
    assert tokens.values.shape == (4, 8, 32)
    assert tokens.valid.all()
    assert tokens.step == (16, 16)
    assert tokens.embedding.shape == (1, 8, 8, 32)


def test_a_large_frame_is_encoded_in_windows_of_the_input_s_size(file):
    encoder = open_encoder(str(file), device="cpu")
    frame = picture(200, 320)
    tokens = finish(iter_encode(encoder, frame, large="tiles", embedding=True))
    assert tokens.values.shape == (13, 20, 32)
    windows = decoder_windows(encoder, (200, 320), "tiles", 1024)
    assert tokens.embedding.shape == (len(windows), 8, 8, 32)
    covered = np.zeros((200, 320), int)
    for window, embedding in zip(windows, tokens.embedding, strict=True):
        covered[window.inner] += 1
        rows, columns = (slice(16 * span.start, 16 * span.stop) for span in window.tokens)
        if rows.stop <= 200:  # no token reaches beyond the frame
            alone = encoder.encode(batch_of(frame[rows, columns])).values[0]
            np.testing.assert_allclose(embedding, alone, atol=1e-5)
    assert covered.min() == 1
    # The first window's own tokens, far from where it passes into the next one.
    window = encoder.encode(batch_of(frame[:128, :128])).values[0]
    np.testing.assert_allclose(tokens.values[:4, :4], window[:4, :4], atol=1e-5)


# -- masks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(128, 128), (90, 200)])
def test_masks_are_those_of_meta_s_predictor(sam, file, shape):
    pixels = picture(*shape)
    points = np.array([[10.0, 20.0], [40.0, 30.0], [70.0, 80.0]], np.float32)
    encoder = open_encoder(str(file), device="cpu")
    tokens = encoder.encode(batch_of(pixels))
    found = encoder.decoder.decode(tokens.values[0], torch.from_numpy(points), shape)
    expected, _, _ = predictor(sam, pixels).predict(
        points[:, ::-1].copy(), np.ones(len(points)), multimask_output=True, return_logits=True
    )
    assert found.shape == (3, *shape)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(
    ("rows", "points", "complaint"),
    [(4, [[1.0, 1.0]], "padding included"), (8, np.zeros((0, 2)), "at least 1")],
)
def test_an_embedding_without_its_padding_and_no_points_are_refused(file, rows, points, complaint):
    encoder = open_encoder(str(file), device="cpu")
    values = encoder.encode(torch.rand(1, 3, 64, 128)).values[0]
    with pytest.raises(InputError, match=complaint):
        encoder.decoder.decode(values[:rows], torch.tensor(points), (64, 128))


# -- files ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"side": 96, "patch": 8, "width": 32, "depth": 2, "heads": 4, "out": 64},
        {"window": 0, "everywhere": (0, 1, 2)},
        {"window": 7, "everywhere": ()},
    ],
)
def test_the_architecture_is_read_from_the_shapes(tmp_path, options):
    sam = small_sam(**options)
    path = tmp_path / "other.pt"
    torch.save(sam.state_dict(), path)
    encoder = open_encoder(str(path), device="cpu")
    pixels = picture(50, 90)
    expected = predictor(sam, pixels).get_image_embedding().permute(0, 2, 3, 1)
    torch.testing.assert_close(
        encoder.encode(batch_of(pixels)).values, expected, atol=1e-5, rtol=1e-4
    )
    assert encoder.stride == sam.image_encoder.patch_embed.proj.kernel_size[0]
    assert encoder.dimension == expected.shape[-1]
    assert encoder.input_size == sam.image_encoder.img_size


@pytest.mark.parametrize("kind", ["vit_b", "vit_l", "vit_h"])
def test_the_official_architectures_are_recognised(kind):
    with torch.device("meta"):
        official = sam_model_registry[kind]()
    shapes = read_shapes(official.state_dict(), kind)
    encoder = official.image_encoder
    assert shapes.heads == encoder.blocks[0].attn.num_heads
    assert [i for i, b in enumerate(encoder.blocks) if not b.window_size] == [*shapes.everywhere]
    assert shapes.window == encoder.blocks[0].window_size == 14
    with torch.device("meta"):
        ours = Sam(shapes.image_encoder(), shapes.prompt_encoder(), shapes.mask_decoder())
    expected = {key: value.shape for key, value in official.state_dict().items()}
    assert {key: value.shape for key, value in ours.state_dict().items()} == expected
    assert str(ours) == str(official)  # the same modules with the same settings, in order


def test_files_of_training_scripts_and_safetensors_are_read_too(sam, file, tmp_path):
    """torch_em keeps the network beside other things, under names that begin with 'sam.'."""
    from safetensors.torch import save_file

    state = sam.state_dict()
    wrapped = {"model_state": {f"sam.{k}": v for k, v in state.items()}, "epoch": 3}
    wrapped["model_state"]["decoder.more"] = torch.zeros(2)
    torch.save(wrapped, tmp_path / "wrapped.pt")
    save_file({key: value.contiguous() for key, value in state.items()}, tmp_path / "a.safetensors")
    expected = open_encoder(str(file), device="cpu").encode(torch.full((1, 3, 40, 40), 0.3)).values
    for other in ("wrapped.pt", "a.safetensors"):
        encoder = open_encoder(str(tmp_path / other), device="cpu")
        found = encoder.encode(torch.full((1, 3, 40, 40), 0.3)).values
        assert torch.equal(found, expected)


def test_a_named_sam_is_downloaded_checked_and_opened(sam, file, tmp_path, monkeypatch):
    monkeypatch.setenv(download.CACHE_VARIABLE, str(tmp_path / "cache"))
    entry = Weights(
        file.as_uri(),
        download.file_sha256(file),
        0,  # the publisher does not say how large it is
        "Apache-2.0",
        "a test",
    )
    monkeypatch.setitem(WEIGHTS, "sam_vit_b", entry)
    assert not describe_encoder("sam_vit_b").here
    told = []
    with reporting(lambda *done: told.append(done)):
        encoder = open_encoder("sam_vit_b", device="cpu")
    assert told[-1] == (file.stat().st_size, file.stat().st_size)
    assert (encoder.licence, encoder.sha256) == ("Apache-2.0", entry.sha256)
    assert describe_encoder("sam_vit_b").here


@pytest.mark.parametrize("name", ["sam_vit_b", "sam_vit_l", "sam_vit_h", "micro_sam_vit_b_lm"])
def test_offline_it_says_which_file_to_put_where(name, tmp_path, monkeypatch):
    monkeypatch.setenv(download.CACHE_VARIABLE, str(tmp_path))
    monkeypatch.setattr(download, "urlopen", no_network)
    with pytest.raises(WeightsError) as caught:
        open_encoder(name, device="cpu")
    assert WEIGHTS[name].source in str(caught.value)
    assert str(tmp_path / WEIGHTS[name].file_name) in str(caught.value)
    assert WEIGHTS[name].file_name.endswith(".pth")


def no_network(*args, **options):
    raise OSError("no network")


@pytest.mark.parametrize("keep", [0, 3, 1000, -1000])
def test_a_file_cut_short_is_one_sentence(file, keep):
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(WeightsError, match=r"small_sam\.pth (is damaged|holds more)"):
        open_encoder(str(file), device="cpu")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"weight": torch.zeros(3)}, "no SAM checkpoint"),
        ([torch.zeros(3)], "no table of tensors"),
        ({"epoch": 3}, "no tensors"),
        ({"image_encoder.layers.0.conv": torch.zeros(3)}, "is a MobileSAM, .* vit_b"),
        ({"image_encoder.trunk.pos_embed": torch.zeros(3)}, "is a SAM 2, .* vit_b"),
        ({"model": {"sam_mask_decoder.iou_token.weight": torch.zeros(3)}}, "is a SAM 2, .* vit_b"),
        ({"detector.backbone.x": torch.zeros(3)}, "is a SAM 3, .* vit_b"),
        ({"vision_encoder.pos_embed": torch.zeros(3)}, "is a SAM of Hugging Face's"),
    ],
)
def test_a_file_of_something_else_is_one_sentence(tmp_path, content, reason):
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=reason):
        open_encoder(str(tmp_path / "other.pth"), device="cpu")


def test_a_sam_with_missing_parts_is_one_sentence(sam, tmp_path):
    state = sam.state_dict()
    del state["mask_decoder.iou_token.weight"]
    torch.save(state, tmp_path / "part.pth")
    with pytest.raises(WeightsError, match="no whole SAM checkpoint"):
        open_encoder(str(tmp_path / "part.pth"), device="cpu")


def test_without_segment_anything_it_says_what_to_install(file, monkeypatch):
    monkeypatch.setitem(sys.modules, "segment_anything", None)
    with pytest.raises(WeightsError, match=r"pip install 'napari-kindred\[encoders\]'"):
        open_encoder(str(file), device="cpu")


@pytest.mark.slow
def test_a_checkpoint_of_the_official_vit_b_is_opened_and_encodes(tmp_path):
    torch.manual_seed(0)
    official = sam_model_registry["vit_b"]()
    path = tmp_path / "sam_vit_b.pth"
    torch.save(official.state_dict(), path)
    assert path.stat().st_size == pytest.approx(WEIGHTS["sam_vit_b"].size, rel=0.01)
    encoder = open_encoder(str(path), device="cpu")
    assert (encoder.stride, encoder.dimension, encoder.input_size) == (16, 256, 1024)
    loaded, built = encoder._sam.state_dict(), official.state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in built.items())
    assert str(encoder._sam) == str(official)
    del encoder._sam.image_encoder.blocks[2:]  # the other ten do the same, for half a minute
    tokens = encoder.encode(batch_of(picture(310, 512)))
    assert tokens.values.shape == (1, 64, 64, 256)
    assert tokens.values.isfinite().all()
    assert int(tokens.valid.sum()) == 64 * 39  # 620 rows of pixels: 38.75 tokens
    mask = encoder.decoder.decode(tokens.values[0], torch.tensor([[9.0, 9.0]]), (310, 512))
    assert mask.shape == (3, 310, 512)
