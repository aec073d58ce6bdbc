"""Tasks for tests; workers import this module by its name."""

from __future__ import annotations

import os
import time
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from napari_kindred.core.errors import InputError
from napari_kindred.core.events import Notice, Progress

if TYPE_CHECKING:
    from pathlib import Path

Steps = Generator[Progress | Notice, None, Any]


def opened() -> int:
    """The tool of these tasks."""
    return 10


def add(tool: int, number: int) -> Steps:
    """Later tasks are quicker than earlier ones."""
    time.sleep(0.02 * (number % 3 == 0))
    yield Progress(1, 1, "adding")
    yield Notice(f"{number} was added.")
    return tool + number


def refuse(tool: int, number: int) -> Steps:
    yield Progress(0, 1, "refusing")
    raise InputError(f"Frame {number} is damaged; copy it again.")


def stumble(tool: int, number: int) -> Steps:
    yield Progress(0, 1, "stumbling")
    raise ZeroDivisionError("division\nby zero")


def die_once(tool: int, number: int, mark: Path) -> Steps:
    """The first to come to number 3 takes its whole process along."""
    yield Progress(0, 1, "living")
    if number == 3 and not mark.exists():
        mark.touch()
        os._exit(1)
    return tool + number


def write_down(tool: int, number: int, folder: Path) -> Steps:
    """Leaves a file when it is begun, and another when it is finished."""
    (folder / f"begun {number}").touch()
    for _ in range(200):
        time.sleep(0.05)
        yield Progress(0, 1, "writing")
    (folder / f"finished {number}").touch()
    return number


def threads(tool: int) -> Steps:
    """How many threads PyTorch and the linear algebra have here."""
    import torch
    from threadpoolctl import threadpool_info

    yield Progress(0, 1, "counting")
    blas = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
    return torch.get_num_threads(), blas[0]


def total(tool: int, image: Any) -> Steps:
    """The sum of a lazy image."""
    yield Progress(0, 1, "reading")
    return int(image.sum().compute())
