"""The network in ONNX and in OpenVINO computes what it computes in PyTorch."""

from __future__ import annotations

import platform
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

import napari_kindred as nk
from napari_kindred.core.errors import OptionError
from napari_kindred.entities import engine
from napari_kindred.entities.checkpoint import load_network
from napari_kindred.entities.config import NetworkConfig
from napari_kindred.entities.fused_layers import optimise_for_inference
from napari_kindred.entities.network import EntityNetwork
from napari_kindred.images.samples import open_sample

CPU = torch.device("cpu")

pytestmark = pytest.mark.skipif(
    sys.platform == "darwin" and platform.machine() != "arm64",
    reason="OpenVINO is not made for Macs with Intel's processors",
)


def drawn(**options):
    """Return a network ready for use, of random weights that differ in every layer."""
    torch.manual_seed(0)
    network = EntityNetwork(NetworkConfig(width=16, **options))
    for value in network.parameters():
        value.data.normal_(std=0.3 / max(value[0].numel(), 1) ** 0.5)
    return optimise_for_inference(network)


@pytest.fixture(scope="module")
def picture():
    return np.asarray(open_sample("nuclei").data[0])[:160, :224]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"foreground": 24},
        {"output_stride": 1},
        {"features": "both", "content_dim": 8},
        {"features": "content", "content_dim": 8},
    ],
    ids=str,
)
def test_an_engine_computes_the_maps_of_the_network(options):
    network = drawn(**options)
    fast = engine.with_engine(network, "openvino", CPU)
    assert engine.name_of(fast) == "openvino"
    for shape in ((1, 3, 64, 96), (2, 3, 96, 64)):
        image = torch.rand(shape)
        with torch.inference_mode():
            expected = network(image)[:4]
        found = fast(image)[:4]
        for one, other in zip(found, expected, strict=True):
            assert (one is None) == (other is None)
            if other is not None:
                torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_labels_are_the_same_and_the_provenance_names_the_engine(picture):
    by_torch = nk.segment_entities(picture, axes="YX", scale=1.0, engine="torch")
    exact = nk.segment_entities(picture, axes="YX", scale=1.0, engine="openvino")
    assert np.mean(np.asarray(exact.labels) != np.asarray(by_torch.labels)) < 1e-3
    assert "float32" in exact.provenance["engine"]
    assert exact.provenance["engine"].startswith("OpenVINO")
    assert by_torch.provenance["engine"].startswith("PyTorch")
    rough = nk.segment_entities(picture, axes="YX", scale=1.0, engine="openvino-bfloat16")
    found, expected = (np.asarray(one.labels) > 0 for one in (rough, by_torch))
    assert np.mean(found != expected) < 0.01
    assert rough.provenance["engine"].endswith("bfloat16")


def test_auto_takes_an_engine_only_where_it_computes_the_same_network(monkeypatch):
    network = drawn()
    monkeypatch.setattr(engine, "installed", lambda: True)
    assert engine.name_of(engine.with_engine(network, "auto", CPU)) == engine.automatic()
    once, again = (engine.with_engine(network, "openvino", CPU) for _ in range(2))
    assert vars(once)["forward"] is vars(again)["forward"]  # compiled once
    assert engine.with_engine(network, "torch", CPU) is network
    assert engine.with_engine(network, "auto", torch.device("cuda")) is network
    network.forward = lambda image: None  # watched by somebody
    assert engine.with_engine(network, "openvino", CPU) is network
    other = drawn()
    other.head_out = torch.nn.Sequential(torch.nn.Softplus(), other.head_out)
    assert engine.with_engine(other, "auto", CPU) is other
    with pytest.raises(OptionError, match="Softplus cannot be written"):
        engine.with_engine(other, "openvino", CPU)


def test_what_an_engine_cannot_do_is_one_sentence(monkeypatch):
    network = drawn()
    with pytest.raises(OptionError, match="computes on the CPU"):
        engine.with_engine(network, "openvino", torch.device("cuda"))
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    with pytest.raises(OptionError, match=r"napari-kindred\[fast\]"):
        engine.with_engine(network, "openvino", CPU)


def test_the_shipped_network_is_taken_over():
    network, _ = load_network("kindred-entities")
    image = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        expected = network(image)
    found = engine.with_engine(network, "openvino", CPU)(image)
    torch.testing.assert_close(found.offset, expected.offset, rtol=1e-3, atol=1e-3)
    assert replace(nk.EntityConfig(), engine="openvino").engine == "openvino"


def test_an_engine_computes_the_same_after_its_memory_was_freed():
    network = drawn()
    fast = engine.with_engine(network, "openvino", CPU)
    image = torch.rand((1, 3, 64, 96))
    before = fast(image).background.clone()
    engine.release(network)
    assert torch.equal(fast(image).background, before)
