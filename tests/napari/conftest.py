"""Viewer, widgets and the press of a button; and a stand-in for the network that thresholds frames.

A file of tests says which widget it is about: the fixture ``widget`` is the one named ``WIDGET``.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import napari._qt.qt_main_window  # noqa: F401 - here, so that it is among what was imported first
import numpy as np
import pytest
from scipy import ndimage as ndi
from skimage.measure import label as connected

from napari_kindred.core.events import Event, Notice, Partial, Progress
from napari_kindred.entities.assembly import EntityAssembly
from napari_kindred.images.stack import ImageStack
from napari_kindred.results.segmentation import Segmentation, measure, provenance

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from napari_kindred._napari.classes.widget import ClassesWidget
    from napari_kindred._napari.clusters.widget import ClustersWidget
    from napari_kindred._napari.entities.widget import EntitiesWidget
    from napari_kindred.classes.vocabulary.vocabulary import Vocabulary
    from napari_kindred.entities.config import EntityConfig


def pytest_configure(config: pytest.Config) -> None:
    # napari ignores this warning of its random colours, which fails where a job in another thread
    # restores Python's list of filters meanwhile.
    config.addinivalue_line("filterwarnings", "ignore:Conversion from CIE-LAB:UserWarning")


@pytest.fixture(autouse=True)
def own_settings(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Generator[Path]:
    """No test reads or changes the settings and options of whoever runs it, or of another test."""
    from napari import settings
    from napari_kindred.core.settings import Preferences, prefer

    folder = tmp_path_factory.mktemp("settings")
    monkeypatch.setenv("NAPARI_KINDRED_CONFIG", str(folder))
    monkeypatch.setattr(settings, "_CFG_PATH", str(folder / "settings.yaml"))
    settings._clear_plugin_settings_cache()
    yield folder
    settings._clear_plugin_settings_cache()
    prefer(Preferences())


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
        frames = ImageStack.open(image, config.axes, config.channel)
        done = EntityAssembly(frames, unique_ids=True)
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
                rows = measure(labels, raw.pixels, frame=frame)
                yield done.add(Partial(index, labels, rows, raw.note))
                yield Progress(number + 1, len(frames), "frame", number + 1, len(frames))
        except GeneratorExit:
            self.closed = True
            raise
        facts = provenance(method="entities", config=config, frames=frames, scale_used=1.25)
        return done.result(facts)


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
def opened_movie(viewer: Any, movie: np.ndarray) -> Any:
    """The movie of discs as an image layer."""
    return viewer.add_image(movie, name="cells", axis_labels=("t", "y", "x"))


@pytest.fixture
def opened_steps(viewer: Any, steps: np.ndarray) -> Any:
    """The movie of grey steps as an image layer."""
    return viewer.add_image(steps, name="cells", axis_labels=("t", "y", "x"))


@pytest.fixture
def labels_layers(viewer: Any) -> Callable[[], list[Any]]:
    """Return the viewer's Labels layers, from the bottom to the top."""
    from napari.layers import Labels

    return lambda: [layer for layer in viewer.layers if isinstance(layer, Labels)]


@pytest.fixture
def entities_widget(viewer: Any, threshold: Threshold) -> EntitiesWidget:
    from napari_kindred._napari.entities.widget import EntitiesWidget

    widget = EntitiesWidget(viewer, segment=threshold)
    viewer.window.add_dock_widget(widget, name="Cells and nuclei")
    return widget


@pytest.fixture
def clusters_widget(viewer: Any, greys: Any) -> ClustersWidget:
    from napari_kindred._napari.clusters.widget import ClustersWidget

    widget = ClustersWidget(viewer, segment=greys)
    viewer.window.add_dock_widget(widget, name="Consistent clusters")
    widget.form.inputs["n_clusters"].value = "3"
    return widget


@pytest.fixture
def changed_clusters(widget: ClustersWidget) -> Callable[[Any], None]:
    """Show another number of clusters in a layer, and make one of them background."""

    def change(layer: Any) -> None:
        widget.panel.level.value = 5
        widget.panel.relabel()
        layer.selected_label = 2
        widget.panel.toggle_background()

    return change


LEVELS = np.array([0.0, 0.33, 0.58, 1.0], np.float32)
"""Brightness of the background and of three kinds of things."""


def tuned(brightness: np.ndarray) -> np.ndarray:
    """Return how near each brightness is to each of the levels, (N, 4)."""
    return np.exp(-(((brightness[:, None] - LEVELS) / 0.1) ** 2)).astype(np.float32)


