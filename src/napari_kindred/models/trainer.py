"""What every training run shares: a budget, a schedule, a running average, and going on again.

A run stops when its minutes or its steps are used up, writes a checkpoint every few minutes, and
goes on from it when it is started again with the same options.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import json
import math
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from ..compute.device import load_triton_apart, select
from ..core.errors import OptionError, WeightsError
from ..results.atomic import check_folder, raise_output_errors, replacing

if TYPE_CHECKING:
    from .config import RunConfig

WARM_UP = 0.02
"""Share of a run during which the learning rate rises."""

WARM_UP_STEPS = 500
"""The rise ends after so many steps at the latest."""

Say = Callable[[str], None]


class Picture(Protocol):
    """What every training run wants to know of a picture."""

    @property
    def group(self) -> str:
        """Where it comes from: named in the weights file."""


class Run(ABC):
    """State of a training run; an heir brings the network, the loss and the score.

    Parameters
    ----------
    network : nn.Module
        Moved to the device that ``config`` names.
    groups : callable
        Makes the optimiser's groups of the network, each a dict of ``params`` and, where they
        differ from the config's, ``weight_decay`` and ``share``, by which the learning rate is
        multiplied. Parameters in no group stay as they are.
    examples, validation : sequence of Picture
        To learn from, and to score. The latter may be empty.
    data : str
        Hash of the data, so that a run is not gone on with on others.
    out : Path
        Folder for ``last.pt`` (to go on from), ``last.safetensors``, ``best.safetensors``,
        ``log.csv`` and ``run.json``; see :func:`prepared`.
    config : RunConfig
    say : callable
        Gets one line of text now and then.
    clip : float
        Longest gradient that is not shortened.
    """

    def __init__(
        self,
        network: nn.Module,
        groups: Callable[[Any], list[dict[str, Any]]],
        examples: Sequence[Picture],
        validation: Sequence[Picture],
        data: str,
        out: Path,
        config: RunConfig,
        say: Say = print,
        *,
        clip: float = 1.0,
    ) -> None:
        self.device = select(config.device)
        self.network = network.to(self.device).train()
        load_triton_apart()  # torch's optimisers bring it along
        self.optimiser = torch.optim.AdamW(
            groups(self.network),
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            fused=self.device.type in ("cpu", "cuda"),
        )
        self.average = {k: v.detach().clone() for k, v in self.tensors().items()}
        self.examples, self.validation, self.data = examples, validation, data
        self.out, self.config, self.say, self.clip = out, config, say, clip
        self.step = self.first_step = 0  # where the optimiser began, for its rise
        self.seconds = 0.0
        self.best = -1.0
        self.precision = chosen_precision(config.precision, self.device)
        half = self.precision == torch.float16
        self.scaler = torch.amp.GradScaler("cuda", enabled=half)
        if self.precision == torch.bfloat16 and self.device.type == "cpu":
            keep_depthwise(self.network)

    # -- what a method brings ---------------------------------------------------------------

    @abstractmethod
    def loss(self) -> tuple[Tensor, dict[str, float]]:
        """Return this step's loss and the terms to log, drawn from the seed and the step."""

    @abstractmethod
    def score(self) -> dict[str, float]:
        """Score the averaged network on validation pictures; the first value decides."""

    @abstractmethod
    def write(self, path: Path, info: dict[str, Any]) -> None:
        """Write the averaged network as a weights file, in one piece."""

    def tensors(self) -> dict[str, Tensor]:
        """Return what is averaged and kept: all of the network, unless an heir leaves out parts.

        Large parts that are never trained and come from a file of their own are better left out.
        """
        return self.network.state_dict()

    # -- one step ---------------------------------------------------------------------------

    def autocast(self) -> torch.autocast:
        """Return the context in which the network's forward pass is computed."""
        return torch.autocast(
            self.device.type, dtype=self.precision, enabled=self.precision != torch.float32
        )

    def share_done(self) -> float:
        """Share of the run that is over, 0 … 1, by time or by steps, the larger of the two."""
        config = self.config
        by_steps = self.step / config.max_steps
        if config.minutes is None:
            return min(1.0, by_steps)
        return min(1.0, max(self.seconds / (60 * config.minutes), by_steps))

    def learning_rate(self) -> float:
        """Short linear rise, constant for ``hold`` of the run, then a cosine to zero."""
        done, hold = self.share_done(), self.config.hold
        falling = max(0.0, done - hold) / max(1.0 - hold, 1e-9)
        rate = self.config.learning_rate * 0.5 * (1 + math.cos(math.pi * falling))
        steps = self.step - self.first_step + 1
        risen = steps / WARM_UP_STEPS
        if not self.first_step:
            risen = max(done / WARM_UP, risen)
        return rate * min(1.0, max(risen, 0.02))

    def train_step(self) -> dict[str, float]:
        """Do one optimiser step and return the loss terms."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.learning_rate() * group.get("share", 1.0)
        loss, terms = self.loss()
        self.optimiser.zero_grad(set_to_none=True)
        if bool(torch.isfinite(loss)) and loss.requires_grad:
            self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            self.scaler.unscale_(self.optimiser)
            learning = [p for group in self.optimiser.param_groups for p in group["params"]]
            torch.nn.utils.clip_grad_norm_(learning, self.clip)
            self.scaler.step(self.optimiser)
            self.scaler.update()
            self._follow()
        self.step += 1
        return {**terms, "loss": float(loss.detach())}

    @torch.no_grad()
    def _follow(self) -> None:
        decay = min(self.config.average, (1 + self.step) / (10 + self.step))
        floats = {k: v for k, v in self.tensors().items() if v.is_floating_point()}
        torch._foreach_lerp_([self.average[k] for k in floats], list(floats.values()), 1 - decay)

    # -- keeping ----------------------------------------------------------------------------

    def describe(self) -> dict[str, Any]:
        """Return what a weights file says about its making."""
        return {
            "train_config": dataclasses.asdict(self.config),
            "data_sha256": self.data,
            "pictures": len(self.examples),
            "groups": sorted({example.group for example in self.examples}),
            "steps": self.step,
            "minutes": round(self.seconds / 60, 1),
            "device": str(self.device),
        }

    def save(self) -> None:
        """Write ``last.pt`` and ``last.safetensors``, each in one piece.

        Raises
        ------
        OutputError
            When there is no room for one, which is then as it was.
        """
        state = {
            "network": self.tensors(),
            "average": self.average,
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "step": self.step,
            "first_step": self.first_step,
            "seconds": self.seconds,
            "best": self.best,
            "data": self.data,
            "config": json.dumps(dataclasses.asdict(self.config)),
        }
        with replacing(self.out / "last.pt") as part, part.open("wb") as file:
            try:
                torch.save(state, file)
            except RuntimeError as error:
                if isinstance(error.__context__, OSError):  # torch hides what the disk said
                    raise error.__context__ from None
                raise
        self.write(self.out / "last.safetensors", self.describe())

    def resume(self) -> bool:
        """Resume from ``last.pt``, or from the averaged weights alone; returns whether it did.

        Without ``last.pt``, ``last.safetensors`` gives the weights and the step; the optimiser
        starts anew, with a rise of the learning rate.

        Raises
        ------
        WeightsError
            When it is damaged or holds a network of another shape.
        OptionError
            When it was trained on other data.
        """
        path = self.out / "last.pt"
        if not path.exists():
            return self.resume_weights(self.out / "last.safetensors")
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
            if state["network"].keys() != self.average.keys():
                raise KeyError("tensors of another network")
            self.network.load_state_dict(state["network"], strict=False)
            self.optimiser.load_state_dict(state["optimiser"])
            self.scaler.load_state_dict(state["scaler"])
        except Exception as error:
            # A damaged file may fail in any way; each one means the same to the user.
            raise WeightsError(
                f"{path} is damaged or from other options; remove it or choose another --out."
            ) from error
        if state["data"] != self.data:
            raise OptionError(
                f"{self.out} holds a run on other data; choose another --out to train anew."
            )
        self.average = state["average"]
        self.step, self.seconds, self.best = state["step"], state["seconds"], state["best"]
        self.first_step = state["first_step"]
        return True

    def resume_weights(self, path: Path) -> bool:
        """Resume from averaged weights if the heir can; returns whether it did."""
        del path
        return False

    def validate(self) -> dict[str, float]:
        """Score the averaged network; keep it when it is the best."""
        scores = self.score()
        value = next(iter(scores.values()))
        if value > self.best:
            self.best = value
            self.write(
                self.out / "best.safetensors",
                {**self.describe(), "validation": scores},
            )
            self.save()  # a run gone on with must know the score to beat
        return scores

    # -- the whole run ----------------------------------------------------------------------

    def go(self) -> Path:
        """Go on with the run in the folder, or begin one; returns the path of the best weights."""
        resumed = self.resume()
        self.say(
            f"{len(self.examples)} pictures to learn from, {len(self.validation)} to validate on, "
            f"device {self.device}" + (f", going on at step {self.step}" if resumed else "")
        )
        with replacing(self.out / "run.json") as part:
            part.write_text(json.dumps(self.describe(), indent=1), "utf-8")
        return self.run()

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
        log = self.out / "log.csv"
        with raise_output_errors(log), log.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            for name, value in values.items():
                writer.writerow([self.step, round(minutes, 2), name, value])


def chosen_precision(name: str, device: torch.device) -> torch.dtype:
    """Return the type of the forward pass: ``auto`` is the fastest that the device does well."""
    if name == "auto":
        if device.type == "cuda":
            return torch.float16
        has_bfloat16 = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
        fast = device.type == "cpu" and has_bfloat16()
        return torch.bfloat16 if fast else torch.float32
    return torch.bfloat16 if name == "bfloat16" else torch.float32


def keep_depthwise(network: nn.Module) -> None:
    """Compute depthwise convolutions in float32 under autocast: CPUs are slow at them otherwise."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d) and layer.groups > 1:
            layer.forward = functools.partial(_in_float32, layer)  # type: ignore[method-assign]


def _in_float32(layer: nn.Conv2d, x: Tensor) -> Tensor:
    with torch.autocast(x.device.type, enabled=False):
        out: Tensor = type(layer).forward(layer, x.float())
        return out


@contextmanager
def prepared(out: str | Path, threads: int) -> Iterator[Path]:
    """Make a run's folder, which is given, and have torch set up for training meanwhile.

    Afterwards torch is as it was, but for its own worker threads that were started meanwhile.

    Parameters
    ----------
    out : path
    threads : int
        That torch computes with; 0 for as many as it does already.

    Raises
    ------
    OutputError
        When the folder cannot be written to.
    """
    out = Path(out)
    check_folder(out)
    flushed, before = sys.float_info.min / 2 == 0, torch.get_num_threads()
    # Kernels' tails give denormal numbers, on which a CPU is a hundred times slower.
    torch.set_flush_denormal(True)
    if threads:
        torch.set_num_threads(threads)
    try:
        yield out
    finally:
        torch.set_flush_denormal(flushed)
        if threads:
            torch.set_num_threads(before)
