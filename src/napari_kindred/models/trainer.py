"""Base of all training runs: budget, schedule, running average of the weights, checkpoints.

A run is a generator of events.  It ends when its minutes or its steps are used up, writes a
checkpoint every few minutes and when it is cancelled, and resumes from it when it is started again
with the same options.
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
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from ..compute.device import load_triton_apart, select
from ..core.errors import OptionError, WeightsError
from ..core.events import Event, Metrics, Notice, Progress
from ..results.atomic import check_folder, raise_output_errors, replacing

if TYPE_CHECKING:
    from .config import RunConfig

Result = TypeVar("Result")

WARM_UP = 0.02
"""Share of a run during which the learning rate rises."""

WARM_UP_STEPS = 500
"""Number of steps after which the rise ends at the latest."""

FALL = 1 / 6
"""Share of the steps over which the rate falls to zero in a run that ends before its schedule."""

LOG_STEPS = 50
"""Losses are logged every n-th step."""


class TrainingImage(Protocol):
    """An image as every training run sees it."""

    @property
    def group(self) -> str:
        """Source of the image, recorded in the weights file."""


class Run(ABC):
    """State of a training run; a subclass brings the network, the loss and the score.

    Parameters
    ----------
    network : nn.Module
        Moved to the device that ``config`` names.
    groups : callable
        Makes the optimiser's groups of the network, each a dict of ``params`` and, if they
        differ from the config's, ``weight_decay`` and ``share``, by which the learning rate is
        multiplied. Parameters in no group are not trained.
    examples, validation : sequence of TrainingImage
        To learn from, and to score. The latter may be empty.
    data : str
        Hash of the data, so that a run is not resumed on others.
    out : Path
        Folder for ``last.pt`` (to resume from), ``last.safetensors``, ``best.safetensors``,
        ``log.csv`` and ``run.json``; see :func:`prepared`.
    config : RunConfig
    clip : float
        Longest gradient that is not shortened.
    """

    def __init__(
        self,
        network: nn.Module,
        groups: Callable[[Any], list[dict[str, Any]]],
        examples: Sequence[TrainingImage],
        validation: Sequence[TrainingImage],
        data: str,
        out: Path,
        config: RunConfig,
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
        self.out, self.config, self.clip = out, config, clip
        self.step = self.first_step = 0  # the optimiser's first step begins the rise
        self.seconds = 0.0
        self.best = -1.0
        self.precision = chosen_precision(config.precision, self.device)
        half = self.precision == torch.float16
        self.scaler = torch.amp.GradScaler("cuda", enabled=half)
        if self.precision == torch.bfloat16 and self.device.type == "cpu":
            keep_depthwise(self.network)

    # -- for subclasses --------------------------------------------------------------------

    @abstractmethod
    def loss(self) -> tuple[Tensor, dict[str, float]]:
        """Return this step's loss and the terms to log, drawn from the seed and the step."""

    @abstractmethod
    def iter_score(self) -> Generator[Progress, None, dict[str, float]]:
        """Score the averaged network on the validation images; the first value decides."""

    @abstractmethod
    def write(self, path: Path, info: dict[str, Any]) -> None:
        """Write the averaged network as a weights file, in one piece."""

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors to average and save; large untrained parts may be absent."""
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

    def finished(self) -> bool:
        """Tell whether time or steps are used up, or the step is reached to finish at."""
        last = self.config.finish_at
        return self.share_done() >= 1 or (last is not None and self.step >= last)

    def learning_rate(self) -> float:
        """Short linear rise, constant for ``hold`` of the run, then a cosine to zero.

        A run that ends early (``finish_at``) falls linearly to zero over its last sixth.
        """
        done, hold = self.share_done(), self.config.hold
        falling = max(0.0, done - hold) / max(1.0 - hold, 1e-9)
        rate = self.config.learning_rate * 0.5 * (1 + math.cos(math.pi * falling))
        steps = self.step - self.first_step + 1
        risen = steps / WARM_UP_STEPS
        if not self.first_step:
            risen = max(done / WARM_UP, risen)
        rate *= min(1.0, max(risen, 0.02))
        last = self.config.finish_at
        return rate if last is None else rate * min(1.0, (last - self.step) / (FALL * last))

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

    def timed_step(self) -> dict[str, float]:
        """Do one optimiser step, and count its time."""
        start = time.perf_counter()
        terms = self.train_step()
        self.seconds += time.perf_counter() - start
        return terms

    @torch.no_grad()
    def _follow(self) -> None:
        decay = min(self.config.average, (1 + self.step) / (10 + self.step))
        floats = {k: v for k, v in self.tensors().items() if v.is_floating_point()}
        torch._foreach_lerp_([self.average[k] for k in floats], list(floats.values()), 1 - decay)

    # -- saving and resuming ----------------------------------------------------------------

    def describe(self) -> dict[str, Any]:
        """Return the training's facts for the header of a weights file."""
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
        """Write ``last.pt`` and ``last.safetensors``; without room for one it stays as it was."""
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
        """Resume from ``last.pt``, or else from the averaged weights; returns whether it did.

        From the latter the optimiser starts anew, with a rise of the learning rate.
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
        """Resume from averaged weights if the subclass can; returns whether it did."""
        del path
        return False

    def iter_validate(self) -> Generator[Event, None, dict[str, float]]:
        """Score the averaged network; it is saved if it is the best."""
        scores = yield from self.within_run(self.iter_score())
        value = next(iter(scores.values()))
        if value > self.best:
            self.best = value
            self.write(
                self.out / "best.safetensors",
                {**self.describe(), "validation": scores},
            )
            self.save()  # a resumed run must know the score to beat
        yield self.log(scores)
        return scores

    # -- the whole run ----------------------------------------------------------------------

    def iter_run(self) -> Generator[Event, None, Path]:
        """Resume the run in the folder, or begin one; returns the path of the best weights."""
        resumed = self.resume()
        yield Notice(
            f"{len(self.examples)} images to train on, {len(self.validation)} to validate on, "
            f"device {self.device}" + (f", resumed at step {self.step}" if resumed else "")
        )
        with replacing(self.out / "run.json") as part:
            part.write_text(json.dumps(self.describe(), indent=1), "utf-8")
        return (yield from self.iter_train())

    def iter_train(self) -> Generator[Event, None, Path]:
        """Train until time or steps are used up; returns the path of the best weights."""
        try:
            yield from self._iter_steps()
        finally:  # a cancelled run too is resumed at its last step
            self.save()
        if self.validation:
            yield from self.iter_validate()
            return self.out / "best.safetensors"
        return self.out / "last.safetensors"

    def _iter_steps(self) -> Generator[Event, None, None]:
        config = self.config
        last_saved = last_scored = self.seconds
        recent: dict[str, float] = {}
        while not self.finished():
            terms = self.timed_step()
            for name, value in terms.items():
                recent[name] = 0.95 * recent.get(name, value) + 0.05 * value
            yield self.progress(f"training, step {self.step}")
            if self.step % LOG_STEPS == 0:
                yield self.log({k: round(v, 4) for k, v in recent.items()})
            if self.seconds - last_saved > 60 * config.checkpoint_minutes:
                last_saved = self.seconds
                self.save()
            if self.validation and self.seconds - last_scored > 60 * config.validate_minutes:
                last_scored = self.seconds
                yield from self.iter_validate()

    def progress(self, what: str) -> Progress:
        """Return the share of the run that is done."""
        return Progress(self.share_done(), 1, what)

    def within_run(self, job: Generator[Progress, None, Result]) -> Generator[Event, None, Result]:
        """Run a job between the steps; its progress does not count as the run's."""
        while True:
            try:
                event = next(job)
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]
            yield self.progress(f"{event.what} {event.done:.0f}/{event.total:.0f}")

    def log(self, values: dict[str, float]) -> Metrics:
        """Append values to ``log.csv``; returns them as an event."""
        minutes, log = self.seconds / 60, self.out / "log.csv"
        with raise_output_errors(log), log.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            for name, value in values.items():
                writer.writerow([self.step, round(minutes, 2), name, value])
        return Metrics(self.step, minutes, values)


def chosen_precision(name: str, device: torch.device) -> torch.dtype:
    """Return the type of the forward pass; ``auto`` is the fastest that the device does well."""
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
    """Create a run's folder, and set torch up for training until the end of the ``with`` block.

    ``threads`` is the number of CPU threads of torch; 0 leaves it as it is.  OutputError if the
    folder cannot be written to.
    """
    out = Path(out)
    check_folder(out)
    with ready_to_train(threads):
        yield out


@contextmanager
def ready_to_train(threads: int = 0) -> Iterator[None]:
    """Set torch up for training until the end of the ``with`` block; see :func:`prepared`."""
    flushed, before = sys.float_info.min / 2 == 0, torch.get_num_threads()
    # Tails of kernels are denormal numbers, with which a CPU is a hundred times slower.
    torch.set_flush_denormal(True)
    if threads:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_flush_denormal(flushed)
        if threads:
            torch.set_num_threads(before)
