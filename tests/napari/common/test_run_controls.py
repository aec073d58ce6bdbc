"""How jobs begin, wait for each other and end, whatever is closed or removed in mid-run."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from napari.utils.progress import progress

from napari_kindred._napari.common.layers import KEY
from napari_kindred.core.events import Event, Notice

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from napari_kindred._napari.clusters.widget import ClustersWidget
    from napari_kindred._napari.entities.widget import EntitiesWidget

WIDGET = "entities_widget"


@pytest.fixture
def gate(threshold: Any) -> Generator[threading.Event]:
    """Holds the entities' job before its second frame; it yields meanwhile."""
    gate = threshold.gates[1] = threading.Event()
    yield gate
    gate.set()


@pytest.fixture
def halfway(
    viewer: Any,
    widget: EntitiesWidget,
    gate: threading.Event,
    labels_layers: Any,
    until: Any,
    movie: np.ndarray,
) -> Any:
    """An image layer, one frame of which is segmented."""
    image = viewer.add_image(movie, name="cells", axis_labels=("t", "y", "x"))
    widget.run.native.click()
    until(lambda: "1 of 4 frames done" in widget.status.value)
    return image


@pytest.fixture
def waiting(halfway: Any, clusters_widget: ClustersWidget) -> ClustersWidget:
    """Another widget, in which Run was pressed meanwhile."""
    clusters_widget.run.native.click()
    return clusters_widget


