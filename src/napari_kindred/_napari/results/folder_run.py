"""The same as a result for every image of a folder, by the command line in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QFileDialog

from ...core.errors import KindredError
from ...core.events import Progress
from ...images.readers import list_images
from ...results.recipe import recipe_of
from ...results.storage import PROVENANCE
from ..common.layers import KEY
from ..common.worker import Job

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from magicgui.widgets import PushButton

    from ...core.events import Event

PROGRAM = (sys.executable, "-m", "napari_kindred")

_BETWEEN_LOOKS = 0.2
"""Seconds between two looks at what the process has done."""

_PATIENCE = 20.0
"""Seconds in which a process that was asked to stop keeps what it has done."""

START, STOP = "Run on a folder …", "Stop the folder run"


class FolderRun:
    """A button that computes the selected result for a folder of images, or stops that.

    Parameters
    ----------
    button : PushButton
    show_message : callable
        Takes a sentence, and ``wrong=`` if it is an error.
    """

    def __init__(self, button: PushButton, show_message: Callable[..., None]) -> None:
        self.button, self._show_message = button, show_message
        self._job: Job | None = None

    @property
    def busy(self) -> bool:
        """Whether a folder is being worked on."""
        return self._job is not None

    def press(self, layer: Any) -> None:
        """Ask for the folders and start, or stop."""
        if self._job is not None:
            self._job.cancel()
            return
        source = QFileDialog.getExistingDirectory(self.button.native, "Folder of images")
        out = source and QFileDialog.getExistingDirectory(self.button.native, "Folder for results")
        if out:
            self.start(layer, Path(source), Path(out))

    def start(self, layer: Any, source: Path, out: Path) -> None:
        """Compute the layer's result for each image of a folder; what is done before is kept."""
        try:
            recipe = recipe_of(layer.metadata[KEY])
            count = 1 if recipe.method.folder_is_movie else len(list_images(source))
            words = list(recipe.commands(source, out)[-1][1:])
        except KindredError as error:
            self._show_message(str(error), wrong=True)
            return
        if not recipe.method.folder_is_movie:
            words.append("--resume")
        self._show_message(f"Working on {source.name!r} …")
        self.button.text = STOP
        self._job = Job(
            partial(iter_command, words, out, count),
            f"Folder {source.name}",
            on_event=self._report,
            on_success=self._ended,
            on_failure=lambda error: self._ended(str(error), wrong=True),
            on_cancel=lambda: self._ended(
                f"Stopped. What is done is in {str(out)!r}; the same folders again resume it."
            ),
        )

    def _report(self, event: Event) -> None:
        if isinstance(event, Progress) and self._job is not None:
            self._job.report(event.done / max(event.total, 1), event.what)
            self._show_message(f"{event.what[:1].upper()}{event.what[1:]} …")

    def _ended(self, text: str, *, wrong: bool = False) -> None:
        self._job = None
        self.button.text = START
        self._show_message(text, wrong=wrong)

    def abandon(self) -> None:
        """Stop without touching the window, which is being closed."""
        if self._job is not None:
            self._job.abandon()


def iter_command(
    words: Sequence[str], out: Path, count: int, program: Sequence[str] = PROGRAM
) -> Generator[Progress, None, str]:
    """Run a command of ours, yielding how many images it has done; returns what it printed.

    Raises
    ------
    KindredError
        With what it printed, if it failed.
    """
    with tempfile.TemporaryFile() as printed:
        running = subprocess.Popen(
            [*program, *words],
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=subprocess.STDOUT,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
        try:
            while running.poll() is None:
                done = images_done(out)
                yield Progress(done, count, f"image {min(done + 1, count)} of {count}")
                time.sleep(_BETWEEN_LOOKS)
        finally:
            _stop(running)
        printed.seek(0)
        lines = printed.read().decode("utf-8", "replace").split("\n")
    text = "\n".join(line.removeprefix("napari-kindred: ") for line in lines if line.strip())
    if running.returncode:
        raise KindredError(text or "The command failed without a word; run it in a terminal.")
    return text


def images_done(out: Path) -> int:
    """Return how many images of a folder are done, or could not be used."""
    with suppress(OSError, ValueError, LookupError, TypeError):
        content = json.loads((out / PROVENANCE).read_text("utf-8"))
        return len(content["images"]) + len(content["failed"])
    return 0


def _stop(running: subprocess.Popen[bytes]) -> None:
    """End a process, which keeps what it has done if the system lets it know."""
    if running.poll() is not None:
        return
    running.terminate()  # Ctrl-C's signal is ignored where napari runs in the background
    try:
        running.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        running.kill()
        running.wait()
