"""Labels as a TIFF that Fiji opens with pixel size and frame interval."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..label_tiff import write_imagej

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from . import Named


def write(path: Path, results: Sequence[Named], _: Mapping[str, Any]) -> None:
    """Write the labels as a hyperstack: 16 bits, or floating point for ids above 65,535."""
    ((_stem, result),) = results
    write_imagej(path, result.labels, result.axes, result.scale, result.units)
