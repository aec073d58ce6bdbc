from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import psutil
import pytest
import torch

from napari_kindred.compute import device
from napari_kindred.core.errors import KindredError, OptionError
from napari_kindred.core.events import Notice, Progress, finish

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path


def test_auto_takes_the_fastest_kind_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert device.select().type == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device.select().type == "mps"
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert device.select().type == "cpu"


@pytest.mark.parametrize("name", ["tpu-nine", "cuda", "cuda:7"])
def test_a_device_that_is_not_there_is_refused_naming_those_that_are(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(OptionError, match="cpu"):
        device.select(name)


def test_inference_keeps_no_gradients_and_leaves_settings_as_they_were() -> None:
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        with device.inference():
            assert not torch.backends.cudnn.benchmark
            assert not (torch.ones(1, requires_grad=True) * 2).requires_grad
        assert torch.backends.cudnn.benchmark
    finally:
        torch.backends.cudnn.benchmark = before


def test_out_of_memory_is_told_from_other_errors() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 50)
    assert device.is_out_of_memory(caught.value)
    assert device.is_out_of_memory(torch.cuda.OutOfMemoryError("CUDA out of memory."))
    assert device.is_out_of_memory(MemoryError())
    assert not device.is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def test_releasing_and_describing_work_on_the_cpu() -> None:
    device.release(torch.device("cpu"))
    assert device.describe(torch.device("cpu")).startswith("cpu (")


def hungry(largest: int, error: BaseException, sizes: list[int]) -> Any:
    """A job that needs as much memory as its size."""

    def attempt(size: int) -> Generator[Progress, None, str]:
        sizes.append(size)
        yield Progress(0, 1, "working")
        if size > largest:
            raise error
        return f"done with {size}"

    return attempt


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("CUDA out of memory")])
def test_a_job_without_memory_goes_on_with_half_and_says_so(error: BaseException) -> None:
    sizes: list[int] = []
    events: list[Any] = []
    cpu = torch.device("cpu")
    job = device.halving(hungry(300, error, sizes), 1024, smallest=64, unit="{} px", device=cpu)
    assert finish(job, events.append) == "done with 256"
    assert sizes == [1024, 512, 256]
    notices = [event.text for event in events if isinstance(event, Notice)]
    assert [text.split("with ")[1] for text in notices] == ["512 px.", "256 px."]


def test_memory_that_never_suffices_ends_in_advice() -> None:
    sizes: list[int] = []
    job = device.halving(hungry(1, MemoryError(), sizes), 100, smallest=25, unit="tiles of {}")
    with pytest.raises(KindredError, match="even for tiles of 25; close other programs"):
        finish(job)
    assert sizes == [100, 50, 25]


def test_another_error_is_no_lack_of_memory() -> None:
    sizes: list[int] = []
    job = device.halving(hungry(1, ValueError("no"), sizes), 100, smallest=25, unit="{}")
    with pytest.raises(ValueError, match="no"):
        finish(job)
    assert sizes == [100]


def test_a_budget_is_what_was_set_or_half_of_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    assert device.memory_budget(1.5) == 1.5 * 2**30
    memory = SimpleNamespace(available=8 * 2**30)
    monkeypatch.setattr(device.psutil, "virtual_memory", lambda: memory)
    monkeypatch.setattr(device, "_CGROUPS", ())
    assert device.memory_budget(None) == 4 * 2**30
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (6 * 2**30, 24 * 2**30))
    assert device.memory_budget(None, "cuda:0") == 3 * 2**30
    assert device.memory_budget(None, "cpu") == 4 * 2**30


def test_a_container_has_what_its_limit_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit, used = tmp_path / "limit", tmp_path / "used"
    monkeypatch.setattr(device, "_CGROUPS", ((str(limit), str(used)),))
    free = device.memory_budget(None)
    limit.write_text("max\n")
    used.write_text("0\n")
    assert device.memory_budget(None) == pytest.approx(free, rel=0.5)
    limit.write_text(f"{3 << 20}\n")
    used.write_text(f"{1 << 20}\n")
    assert device.memory_budget(None) == 1 << 20


@pytest.mark.parametrize(
    ("side", "budget", "expected"),
    [(1024, 1024**2 * 8, 1024), (1000, 1000**2 * 8, 1000), (1000, 999**2 * 8, 512),
     (1024, 600**2 * 8, 512), (1024, 10, 256), (200, 10, 256)],
)  # fmt: skip
def test_a_side_is_as_wanted_or_the_largest_power_of_two_that_fits(
    side: int, budget: int, expected: int
) -> None:
    assert device.fitting_side(side, budget, 8, min(256, side)) == min(expected, side)


def test_the_environment_says_what_options_leave_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAPARI_KINDRED_MEMORY", "2.5")
    assert device.memory_budget(None) == 2.5 * 2**30
    assert device.memory_budget(1) == 2**30
    for wrong in ("much", "-1", "0", "nan", "inf"):
        monkeypatch.setenv("NAPARI_KINDRED_MEMORY", wrong)
        with pytest.raises(OptionError, match="NAPARI_KINDRED_MEMORY"):
            device.memory_budget(None)


def test_a_preferred_memory_counts_below_option_and_environment(
    monkeypatch: pytest.MonkeyPatch, preferring: Callable[..., None]
) -> None:
    preferring(memory=3.0)
    assert device.memory_budget(None) == 3 * 2**30
    assert device.memory_budget(1) == 2**30
    monkeypatch.setenv("NAPARI_KINDRED_MEMORY", "2.5")
    assert device.memory_budget(None) == 2.5 * 2**30


def test_a_preferred_device_is_what_auto_takes(
    monkeypatch: pytest.MonkeyPatch, preferring: Callable[..., None]
) -> None:
    monkeypatch.setattr(device, "available", lambda: ["cuda", "cpu"])
    assert device.select().type == "cuda"
    preferring(device="cpu")
    assert device.select().type == "cpu"
    preferring(device="mps")
    with pytest.raises(OptionError, match="settings"):
        device.select()
    assert device.select("cpu").type == "cpu"


@pytest.mark.skipif(device._trimmer() is None, reason="this allocator gives back by itself")
def test_what_was_freed_between_what_is_kept_goes_back_to_the_system() -> None:
    process = psutil.Process()
    blocks = [bytearray(b"x" * (1 << 16)) for _ in range(1024)]
    kept = blocks[::64]
    blocks.clear()
    before = process.memory_info().rss
    device.trim()
    assert before - process.memory_info().rss > 32 << 20
    assert all(set(block) == {ord("x")} for block in kept)