@pytest.fixture(scope="session")
def shades() -> Vocabulary:
    """Knows the pixels' brightness by name: dim, grey and bright, each taught by 30 things."""
    from napari_kindred.classes.config import TeachConfig
    from napari_kindred.classes.proposals.entities import RegionSpec
    from napari_kindred.classes.vocabulary.entry import Entry
    from napari_kindred.classes.vocabulary.mil import NOTHING, Bag
    from napari_kindred.classes.vocabulary.vocabulary import iter_fit
    from napari_kindred.core.events import finish

    kinds = np.repeat(np.array([NOTHING, 0, 1, 2], np.int16), 30)
    spread = np.tile(np.linspace(-0.05, 0.05, 30, dtype=np.float32), 4)
    bag = Bag(tuned(np.repeat(LEVELS, 30) + spread), kinds, None, np.ones(3, bool))
    entries = [
        Entry("dim", colour="#335577"),
        Entry("grey", ("gray",), colour="#999999"),
        Entry("bright", colour="#ffee00", threshold=0.6),
    ]
    config = TeachConfig(folds=0, steps=300, distillation=0.0, hidden=64)
    spec = RegionSpec("brightness", "0" * 64)
    return finish(iter_fit(entries, spec, [bag], config, "brightness"))


@pytest.fixture
def shaded() -> np.ndarray:
    """A movie (3, 40, 60) with a dim, a grey and a bright square, and one more bright one later."""
    frames = np.full((3, 40, 60), 10, np.uint8)
    for left, level in ((4, 90), (24, 150), (44, 250)):
        frames[:, 6:16, left : left + 10] = level
    frames[1:, 24:34, 44:54] = 250
    return frames


class Brightness:
    """Finds classes by the brightness of connected pixels, with the real job around it.

    Attributes
    ----------
    gates : dict
        Frames, by number, before which the job waits for an event to be set.
    errors : dict
        Frames, by number, in place of which an error is raised.
    looks : int
        How many pictures were looked at.
    """

    def __init__(self) -> None:
        from napari_kindred.classes.proposals.entities import RegionSpec

        self.gates: dict[int, threading.Event] = {}
        self.errors: dict[int, BaseException] = {}
        self.looks = 0
        self.spec = RegionSpec("brightness", "0" * 64)
        self.asked: dict[str, Any] = {}

    def __call__(
        self, image: Any, names: Any, *, config: Any, vocabulary: Any = None, **asked: Any
    ) -> Generator[Event, None, Any]:
        from napari_kindred.classes.classifiers import VocabularyClassifier
        from napari_kindred.classes.predict import iter_segment_classes

        self.asked, self.looks = {"vocabulary": vocabulary, **asked}, 0
        classifier = VocabularyClassifier(self, None, 0.7, 0.5, vocabulary)
        return (yield from iter_segment_classes(image, names, classifier=classifier, config=config))

    def iter_propose(self, pixels: np.ndarray) -> Generator[Progress, None, Any]:
        from napari_kindred.classes.proposals.base import Proposals
        from napari_kindred.classes.proposals.masks import Masks

        gate, number = self.gates.get(self.looks), self.looks
        while gate is not None and not gate.wait(0.01):
            yield Progress(0, 1, "waiting")
        if number in self.errors:
            raise self.errors[number]
        self.looks += 1
        grey = pixels.mean(-1)
        ids = connected(np.unique(grey, return_inverse=True)[1].reshape(grey.shape), background=-1)
        means = ndi.mean(grey, ids, np.arange(1, ids.max() + 1)).astype(np.float32)
        masks = Masks.from_labels(ids.astype(np.int32))
        points = np.zeros((len(masks), 2), np.float32)
        return Proposals(masks, tuned(means), np.ones(len(masks), np.float32), points, self.spec)


@pytest.fixture
def brightness() -> Brightness:
    return Brightness()


@pytest.fixture
def classes_widget(
    viewer: Any, brightness: Brightness, shades: Vocabulary, tmp_path: Path, until: Any
) -> ClassesWidget:
    """The widget with a vocabulary of brightness opened from a file."""
    from napari_kindred._napari.classes.widget import ClassesWidget

    widget = ClassesWidget(viewer, segment=brightness)
    viewer.window.add_dock_widget(widget, name="Classes by name")
    widget.classifier.vocabulary.take_file(shades.save(tmp_path / "shades.kindred"))
    until(lambda: widget.classifier.vocabulary.vocabulary is not None)
    return widget


@pytest.fixture
def widget(request: pytest.FixtureRequest) -> Any:
    """The widget that a file of tests names as ``WIDGET``, or a test as its parameter."""
    return request.getfixturevalue(getattr(request, "param", None) or request.module.WIDGET)


@pytest.fixture
def run(widget: Any, until: Callable[..., None]) -> Callable[..., Any]:
    """Press Run, or another button, wait for the end, and return the layer of the result."""

    def press(button: Any = None, timeout: int = 60000) -> Any:
        (button or widget.run).native.click()
        until(lambda: widget.run.enabled and not widget.cancel.enabled, timeout=timeout)
        return widget.result

    return press
