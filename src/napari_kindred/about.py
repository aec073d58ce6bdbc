"""What is installed, and how a result came about, in lines of text."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from . import __version__
from .errors import InputError, KindredError

if TYPE_CHECKING:
    from pathlib import Path


def installed() -> Iterator[str]:
    """Tell versions, device, weights, encoders and the cache folder."""
    from .device import describe
    from .encoders.registry import list_encoders
    from .weights import cache_dir

    yield f"napari-kindred {__version__}, Python {platform.python_version()}, {sys.platform}"
    for name in ("numpy", "torch", "timm", "zarr", "napari"):
        try:
            yield f"  {name} {version(name)}"
        except PackageNotFoundError:
            yield f"  {name} is not installed"
    yield f"device: {describe()}"
    encoders = list_encoders()
    yield "weights:"
    yield from _weights({encoder.name for encoder in encoders})
    yield "encoders:"
    for encoder in encoders:
        size = f"{encoder.size / 1e6:.0f} MB " if encoder.size else ""
        place = "on this machine" if encoder.here else f"{size}to download when first used"
        yield f"  {encoder.name}: {encoder.about}; licence {encoder.licence}; {place}"
    yield f"cache: {cache_dir()}"


def _weights(told_later: set[str]) -> Iterator[str]:
    from .weights import WEIGHTS, cache_dir, file_sha256, resolve

    for name, entry in WEIGHTS.items():
        if name in told_later:
            continue
        try:
            path = resolve(name) if "://" not in entry.source else cache_dir() / entry.file_name
            state = f"sha256 {file_sha256(path)}" if path.exists() else "not downloaded yet"
        except KindredError as error:
            state = str(error)
        yield f"  {name}: {entry.about} ({entry.licence}); {state}"


def of_file(path: Path) -> Iterator[str]:
    """Tell how a result came about.

    Parameters
    ----------
    path : Path
        A result, or the JSON file beside one.

    Raises
    ------
    InputError, OutputError
        When it cannot be read.
    """
    from .results import load_segmentation

    if path.suffix == ".json":
        try:
            yield path.read_text("utf-8").rstrip("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{str(path)!r} cannot be read; check the path.") from error
    else:
        facts = load_segmentation(path).provenance
        yield json.dumps(facts, indent=2, ensure_ascii=False)
