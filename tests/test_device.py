from __future__ import annotations

import pytest
import torch

from napari_kindred import device
from napari_kindred.errors import OptionError


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
