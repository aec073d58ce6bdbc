"""Any model of the timm library as a latent space: transformers and convolutional networks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..compute.device import inference, load_triton_apart, select
from ..core.errors import OptionError, WeightsError
from ..entities.segment import pad_to_multiple
from ..models.download import fetch_from_hub, file_sha256, find_on_hub
from .base import MaskDecoder, Tokens, fitted_shape, projected
from .convnets import Level, PyramidEncoder, check_stride, named_by_stride, ready

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .base import Encoder


class PatchEncoder:
    """Tokens of a vision transformer's patches; see :class:`.base.Encoder`.

    Parameters
    ----------
    name, licence, sha256 : str
    patches : callable
        Takes normalised images (B, 3, H, W), sides multiples of ``patch``, and returns the patches'
        tokens (B, D, h, w).
    patch, dimension : int
    input_size : int or None
        Side that the longer side of an image is scaled to; None for images as they are.
    mean, deviation : tuple of three floats
        Of the network's training images, 0..1.
    device : torch.device
    """

    decoder: MaskDecoder | None = None

    def __init__(
        self,
        name: str,
        patches: Callable[[Tensor], Tensor],
        *,
        patch: int,
        dimension: int,
        input_size: int | None,
        mean: tuple[float, ...],
        deviation: tuple[float, ...],
        device: torch.device,
        licence: str,
        sha256: str,
    ) -> None:
        self.name, self.licence, self.sha256 = name, licence, sha256
        self.stride, self.dimension, self.input_size = patch, dimension, input_size
        self._patches, self._device = patches, device
        self._mean = torch.tensor(mean, device=device).view(1, 3, 1, 1)
        self._deviation = torch.tensor(deviation, device=device).view(1, 3, 1, 1)

    def encode(self, batch: Tensor, components: Tensor | None = None) -> Tokens:
        """Encode images (B, 3, H, W), every token valid; see :meth:`.base.Encoder.encode`."""
        with inference():
            batch = batch.to(self._device, torch.float32)
            if self.input_size is not None:
                size = fitted_shape((batch.shape[2], batch.shape[3]), self.input_size)
                batch = F.interpolate(batch, size, mode="bicubic", antialias=True)
            padded = pad_to_multiple((batch - self._mean) / self._deviation, self.stride)
            # One after the other: attention among all tokens of an image fills the memory.
            values = torch.cat([self._patches(one[None]) for one in padded])
            values = projected(values.permute(0, 2, 3, 1).float(), components)
        valid = torch.ones(values.shape[1:3], dtype=torch.bool, device=self._device)
        return Tokens(values, valid)


FILES = ("model.safetensors",)
"""Names of a model's weights on the hub; pickles are not accepted."""


def describe_timm(name: str) -> tuple[str, bool, int, str]:
    """Return licence, whether the weights are installed, their size and their purpose."""
    config = _config(name)
    path = find_on_hub(config.hf_hub_id, FILES)
    size = path.stat().st_size if path else 0
    return _licence(config), path is not None, size, f"timm's {name.removeprefix('timm:')}"


def open_timm(name: str, stride: int, device: str | torch.device) -> Encoder:
    """Open a model of timm with its pretrained weights."""
    chosen = select(device)
    config = _config(name)
    outline = _outline(name)
    if not _is_transformer(outline):
        check_stride(stride)
    path = fetch_from_hub(name, config.hf_hub_id, FILES)
    licence, sha256 = _licence(config), file_sha256(path)
    mean, deviation = tuple(config.mean), tuple(config.std)
    network = _load(name, path, _is_transformer(outline))
    if _is_transformer(network):
        return PatchEncoder(
            name,
            _patches(network.to(chosen).eval()),
            patch=network.patch_embed.patch_size[0],
            dimension=network.num_features,
            input_size=None,
            mean=mean,
            deviation=deviation,
            device=chosen,
            licence=licence,
            sha256=sha256,
        )
    levels = tuple(Level(str(n), n) for n in network.feature_info.reduction() if n <= 16)
    maps = named_by_stride(ready(network, chosen), mean, deviation)
    return PyramidEncoder(
        name, maps, levels, stride=stride, device=chosen, licence=licence, sha256=sha256
    )


def _config(name: str) -> Any:
    """Return timm's description of a model's weights."""
    load_triton_apart()
    from timm.models import get_pretrained_cfg, is_model

    model = name.removeprefix("timm:")
    try:
        config = get_pretrained_cfg(model) if is_model(model) else None
    except RuntimeError:  # the model has no weights of that tag
        config = None
    if config is None or not config.hf_hub_id:
        raise OptionError(
            f"timm has no model {model!r} with weights on the hub; "
            "timm.list_models(pretrained=True) lists its models."
        )
    return config


def _licence(config: Any) -> str:
    return str(config.license or "not stated by timm")


_TRANSFORMER: dict[str, Any] = {"dynamic_img_size": True, "num_classes": 0}
_CONVOLUTIONAL: dict[str, Any] = {"features_only": True}


def _outline(name: str) -> Any:
    """Create a model without memory for its weights, and try it."""
    import timm

    reason: Exception | None = None
    for options in (_TRANSFORMER, _CONVOLUTIONAL):
        try:
            with torch.device("meta"):
                network: Any = timm.create_model(name.removeprefix("timm:"), **options).eval()
                image = torch.zeros(1, 3, 224, 448)  # any multiple of 14 and 32
                if _is_transformer(network):
                    strides = [network.patch_embed.patch_size[0]]
                    maps = [_patches(network)(image)]
                else:
                    strides, maps = network.feature_info.reduction(), network(image)
        except Exception as error:  # noqa: BLE001 - models refuse an option in their own ways
            reason = error
            continue
        # Windowed transformers join patches on their way; some give channels last.
        if strides == [224 // values.shape[2] for values in maps]:
            return network
    raise OptionError(
        f"{name} gives no grid of features for pictures of any size; use a plain vision "
        "transformer or a convolutional network."
    ) from reason


def _load(name: str, path: Path, transformer: bool) -> Any:
    """Create a model with the weights in a file."""
    import timm

    try:
        return timm.create_model(
            name.removeprefix("timm:"),
            pretrained=True,
            pretrained_cfg_overlay={"file": str(path)},
            **(_TRANSFORMER if transformer else _CONVOLUTIONAL),
        )
    except Exception as error:
        raise WeightsError(
            f"The weights of {name} are damaged; delete {str(path)!r} and try again."
        ) from error


def _is_transformer(network: Any) -> bool:
    return hasattr(network, "forward_intermediates") and hasattr(network, "patch_embed")


def _patches(network: Any) -> Callable[[Tensor], Tensor]:
    """Return the function from images to the last block's patch tokens, (B, D, h, w)."""

    def patches(batch: Tensor) -> Tensor:
        last: Tensor = network.forward_intermediates(
            batch, indices=1, norm=True, intermediates_only=True, output_fmt="NCHW"
        )[0]
        return last

    return patches
