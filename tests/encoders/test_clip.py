"""Dense CLIP: every patch in the space of texts, through open_clip."""

from __future__ import annotations

import json
import sys

import numpy as np
import open_clip
import pytest
import torch

from napari_kindred.core.errors import OptionError, WeightsError
from napari_kindred.core.events import finish
from napari_kindred.encoders.clip import _patches, load_clip
from napari_kindred.encoders.encode import iter_encode
from napari_kindred.encoders.registry import describe_encoder, open_encoder
from napari_kindred.models import download
from napari_kindred.models.download import file_sha256

TINY = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 64, "layers": 2, "width": 64, "patch_size": 16, "head_width": 16},
    "text_cfg": {
        "context_length": 16,
        "vocab_size": 49408,
        "width": 32,
        "heads": 2,
        "layers": 1,
    },
}


@pytest.fixture(scope="module", autouse=True)
def tiny_model(tmp_path_factory):
    """A small model that open_clip knows by name."""
    path = tmp_path_factory.mktemp("configs") / "kindred-test-tiny.json"
    path.write_text(json.dumps(TINY))
    open_clip.add_model_config(path)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    def refuse(*args, **options):
        raise OSError("no network")

    monkeypatch.setattr(download, "urlopen", refuse)
    monkeypatch.setenv(download.CACHE_VARIABLE, str(tmp_path / "cache"))


@pytest.fixture
def network():
    torch.manual_seed(0)
    return open_clip.create_model("kindred-test-tiny").eval()


@pytest.fixture
def file(network, tmp_path):
    path = tmp_path / "tiny.pt"
    torch.save(network.state_dict(), path)
    return path


def normalised(picture):
    mean, deviation = (
        torch.tensor(v).view(1, 3, 1, 1)
        for v in (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
    )
    return (picture - mean) / deviation


def test_tokens_are_open_clip_s_patch_tokens_projected_to_the_space_of_texts(network, file):
    encoder = open_encoder(f"clip:kindred-test-tiny/{file}", device="cpu")
    picture = torch.rand(2, 3, 64, 64)
    network.visual.output_tokens = True
    with torch.no_grad():
        pooled, patches = network.visual(normalised(picture))
        expected = (patches @ network.visual.proj).unflatten(1, (4, 4))
    found = encoder.encode(picture).values
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    assert found.shape[-1] == pooled.shape[-1] == encoder.dimension == 24
    assert (encoder.stride, encoder.input_size) == (16, 64)
    assert encoder.sha256 == file_sha256(file)


def test_a_picture_of_another_shape_is_scaled_and_its_positions_stretched(file):
    encoder = open_encoder(f"clip:kindred-test-tiny/{file}", device="cpu")
    tokens = encoder.encode(torch.rand(1, 3, 60, 120))
    assert tokens.values.shape == (1, 2, 4, 24)
    assert tokens.valid.all()


def test_the_positions_are_those_of_open_clip_s_own_resizing(file):
    """A larger square: open_clip stretches the table when it loads for another image size."""
    larger = open_clip.create_model(
        "kindred-test-tiny", pretrained=str(file), force_image_size=96
    ).eval()
    visual = load_clip("kindred-test-tiny", file).visual.eval()
    picture = normalised(torch.rand(1, 3, 96, 96))
    with torch.no_grad():
        found = _patches(visual)(picture)
        expected = _patches(larger.visual)(picture)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-3)


def test_a_large_frame_is_encoded_in_windows_or_scaled_down(file):
    encoder = open_encoder(f"clip:kindred-test-tiny/{file}", device="cpu")
    frame = np.random.default_rng(0).random((100, 200, 3)).astype(np.float32)
    tiled = finish(iter_encode(encoder, frame, large="tiles"))
    scaled = finish(iter_encode(encoder, frame, large="resize"))
    assert (tiled.values.shape, tiled.step) == ((7, 13, 24), (16, 16))
    assert (scaled.values.shape, scaled.step) == ((2, 4, 24), (50, 50))


