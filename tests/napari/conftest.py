"""A stand-in for the network: thresholds frames, and stops at a gate where a test says so."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy import ndimage as ndi

from napari_kindred.events import Event, Notice, Partial, Progress
from napari_kindred.images import Frames
from napari_kindred.results import Assembly, Segmentation, measure, provenance

if TYPE_CHECKING:
    from napari_kindred.config import EntityConfig


class Threshold:
    """Segments by threshold, with the events of the real job.

    Attributes
    ----------
    gates : dict
        Frames, by number, before which the job waits for an event to be set; looking a hundred
        times a second, and yielding meanwhile as the real one does after every tile.
    errors : dict
        Frames, by number, in place of which an error is raised.
    closed : bool
        Whether the job was closed before its end.
    """

    def __init__(self) -> None:
        self.gates: dict[int, threading.Event] = {}
        self.errors: dict[int, BaseException] = {}
        self.closed = False
        self.thread = ""

    def __call__(self, image: Any, *, config: EntityConfig) -> Generator[Event, None, Segmentation]:
        frames = Frames.open(image, config.axes, config.channel)
        done = Assembly(frames)
        self.thread = threading.current_thread().name
        yield Notice("Scale 1.25: entities are about 24 pixels across.")
        try:
            for number, index in enumerate(frames.indices()):
                gate = self.gates.get(number)
                while gate is not None and not gate.wait(0.01):
                    yield Progress(number, len(frames), "waiting", number, len(frames))
                if number in self.errors:
                    raise self.errors[number]
                raw = frames.read(index)
                labels = ndi.label(raw.pixels.mean(-1) > 160)[0].astype(np.int32)
                frame = number if index else None
                part = Partial(index, labels, measure(labels, raw.pixels, frame=frame), raw.note)
                done.add(part)
                yield part
                yield Progress(number + 1, len(frames), "frame", number + 1, len(frames))
        except GeneratorExit:
            self.closed = True
            raise
        facts = provenance(method="entities", config=config, frames=frames, scale_used=1.25)
        return done.segmentation(facts)


@pytest.fixture
def threshold() -> Threshold:
    return Threshold()


@pytest.fixture
def movie(discs: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Six discs that walk to the right, the first of them gone in the last frame; (4, 96, 128)."""
    frames = np.stack([np.roll(discs[0], 2 * time, axis=1) for time in range(4)])
    frames[3, :48, :40] = 20
    return frames


@pytest.fixture
def until(qtbot: Any) -> Callable[..., None]:
    """Wait until something is so, the window alive meanwhile."""

    def wait(condition: Callable[[], bool], timeout: int = 20000) -> None:
        qtbot.waitUntil(condition, timeout=timeout)

    return wait
