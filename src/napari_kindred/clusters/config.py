"""Options of clusters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..core.errors import OptionError
from ..core.options import check, inherited, option
from ..entities.config import EntityConfig


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    """Options of :func:`napari_kindred.cluster_stack`; every default works untouched."""

    axes: str | None = inherited(EntityConfig, "axes", None)
    channel: int | str | None = inherited(EntityConfig, "channel", None)
    encoder: str = option(
        "kindred",
        "Encoder",
        "Network whose features are clustered: kindred for microscopy, efficientnet for any "
        "image, a name such as "
        "sam_vit_b or timm:MODEL, or the path of a SAM checkpoint.",
    )
    n_clusters: int | Literal["auto"] = option(
        12,
        "Clusters",
        "Number of clusters where whole frames are clustered; 'auto' chooses the number below "
        "which merging would cost most.",
        minimum=2,
        maximum=64,
    )
    kinds: int | Literal["auto"] = option(
        3,
        "Kinds of objects",
        "Number of kinds where objects are told from the background first; 'auto' chooses the "
        "number that tells them apart best.",
        minimum=1,
        maximum=32,
    )
    refinement: Literal["auto", "edges", "decoder", "none"] = option(
        "auto",
        "Refinement",
        "How outlines are refined beyond the encoder's grid: edges follows edges in the image, "
        "decoder uses a SAM mask decoder where its masks fit, none keeps the grid; auto is edges.",
        choices=("auto", "edges", "decoder", "none"),
    )
    stride: int = option(
        4,
        "Stride",
        "Pixels per token, if the encoder allows a choice: 2 for very small objects, 8 for speed.",
        choices=(2, 4, 8),
    )
    objects: bool = option(
        True,
        "Whole objects",
        "Give each small object one label and keep it while the object moves, so that labels do "
        "not flicker.",
    )
    background: Literal["auto", "objects", "none", "largest"] = option(
        "auto",
        "Background",
        "objects finds cells and nuclei first and clusters them by kind, the rest is label 0; none "
        "clusters whole frames; largest gives label 0 to the largest of their clusters; auto is "
        "objects if there are cells or nuclei, else none.",
        choices=("auto", "objects", "none", "largest"),
    )
    large: Literal["tiles", "resize"] = option(
        "tiles",
        "Large frames",
        "Frames larger than the encoder's input: tiles keeps small objects, resize is faster.",
        choices=("tiles", "resize"),
        advanced=True,
    )
    preset: Literal["default", "paper"] = option(
        "default",
        "Preset",
        "paper runs the published method exactly, without later improvements: frames scaled to the "
        "encoder's input, and masks of its decoder if it has one. Batches of 4, 10 clusters each "
        "and 20 components are the paper's; its public code asks for 30 clusters.",
        choices=("default", "paper"),
        advanced=True,
    )
    batch_size: int = option(
        4,
        "Batch size",
        "Frames that are clustered together in the first step.",
        minimum=1,
        advanced=True,
    )
    n_local: int = option(
        10,
        "Clusters per batch",
        "Number of clusters in each batch of frames.",
        minimum=2,
        advanced=True,
    )
    n_components: int = option(
        20, "Components", "Number of principal components.", minimum=2, advanced=True
    )
    carry_over: bool = option(
        True,
        "Carry over",
        "Start each batch from the clusters of the previous batch.",
        advanced=True,
    )
    reassign: bool = option(
        True,
        "Re-assign",
        "Assign each token to the nearest of all clusters of the movie, not only those of its "
        "batch.",
        advanced=True,
    )
    tile: int = option(
        1024,
        "Tile size (px)",
        "Largest side of the tiles of large frames, smaller if memory is short.",
        minimum=128,
        maximum=8192,
        hidden=True,
    )
    seed: int = option(
        0, "Seed", "Random seed; the same seed gives the same labels.", minimum=0,
        advanced=True,
    )  # fmt: skip
    memory: float | None = inherited(EntityConfig, "memory", None)
    device: str = inherited(EntityConfig, "device", "auto")

    def __post_init__(self) -> None:
        check(self)
        unfit = self.unfit_for_objects()
        if self.background == "objects" and unfit:
            raise OptionError(
                f"background='objects' does not go with {unfit}; change one of the two."
            )

    def unfit_for_objects(self) -> str:
        """Return the option that asks for clusters of whole frames, empty if there is none."""
        for name, fit in (
            ("preset", ("default",)),
            ("refinement", ("auto", "none")),
            ("objects", (True,)),
            ("reassign", (True,)),
        ):
            if getattr(self, name) not in fit:
                return f"{name}={getattr(self, name)!r}"
        return ""