def test_weights_of_a_known_tag_are_found_where_they_were_put(network, monkeypatch):
    tag = {"hf_hub": "owner/tiny/", "mean": (0.5,) * 3, "std": (0.25,) * 3, "quick_gelu": True}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "kindred-test-tiny", {"mine": tag})
    name = "clip:kindred-test-tiny/mine"
    assert not describe_encoder(name).here
    with pytest.raises(WeightsError) as caught:
        open_encoder(name, device="cpu")
    path = download.hub_place("owner/tiny", "open_clip_model.safetensors")
    assert str(path) in str(caught.value)
    assert "https://huggingface.co/owner/tiny/resolve/main/open_clip_model" in str(caught.value)
    path.parent.mkdir(parents=True)
    from safetensors.torch import save_file

    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, path)
    assert describe_encoder(name).here
    encoder = open_encoder(name, device="cpu")
    assert "owner/tiny" in encoder.licence
    quick = open_clip.create_model("kindred-test-tiny", force_quick_gelu=True).eval()
    quick.load_state_dict(network.state_dict())
    quick.visual.output_tokens = True
    picture = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected = quick.visual((picture - 0.5) / 0.25)[1] @ quick.visual.proj
    found = encoder.encode(picture).values.flatten(1, 2)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_a_repository_of_the_hub_is_opened_by_its_own_description(network):
    name, place = (
        "clip:hf-hub:owner/tiny",
        download.hub_place("owner/tiny", "open_clip_config.json"),
    )
    assert not describe_encoder(name).here
    with pytest.raises(WeightsError, match=r"open_clip_config\.json on another machine"):
        open_encoder(name, device="cpu")
    place.parent.mkdir(parents=True)
    facts = {"model_cfg": open_clip.get_model_config("kindred-test-tiny"),
             "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.25] * 3}}  # fmt: skip
    place.write_text(json.dumps(facts))
    assert not describe_encoder(name).here
    torch.save(network.state_dict(), place.with_name("open_clip_pytorch_model.bin"))
    assert describe_encoder(name).here
    picture = torch.rand(1, 3, 64, 64)
    network.visual.output_tokens = True
    with torch.no_grad():
        expected = network.visual((picture - 0.5) / 0.25)[1] @ network.visual.proj
    network.visual.output_tokens = False
    found = open_encoder(name, device="cpu").encode(picture).values.flatten(1, 2)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    place.write_text("{}")
    with pytest.raises(WeightsError, match="describes no CLIP"):
        open_encoder(name, device="cpu")
    with pytest.raises(OptionError, match="names no repository"):
        open_encoder("clip:hf-hub:tiny", device="cpu")


@pytest.mark.parametrize("name", ["clip:ViT-B-16/openai", "clip:ViT-L-14-336/openai"])
def test_openai_s_clip_is_known_and_says_what_to_put_where(name):
    about = describe_encoder(name)
    assert not about.here
    assert "huggingface.co/timm/" in about.licence
    with pytest.raises(WeightsError, match=r"open_clip_model\.safetensors on another machine"):
        open_encoder(name, device="cpu")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("clip:ViT-B-16", "names no weights"),
        ("clip:NoSuch/openai", "no model 'NoSuch'"),
        ("clip:ViT-B-16/no-such-tag", "one of its tags"),
    ],
)
def test_a_name_that_cannot_be_is_one_sentence(name, reason):
    for ask in (describe_encoder, open_encoder):
        with pytest.raises(OptionError, match=reason):
            ask(name)


@pytest.mark.parametrize("name", ["run/best.safetensors", "clip:best.pt"])
def test_a_file_that_is_not_there_is_not_taken_for_a_name(name):
    for ask in (describe_encoder, open_encoder):
        with pytest.raises(WeightsError, match="There is no file"):
            ask(name)


def test_a_clip_without_patches_is_refused_before_its_download():
    with pytest.raises(OptionError, match="no token per patch"):
        open_encoder("clip:RN50/openai", device="cpu")


def test_a_file_of_something_else_is_one_sentence(tmp_path):
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pt")
    with pytest.raises(WeightsError, match="holds no weights of CLIP"):
        open_encoder(f"clip:kindred-test-tiny/{tmp_path / 'other.pt'}", device="cpu")


def test_without_open_clip_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(WeightsError, match=r"pip install 'napari-kindred\[encoders\]'"):
        open_encoder("clip:ViT-B-16/openai", device="cpu")
