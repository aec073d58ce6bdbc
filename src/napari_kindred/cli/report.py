"""Checks before a command, and the lines that it prints afterwards."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import InputError
from .progress_bar import Bar

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from .batch import Outcome
    from .tasks import Task


def check_there(path: str | Path) -> None:
    """Refuse a path that leads nowhere; an address is looked up when it is read."""
    from ..images.readers import is_there, split_path
    from ..images.remote import is_url

    if not is_url(path) and not is_there(split_path(path)[0]):
        raise InputError(f"There is no {str(path)!r}; check the path.")


def check_source(source: str | Path) -> None:
    """Refuse what is neither an image nor a folder."""
    from ..images.readers import is_image

    check_there(source)
    if not is_image(source) and not Path(source).is_dir():
        raise InputError(
            f"{Path(source).name!r} is not an image file; give a TIFF, PNG, JPEG or OME-Zarr."
        )


def process(given: argparse.Namespace, task: Task[Any]) -> Outcome:
    """Work on a file, or on every image of a folder or plate."""
    from ..images.readers import images_in, is_image
    from . import batch

    source, out = given.input, given.out
    with Bar() as bar:
        if is_image(source) and not images_in(source):
            return batch.process_file(source, out, task, bar.report, given.overwrite)
        return batch.process_folder(source, out, task, bar.report, given.overwrite, given.resume)


def print_outcome(outcome: Outcome, what: str, more: Sequence[str] = ()) -> None:
    """Print what was found, where, ``more`` of it, and how long it took."""
    noun = "slices" if outcome.provenance.get("link_used") else "frames"
    frames = f" in {outcome.frames} {noun}" if outcome.frames > outcome.done else ""
    images = f" in {outcome.done} images" if outcome.done > 1 else ""
    scale = outcome.provenance.get("scale_used")
    details = [
        *more,
        time_of(outcome),
        *([f"scale {scale:.3g}"] if isinstance(scale, int | float) and not images else []),
        *([f"{outcome.skipped} images were done before"] if outcome.skipped else []),
    ]
    print(f"{outcome.out}: {what}{frames}{images}, {', '.join(details)}")


def print_failures(outcome: Outcome) -> int:
    """Print which images of a folder could not be used; returns the exit code."""
    for name, reason in outcome.failed.items():
        print(f"napari-kindred: {name}: {reason}", file=sys.stderr)
    return 1 if outcome.failed else 0


def time_of(outcome: Any) -> str:
    """Return how long it took, and where it was computed."""
    device = outcome.provenance.get("device")
    return f"{max(0.0, outcome.seconds):.1f} s" + (f" on {device}" if device else "")
