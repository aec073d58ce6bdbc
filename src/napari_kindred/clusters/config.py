"""Options of clusters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..core.options import check, inherited, option
from ..entities.config import EntityConfig


@dataclass(frozen=True, slots=True)
class ClusterConfig:
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