class Deaf:
    """A job that yields once and then listens to nobody, until its gate is opened."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.left = threading.Event()

    def __call__(self, image: Any, *, config: Any) -> Generator[Event, None, Any]:
        yield Notice("One step was made.")
        self.gate.wait(60)
        self.left.set()
        yield Notice("Too late.")


@pytest.fixture
def deaf(widget: EntitiesWidget) -> Generator[Deaf]:
    job = Deaf()
    widget._segment = job
    yield job
    job.gate.set()


# -- two widgets -----------------------------------------------------------------------------


def test_a_second_run_waits_for_the_first_and_then_begins(
    waiting: ClustersWidget,
    viewer: Any,
    widget: EntitiesWidget,
    gate: threading.Event,
    until: Any,
) -> None:
    assert waiting.status.value == "Waiting for Cells and nuclei of cells …"
    assert waiting.cancel.enabled
    assert not waiting.run.enabled
    assert "cells clusters" not in viewer.layers
    gate.set()
    until(lambda: waiting.run.enabled)
    assert widget.run.enabled
    assert "Found 23 objects" in widget.status.value
    assert "Found 3 clusters" in waiting.status.value
    assert {"cells entities", "cells clusters"} <= {layer.name for layer in viewer.layers}


def test_a_run_that_waits_can_be_cancelled_and_the_first_goes_on(
    waiting: ClustersWidget, viewer: Any, widget: EntitiesWidget, gate: Any, until: Any
) -> None:
    waiting.cancel.native.click()
    assert waiting.run.enabled
    assert waiting.status.value.startswith("Cancelled.")
    gate.set()
    until(lambda: widget.run.enabled)
    assert "Found 23 objects" in widget.status.value
    assert "cells clusters" not in viewer.layers


def test_cancelling_the_first_lets_the_second_begin(
    waiting: ClustersWidget, widget: EntitiesWidget, until: Any
) -> None:
    widget.cancel.native.click()
    until(lambda: waiting.run.enabled)
    assert "1 of 4 frames are in" in widget.status.value
    assert "Found 3 clusters" in waiting.status.value


# -- a job that does not listen ---------------------------------------------------------------


def test_cancel_does_not_wait_for_a_step_that_takes_long(
    widget: EntitiesWidget, deaf: Deaf, until: Any, qtbot: Any, opened_movie: Any
) -> None:
    widget.run.native.click()
    until(lambda: bool(widget.controls.view and widget.controls.view.notices()))
    widget.cancel.native.click()
    until(lambda: widget.run.enabled)
    assert not deaf.left.is_set()
    said = widget.status.value
    assert said.startswith("Cancelled.")
    deaf.gate.set()
    until(deaf.left.is_set)
    qtbot.wait(50)
    assert widget.status.value == said
    assert "Too late" not in said


def test_after_a_job_that_does_not_listen_others_run(
    widget: EntitiesWidget, threshold: Any, deaf: Deaf, run: Any, until: Any, opened_movie: Any
) -> None:
    for _ in range(3):  # more than there are threads on a small machine
        widget.run.native.click()
        until(lambda: bool(widget.controls.view and widget.controls.view.notices()))
        widget.cancel.native.click()
        until(lambda: widget.run.enabled)
    widget._segment = threshold
    run()
    assert "Found 23 objects" in widget.status.value
    assert not deaf.left.is_set()


# -- what is closed or removed in mid-run ------------------------------------------------------


def test_closing_the_dock_stops_the_job_and_keeps_what_is_done(
    halfway: Any,
    viewer: Any,
    widget: EntitiesWidget,
    threshold: Any,
    labels_layers: Any,
    until: Any,
) -> None:
    dock = widget.native.parent()
    dock.destroyOnClose()
    until(lambda: threshold.closed)
    until(lambda: KEY in labels_layers()[0].metadata and not widget.controls.busy)
    (labels,) = labels_layers()
    assert labels.metadata[KEY]["complete"] is False
    assert [bool(frame.any()) for frame in labels.data] == [True, False, False, False]


def test_hiding_the_dock_stops_nothing(
    halfway: Any, widget: EntitiesWidget, gate: threading.Event, labels_layers: Any, until: Any
) -> None:
    widget.native.parent().hide()
    gate.set()
    until(lambda: not widget.controls.busy)
    assert labels_layers()[0].data[3].any()


def test_removing_the_image_stops_the_job_and_keeps_what_is_done(
    halfway: Any,
    viewer: Any,
    widget: EntitiesWidget,
    threshold: Any,
    labels_layers: Any,
    until: Any,
) -> None:
    viewer.layers.remove(halfway)
    until(lambda: not widget.controls.busy)
    assert threshold.closed
    assert widget.status.value.startswith("Stopped: the image layer was removed. 1 of 4 frames")
    assert labels_layers()[0].metadata[KEY]["complete"] is False


def test_removing_the_result_stops_the_job_and_it_does_not_come_back(
    halfway: Any,
    viewer: Any,
    widget: EntitiesWidget,
    threshold: Any,
    labels_layers: Any,
    until: Any,
    qtbot: Any,
) -> None:
    viewer.layers.remove(labels_layers()[0])
    until(lambda: not widget.controls.busy)
    assert threshold.closed
    assert widget.status.value.startswith("Stopped: the result layer was removed.")
    qtbot.wait(50)
    assert labels_layers() == []
    assert widget.run.enabled


def test_removing_everything_stops_the_job_and_leaves_nothing(
    halfway: Any, viewer: Any, widget: EntitiesWidget, until: Any, qtbot: Any
) -> None:
    viewer.layers.clear()
    until(lambda: not widget.controls.busy)
    qtbot.wait(50)
    assert len(viewer.layers) == 0


def test_removing_another_layer_stops_nothing(
    halfway: Any, viewer: Any, widget: EntitiesWidget, gate: threading.Event, until: Any
) -> None:
    viewer.layers.remove(viewer.add_points(np.zeros((1, 3))))
    gate.set()
    until(lambda: not widget.controls.busy)
    assert "Found 23 objects" in widget.status.value


def test_a_frame_that_cannot_be_shown_ends_the_job_with_a_sentence(
    halfway: Any,
    widget: EntitiesWidget,
    gate: threading.Event,
    until: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: Any) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(widget.controls.view, "add", full)
    gate.set()
    until(lambda: not widget.controls.busy)
    assert "No space left on device" in widget.status.value
    assert "of 4 frames are in the layer" in widget.status.value
    assert widget.run.enabled


# -- progress ----------------------------------------------------------------------------------


def bars() -> list[progress]:
    return [bar for bar in progress._all_instances if "Cells and nuclei of cells" in bar.desc]


def test_naparis_activity_window_tells_the_stage_and_cancels(
    halfway: Any,
    widget: EntitiesWidget,
    threshold: Any,
    until: Callable[..., None],
) -> None:
    until(lambda: "Waiting, 1 of 4 frames done" in bars()[0].desc)
    (bar,) = bars()
    assert bar.n / bar.total == 0.25
    bar.cancel()
    until(lambda: not widget.controls.busy)
    assert threshold.closed
    assert bars() == []
