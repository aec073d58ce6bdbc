"""Small images of kinds that the shipped weights know: to see what is forgotten, and to rehearse.

Made by ``benchmarks/make_control.py`` of Data Science Bowl 2018 and BBBC039 (both CC0) and Usiigaci
(MIT).
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...models.training_data import Example, example_of

if TYPE_CHECKING:
    from collections.abc import Sequence

FOLDER = Path(__file__).parent

HIGHEST = 1.5
"""Normalised intensity that is stored as 255."""


def control_set() -> Sequence[Example]:
    """Return the images that weights are measured on."""
    return _read("control")


def rehearsal_set() -> Sequence[Example]:
    """Return the images, others than those of the control set, that are trained on again."""
    return _read("rehearsal")


@lru_cache(maxsize=2)
def _read(name: str) -> Sequence[Example]:
    with np.load(FOLDER / f"{name}.npz") as arrays:
        names = [name.removeprefix("image ") for name in arrays if name.startswith("image ")]
        return [
            example_of(
                name,
                arrays[f"image {name}"].astype(np.float32) * np.float32(HIGHEST / 255),
                arrays[f"labels {name}"].astype(np.int32),
                group=name.rpartition(" ")[0],
            )
            for name in names
        ]
