"""Options of training ESC-Net."""

from __future__ import annotations

from dataclasses import dataclass

from ...core.errors import OptionError
from ...core.options import check, inherited, option
from ...models.config import RunConfig


@dataclass(frozen=True, slots=True)
class EscTrainConfig(RunConfig):
    """Options of :func:`napari_kindred.classes.escnet.train.iter_train_escnet`."""

    minutes: float | None = inherited(RunConfig, "minutes", 600.0)
    batch: int = inherited(RunConfig, "batch", 4)
    learning_rate: float = inherited(RunConfig, "learning_rate", 2e-4)
    weight_decay: float = inherited(RunConfig, "weight_decay", 1e-4)
    clip: str = option(
        "ViT-B-16/openai",
        "CLIP",
        "A model and a tag of open_clip, MODEL/TAG, or a model and the path of a checkpoint.",
    )
    sam: str = option(
        "kindred-sam",
        "SAM",
        "SAM of which ESC-Net takes the blocks: a name, the path of a file, or random for "
        "untrained blocks.",
    )
    side: int = option(
        336, "Input side", "Side of the crops in pixels, a multiple of CLIP's patch.", minimum=32
    )
    pretrained_rate: float = option(
        0.01,
        "Pre-trained rate",
        "Learning rate of CLIP's attention and of SAM's blocks, as a share of the peak; 0 freezes "
        "them.",
        minimum=0.0,
        maximum=1.0,
    )
    blocks: int = option(4, "Blocks", "Number of refinements of the correlation.", minimum=1)
    hidden: int = option(128, "Hidden", "Channels of the fusion.", minimum=16)
    heads: int = option(4, "Heads", "Attention heads of the fusion.", minimum=1)
    window: int = option(
        7, "Window", "Side of the fusion's attention windows in patches.", minimum=2
    )
    regions: int = option(5, "Regions", "Number of pseudo-prompts for each class.", minimum=1)
    above: float = option(
        1.1,
        "Above",
        "Minimum probability of a patch of a class, relative to a uniform distribution.",
        minimum=1.0,
    )
    sam_block: bool = option(True, "SAM block", "Use pseudo-prompts and SAM's blocks.")
    fusion: bool = option(True, "Fusion", "Use the fusion and the decoder.")

    def __post_init__(self) -> None:
        check(self)
        if self.hidden % (4 * self.heads):
            raise OptionError(
                f"hidden={self.hidden} must be a multiple of four times heads={self.heads}."
            )
