"""Options of fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ...core.options import check, option


@dataclass(frozen=True, slots=True)
class LearnConfig:
    """Options of :func:`napari_kindred.fine_tune`; every default works untouched."""

    minutes: float = option(
        3.0, "Minutes", "Longest time to learn, in minutes.", minimum=0.05, step=0.5
    )
    steps: int = option(
        90, "Steps", "Largest number of steps, 4 cut-outs each.", minimum=1, advanced=True
    )
    layers: Literal["all", "decoder", "last block", "head"] = option(
        "all",
        "Layers",
        "What is trained: all of the network; its decoder; the last block of the decoder and the "
        "heads; or the heads alone. Fewer forget less and learn less.",
        choices=("all", "decoder", "last block", "head"),
        advanced=True,
    )
    blend: float | Literal["auto"] = option(
        "auto",
        "Old weights",
        "Share of the weights that learning began with in those that are kept, so that less is "
        "forgotten; 'auto' chooses it by the scores.",
        minimum=0.0,
        maximum=1.0,
        advanced=True,
    )
    held_back: float = option(
        0.2,
        "Held back",
        "Share of the checked objects that is not learnt from, to measure on.",
        minimum=0.05,
        maximum=0.5,
        step=0.05,
        advanced=True,
    )
    keep: Literal["better", "always"] = option(
        "better",
        "Keep",
        "'better' keeps what was learnt only if the objects held back are found better than "
        "before, 'always' keeps it in any case.",
        choices=("better", "always"),
        advanced=True,
    )
    learning_rate: float = option(
        5e-4, "Learning rate", "Peak learning rate.", minimum=1e-7, maximum=1.0, advanced=True
    )
    seed: int = option(
        0, "Seed", "Random seed of cut-outs and of what is held back.", minimum=0, advanced=True
    )
    device: str = option(
        "auto",
        "Device",
        "Device to compute on; auto takes a GPU if there is one.",
        choices=("auto", "cpu", "cuda", "mps"),
        advanced=True,
    )

    def __post_init__(self) -> None:
        check(self)
