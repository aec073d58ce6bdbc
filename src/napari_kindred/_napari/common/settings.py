"""The plugin's settings, which napari shows under Preferences and keeps."""

from __future__ import annotations

import logging
from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QListWidget

from ...core.settings import Preferences, prefer

logger = logging.getLogger(__name__)

PLUGIN = "napari-kindred"

DIALOG = "napari.window.file.show_preferences_dialog"
"""napari's command that opens its preferences."""

DAMAGED = "The settings could not be read, so the defaults are used; please check them."
NO_SETTINGS = (
    "Settings need napari 0.9 or newer; with this one, set NAPARI_KINDRED_MEMORY, "
    "NAPARI_KINDRED_CACHE and NAPARI_KINDRED_CACHE_LIMIT before napari is started."
)


def apply_settings() -> str:
    """Apply napari's settings of this plugin, now and when they change; returns a fault, if any."""
    try:
        settings = _settings()
    except Exception:
        logger.exception("napari's settings of this plugin could not be read")
        prefer(Preferences())
        return DAMAGED
    if settings is not None:
        for section in (settings.computing, settings.cache):
            section.events.connect(lambda *_: prefer(preferences_of(_settings())))
        prefer(preferences_of(settings))
    return ""


def preferences_of(settings: Any) -> Preferences:
    """Return napari's settings as the library's, whose special numbers are None."""
    return Preferences(
        device=str(settings.computing.device),
        memory=float(settings.computing.memory) or None,
        cache_folder=str(settings.cache.folder).strip(),
        cache_limit=None if settings.cache.limit < 0 else float(settings.cache.limit),
    )


def _settings() -> Any:
    """Return napari's settings of this plugin, None if there are none."""
    try:
        from napari.settings import get_plugin_settings
    except ImportError:  # before napari 0.9
        return None
    return get_plugin_settings().get(PLUGIN)


def open_settings() -> str:
    """Show the plugin's page of napari's preferences; returns a sentence if there is none."""
    if _settings() is None:
        return NO_SETTINGS
    from napari._app_model import get_app_model

    dialog = get_app_model().commands.execute_command(DIALOG).result()
    for pages in dialog.findChildren(QListWidget):
        for item in pages.findItems(PLUGIN, Qt.MatchFlag.MatchExactly):
            pages.setCurrentItem(item)
    return ""


def prefer_reader() -> str:
    """Open OME-Zarr with this plugin unless the user chose another reader; returns a note.

    Otherwise napari proposes its own reader, which finds no image in a saved result.
    """
    from napari.settings import get_settings

    plugins = get_settings().plugins
    if any("zarr" in pattern for pattern in plugins.extension2reader):
        return ""
    plugins.extension2reader = {**plugins.extension2reader, "*.ome.zarr/": PLUGIN}
    return (
        "From now on napari opens *.ome.zarr with napari-kindred; change that under "
        "Preferences ▸ Plugins."
    )
