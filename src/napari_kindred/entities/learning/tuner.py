"""The training run of fine-tuning: few steps from given weights, the best of them kept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.events import Event, Metrics
from ...models.training_data import group_weights
from ..config import TrainConfig
from ..train import Trainer
from ..validate import iter_score_examples
from .control import rehearsal_set

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from torch import Tensor

    from ...core.events import Progress
    from ...models.training_data import Example
    from ..network import EntityNetwork
    from .config import LearnConfig

CHECKS = 4
"""Number of times that the held-back objects are measured."""

PATIENCE = 3
"""Checks in a row that are no better, after which learning stops."""

REHEARSED = 0.3
"""Share of the cut-outs that are of images which the shipped weights know."""

REPORT = 5
"""The loss is reported every n-th step."""


class Tuner(Trainer):
    """Fine-tuning; nothing is written to disk."""

    def __init__(
        self,
        network: EntityNetwork,
        train: Sequence[Example],
        held: Sequence[Example],
        learn: LearnConfig,
        before: float,
        **others: Any,
    ) -> None:
        self.layers, self.scoring, self.before = learn.layers, network.scoring, before
        config = TrainConfig(
            minutes=learn.minutes,
            max_steps=learn.steps,
            learning_rate=learn.learning_rate,
            seed=learn.seed,
            device=learn.device,
            **{**STEP, **others},
        )
        known = rehearsal_set() if REHEARSED else ()
        super().__init__([*train, *known], held, Path(), config, network)
        own = group_weights(train) * (1 - REHEARSED)
        again = np.full(len(known), REHEARSED / max(len(known), 1))
        self.probabilities = np.concatenate([own, again])
        self.best_tensors: Mapping[str, Tensor] = self.average

    def groups(self, network: EntityNetwork) -> list[dict[str, Any]]:
        """Train what the option ``layers`` names."""
        groups = super().groups(network)
        if self.layers == "all":
            return groups
        wanted = {id(p) for p in trained_parameters(network, self.layers)}
        for parameter in network.parameters():
            parameter.requires_grad = id(parameter) in wanted
        return [{**g, "params": [p for p in g["params"] if id(p) in wanted]} for g in groups[1:]]

    def mixed(self, tensors: Mapping[str, Tensor], blend: float) -> EntityNetwork:
        """Return a network that scores its entities as the one that learning began with."""
        network = super().mixed(tensors, blend)
        network.scoring = self.scoring
        return network

    def iter_score(self) -> Generator[Progress, None, dict[str, float]]:
        """Score the averaged network on the objects held back."""
        return (yield from iter_score_examples(self.averaged(), self.validation))

    def iter_learn(self) -> Generator[Event, None, None]:
        """Learn until steps or time are used up, or the held-back objects are found no better."""
        self.best, since, check = self.before, 0, 1
        loss = 0.0
        while not self.finished() and since < PATIENCE:
            terms = self.timed_step()
            loss = terms["loss"] if self.step == 1 else 0.9 * loss + 0.1 * terms["loss"]
            yield self.progress("learning")
            if self.step % REPORT == 0 or self.step == 1:
                yield Metrics(self.step, self.seconds / 60, {"loss": loss})
            if self.share_done() >= check / CHECKS:
                check = 1 + int(self.share_done() * CHECKS)
                scores = yield from self.within_run(self.iter_score())
                yield Metrics(self.step, self.seconds / 60, scores)
                since = 0 if value_of(scores) > self.best else since + 1
                if since == 0:
                    self.best = value_of(scores)
                    self.best_tensors = {k: v.clone() for k, v in self.average.items()}


STEP: dict[str, Any] = {
    "batch": 4,
    "crop": 192,
    "diameter_low": 14.0,
    "diameter_high": 50.0,
    "average": 0.99,
    "freeze_after": 0.0,
    "score_images": 0,
}
"""Options of a step."""


def value_of(scores: Mapping[str, float]) -> float:
    """Return what two results are compared by: the mean of AP50 and mSA."""
    return (scores["AP50"] + scores["mSA"]) / 2


def trained_parameters(network: EntityNetwork, layers: str) -> list[Any]:
    """Return the parameters of a part of the network, as the option ``layers`` names it."""
    heads = [
        module for name, module in network.named_children() if name not in ("encoder", "fusion")
    ]
    parts = {
        "head": heads,
        "last block": [*heads, network.fusion[0]],
        "decoder": [*heads, network.fusion],
    }[layers]
    return [parameter for part in parts for parameter in part.parameters()]
