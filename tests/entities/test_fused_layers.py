"""Networks for use are faster and see the same: folded batch norm, maps in bands of rows."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
from torch import nn

from napari_kindred.entities import fused_layers
from napari_kindred.entities.config import NetworkConfig
from napari_kindred.entities.fused_layers import Bands, in_bands, is_local, optimise_for_inference
from napari_kindred.entities.network import EntityNetwork


@pytest.fixture(autouse=True)
def narrow_bands(monkeypatch):
    """Let bands be narrow enough for small pictures to have several."""
    monkeypatch.setattr(fused_layers, "BAND", 1)


def drawn(network, seed=0):
    """Give batch norms statistics and weights of their own, as training does."""
    generator = torch.Generator().manual_seed(seed)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for tensor in (layer.running_var, layer.weight.data):
                tensor.uniform_(0.5, 1.5, generator=generator)
            for tensor in (layer.running_mean, layer.bias.data):
                tensor.normal_(0, 0.3, generator=generator)
    return network.eval()


def picture(rows=160, columns=96, batch=1):
    return torch.rand(batch, 3, rows, columns, generator=torch.Generator().manual_seed(1))


def maps_of(network, image):
    with torch.inference_mode():
        return [one.clone() for one in network(image) if one is not None]


def norms(network):
    return sum(isinstance(layer, nn.BatchNorm2d) for layer in network.modules())


@pytest.mark.parametrize(
    ("encoder", "banded"),
    [("tf_efficientnet_lite0", True), ("efficientnet_b0", False), ("resnet18", False)],
)
@pytest.mark.parametrize("batch", [1, 2])
def test_any_network_made_ready_sees_the_same(encoder, banded, batch):
    """Uneven padding, squeeze and excitation (which looks everywhere), shortcuts."""
    network = drawn(timm.create_model(encoder, features_only=True, pretrained=False))
    before = copy.deepcopy(network.state_dict())
    ready = optimise_for_inference(network)
    assert norms(ready) == 0
    squeezed = any(isinstance(block, Bands) for block in ready.modules())
    assert squeezed is banded
    image = picture(batch=batch)
    for one, two in zip(maps_of(network, image), maps_of(ready, image), strict=True):
        torch.testing.assert_close(two, one, rtol=1e-3, atol=1e-4 * float(one.abs().max()))
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())


class Branching(nn.Module):
    """A convolution whose result is also used without its batch norm."""

    def __init__(self):
        super().__init__()
        self.layer, self.norm = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)

    def forward(self, x):
        made = self.layer(x)
        return [made, self.norm(made)]


def test_batch_norm_that_cannot_be_folded_stays():
    network = drawn(Branching())
    ready = optimise_for_inference(network)
    assert norms(ready) == 1
    for one, two in zip(maps_of(network, picture()), maps_of(ready, picture()), strict=True):
        torch.testing.assert_close(one, two)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("rows", "columns"), [(64, 64), (416, 32), (32, 320)])
def test_the_entity_network_sees_the_same_in_bands(stride, rows, columns, monkeypatch):
    config = NetworkConfig(width=16, features="both", content_dim=3, output_stride=stride)
    network = drawn(EntityNetwork(config))
    nn.init.normal_(network.head_out.weight, std=0.3)
    image, ready = picture(rows, columns), optimise_for_inference(network)
    found = maps_of(ready, image)
    monkeypatch.setattr(fused_layers, "BAND", 1 << 40)
    for one, two in zip(maps_of(network, image), found, strict=True):
        torch.testing.assert_close(two, one, rtol=1e-3, atol=1e-4 * float(one.abs().max()))


@pytest.mark.parametrize("size", [1, 3, 7, 40])
def test_bands_are_cut_where_they_are_whole(size):
    """A sum over five rows of a map and of one twice as fine; the result is twice as fine."""
    coarse = torch.rand(1, 1, 22, 4, dtype=torch.float64)
    fine = torch.rand(1, 1, 44, 4, dtype=torch.float64)
    kernel = torch.ones(1, 1, 5, 1, dtype=torch.float64)
    seen = []

    def summed(one, two):
        seen.append(one.shape[2])
        return nn.functional.conv2d(one.repeat_interleave(2, 2) + two, kernel, padding=(2, 0))

    expected = summed(coarse, fine)
    with torch.inference_mode():
        torch.testing.assert_close(in_bands(summed, [coarse, fine], 22, size, 1), expected)
    assert max(seen[1:]) == min(size + 2, 22)
    gradient = in_bands(summed, [coarse, fine.requires_grad_()], 22, size, 1)
    gradient.sum().backward()
    assert fine.grad is not None
    assert seen[-1] == 22, "training was cut into bands"


@pytest.mark.parametrize(
    ("block", "local"),
    [
        (nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 3, 5, padding=2)), True),
        (nn.Sequential(nn.Conv2d(3, 8, 3)), False),
        (nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.InstanceNorm2d(8)), False),
        (nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.AdaptiveAvgPool2d(1)), False),
    ],
)
def test_only_blocks_that_look_nearby_are_cut(block, local):
    assert is_local(block) is local
