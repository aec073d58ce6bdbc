"""Where to compute: CUDA before MPS before CPU."""

from __future__ import annotations

import functools
import os
import platform
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import psutil
import torch

from ..core.errors import KindredError, OptionError, says_no_memory
from ..core.events import Notice
from ..core.settings import preferences

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

Result = TypeVar("Result")

MEMORY_VARIABLE = "NAPARI_KINDRED_MEMORY"
"""Environment variable with the memory limit in gigabytes of jobs whose options have none."""

SHARE = 0.5
"""Share of the free memory that is used without a memory limit."""

_CGROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
    ),
)
"""Files with a container's memory limit and use, versions 2 and 1; other systems have none."""


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
        ``"auto"`` takes the one that :mod:`.preferences` name, else the fastest one there is;
        others are ``"cpu"``, ``"mps"``, ``"cuda"`` and ``"cuda:1"``.

    Raises
    ------
    OptionError
        When the machine has no such device.
    """
    kinds = available()
    if name == "auto":
        name = preferences().device
        if name == "auto":
            return torch.device(kinds[0])
        if name not in kinds:
            raise OptionError(
                f"The settings ask for the device {name!r}, which is not available to PyTorch "
                f"{torch.__version__} on this machine; choose auto or another one in the settings."
            )
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise OptionError(
            f"device={name!r} is not a device; use 'auto' or one of {', '.join(kinds)}."
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
    """Whether an exception means that the device's memory was not enough."""
    return isinstance(error, torch.cuda.OutOfMemoryError) or says_no_memory(error)


@functools.cache
def _trimmer() -> Callable[[int], int] | None:
    """Return glibc's function that gives freed memory back; None with another allocator."""
    if sys.platform != "linux":
        return None
    import ctypes

    return getattr(ctypes.CDLL(None), "malloc_trim", None)


def trim() -> None:
    """Give freed memory back to the system, which the allocator may hold for later.

    Between arrays of many sizes glibc's holds more and more over a long movie.
    """
    trimmer = _trimmer()
    if trimmer is not None:
        trimmer(0)


def release(device: torch.device) -> None:
    """Give cached memory back, before another attempt with less."""
    trim()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def halving(
    attempt: Callable[[int], Generator[Any, None, Result]],
    size: int,
    *,
    smallest: int,
    unit: str,
    device: torch.device | None = None,
    advice: str = "close other programs or choose device='cpu'",
) -> Generator[Any, None, Result]:
    """Run a job, with half the size each time that memory is not enough for it.

    Parameters
    ----------
    attempt : callable
        Starts the job with a size.
    size : int
        First size, of a tile, a batch ….
    smallest : int
        Smallest size to try.
    unit : str
        Description of the size ``{}``: ``"tiles of {} pixels"``.
    device : torch.device, optional
        Device whose cached memory is given back before the next attempt.
    advice : str
        Advice to the user if even the smallest size is too much.

    Yields
    ------
    Notice
        If a smaller size is used, next to the job's own events.

    Raises
    ------
    KindredError
        If memory is not enough for the smallest size either.
    """
    while True:
        try:
            return (yield from attempt(size))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if size // 2 < smallest:
                raise KindredError(
                    f"Memory is not enough even for {unit.format(size)}; {advice}."
                ) from error
            size //= 2
        if device is not None:  # only here, because the exception holds the attempt's tensors
            release(device)
        yield Notice(f"Memory was not enough; going on with {unit.format(size)}.")


def memory_budget(memory: float | None, device: str | torch.device = "cpu") -> int:
    """Return how many bytes a job may take.

    Parameters
    ----------
    memory : float or None
        Gigabytes (2**30 bytes) from the options; for None the environment variable
        ``NAPARI_KINDRED_MEMORY``, else :mod:`.preferences`, else half of the free memory.
    device : str or torch.device
        Of a CUDA device, its own memory; of any other, the machine's, or the container's if that
        is less.

    Raises
    ------
    OptionError
        If the environment variable is not a number above 0.
    """
    left_open = os.environ.get(MEMORY_VARIABLE) or preferences().memory
    chosen = left_open if memory is None else memory
    if chosen:
        try:
            budget = int(float(chosen) * 2**30)
        except (ValueError, OverflowError):
            budget = 0
        if budget <= 0:
            raise OptionError(
                f"{MEMORY_VARIABLE}={chosen!r} must be a number of gigabytes above 0."
            )
        return budget
    device = torch.device(device)
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0]
    else:
        free = min(psutil.virtual_memory().available, _free_in_container())
    return int(SHARE * free)


def _free_in_container() -> int:
    """Bytes that a container's limit leaves; without a limit, more than any machine has."""
    for limit, used in _CGROUPS:
        try:
            allowed, taken = (int(Path(file).read_text("ascii")) for file in (limit, used))
        except (OSError, ValueError):  # no such file, or "max"
            continue
        return max(allowed - taken, 0)
    return 2**63


def fitting_side(side: int, budget: int, bytes_per_pixel: float, smallest: int) -> int:
    """Return the side of a square that fits into a budget of bytes, at most ``side`` pixels.

    If ``side`` itself does not fit, the largest power of two that does, at least ``smallest``.
    """
    room = (budget / bytes_per_pixel) ** 0.5
    if side <= max(room, smallest):
        return side
    return max(1 << (max(int(room), 1).bit_length() - 1), smallest)


def describe(device: torch.device | None = None) -> str:
    """Return one line that names a device (default: the automatic choice)."""
    device = select() if device is None else device
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        return f"{device} ({properties.name}, {properties.total_memory / 2**30:.0f} GB)"
    if device.type == "mps":
        return "mps (Apple GPU)"
    return f"cpu ({platform.machine()}, {torch.get_num_threads()} threads)"


def load_triton_apart() -> None:
    """Load triton so that it uses its own copy of LLVM, before timm and torchvision load it.

    On Linux, Mesa's drivers (software OpenGL, and many graphics cards) put the system's LLVM where
    every library loaded later finds it. Triton carries another LLVM; bound to the system's one, it
    crashes while it is imported, and napari's window with it. ``RTLD_DEEPBIND`` makes a library
    look into itself first.
    """
    if "triton" in sys.modules or not hasattr(os, "RTLD_DEEPBIND"):
        return
    before = sys.getdlopenflags()
    sys.setdlopenflags(before | os.RTLD_DEEPBIND)
    try:
        # Triton comes with PyTorch for CUDA only; without it there is nothing to separate.
        with suppress(ImportError):
            import triton  # noqa: F401
    finally:
        sys.setdlopenflags(before)
