"""Weights files keep a network in half precision; what is no such file is refused in a sentence."""

from __future__ import annotations

import dataclasses
import hashlib
import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from napari_kindred.core.errors import OutputError, WeightsError
from napari_kindred.entities.checkpoint import FORMAT, load_network, save_weights
from napari_kindred.entities.config import NetworkConfig
from napari_kindred.entities.network import EntityNetwork
from napari_kindred.entities.scoring import ScoreModel

CONFIG = NetworkConfig(encoder="test_resnet", width=16, features="both", content_dim=5)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return EntityNetwork(CONFIG).eval()


@pytest.fixture
def saved(network, tmp_path):
    path = tmp_path / "drawn.safetensors"
    save_weights(network, path, {"steps": 7, "groups": ["a", "b"]})
    return path


def rewrite(path, tensors=None, **metadata):
    """Write a weights file again with other tensors or another header."""
    with safe_open(path, framework="pt") as file:
        before = file.metadata()
    save_file(load_file(path) if tensors is None else tensors, path, {**before, **metadata})


def refused(path):
    """Return the sentence with which a file is refused."""
    with pytest.raises(WeightsError) as caught:
        load_network(path)
    text = str(caught.value)
    assert text.endswith(".")
    assert "\n" not in text
    assert path.name in text
    return text


def test_a_disk_without_room_leaves_the_earlier_file(network, saved, files_up_to):
    names, before = {*saved.parent.iterdir()}, saved.read_bytes()
    with files_up_to(1000), pytest.raises(OutputError, match=r"Cannot write .* choose another"):
        save_weights(network, saved, {})
    assert {*saved.parent.iterdir()} == names
    assert saved.read_bytes() == before


def test_a_network_comes_back_as_half_precision_keeps_it(network, saved):
    loaded, _ = load_network(saved, for_training=True)
    assert loaded.config == CONFIG
    assert not loaded.training
    before, after = network.state_dict(), loaded.state_dict()
    assert before.keys() == after.keys()
    for name, value in before.items():
        assert after[name].dtype == value.dtype
        torch.testing.assert_close(after[name], value.half().to(value.dtype), rtol=0, atol=0)
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        for one, two in zip(network(image), loaded(image), strict=True):
            torch.testing.assert_close(one, two, rtol=0.02, atol=0.02)


def test_a_network_for_use_sees_the_same_without_batch_norm(saved):
    trained, _ = load_network(saved, for_training=True)
    used, _ = load_network(saved)
    assert not any(isinstance(layer, torch.nn.BatchNorm2d) for layer in used.modules())
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        for one, two in zip(trained(image), used(image), strict=True):
            torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-4)


def test_the_file_takes_two_bytes_a_number_and_leaves_nothing_beside_it(network, saved):
    numbers = sum(v.numel() for v in network.state_dict().values() if v.is_floating_point())
    assert 2 * numbers < saved.stat().st_size < 2 * numbers + 30_000
    assert list(saved.parent.iterdir()) == [saved]


def test_what_training_wrote_and_the_file_s_hash_are_told(saved):
    _, info = load_network(saved)
    assert (info["steps"], info["groups"]) == (7, ["a", "b"])
    assert info["sha256"] == hashlib.sha256(saved.read_bytes()).hexdigest()
    assert info["name"] == str(saved)
    assert NetworkConfig(**info["network"]) == CONFIG


def test_safetensors_of_something_else_are_refused(tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(3)}, path)
    assert "something else" in refused(path)
    save_file({"weight": torch.zeros(3)}, path, {"format": FORMAT.replace("1", "2")})
    assert "something else" in refused(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"width": 8},
        {"encoder": "test_efficientnet"},
        {"encoder": "no_such_encoder"},
        {"features": "positional"},
        {"features": "unheard of"},
        {"depth": 3},
    ],
)
def test_weights_of_another_architecture_than_they_say_are_refused(saved, changes):
    network = json.dumps({**dataclasses.asdict(CONFIG), **changes})
    rewrite(saved, network=network)
    assert "does not fit the network it describes" in refused(saved)


def test_how_likely_its_entities_are_right_is_kept_with_a_network(network, tmp_path, monkeypatch):
    scoring = ScoreModel(-1.5, 1.0, 0.25, 0.5, 2.0)
    monkeypatch.setattr(network, "scoring", scoring)
    save_weights(network, tmp_path / "drawn.safetensors", {})
    for for_training in (False, True):
        loaded, _ = load_network(tmp_path / "drawn.safetensors", for_training=for_training)
        assert loaded.scoring == scoring


@pytest.mark.parametrize(
    ("part", "text"),
    [("network", "{"), ("info", "{"), ("scoring", "{"), ("scoring", "[]"), ("scoring", "3"),
     ("scoring", '{"bias": 1}'),
     ("scoring", '{"bias": 0, "quality": 0, "foreground": 0, "size": 0, "shape": 0}'),
     ("scoring", '{"bias": NaN, "quality": 0, "foreground": 0, "size": 0, "diameter": 0}'),
     ("scoring", '{"bias": "a", "quality": 0, "foreground": 0, "size": 0, "diameter": 0}')],
)  # fmt: skip
def test_a_header_that_cannot_be_read_is_refused(saved, part, text):
    rewrite(saved, **{part: text})
    assert "does not fit" in refused(saved)


def test_weights_of_which_one_is_missing_are_refused(saved):
    tensors = load_file(saved)
    del tensors["head_out.bias"]
    rewrite(saved, tensors)
    assert "does not fit" in refused(saved)
