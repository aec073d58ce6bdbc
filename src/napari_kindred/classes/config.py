"""Options of classes by name: segmenting them, and training a vocabulary of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..core.options import check, inherited, option
from ..entities.config import EntityConfig

Threshold = float | Literal["auto"]
"""Minimum confidence of a class; ``"auto"`` is each class's own."""


CONFIDENCE = 0.7
"""Threshold of classifiers that have none of their own, as in the paper."""


@dataclass(frozen=True, slots=True)
class ClassesConfig:
    """Options of :func:`napari_kindred.segment_classes`; every default works untouched."""

    axes: str | None = inherited(EntityConfig, "axes", None)
    channel: int | str | None = inherited(EntityConfig, "channel", None)
    threshold: float | Literal["auto"] = option(
        "auto",
        "Threshold",
        "Minimum confidence of a class; pixels below it are background. 'auto' takes the threshold "
        "that the vocabulary was trained with, 0.7 for CLIP.",
        minimum=0.0,
        maximum=1.0,
        step=0.05,
    )
    proposals: Literal["auto", "entities", "pixels", "regions", "sam"] = option(
        "auto",
        "Objects to classify",
        "entities are whole cells and nuclei, pixels are classified one by one, regions are small "
        "parts of any image, sam are masks of a SAM on a grid of points; auto takes what the "
        "vocabulary was trained with, sam for CLIP.",
        choices=("auto", "entities", "pixels", "regions", "sam"),
    )
    encoder: str = option(
        "",
        "Encoder",
        "Network that encodes entities and regions, or the SAM; that of the vocabulary, or the "
        "shipped one, if empty.",
    )
    clip_mode: Literal["masks", "pixels"] = option(
        "masks",
        "CLIP classifies",
        "masks: classify the content of each mask; pixels: find where each name fits, and refine "
        "it with a SAM.",
        choices=("masks", "pixels"),
        advanced=True,
    )
    points: int = option(
        100,
        "Grid points",
        "Number of points of the SAM's prompt grid; fixed once a vocabulary is trained.",
        minimum=1,
        advanced=True,
    )
    masks: Literal["best", "all"] = option(
        "best",
        "Masks per point",
        "Of the three masks that a SAM gives for each point: best keeps the one of the highest "
        "predicted quality, all keeps each, so that parts and wholes can both be named; fixed once "
        "a vocabulary is trained.",
        choices=("best", "all"),
        advanced=True,
    )
    large: Literal["resize", "tiles"] = option(
        "resize",
        "Large frames",
        "Frames larger than the SAM's input: resize is faster, tiles, each with its own grid, keep "
        "small objects; fixed once a vocabulary is trained.",
        choices=("resize", "tiles"),
        advanced=True,
    )
    region_size: float = option(
        12.0,
        "Region size (px)",
        "Side of regions if cells are about 32 pixels across; scaled with the size of the cells; "
        "fixed once a vocabulary is trained.",
        minimum=2.0,
        advanced=True,
    )
    nms_box: float = option(
        0.7,
        "Box overlap",
        "Overlapping masks whose boxes have a higher IoU than this are duplicates.",
        minimum=0.0,
        maximum=1.0,
        step=0.05,
        advanced=True,
    )
    nms_mask: float = option(
        0.5,
        "Mask overlap",
        "Masks with a higher IoU than this are duplicates.",
        minimum=0.0,
        maximum=1.0,
        step=0.05,
        advanced=True,
    )
    seed: int = option(
        0,
        "Seed",
        "Random seed for training on examples; the same seed gives the same labels.",
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

    proposals: Literal["auto", "entities", "pixels", "regions", "sam"] = option(
        "auto",
        "Objects to classify",
        "entities are whole cells and nuclei, pixels are classified one by one, regions are small "
        "parts of any image, sam are masks of a SAM on a grid of points; auto takes entities if "
        "annotations fit them, else pixels, or regions for boxes and names of images.",
        choices=("auto", "entities", "pixels", "regions", "sam"),
    )
    encoder: str = option(
        "",
        "Encoder",
        "Network that encodes entities, pixels and regions, or the SAM; if empty, efficientnet for "
        "pixels and the shipped one for others.",
    )
    channel: int | str | None = inherited(EntityConfig, "channel", None)
    threshold: float | Literal["auto"] = option(
        "auto",
        "Threshold",
        "Minimum confidence of a class; saved with the vocabulary. 'auto' is 0.7; for pixels 0, as "
        "they take their most probable class, or background.",
        minimum=0.0,
        maximum=1.0,
        step=0.05,
    )
    points: int = inherited(ClassesConfig, "points", 100)
    masks: Literal["best", "all"] = inherited(ClassesConfig, "masks", "best")
    large: Literal["resize", "tiles"] = inherited(ClassesConfig, "large", "resize")
    region_size: float = inherited(ClassesConfig, "region_size", 12.0)
    unmarked: float = option(
        0.2,
        "Unannotated masks",
        "Weight with which masks without annotation, in images that have some, count as "
        "background; 0 ignores them.",
        minimum=0.0,
        maximum=1.0,
        advanced=True,
    )
    distillation: float = option(
        0.0,
        "Distillation",
        "Weight of the distillation loss on masks for which a teacher model is uncertain or wrong, "
        "0.15 in the paper; 0 leaves it out.",
        minimum=0.0,
        advanced=True,
    )
    uncertain: float = option(
        0.5,
        "Uncertain",
        "Share of the maximum entropy above which the teacher counts as uncertain.",
        minimum=0.0,
        maximum=1.0,
        advanced=True,
    )
    share: int = option(
        10,
        "Share",
        "One in this many masks of an image counts for a class that was annotated for the image as "
        "a whole.",
        minimum=1,
        advanced=True,
    )
    steps: int = option(100, "Steps", "Number of training steps.", minimum=1, advanced=True)
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
        "Masks per image",
        "Maximum number of masks per image, or of pixels per image and class, used for training, "
        "and saved with the vocabulary for later training.",
        minimum=1,
        advanced=True,
    )
    folds: int = option(
        5,
        "Folds",
        "Number of cross-validation folds that measure the accuracy; no measurement if below 2.",
        minimum=0,
        advanced=True,
    )
    seed: int = option(
        0, "Seed", "Random seed; the same seed gives the same vocabulary.", minimum=0,
        advanced=True,
    )  # fmt: skip
    device: str = inherited(EntityConfig, "device", "auto")

    def __post_init__(self) -> None:
        check(self)
