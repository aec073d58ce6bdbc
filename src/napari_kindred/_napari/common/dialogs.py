"""Dialogs for files, which open next to the image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QFileDialog

from ...results.atomic import refuse_existing
from .layers import KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qtpy.QtWidgets import QWidget


def folder_of(viewer: Any, layer: Any) -> Path | None:
    """Return the folder of the image that a layer shows or was made of, None if unknown."""
    source = {} if layer is None else layer.metadata.get(KEY, {})
    images = [image for image in viewer.layers if image.name == source.get("source_layer")]
    for known in (*images, layer):
        if known is not None and known.source.path:
            return Path(known.source.path).parent
    return None


def ask_where_to_save(
    parent: QWidget, title: str, name: str, kinds: Sequence[str], folder: Path | None
) -> tuple[Path | None, str]:
    """Ask for a file and its kind, starting with ``name`` in a folder; None if cancelled."""
    start = name if folder is None else str(folder / name)
    chosen, kind = QFileDialog.getSaveFileName(parent, title, start, ";;".join(kinds))
    return (Path(chosen) if chosen else None), kind


def save_as(path: Path, suffix: str, write: Callable[[Path], Any]) -> Path:
    """Write a file, adding a suffix that is missing; returns its path."""
    # The dialog has asked about replacing a file of the very name, not of the one with the suffix.
    has_suffix = path.name.lower().endswith(suffix)
    named = path if has_suffix else path.with_name(f"{path.name}{suffix}")
    refuse_existing(named, overwrite=named == path)
    write(named)
    return named
