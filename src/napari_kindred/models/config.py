"""Options that all training runs share."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.options import check, option


@dataclass(frozen=True, slots=True)
class RunConfig:
    """Options that every training run has; see :class:`napari_kindred.models.trainer.Run`."""

    minutes: float | None = option(
        60.0,
        "Minutes",
        "Training time in minutes; the learning rate reaches zero at its end. If empty, only the "
        "number of steps counts.",
        minimum=0.01,
    )
    max_steps: int = option(
        1_000_000, "Steps", "Stop after this many steps even if time is left.", minimum=1
    )
    hold: float = option(
        0.0,
        "Hold",
        "Share of the run during which the learning rate stays at its peak.",
        minimum=0.0,
        maximum=1.0,
    )
    finish_at: int | None = option(
        None,
        "Finish at",
        "End at this step, before the schedule does: the learning rate follows the schedule and "
        "falls to zero over the last sixth. A copy of an unfinished run gives usable weights so.",
        minimum=1,
    )
    precision: str = option(
        "auto",
        "Precision",
        "Precision of the forward pass: auto is float16 on a GPU, bfloat16 on CPUs that support "
        "it (depthwise convolutions stay in float32), else float32.",
        choices=("auto", "float32", "bfloat16"),
    )
    batch: int = option(8, "Batch", "Number of crops in a step.", minimum=1)
    learning_rate: float = option(1e-3, "Learning rate", "Peak learning rate.", minimum=1e-7)
    weight_decay: float = option(1e-3, "Weight decay", "Weight decay of AdamW.", minimum=0.0)
    average: float = option(
        0.999, "Average", "Decay of the running average of the weights, which is what is saved."
    )
    validate_minutes: float = option(
        10.0, "Validate every", "Minutes between validations.", minimum=0.01
    )
    validate_images: int = option(
        24, "Validation images", "Largest number of images of a validation.", minimum=1
    )
    checkpoint_minutes: float = option(
        3.0, "Checkpoint every", "Minutes between checkpoints.", minimum=0.01
    )
    threads: int = option(0, "Threads", "Number of CPU threads; 0 leaves it to PyTorch.", minimum=0)
    seed: int = option(
        0, "Seed", "Random seed of crops, augmentation and initial weights.", minimum=0
    )
    device: str = option("auto", "Device", "Device to compute on: auto, cpu, cuda or mps.")

    def __post_init__(self) -> None:
        check(self)
