"""timm's models by name: transformers and convolutional networks, weights from the hub's cache."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from napari_kindred.core.background import reporting
from napari_kindred.core.errors import OptionError, WeightsError
from napari_kindred.core.events import finish
from napari_kindred.encoders.encode import iter_encode
from napari_kindred.encoders.registry import describe_encoder, open_encoder
from napari_kindred.models import download
from napari_kindred.models.download import file_sha256

TRANSFORMERS = ["test_vit.r160_in1k", "test_vit3.r160_in1k"]
CONVOLUTIONAL = ["test_convnext.r160_in1k", "test_resnet.r160_in1k"]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv(download.CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*args, **options):
        raise OSError("no network")

    monkeypatch.setattr(download, "urlopen", refuse)


def give_weights(model):
    """Put random weights of a model where a user without network would."""
    torch.manual_seed(0)
    network = timm.create_model(model, pretrained=False).eval()
    config = timm.get_pretrained_cfg(model)
    path = download.hub_place(config.hf_hub_id, "model.safetensors")
    path.parent.mkdir(parents=True)
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, path)
    return network, path


def normalised(picture, model):
    config = timm.get_pretrained_cfg(model)
    mean, deviation = (torch.tensor(v).view(1, 3, 1, 1) for v in (config.mean, config.std))
    return (picture - mean) / deviation


@pytest.mark.parametrize("model", TRANSFORMERS)
def test_a_transformer_s_tokens_are_timm_s_patch_tokens(model):
    assert not describe_encoder(f"timm:{model}").here
    network, path = give_weights(model)
    about = describe_encoder(f"timm:{model}")
    assert (about.here, about.size) == (True, path.stat().st_size)
    picture = torch.rand(2, 3, 160, 160)
    encoder = open_encoder(f"timm:{model}", device="cpu")
    with torch.no_grad():
        whole = network.forward_features(normalised(picture, model))
    expected = whole[:, network.num_prefix_tokens :].unflatten(1, (10, 10))
    found = encoder.encode(picture)
    torch.testing.assert_close(found.values, expected, atol=1e-5, rtol=1e-4)
    assert (encoder.stride, encoder.dimension) == (16, network.num_features)
    assert encoder.sha256 == file_sha256(path)
    assert encoder.licence == "apache-2.0"


def test_a_transformer_takes_any_size():
    give_weights(TRANSFORMERS[0])
    encoder = open_encoder(f"timm:{TRANSFORMERS[0]}", device="cpu")
    frame = np.random.default_rng(0).random((70, 130, 1)).astype(np.float32)
    tokens = finish(iter_encode(encoder, frame))
    assert tokens.values.shape == (5, 9, encoder.dimension)
    assert tokens.step == (16, 16)


@pytest.mark.parametrize("model", CONVOLUTIONAL)
def test_a_convolutional_network_gives_its_levels_at_the_stride_asked_for(model):
    network, _ = give_weights(model)
    encoder = open_encoder(f"timm:{model}", stride=8, device="cpu")
    picture = torch.rand(1, 3, 64, 96)
    values = encoder.encode(picture).values
    assert values.shape == (1, 8, 12, encoder.dimension)
    with torch.no_grad():
        maps = network.forward_intermediates(normalised(picture, model), intermediates_only=True)
    at_8 = next(values for values in maps if values.shape[2] == 8)
    expected = torch.nn.functional.normalize(at_8, dim=1).permute(0, 2, 3, 1)
    start = sum(values.shape[1] for values in maps if values.shape[2] > 8)
    found = values[..., start : start + expected.shape[-1]]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    "model",
    [
        "vit_small_patch14_dinov2.lvd142m",
        "vit_small_patch14_reg4_dinov2.lvd142m",
        "vit_small_patch16_dinov3.lvd1689m",
        "convnext_tiny.dinov3_lvd1689m",
    ],
)
def test_dino_is_known_with_its_licence_and_where_to_put_its_weights(model, cache):
    about = describe_encoder(f"timm:{model}")
    assert not about.here
    assert about.licence == timm.get_pretrained_cfg(model).license
    with pytest.raises(WeightsError) as caught:
        open_encoder(f"timm:{model}", device="cpu")
    repository = timm.get_pretrained_cfg(model).hf_hub_id
    assert f"huggingface.co/{repository}/resolve/main/model.safetensors" in str(caught.value)
    assert str(download.hub_place(repository, "model.safetensors")) in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    "model", ["vit_small_patch14_reg4_dinov2.lvd142m", "vit_small_patch16_dinov3.lvd1689m"]
)
def test_dino_s_architectures_give_one_token_per_patch(model):
    network, _ = give_weights(model)
    encoder = open_encoder(f"timm:{model}", device="cpu")
    patch = encoder.stride
    values = encoder.encode(torch.rand(1, 3, 3 * patch, 5 * patch - 2)).values
    assert values.shape == (1, 3, 5, network.num_features)
    assert values.isfinite().all()


def test_weights_are_downloaded_with_progress(monkeypatch, tmp_path):
    """Through the hub's own progress bar, which is what it gives its callers."""
    _, path = give_weights(TRANSFORMERS[0])
    elsewhere = tmp_path / "downloaded.safetensors"
    path.rename(elsewhere)

    def fetched(repository, file, *, tqdm_class):
        assert (repository, file) == ("timm/test_vit.r160_in1k", "model.safetensors")
        size = elsewhere.stat().st_size
        with tqdm_class(total=size, initial=0, desc=file, unit="B", name="hub") as bar:
            bar.update(size // 2)
            bar.update(size - size // 2)
        return str(elsewhere)

    monkeypatch.setattr(download, "urlopen", lambda *_, **__: nullcontext())
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fetched)
    told = []
    with reporting(lambda *done: told.append(done)):
        open_encoder(f"timm:{TRANSFORMERS[0]}", device="cpu")
    size = elsewhere.stat().st_size
    assert told == [(size // 2, size), (size, size)]


def test_weights_under_their_other_name_are_taken_where_the_first_is_missing(monkeypatch, tmp_path):
    from huggingface_hub.errors import EntryNotFoundError

    def fetched(repository, file, *, tqdm_class):
        if file == "a.safetensors":
            raise EntryNotFoundError("not there")
        return str(tmp_path / file)

    monkeypatch.setattr(download, "urlopen", lambda *_, **__: nullcontext())
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fetched)
    assert download.fetch_from_hub("x", "owner/x", ("a.safetensors", "a.bin")) == tmp_path / "a.bin"


def test_damaged_weights_are_one_sentence():
    _, path = give_weights(TRANSFORMERS[0])
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(WeightsError, match="damaged; delete"):
        open_encoder(f"timm:{TRANSFORMERS[0]}", device="cpu")


@pytest.mark.parametrize("model", ["no_such_model", "resnet18.no_such_tag", "test_vit.", ""])
def test_an_unknown_model_is_one_sentence(model):
    for ask in (describe_encoder, open_encoder):
        with pytest.raises(OptionError, match=r"timm has no model"):
            ask(f"timm:{model}")


@pytest.mark.parametrize("model", ["mixer_b16_224", "swin_tiny_patch4_window7_224"])
def test_a_model_without_a_grid_for_any_size_is_refused_before_its_download(model):
    with pytest.raises(OptionError, match="plain vision transformer"):
        open_encoder(f"timm:{model}", device="cpu")


def test_a_file_in_the_hub_s_own_cache_is_found(monkeypatch, tmp_path):
    """Where timm itself, or another program, has left it."""
    kept = tmp_path / "kept.safetensors"
    kept.write_bytes(b"")
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: str(kept))
    assert download.find_on_hub("timm/any", ("model.safetensors",)) == Path(kept)
