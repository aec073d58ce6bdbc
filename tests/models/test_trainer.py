"""What every training run can rely on, on a network of two numbers."""

from __future__ import annotations

import csv
import dataclasses
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest
import torch
from torch import Tensor, nn

from napari_kindred.classes.escnet.config import EscTrainConfig
from napari_kindred.classes.escnet.train import train_escnet
from napari_kindred.classes.sam.config import SamTrainConfig
from napari_kindred.classes.sam.train import train_sam
from napari_kindred.core.errors import InputError, OutputError, WeightsError
from napari_kindred.core.events import Event, Metrics, Notice, Progress, finish
from napari_kindred.entities.config import TrainConfig
from napari_kindred.entities.train import train
from napari_kindred.models.config import RunConfig
from napari_kindred.models.trainer import Run, prepared

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Point:
    """A picture of the simplest kind."""

    group: str


class Line(nn.Module):
    """A slope and an offset."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.zeros(()))
        self.offset = nn.Parameter(torch.zeros(()))


class LineRun(Run):
    """Pulls both numbers towards 1, with a force that can be chosen."""

    network: Line

    def __init__(
        self,
        out: Path,
        groups: Any,
        force: float = 1.0,
        clip: float = 1.0,
        validation: tuple[Point, ...] = (),
        **options: Any,
    ) -> None:
        self.force, self.scores, self.written = force, [0.0], []
        config = RunConfig(minutes=1e6, device="cpu", weight_decay=0.0, **options)
        points = [Point("b"), Point("a"), Point("b")]
        super().__init__(Line(), groups, points, validation, "hash", out, config, clip=clip)
        self.events: list[Event] = []

    def train(self) -> Path:
        return finish(self.iter_train(), self.events.append)

    def go(self) -> Path:
        return finish(self.iter_run(), self.events.append)

    @property
    def lines(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, Notice)]

    def loss(self) -> tuple[Tensor, dict[str, float]]:
        away = (self.network.slope - 1) ** 2 + (self.network.offset - 1) ** 2
        return away * self.force, {}

    def iter_score(self) -> Generator[Progress, None, dict[str, float]]:
        yield Progress(0, 1, "validating, image")
        return {"right": self.scores.pop(0)}

    def write(self, path: Path, info: dict[str, Any]) -> None:
        self.written.append((path.name, info))


def both(network: Line) -> list[dict[str, Any]]:
    return [{"params": [network.slope]}, {"params": [network.offset], "share": 0.01}]


def slope_only(network: Line) -> list[dict[str, Any]]:
    return [{"params": [network.slope]}]


def test_each_group_learns_at_its_share_of_the_rate(tmp_path: Path) -> None:
    """AdamW's first step is as long as the rate, whatever the gradient."""
    run = LineRun(tmp_path, both, max_steps=1000)
    rate = run.learning_rate()
    run.train_step()
    assert run.network.slope.item() == pytest.approx(rate, rel=1e-3)
    assert run.network.offset.item() == pytest.approx(rate / 100, rel=1e-3)


def test_what_is_in_no_group_stays_and_shortens_no_gradient(tmp_path: Path) -> None:
    run = LineRun(tmp_path, slope_only, force=10.0, clip=3.0, max_steps=1000)
    run.train_step()
    assert run.network.offset == 0
    assert run.network.slope.grad == pytest.approx(-3.0)


class HalfKept(LineRun):
    """As a network is whose larger part comes from elsewhere."""

    def tensors(self) -> dict[str, Tensor]:
        return {"slope": self.network.state_dict()["slope"]}


def test_parts_left_out_are_not_saved_and_a_run_goes_on_without_them(tmp_path: Path) -> None:
    run = HalfKept(tmp_path, slope_only, max_steps=4)
    run.train()
    saved = torch.load(tmp_path / "last.pt", weights_only=True)
    assert saved["network"].keys() == saved["average"].keys() == {"slope"}
    again = HalfKept(tmp_path, slope_only, max_steps=8)
    again.network.offset.data.fill_(7.0)  # as it came from elsewhere
    assert again.resume()
    assert again.step == 4
    assert torch.equal(again.network.slope, run.network.slope)
    assert again.network.offset == 7
    with pytest.raises(WeightsError, match="damaged or from other options"):
        LineRun(tmp_path, slope_only, max_steps=8).resume()


