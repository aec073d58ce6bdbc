"""Training of the entity network: ``napari-kindred train entities DATA --out DIR``.

One command for two CPU cores and for a GPU; it writes a checkpoint every few minutes, goes on
from it when started again, and keeps the best validated weights.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..device import select
from ..errors import InputError, OptionError, OutputError, WeightsError
from ..train_configs import TrainConfig
from .augment import draw_crop
from .checkpoint import load_network, save_weights
from .dataset import Example, data_hash, group_weights, load_examples
from .network import DenseMaps, EntityNetwork, load_imagenet
from .objective import crop_loss

WARM_UP = 0.02
"""Share of the training during which the learning rate rises."""

Say = Callable[[str], None]


class Trainer:
    """State of a training run: network, average, optimiser, time spent.

    Parameters
    ----------
    train, validation : sequence of Example
    out : Path
        Folder for ``last.pt`` (to go on from), ``best.safetensors``, ``log.csv``, ``run.json``.
    config : TrainConfig
    say : callable
        Gets one line of text now and then.
    """

    def __init__(
        self,
        train: Sequence[Example],
        validation: Sequence[Example],
        out: Path,
        config: TrainConfig,
        say: Say = print,
    ) -> None:
        if not train:
            raise InputError("There is no picture marked 'train' in the data.")
        if not any(example.diameter > 0 for example in train):
            raise InputError("The labels of all training pictures are empty.")
        self.examples, self.validation = train, validation
        self.out, self.config, self.say = out, config, say
        self.device = select(config.device)
        self.chances = group_weights(train)
        self.network = self._start()
        self.average = {k: v.detach().clone() for k, v in self.network.state_dict().items()}
        encoder = list(self.network.encoder.parameters())
        known = {id(p) for p in encoder}
        rest = [p for p in self.network.parameters() if id(p) not in known]
        self.optimiser = torch.optim.AdamW(
            [
                {"params": encoder, "share": config.encoder_rate},
                {"params": rest, "share": 1.0},
            ],
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
        )
        self.step = 0
        self.seconds = 0.0
        self.best = -1.0
        self.hash = data_hash(train)
        self.amp = self.device.type == "cuda"
        self.scaler = torch.amp.GradScaler("cuda", enabled=self.amp)

    def _start(self) -> EntityNetwork:
        config = self.config
        torch.manual_seed(config.seed)
        network = EntityNetwork(config.network())
        if config.init == "imagenet":
            load_imagenet(network)
        elif config.init == "timm":
            network.encoder = _download_encoder(config.encoder)
        elif config.init != "random":
            network, _ = load_network(config.init, torch.device("cpu"))
            if network.config != config.network():
                raise WeightsError(
                    f"{config.init} holds a network of another shape: {network.config}."
                )
        network = network.to(self.device).train()  # freezes the encoder's batch norm
        return network.to(memory_format=torch.channels_last)

    # -- one step ---------------------------------------------------------------------------

    def share_done(self) -> float:
        """How much of the run is over, 0 … 1, by time or by steps, whichever is further."""
        return min(
            1.0,
            max(self.seconds / (60 * self.config.minutes), self.step / self.config.max_steps),
        )

    def learning_rate(self) -> float:
        """Cosine to zero after a short linear rise."""
        done = self.share_done()
        if done < WARM_UP and self.step < 500:
            return self.config.learning_rate * max(done / WARM_UP, 0.02)
        return self.config.learning_rate * 0.5 * (1 + math.cos(math.pi * done))

    def batch(self) -> tuple[Tensor, list[Tensor], list[bool], np.random.Generator]:
        """Draw a step's crops: the same for the same seed and step."""
        config = self.config
        random = np.random.default_rng((config.seed, self.step))
        picks = random.choice(len(self.examples), size=config.batch, p=self.chances)
        crops = [
            draw_crop(
                self.examples[int(i)],
                config.crop,
                config.diameter_low,
                config.diameter_high,
                random,
            )
            for i in picks
        ]
        images = torch.stack([c.image for c in crops]).to(self.device)
        images = images.contiguous(memory_format=torch.channels_last)
        labels = [c.labels.to(self.device) for c in crops]
        return images, labels, [c.complete for c in crops], random

    def train_step(self) -> dict[str, float]:
        """Do one optimiser step and return the loss terms' means."""
        images, labels, complete, random = self.batch()
        for group in self.optimiser.param_groups:
            group["lr"] = self.learning_rate() * group["share"]
        with torch.autocast(self.device.type, dtype=torch.float16, enabled=self.amp):
            maps = self.network(images)
        total = images.new_zeros(())
        sums: dict[str, float] = {}
        for i in range(len(images)):
            one = picture(maps, i)
            terms = crop_loss(
                one,
                labels[i],
                complete[i],
                self.config,
                self.network.config.output_stride,
                random,
            )
            total = total + torch.stack(list(terms.values())).sum()
            for name, value in terms.items():
                sums[name] = sums.get(name, 0.0) + float(value.detach()) / len(images)
        loss = total / len(images)
        self.optimiser.zero_grad(set_to_none=True)
        if bool(torch.isfinite(loss)):
            self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            self.scaler.unscale_(self.optimiser)
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), 2.0)
            self.scaler.step(self.optimiser)
            self.scaler.update()
            self._follow()
        self.step += 1
        sums["loss"] = float(loss.detach())
        return sums

    @torch.no_grad()
    def _follow(self) -> None:
        decay = min(self.config.average, (1 + self.step) / (10 + self.step))
        for name, value in self.network.state_dict().items():
            if value.is_floating_point():
                self.average[name].lerp_(value, 1 - decay)

    # -- keeping ----------------------------------------------------------------------------

    def averaged(self) -> EntityNetwork:
        """Return the network with averaged weights, in evaluation mode."""
        network = EntityNetwork(self.network.config)
        network.load_state_dict(self.average)
        return network.to(self.device).eval()

    def describe(self) -> dict[str, Any]:
        """Return what a weights file says about its making."""
        return {
            "train_config": dataclasses.asdict(self.config),
            "data_sha256": self.hash,
            "pictures": len(self.examples),
            "groups": sorted({e.group for e in self.examples}),
            "steps": self.step,
            "minutes": round(self.seconds / 60, 1),
            "device": str(self.device),
        }

    def save(self) -> None:
        """Write ``last.pt`` and ``last.safetensors``, each in one piece."""
        state = {
            "network": self.network.state_dict(),
            "average": self.average,
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "best": self.best,
            "data": self.hash,
            "config": json.dumps(dataclasses.asdict(self.config)),
        }
        part = self.out / "last.pt.part"
        torch.save(state, part)
        part.replace(self.out / "last.pt")
        save_weights(self.averaged(), self.out / "last.safetensors", self.describe())

    def resume(self) -> bool:
        """Go on from ``last.pt`` when there is one; returns whether there was."""
        path = self.out / "last.pt"
        if not path.exists():
            return False
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
            self.network.load_state_dict(state["network"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.scaler.load_state_dict(state["scaler"])
        except Exception as error:
            raise WeightsError(
                f"{path} is damaged or from other options; remove it or choose another --out."
            ) from error
        if state["data"] != self.hash:
            raise OptionError(
                f"{self.out} holds a run on other data; choose another --out to train anew."
            )
        self.average = state["average"]
        self.step, self.seconds, self.best = state["step"], state["seconds"], state["best"]
        return True

    def validate(self) -> dict[str, float]:
        """Score the averaged network on the validation pictures; keep it when it is the best."""
        from .validate import score_examples

        scores = score_examples(self.averaged(), self.validation[: self.config.validate_images])
        if scores["mSA"] > self.best:
            self.best = scores["mSA"]
            save_weights(
                self.averaged(),
                self.out / "best.safetensors",
                {**self.describe(), "validation": scores},
            )
            self.save()  # a run gone on with must know the score to beat
        return scores

    def run(self) -> Path:
        """Train until time or steps are used up; returns the path of the best weights."""
        try:
            self._train()
        finally:  # a cancelled run too is gone on with where it stopped
            self.save()
        if self.validation:
            self._log(self.validate())
            return self.out / "best.safetensors"
        return self.out / "last.safetensors"

    def _train(self) -> None:
        config = self.config
        last_saved = last_scored = self.seconds
        recent: dict[str, float] = {}
        while self.share_done() < 1:
            start = time.perf_counter()
            terms = self.train_step()
            self.seconds += time.perf_counter() - start
            for name, value in terms.items():
                recent[name] = 0.95 * recent.get(name, value) + 0.05 * value
            if self.step % 50 == 0:
                self._log({k: round(v, 4) for k, v in recent.items()})
            if self.seconds - last_saved > 60 * config.checkpoint_minutes:
                last_saved = self.seconds
                self.save()
            if self.validation and self.seconds - last_scored > 60 * config.validate_minutes:
                last_scored = self.seconds
                self._log(self.validate())

    def _log(self, values: dict[str, float]) -> None:
        minutes = self.seconds / 60
        self.say(
            f"{minutes:7.1f} min  step {self.step:6d}  "
            + "  ".join(f"{k} {v:.4f}" for k, v in values.items())
        )
        with (self.out / "log.csv").open("a", newline="") as file:
            writer = csv.writer(file)
            for name, value in values.items():
                writer.writerow([self.step, round(minutes, 2), name, value])


def _download_encoder(name: str) -> nn.Module:
    import timm

    try:
        encoder: nn.Module = timm.create_model(name, features_only=True, pretrained=True)
    except (RuntimeError, OSError) as error:
        raise WeightsError(
            f"timm has no weights for encoder={name!r} or could not download them; go online, or "
            "train with --init imagenet or --init random."
        ) from error
    return encoder


def picture(maps: DenseMaps, index: int) -> DenseMaps:
    """Return one picture's maps out of a batch, (C, h, w) float32 each."""
    rest = (None if m is None else m[index].float() for m in maps[1:])
    return DenseMaps(maps.background[index].float(), *rest)


def spread(examples: Sequence[Example]) -> list[Example]:
    """Reorder pictures so that any first few of them come from all groups."""
    groups: dict[str, list[Example]] = {}
    for example in examples:
        groups.setdefault(example.group, []).append(example)
    ordered = []
    while groups:
        for name in sorted(groups):
            ordered.append(groups[name].pop(0))
            if not groups[name]:
                del groups[name]
    return ordered


def train(
    data: str | Path | Sequence[str | Path],
    out: str | Path,
    config: TrainConfig | None = None,
    say: Say = print,
) -> Path:
    """Train an entity network.

    Parameters
    ----------
    data : path or sequence of paths
        Data folders as described in :mod:`napari_kindred.entities.dataset`.
    out : path
        Folder for checkpoints, log and weights; a run found there is gone on with.
    config : TrainConfig, optional
    say : callable
        Gets the log's lines.

    Returns
    -------
    Path
        Weights file for ``EntityConfig(weights=…)``: the best validated ones.

    Raises
    ------
    InputError, OptionError, OutputError, WeightsError
    """
    config = config or TrainConfig()
    data = [data] if isinstance(data, str | Path) else data
    out = Path(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / "log.csv").open("a").close()
    except OSError as error:
        raise OutputError(f"{out} cannot be written to; choose another --out.") from error
    # Kernels' tails give denormal numbers, on which a CPU is a hundred times slower.
    torch.set_flush_denormal(True)
    if config.threads:
        torch.set_num_threads(config.threads)
    examples = load_examples(data, "train")
    validation = spread(load_examples(data, "val"))
    trainer = Trainer(examples, validation, out, config, say)
    resumed = trainer.resume()
    say(
        f"{len(examples)} pictures to learn from, {len(validation)} to validate on, "
        f"device {trainer.device}" + (f", going on at step {trainer.step}" if resumed else "")
    )
    (out / "run.json").write_text(json.dumps(trainer.describe(), indent=1))
    return trainer.run()
