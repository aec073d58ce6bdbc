"""Run, Cancel, and how far the job is: starts jobs, waits in line, and ends them cleanly."""

from __future__ import annotations

import logging
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from magicgui.widgets import Container, ProgressBar, PushButton
from napari.layers import Labels
from vispy.visuals.line.dash_atlas import DashAtlas

from ...core.events import Event, Metrics, Notice, Partial, Progress
from .form import row, sentence, show_message
from .shortcuts import CANCEL, RUN, shortcut_hint
from .worker import Job, as_kindred

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from ...core.errors import KindredError
    from .job_view import JobView

logger = logging.getLogger(__name__)

FIRST = "Loading PyTorch, once after napari was opened …"
"""Message while the first job starts, which takes up to a minute."""

STEPS = 1000
"""Number of steps of the progress bar."""


class RunControls:
    """Two buttons, a bar and a sentence, and the job that they are about."""

    def __init__(
        self, viewer: Any, title: str, run_tip: str, on_end: Callable[[JobView, Any], None]
    ) -> None:
        self._viewer, self._title, self._on_end = viewer, title, on_end
        self._job: Job | None = None
        self._why = ""
        self.view: JobView | None = None
        self.run = PushButton(text="Run", tooltip=run_tip + shortcut_hint(RUN))
        self.cancel = PushButton(
            text="Cancel",
            enabled=False,
            tooltip="Stop; finished frames stay in the layer." + shortcut_hint(CANCEL),
        )
        self.progress = ProgressBar(min=0, max=STEPS, value=0)
        self.status = sentence()
        self.buttons = row(self.run, self.cancel)
        self.cancel.changed.connect(self.stop)
        viewer.layers.events.removed.connect(self._removed)

    def rows(self) -> list[Any]:
        """Return what is shown, from top to bottom."""
        return [self.status, self.progress, self.buttons]

    def settle(self) -> None:
        """Hide progress and status; to be called once after the rows are laid out."""
        self.progress.visible = False
        self.status.visible = False

    @property
    def busy(self) -> bool:
        """Whether a job runs, or waits for another widget's."""
        return self._job is not None

    def show_message(self, text: str, *, wrong: bool = False) -> None:
        """Show a message above the buttons, which stay where they are, in red if it is an error."""
        self.status.visible = bool(text)
        show_message(self.status, text, wrong=wrong)

    # -- a job -----------------------------------------------------------------------------

    def launch(self, view: JobView, job: Callable[[], Generator[Event, None, Any]]) -> None:
        """Begin a job, or wait for that of another widget."""
        self.view, self._why = view, ""
        self.progress.native.setRange(0, 0)  # moves without a number until there is progress
        self.progress.visible = True
        self.run.enabled = False
        self.cancel.enabled = True
        self._job = Job(
            partial(_prepared, job),
            f"{self._title} of {view.source}",
            on_event=partial(self._event, view),
            on_success=partial(self._done, view),
            on_failure=partial(self._failed, view),
            on_cancel=partial(self._cancelled, view),
            on_start=partial(self._begun, view),
            on_wait=self._waiting,
        )
        self.run.enabled = False  # a check may have come in between, as the job was made

    def stop(self, *_: Any) -> None:
        """Ask the job to stop; what is done stays."""
        if self._job is not None:
            self.cancel.enabled = False
            self.show_message("Stopping …")
            self._job.cancel()

    def abandon(self, *_: Any) -> None:
        """Stop the job without further callbacks: the window is being closed."""
        if self._job is not None:
            self._job.abandon()
            self._job = None

    def _removed(self, event: Any) -> None:
        """Stop where the image is gone, or the result, which then does not come back."""
        if self._job is None or self.view is None:
            return
        gone = event.value.unique_id
        if self.view.layer is not None and gone == self.view.layer.unique_id:
            self.view.drop()
            self._why = "Stopped: the result layer was removed."
        elif gone == self.view.image_id:
            self._why = self._why or "Stopped: the image layer was removed."
        else:
            return
        self.stop()

    # -- events of a job -------------------------------------------------------------------

    def _waiting(self, name: str) -> None:
        self.show_message(f"Waiting for {name} …")

    def _begun(self, view: JobView) -> None:
        view.begin()
        self.show_message("Starting …" if "torch" in sys.modules else FIRST)

    def _event(self, view: JobView, event: Event) -> None:
        try:
            self._show_event(view, event)
        except Exception as error:
            logger.exception("a frame could not be shown")
            self.abandon()
            self._failed(view, as_kindred(error))

    def _show_event(self, view: JobView, event: Event) -> None:
        if isinstance(event, Progress):
            share = min(1.0, event.done / max(event.total, 1e-9))
            self.progress.native.setRange(0, STEPS)
            self.progress.value = round(STEPS * share)
            if self.cancel.enabled:
                text = view.progress(event)
                self.show_message(" ".join([text, *view.notices()]))
                if self._job is not None:
                    self._job.report(share, text.rstrip("."))
        elif isinstance(event, Partial):
            view.add(event)
        elif isinstance(event, Metrics):
            view.measured(event)
        elif isinstance(event, Notice):
            view.notice(event.text)

    def _done(self, view: JobView, result: Any) -> None:
        if view.dropped:  # as it ended
            self._cancelled(view)
            return
        try:
            text = view.finish(result)
        except Exception as error:
            logger.exception("the result could not be shown")
            self._failed(view, as_kindred(error))
            return
        self._end(view, text, result)

    def _cancelled(self, view: JobView) -> None:
        self._end(view, f"{self._why or 'Cancelled.'} {view.interrupt('cancelled')}".rstrip())

    def _failed(self, view: JobView, error: KindredError) -> None:
        text = str(error)
        try:
            kept = view.interrupt(text)
        except Exception:
            logger.exception("what was done could not be kept")
        else:
            text += f" {kept}" if view.layer is not None else ""
        self._end(view, text, wrong=True)

    def _end(self, view: JobView, text: str, result: Any = None, *, wrong: bool = False) -> None:
        self._job = None
        self.cancel.enabled = False
        self.progress.visible = False
        self._on_end(view, result)
        self.show_message(" ".join([text, *view.notices()]), wrong=wrong)


def _prepared(job: Callable[[], Generator[Event, None, Any]]) -> Generator[Event, None, Any]:
    """Start a job; called in another thread."""
    # napari's first Labels layer compiles its colours and draws patterns of dashed lines, which
    # would block the window for a second.
    Labels(np.zeros((1, 1), np.int32))
    DashAtlas()
    return job()


def pinned(rows: list[Any]) -> Container:
    """Return rows as one that stays in sight below what scrolls."""
    bar = Container(widgets=rows, labels=False)
    bar.margins = (9, 4, 9, 6)
    return bar
