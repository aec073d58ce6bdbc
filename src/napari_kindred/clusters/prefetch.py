"""The frames of a movie, the next of which is read while one is worked on."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..images.intensity import Levels
    from ..images.stack import ImageStack


@dataclass(frozen=True)
class Frame:
    """A frame of the movie."""

    pixels: NDArray[np.float32]
    """Normalised by the movie's range, (H, W, C)."""
    grey: NDArray[np.float32]
    """Intensities as they are in the movie, (H, W)."""
    note: str
    faint: bool
    """Whether no edge in it stands out from its noise."""


class Reader:
    """Reads frames by number, and one ahead.

    One thread reads, so that a source of any kind has no two requests at once.
    """

    def __init__(self, frames: ImageStack) -> None:
        self.range: Levels = (0.0, 1.0)  # intensities that become 0 and 1
        self._frames = frames
        self._indices = list(frames.indices())
        self._thread = ThreadPoolExecutor(1, "napari-kindred-reading")
        self._ahead: tuple[int, Future[Frame]] | None = None

    def read(self, number: int, following: int | None = None) -> Frame:
        """Return a frame; ``following`` is read in the meantime, if there is such a frame."""
        ahead, self._ahead = self._ahead, None
        if ahead is None or ahead[0] != number:
            ahead = number, self._thread.submit(self._read, number)
        if following is not None and following < len(self._indices):
            self._ahead = following, self._thread.submit(self._read, following)
        return ahead[1].result()

    def _read(self, number: int) -> Frame:
        raw = self._frames.read(self._indices[number])
        grey = raw.pixels.mean(-1)
        return Frame(raw.normalised(self.range), grey, raw.note, raw.faint and not raw.empty)

    def close(self) -> None:
        """Stop reading; returns once the frame that is being read is done."""
        self._thread.shutdown(wait=True, cancel_futures=True)
