"""Viewer, widgets and the press of a button; and a stand-in for the network that thresholds frames.

A file of tests says which widget it is about: its fixture ``widget`` is the one that is run.
"""

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
    from napari_kindred._napari.consistent_widget import ConsistentWidget
    from napari_kindred._napari.entities_widget import EntitiesWidget
    from napari_kindred.config import EntityConfig


def pytest_configure(config: pytest.Config) -> None:
    # napari ignores this warning of its random colours, which fails where a job in another thread
    # restores Python's list of filters meanwhile.
    config.addinivalue_line("filterwarnings", "ignore:Conversion from CIE-LAB:UserWarning")


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


@pytest.fixture
def viewer(make_napari_viewer: Any) -> Any:
    return make_napari_viewer()


@pytest.fixture
def labels_layers(viewer: Any) -> Callable[[], list[Any]]:
    """Return the viewer's Labels layers, from the bottom to the top."""
    from napari.layers import Labels

    return lambda: [layer for layer in viewer.layers if isinstance(layer, Labels)]


@pytest.fixture
def entities_widget(viewer: Any, threshold: Threshold) -> EntitiesWidget:
    from napari_kindred._napari.entities_widget import EntitiesWidget

    widget = EntitiesWidget(viewer, segment=threshold)
    viewer.window.add_dock_widget(widget, name="Entities")
    return widget


@pytest.fixture
def consistent_widget(viewer: Any, greys: Any) -> ConsistentWidget:
    from napari_kindred._napari.consistent_widget import ConsistentWidget

    widget = ConsistentWidget(viewer, segment=greys)
    viewer.window.add_dock_widget(widget, name="Consistent clusters")
    widget.form.inputs["n_clusters"].value = "3"
    return widget


@pytest.fixture
def run(widget: Any, until: Callable[..., None]) -> Callable[..., Any]:
    """Press Run, or another button, wait for the end, and return the layer of the result."""

    def press(button: Any = None, timeout: int = 20000) -> Any:
        (button or widget.run).native.click()
        until(lambda: widget.run.enabled and not widget.cancel.enabled, timeout=timeout)
        return widget.result

    return press