def test_a_run_that_is_begun_again_says_so_and_describes_itself(tmp_path: Path) -> None:
    first = LineRun(tmp_path, both, max_steps=2)
    assert first.go() == tmp_path / "last.safetensors"
    again = LineRun(tmp_path, both, max_steps=3)
    again.go()
    said = "3 images to train on, 0 to validate on, device cpu"
    assert (first.lines[0], again.lines[0]) == (said, f"{said}, resumed at step 2")
    (name, info), *_ = again.written
    assert name == "last.safetensors"
    assert (info["pictures"], info["groups"], info["steps"]) == (3, ["a", "b"], 3)
    assert RunConfig(**info["train_config"]) == again.config


def test_events_tell_progress_losses_and_scores_as_the_log_has_them(tmp_path: Path) -> None:
    run = LineRun(tmp_path, both, max_steps=100, validation=(Point("a"),))
    run.train()
    shares = [event.done for event in run.events if isinstance(event, Progress)]
    assert shares == [*(step / 100 for step in range(1, 101)), 1.0], "each step, then validation"
    metrics = [event for event in run.events if isinstance(event, Metrics)]
    assert [(one.step, [*one.values]) for one in metrics] == [
        (50, ["loss"]), (100, ["loss"]), (100, ["right"])
    ]  # fmt: skip
    with (tmp_path / "log.csv").open(newline="") as file:
        logged = [(int(step), name, float(value)) for step, _, name, value in csv.reader(file)]
    assert logged == [(one.step, *pair) for one in metrics for pair in one.values.items()]
    assert Metrics(50, 1.23, {"loss": 2.0}).text == "    1.2 min  step     50  loss 2.0000"


@pytest.mark.parametrize("steps", [1, 7])
def test_a_run_closed_at_any_step_keeps_a_checkpoint_of_that_step(
    tmp_path: Path, steps: int
) -> None:
    run = LineRun(tmp_path, both, max_steps=10)
    job = run.iter_train()
    for _ in range(steps):
        next(job)
    job.close()
    resumed = LineRun(tmp_path, both, max_steps=10)
    assert resumed.resume()
    assert resumed.step == steps
    resumed.train()
    whole = LineRun(tmp_path / "whole", both, max_steps=10)
    (tmp_path / "whole").mkdir()
    whole.train()
    assert resumed.network.slope == whole.network.slope


def test_only_a_better_score_replaces_the_best_weights(tmp_path: Path) -> None:
    run = LineRun(tmp_path, both, max_steps=1, validation=(Point("a"),))
    run.scores = [0.5, 0.4, 0.6]
    kept = []
    for _ in range(3):
        run.written.clear()
        finish(run.iter_validate())
        kept.append("best.safetensors" in dict(run.written))
    assert kept == [True, False, True]


def test_a_step_whose_loss_is_no_number_changes_nothing(tmp_path: Path) -> None:
    run = LineRun(tmp_path, both, force=float("nan"), max_steps=5)
    run.train()
    assert run.step == 5
    assert [float(v) for v in run.network.state_dict().values()] == [0.0, 0.0]


