"""One frozen dataclass per method: it drives function, form, command line and provenance alike.

Those of training runs are in :mod:`napari_kindred.train_configs`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .errors import OptionError
from .options import check, option


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
class ClassesConfig:
    """Options of :func:`napari_kindred.segment_classes`; every default works untouched."""

    axes: str | None = option(
        None, "Axes", "Names of the image's axes, for example TYX; guessed when left empty."
    )
    channel: int | None = option(
        None,
        "Channel",
        "Which channel to look at, counted from 0; guessed when left empty.",
        minimum=0,
    )
    threshold: float | Literal["auto"] = option(
        "auto",
        "Threshold",
        "How sure a class must be; what is less sure is background. 'auto' takes what the "
        "vocabulary was taught with, 0.7 for CLIP.",
        minimum=0.0,
        maximum=1.0,
        step=0.05,
    )
    proposals: Literal["auto", "entities", "regions", "sam"] = option(
        "auto",
        "Proposals",
        "What is named: entities are whole cells and nuclei, regions are small pieces of anything, "
        "sam is what a SAM finds on a grid; auto takes what the vocabulary was taught with, sam "
        "for CLIP.",
        choices=("auto", "entities", "regions", "sam"),
    )
    encoder: str = option(
        "",
        "Encoder",
        "The latent space of entities and regions, or the SAM; that of the vocabulary, or the "
        "shipped one, when left empty.",
    )
    clip_mode: Literal["masks", "pixels"] = option(
        "masks",
        "CLIP looks at",
        "masks: names each mask by what lies under it; pixels: finds where each name fits, and "
        "lets a SAM sharpen it.",
        choices=("masks", "pixels"),
        advanced=True,
    )
    points: int = option(
        100,
        "Points",
        "Points of the grid that a SAM is asked for, where nothing was taught before.",
        minimum=1,
        advanced=True,
    )
    region_size: float = option(
        16.0,
        "Region",
        "Side of regions in pixels, where nothing was taught before.",
        minimum=2.0,
        advanced=True,
    )
    nms_box: float = option(
        0.7,
        "Same box",
        "Masks that overlap and whose boxes share more than this are one thing, seen twice.",
        minimum=0.0,
        maximum=1.0,
        step=0.05,
        advanced=True,
    )
    nms_mask: float = option(
        0.5,
        "Same mask",
        "Masks that share more than this of their union are one thing, seen twice.",
        minimum=0.0,
        maximum=1.0,
        step=0.05,
        advanced=True,
    )
    seed: int = option(
        0,
        "Seed",
        "Where chance begins when examples are learnt; the same seed gives the same labels.",
        minimum=0,
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
class TeachConfig:
    """Options of :func:`napari_kindred.teach_classes`; every default works untouched."""

    proposals: Literal["auto", "entities", "regions", "sam"] = option(
        "auto",
        "Proposals",
        "What is named: entities are whole cells and nuclei, regions are small pieces of anything, "
        "sam is what a SAM finds on a grid; auto takes entities unless the marks lie elsewhere.",
        choices=("auto", "entities", "regions", "sam"),
    )
    encoder: str = option(
        "",
        "Encoder",
        "The latent space of entities and regions, or the SAM; the shipped one when left empty.",
    )
    channel: int | None = option(
        None,
        "Channel",
        "Which channel to look at, counted from 0; guessed when left empty.",
        minimum=0,
    )
    threshold: float = option(
        0.7,
        "Threshold",
        "How sure a class must be of a mask; kept with the vocabulary.",
        minimum=0.0,
        maximum=1.0,
        step=0.05,
    )
    points: int = option(
        100, "Points", "Points of the grid that a SAM is asked for.", minimum=1, advanced=True
    )
    region_size: float = option(
        16.0, "Region", "Side of regions in pixels.", minimum=2.0, advanced=True
    )
    unmarked: float = option(
        0.2,
        "Unmarked",
        "How much a mask that was not marked, beside others that were, speaks for background: "
        "0 not at all.",
        minimum=0.0,
        maximum=1.0,
        advanced=True,
    )
    distillation: float = option(
        0.15,
        "Distillation",
        "Weight of the lesson not to be sure of masks on which a first teacher is unsure or wrong; "
        "0 leaves it out.",
        minimum=0.0,
        advanced=True,
    )
    uncertain: float = option(
        0.5,
        "Uncertain",
        "From which share of the largest entropy on a teacher counts as unsure.",
        minimum=0.0,
        maximum=1.0,
        advanced=True,
    )
    share: int = option(
        10,
        "Share",
        "Of an image's masks, one in so many speaks for a class that the image as a whole was "
        "said to hold.",
        minimum=1,
        advanced=True,
    )
    steps: int = option(100, "Steps", "Steps of the training.", minimum=1, advanced=True)
    hidden: int = option(
        256,
        "Hidden",
        "Width of the head's first hidden layer.",
        minimum=8,
        maximum=8192,
        advanced=True,
    )
    kept: int = option(
        200,
        "Kept",
        "Most masks of an image that are learnt from, and kept with the vocabulary to teach it "
        "more later.",
        minimum=1,
        advanced=True,
    )
    folds: int = option(
        5,
        "Folds",
        "In how many turns some of the examples are left out to measure what was learnt; fewer "
        "than 2 leaves the measurement out.",
        minimum=0,
        advanced=True,
    )
    seed: int = option(
        0, "Seed", "Where chance begins; the same seed gives the same vocabulary.", minimum=0,
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
