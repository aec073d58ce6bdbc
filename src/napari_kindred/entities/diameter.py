"""The typical diameter of the objects, which may be given in place of a scale."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from ..core.errors import InputError
from ..images.ome import micrometers_in
from .auto_scale import LARGEST, TARGET
from .config import SHORT_UNITS, length_in

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .config import EntityConfig


def pixel_size(scale: Sequence[float] | None, units: Sequence[str] | None) -> float | None:
    """Return the micrometres of a pixel, the mean of rows and columns; None if unknown."""
    if scale is None or units is None:
        return None
    sizes = [micrometers_in(str(unit)) or math.nan for unit in units[-2:]]
    size = math.sqrt(
        math.prod(abs(step) * one for step, one in zip(scale[-2:], sizes, strict=True))
    )
    return size if math.isfinite(size) and size > 0 else None


def at_diameter(
    config: EntityConfig, scale: Sequence[float] | None, units: Sequence[str] | None
) -> EntityConfig:
    """Return a config with the scale that its diameter asks for, of an image with pixel sizes.

    Raises
    ------
    InputError
        If the diameter is a length and the image does not tell how large its pixels are.
    """
    if config.diameter is None:
        return config
    length, unit = length_in(str(config.diameter))
    if unit != "px":
        size = pixel_size(scale, units)
        if size is None:
            raise InputError(
                f"diameter={config.diameter!r} needs the size of a pixel, which this image does "
                "not tell; give the diameter in pixels."
            )
        length *= SHORT_UNITS[unit] / size
    wanted = max(min(TARGET / length, LARGEST), 0.02)
    return replace(config, scale=round(wanted, 3), diameter=None)


def in_words(pixels: float, size: float | None) -> str:
    """Return a diameter in pixels, and in micrometres where ``size`` is that of a pixel."""
    text = f"{pixels:.0f} pixels"
    return text if size is None else f"{text} ({pixels * size:.3g} µm)"
