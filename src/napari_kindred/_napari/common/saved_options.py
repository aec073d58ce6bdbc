"""Options of each method's last run, saved in the user's folder for the next session."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

from platformdirs import user_config_path

from ...core.errors import KindredError
from ...results.atomic import replacing

logger = logging.getLogger(__name__)

FOLDER_VARIABLE = "NAPARI_KINDRED_CONFIG"
"""Environment variable that names another folder for the options."""

DAMAGED = "The options of your last run could not be read, so the defaults are shown."


def place() -> Path:
    """Return the file, which need not exist yet."""
    folder = os.environ.get(FOLDER_VARIABLE)
    chosen = Path(folder).expanduser() if folder else user_config_path("napari-kindred", False)
    return chosen / "options.json"


def load_options(method: str) -> tuple[dict[str, Any], str]:
    """Return a method's saved options, maybe of another version, and a sentence if unreadable."""
    try:
        options = _read().get(method, {})
        if not isinstance(options, dict):
            raise ValueError(f"no options: {options!r}")
    except (OSError, ValueError) as error:
        logger.info("%s: %s", place(), error)
        return {}, DAMAGED
    return options, ""


def save_options(method: str, options: dict[str, Any]) -> None:
    """Save a method's options; if that fails, the previous ones stay."""
    file = place()
    try:
        saved = _read()
    except (OSError, ValueError):
        saved = {}
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file) as part:
            part.write_text(json.dumps({**saved, method: options}, indent=2) + "\n", "utf-8")
    except (OSError, KindredError) as error:
        logger.info("%s: %s", file, error)


def _read() -> dict[str, Any]:
    """Return the saved options of all methods."""
    file = place()
    if not file.exists():
        return {}
    saved = json.loads(file.read_text("utf-8"))
    if not isinstance(saved, dict):
        raise ValueError(f"no options: {saved!r}")
    return saved
