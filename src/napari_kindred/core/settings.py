"""What is used in this process where neither an option nor an environment variable says otherwise.

The window sets it from napari's settings; scripts and the command line leave it as it is.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

CACHE_VARIABLE = "NAPARI_KINDRED_CACHE"
"""Environment variable that names another folder for downloaded weights."""

WEIGHTS_VARIABLE = "NAPARI_KINDRED_WEIGHTS"
"""Environment variable that names another folder for the weights that users make."""


@dataclass(frozen=True, slots=True)
class Preferences:
    """What a user prefers on this machine.

    Attributes
    ----------
    device : str
        Taken for ``"auto"``; ``"auto"`` leaves the fastest.
    memory : float or None
        Gigabytes that a job may take; None is half of what is free.
    cache_folder : str
        Of downloaded weights and encoded frames; the system's own place when empty.
    cache_limit : float or None
        Gigabytes that encoded frames may take; None is a tenth of the free disk, at most 10.
    """

    device: str = "auto"
    memory: float | None = None
    cache_folder: str = ""
    cache_limit: float | None = None


_now = Preferences()


def preferences() -> Preferences:
    """Return what is preferred now."""
    return _now


def prefer(chosen: Preferences) -> None:
    """Prefer something else from now on, in this process."""
    global _now
    _now = chosen


def cache_dir() -> Path:
    """Return the folder of downloaded weights, which need not exist yet."""
    chosen = os.environ.get(CACHE_VARIABLE) or preferences().cache_folder
    if chosen:
        return Path(chosen).expanduser()
    return _base("Caches", "XDG_CACHE_HOME", ".cache") / "napari-kindred"


def weights_dir() -> Path:
    """Return the folder of weights that were learnt from corrections, which need not exist yet."""
    chosen = os.environ.get(WEIGHTS_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    base = _base("Application Support", "XDG_DATA_HOME", ".local/share")
    return base / "napari-kindred" / "weights"


def _base(mac: str, variable: str, other: str) -> Path:
    """Return the user's folder of a kind: in macOS's Library, by an XDG variable, or in home."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    if sys.platform == "darwin":
        return Path.home() / "Library" / mac
    return Path(os.environ.get(variable, Path.home() / other))
