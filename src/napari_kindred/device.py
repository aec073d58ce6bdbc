"""Where to compute: CUDA before MPS before CPU."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from .errors import OptionError


def available() -> list[str]:
    """Return the kinds of device this machine has, fastest first; ``"cpu"`` is always the last."""
    kinds = []
    if torch.cuda.is_available():
        kinds.append("cuda")
    if torch.backends.mps.is_available():
        kinds.append("mps")
    return [*kinds, "cpu"]


def select(name: str | torch.device = "auto") -> torch.device:
    """Choose a device.

    Parameters
    ----------
    name : str or torch.device
        ``"auto"`` takes the fastest one there is; else ``"cpu"``, ``"mps"``, ``"cuda"`` or
        ``"cuda:1"``.

    Raises
    ------
    OptionError
        When the machine has no such device.
    """
    kinds = available()
    if name == "auto":
        return torch.device(kinds[0])
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise OptionError(
            f"device={name!r} is no device; use 'auto' or one of {', '.join(kinds)}."
        ) from error
    count = torch.cuda.device_count() if device.type == "cuda" else 1
    if device.type not in kinds or (device.index or 0) >= count:
        raise OptionError(
            f"device={str(name)!r} is not available to PyTorch {torch.__version__} on this "
            f"machine; use 'auto' or one of {', '.join(kinds)}."
        )
    return device


@contextmanager
def inference() -> Iterator[None]:
    """Compute without gradients, and without picking algorithms by timing.

    Timed algorithm choice (cuDNN's benchmark mode) may differ from run to run, and with it the
    last bits of a result; the same input, options and device must give the same labels.
    """
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = False
    try:
        with torch.inference_mode():
            yield
    finally:
        torch.backends.cudnn.benchmark = before


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an exception means that the device's memory was not enough."""
    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and (
        "out of memory" in text or "not enough memory" in text or "can't allocate memory" in text
    )


def release(device: torch.device) -> None:
    """Give cached memory back, before trying again with less."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def describe(device: torch.device | None = None) -> str:
    """Return one line naming a device (default: the automatic choice) for people to read."""
    device = select() if device is None else device
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        return f"{device} ({properties.name}, {properties.total_memory / 2**30:.0f} GB)"
    if device.type == "mps":
        return "mps (Apple GPU)"
    return f"cpu ({platform.machine()}, {torch.get_num_threads()} threads)"
