"""Progress, time and notes of a job as the controls show them. Free of Qt."""

from __future__ import annotations

from abc import ABC, abstractmethod
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari.layers import Labels

    from ...core.events import Metrics, Partial, Progress

MOST_NOTICES = 3
"""More would not be read."""

STAGES = {
    "network": "Segmenting",
    "clustering": "Separating objects",
    "done": "Reading",
    "cached": "Loading cached features",
    "proposals known": "Loading cached features",
    "regions": "Dividing the image into regions",
    "asking the SAM": "Predicting masks with the SAM",
}
"""Names of the stages of jobs, as shown to the user."""


def duration(seconds: float) -> str:
    """Return a time that people can grasp: ``8 s``, ``3 min``, ``1 h 20 min``."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


class Clock:
    """Measures how long a job takes, and estimates how long it may still take."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Begin to count."""
        self._began = self._moving = monotonic()
        self._first_share = 0.0

    def seconds(self) -> float:
        """Return how long it has taken until now."""
        return monotonic() - self._began

    def remaining(self, event: Progress) -> str:
        """Return how long the job may still take, the end of a sentence, empty if unknown."""
        share, now = event.done / max(event.total, 1e-9), monotonic()
        if not share or share < self._first_share or event.what == "cached":
            # What was loaded or cached until now says nothing of other frames.
            self._moving, self._first_share = now, share
        passed, gained = now - self._moving, share - self._first_share
        if passed > 2 and gained > 0.02 and share < 1:
            return f", about {duration(passed * (1 - share) / gained)} left"
        return ""


class JobView(ABC):
    """View of a job; one that makes a layer is a :class:`.Run`."""

    stages: ClassVar[Mapping[str, str]] = STAGES
    layer: Labels | None = None  # the result, from its first frame on
    image_id: object = None  # of the image's layer
    dropped = False  # whether nothing more is shown or saved

    def __init__(self) -> None:
        self._notices: list[str] = []
        self._clock = Clock()

    def begin(self) -> None:
        """Count the time from now on."""
        self._clock.start()

    def drop(self) -> None:
        """Ignore further events: the user removed the result."""
        self.dropped, self.layer = True, None

    @property
    @abstractmethod
    def source(self) -> str:
        """Name of what is processed."""

    def progress(self, event: Progress) -> str:
        """Return what the job is at, how far it is and how long it may still take."""
        text = self.stages.get(event.what, event.what[:1].upper() + event.what[1:])
        if event.frames > 1:
            text += f", {event.frame} of {event.frames} frames done"
        return f"{text}{self._clock.remaining(event)}."

    def notice(self, text: str) -> None:
        """Note something that the user should know."""
        if text and text not in self._notices:
            self._notices.append(text)

    def notices(self) -> list[str]:
        """Return what the user should know, the first few sentences."""
        more = len(self._notices) - MOST_NOTICES
        rest = [f"{more} more notes are in the layer's metadata."] if more > 0 else []
        return self._notices[:MOST_NOTICES] + rest

    def add(self, partial: Partial) -> None:  # noqa: B027 - training has no frames
        """Show a finished frame."""

    def measured(self, metrics: Metrics) -> None:  # noqa: B027 - most jobs measure nothing
        """Note a loss or a score."""

    @abstractmethod
    def finish(self, result: Any) -> str:
        """Show the result, and return a summary."""

    @abstractmethod
    def interrupt(self, reason: str) -> str:
        """Show the finished part, if any, and return a summary."""
