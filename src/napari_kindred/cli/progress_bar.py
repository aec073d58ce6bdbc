"""Progress of a command, and how it is stopped."""

from __future__ import annotations

import signal
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..core.events import Event, Metrics, Partial, Progress

if TYPE_CHECKING:
    from collections.abc import Iterator


class Bar:
    """A progress bar on stderr if that is a terminal; notices and metrics are printed anywhere."""

    def __init__(self) -> None:
        from tqdm import tqdm

        # The percentage stays truthful whatever the units of the work are.
        layout = "{l_bar}{bar}| {elapsed}<{remaining}{postfix}"
        self._bar = tqdm(total=1.0, disable=None, bar_format=layout, leave=False)
        self._told: set[str] = set()

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def report(self, event: Event, place: int = 0, count: int = 1) -> None:
        """Show an event of image ``place`` of ``count``."""
        image = f"image {place + 1}/{count} " if count > 1 else ""
        if isinstance(event, Progress):
            share = min(1.0, event.done / event.total) if event.total else 0.0
            self._bar.n = (place + share) / count
            frame = f"frame {event.frame}/{event.frames} " if event.frames > 1 else ""
            self._bar.set_postfix_str(f"{image}{frame}{event.what}")
        elif isinstance(event, Partial):
            self._tell(f"{image}{event.note}" if event.note else "")
        elif isinstance(event, Metrics):
            self._bar.write(event.text, file=sys.stdout)
        elif not image:
            self._tell(event.text)  # of a folder's images, they are in provenance.json

    def _tell(self, text: str) -> None:
        if text and text not in self._told:
            self._told.add(text)
            self._bar.write(f"napari-kindred: {text}", file=sys.stderr)


@contextmanager
def terminate_like_interrupt() -> Iterator[None]:
    """Treat a cluster's SIGTERM, and a terminal's SIGHUP, like Ctrl-C: what is done is kept."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    names = ("SIGTERM", "SIGHUP")  # Windows knows the first alone
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    # What is ignored, as under nohup, stays so.
    heard = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, interrupt) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
