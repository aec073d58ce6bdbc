"""Options of training the promptable model."""

from __future__ import annotations

from dataclasses import dataclass

from ...core.errors import OptionError
from ...core.options import check, inherited, option
from ...models.config import RunConfig


@dataclass(frozen=True, slots=True)
class SamTrainConfig(RunConfig):
    """Options of :func:`napari_kindred.classes.sam.train.iter_train_sam`."""

    minutes: float | None = inherited(RunConfig, "minutes", 600.0)
    batch: int = inherited(RunConfig, "batch", 2)
    learning_rate: float = inherited(RunConfig, "learning_rate", 4e-4)
    weight_decay: float = inherited(RunConfig, "weight_decay", 0.05)
    validate_minutes: float = inherited(RunConfig, "validate_minutes", 20.0)
    validate_images: int = inherited(RunConfig, "validate_images", 32)
    checkpoint_minutes: float = inherited(RunConfig, "checkpoint_minutes", 4.0)
    prompts: int = option(6, "Prompts", "Number of prompted objects in each crop.", minimum=1)
    boxes: float = option(
        0.3,
        "Boxes",
        "Share of the objects prompted by a rough box instead of a point.",
        minimum=0.0,
        maximum=1.0,
    )
    corrections: float = option(
        0.25,
        "Corrections",
        "Share of the crops with a second point, placed where the first mask was wrong.",
        minimum=0.0,
        maximum=1.0,
    )
    dense_until: float = option(
        0.6,
        "Dense loss until",
        "Share of the training with an additional loss of every pixel, which fades out.",
        minimum=0.0,
        maximum=1.0,
    )
    windows_until: float = option(
        0.6,
        "Windows until",
        "Share of the training in which four windows of half the side replace one crop.",
        minimum=0.0,
        maximum=1.0,
    )
    init: str = option(
        "random",
        "Start from",
        "random, or the path of a file written by 'train sam'.",
    )
    side: int = option(256, "Input side", "Side of the square input in pixels.", minimum=64)
    patch: int = option(8, "Patch", "Pixels per token.", choices=(4, 8, 16))
    width: int = option(160, "Width", "Channels of the image encoder.", minimum=8)
    depth: int = option(8, "Depth", "Blocks of the image encoder.", minimum=1)
    heads: int = option(5, "Heads", "Attention heads of the image encoder.", minimum=1)
    window: int = option(8, "Window", "Side of the attention windows in tokens.", minimum=2)
    channels: int = option(
        256,
        "Channels",
        "Channels of the embedding and the mask decoder, 256 in SAM.",
        choices=(32, 64, 128, 256),
    )
    diameter_low: float = option(
        12.0,
        "Smallest diameter",
        "Smallest median diameter of a crop's objects in pixels.",
        minimum=4,
    )
    diameter_high: float = option(
        90.0,
        "Largest diameter",
        "Largest median diameter of a crop's objects in pixels.",
        minimum=4,
    )

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