@pytest.mark.parametrize("stopped", [False, True])
def test_a_full_disk_is_said_and_leaves_the_earlier_checkpoint(
    tmp_path: Path, files_up_to: Any, monkeypatch: pytest.MonkeyPatch, stopped: bool
) -> None:
    LineRun(tmp_path, both, max_steps=2).go()
    names, before = {*tmp_path.iterdir()}, (tmp_path / "last.pt").read_bytes()
    again = LineRun(tmp_path, both, max_steps=4)
    if stopped:
        monkeypatch.setattr(again, "loss", Mock(side_effect=KeyboardInterrupt))
    with (
        files_up_to(len(before) // 2),
        pytest.raises(OutputError, match=r"Cannot write .*last\.pt' \(File too large\); choose"),
    ):
        again.go()
    assert {*tmp_path.iterdir()} == names
    assert (tmp_path / "last.pt").read_bytes() == before
    gone_on = LineRun(tmp_path, both, max_steps=4)
    gone_on.go()
    assert "resumed at step 2" in gone_on.lines[0]


def test_a_description_or_a_log_without_room_is_said(tmp_path: Path, files_up_to: Any) -> None:
    run = LineRun(tmp_path, both, max_steps=2, validation=(Point("a"),))
    with files_up_to(0), pytest.raises(OutputError, match=r"Cannot write .*run\.json"):
        run.go()
    assert not [*tmp_path.iterdir()]
    finish(run.iter_validate())
    with files_up_to(0), pytest.raises(OutputError, match=r"Cannot write .*log\.csv"):
        run.log({"right": 0.5})


def process() -> tuple[bool, int]:
    """Whether the smallest floats count as numbers, and how many threads torch has."""
    return bool((torch.full((), 1e-310, dtype=torch.float64) * 1) > 0), torch.get_num_threads()


def test_training_leaves_the_process_as_it_was(tmp_path: Path) -> None:
    kept, threads = process()
    assert kept
    with prepared(tmp_path / "finished", threads + 2) as out:
        LineRun(out, both, max_steps=2).go()
        assert process() == (False, threads + 2)
    assert process() == (True, threads)
    with suppress(KeyboardInterrupt), prepared(tmp_path / "stopped", threads + 2):
        raise KeyboardInterrupt
    assert process() == (True, threads)


def test_training_within_training_leaves_it_set_up(tmp_path: Path) -> None:
    with prepared(tmp_path, 0):
        before = process()
        with prepared(tmp_path / "inner", 0):
            pass
        assert process() == before


@pytest.mark.parametrize(
    ("method", "config"),
    [(train, TrainConfig), (train_sam, SamTrainConfig), (train_escnet, EscTrainConfig)],
)
def test_a_refused_training_leaves_the_process_as_it_was(
    method: Callable[..., Path], config: Callable[..., RunConfig], tmp_path: Path
) -> None:
    before = process()
    with pytest.raises(InputError):
        method(tmp_path / "no data", tmp_path / "out", config(threads=before[1] + 2))
    (tmp_path / "file").touch()
    with pytest.raises(OutputError):
        method(tmp_path / "no data", tmp_path / "file", config(threads=before[1] + 2))
    assert process() == before


def test_a_held_rate_stays_at_its_peak_and_falls_after(tmp_path: Path) -> None:
    run = LineRun(tmp_path, both, max_steps=10_000, hold=0.6, learning_rate=1.0)
    rates = []
    for step in (2000, 5999, 8000, 9999):
        run.step = step
        rates.append(run.learning_rate())
    assert rates[:2] == [1.0, 1.0]
    assert rates[2] == pytest.approx(0.5, abs=1e-3)
    assert rates[3] < 1e-6


def test_a_run_that_finishes_early_falls_to_zero_over_its_last_sixth(tmp_path: Path) -> None:
    run = LineRun(tmp_path, both, max_steps=100_000, hold=0.6, learning_rate=1.0, finish_at=6_000)
    rates = []
    for run.step in (1_000, 5_000, 5_500, 5_900):
        rates.append(run.learning_rate())
        assert not run.finished()
    assert rates == pytest.approx([1.0, 1.0, 0.5, 0.1])
    run.step = 6_000
    assert run.finished()
    assert run.learning_rate() == 0


@pytest.mark.parametrize(
    ("minutes", "seconds", "share"), [(None, 1e9, 0.25), (2.0, 60.0, 0.5), (2.0, 200.0, 1.0)]
)
def test_time_ends_a_run_as_steps_do_unless_minutes_are_none(
    tmp_path: Path, minutes: float | None, seconds: float, share: float
) -> None:
    run = LineRun(tmp_path, both, max_steps=100)
    run.config = dataclasses.replace(run.config, minutes=minutes)
    run.step, run.seconds = 25, seconds
    assert run.share_done() == share
