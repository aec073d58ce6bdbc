"""One frozen dataclass per method: it drives function, form, command line and provenance alike.

Those of classes by name are in :mod:`napari_kindred.class_configs`, those of training runs in
:mod:`napari_kindred.train_configs`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .errors import OptionError
from .options import check, inherited, option


@dataclass(frozen=True, slots=True)
class EntityConfig:
    """Options of :func:`napari_kindred.segment_entities`; every default works untouched."""

    axes: str | None = option(
        None, "Axes", "Names of the image's axes, for example TYX; guessed when left empty."
    )
    channel: int | None = option(
        None,
        "Channel",
        "Which channel to look at, counted from 0; guessed when left empty.",
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
        0.35,
        "Smallest score",
        "Entities that are right with a smaller chance than this are left out; 0 keeps everything.",
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
    views: int = option(
        1,
        "Views",
        "At how many mirrored pictures of each frame the network looks; 2 is mostly a little more "
        "accurate than 1, and takes twice as long.",
        choices=(1, 2, 4),
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
    memory: float | None = option(
        None,
        "Memory",
        "How many gigabytes may be used; half of what is free when left empty.  Where that is too "
        "little, tiles become smaller and large results go to disk.",
        minimum=0.25,
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

    axes: str | None = inherited(EntityConfig, "axes", None)
    channel: int | None = inherited(EntityConfig, "channel", None)
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
    memory: float | None = inherited(EntityConfig, "memory", None)
    device: str = inherited(EntityConfig, "device", "auto")

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
