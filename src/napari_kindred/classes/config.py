"""Options of classes by name: asking for them, and teaching them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..core.options import check, inherited, option
from ..entities.config import EntityConfig

Threshold = float | Literal["auto"]
"""Least confidence of a class; ``"auto"`` is each class's own."""


@dataclass(frozen=True, slots=True)
class ClassesConfig:
    """Options of :func:`napari_kindred.segment_classes`; every default works untouched."""

    axes: str | None = inherited(EntityConfig, "axes", None)
    channel: int | None = inherited(EntityConfig, "channel", None)
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
    large: Literal["resize", "tiles"] = option(
        "resize",
        "Large frames",
        "Frames larger than the SAM takes, where nothing was taught before: resize is faster, "
        "tiles, each with a grid of its own, keep small things.",
        choices=("resize", "tiles"),
        advanced=True,
    )
    region_size: float = option(
        12.0,
        "Region",
        "Side of regions in pixels, where cells are about 32 pixels across and nothing was taught "
        "before; with larger or smaller cells regions grow or shrink.",
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
    memory: float | None = inherited(EntityConfig, "memory", None)
    device: str = inherited(EntityConfig, "device", "auto")

    def __post_init__(self) -> None:
        check(self)


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
    channel: int | None = inherited(EntityConfig, "channel", None)
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
    large: Literal["resize", "tiles"] = option(
        "resize",
        "Large pictures",
        "Pictures larger than the SAM takes: resize is faster, tiles, each with a grid of its "
        "own, keep small things.",
        choices=("resize", "tiles"),
        advanced=True,
    )
    region_size: float = option(
        12.0,
        "Region",
        "Side of regions in pixels, where cells are about 32 pixels across; with larger or smaller "
        "cells regions grow or shrink.",
        minimum=2.0,
        advanced=True,
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
        0.0,
        "Distillation",
        "Weight of the lesson not to be sure of masks on which a first teacher is unsure or wrong, "
        "0.15 in the paper; 0 leaves it out.",
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
    device: str = inherited(EntityConfig, "device", "auto")

    def __post_init__(self) -> None:
        check(self)
