"""Widgets that are opened and closed, and runs, leave nothing: no widget, thread, file, memory.

A few rounds in every test run; 50, as ``KINDRED_FUZZ=nightly``.
"""

from __future__ import annotations

import gc
import os
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import ref

import numpy as np
import psutil
import pytest
from qtpy.QtCore import QEvent, QThreadPool
from qtpy.QtWidgets import QApplication

from napari_kindred._napari.classes.widget import ClassesWidget
from napari_kindred._napari.clusters.widget import ClustersWidget
from napari_kindred._napari.entities.widget import EntitiesWidget
from napari_kindred._napari.results.compare_widget import CompareWidget

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS = 50 if os.environ.get("KINDRED_FUZZ") == "nightly" else 2

SLACK = 100
"""Objects per round that may stay: napari and Qt for Python keep some of their own.

A widget is made of thousands; a layer that is kept, of a thousand and more.
"""

ATTEMPTS = 3
"""What leaks does so each time; what threads of other tests leave in this process, does not."""

collect = gc.collect


@dataclass(frozen=True)
class Traces:
    """What there is of everything that could be left behind."""

    widgets: int
    callbacks: int
    threads: int
    files: int
    objects: int


def settle() -> None:
    """Let Qt delete what it was told to delete, and Python what nobody holds."""
    QThreadPool.globalInstance().waitForDone(5000)
    for _ in range(2):
        QApplication.processEvents()
        QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    collect()


def traces(viewer: Any) -> Traces:
    settle()
    # Callbacks of what is gone are forgotten when they would be called the next time.
    passing = viewer.add_image(np.zeros((2, 4, 4), np.uint8), name="passing")
    passing.name = "renamed"
    viewer.layers.reverse()
    viewer.layers.reverse()
    viewer.dims.set_current_step(0, 1)
    viewer.dims.set_current_step(0, 0)
    viewer.layers.remove(passing)
    settle()
    process = psutil.Process()
    emitters = (
        *viewer.layers.events.emitters.values(),
        *viewer.layers.selection.events.emitters.values(),
        *viewer.dims.events.emitters.values(),
    )
    return Traces(
        widgets=len(QApplication.allWidgets()),
        callbacks=sum(len(emitter.callbacks) for emitter in emitters),
        threads=threading.active_count(),
        files=process.num_handles() if os.name == "nt" else process.num_fds(),
        objects=len(gc.get_objects()),
    )


def is_clean(before: Traces, after: Traces) -> bool:
    return (
        after.widgets <= before.widgets
        and after.callbacks <= before.callbacks
        and after.threads <= before.threads
        and after.files <= before.files + 2  # once in a while a library opens one for good
        and after.objects - before.objects < SLACK * ROUNDS
    )


def check_nothing_stays(viewer: Any, act: Callable[[], ref[Any]], most: int = 0) -> None:
    """Act again and again: of what the acts refer to, at most so many stay, of all else nothing."""
    act()  # what is loaded once, is loaded
    found = [traces(viewer)]
    for _ in range(ATTEMPTS):
        acted = [act() for _ in range(ROUNDS)]
        found.append(traces(viewer))
        assert sum(each() is not None for each in acted) <= most
        if is_clean(*found[-2:]):
            return
    pytest.fail(f"each time something stayed: {found}")


@pytest.fixture(autouse=True)
def _seldom_collected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only collect what nobody holds when the traces are read: napari does with every layer."""
    monkeypatch.setattr(gc, "collect", lambda *_: 0)


@pytest.fixture
def image(viewer: Any, movie: np.ndarray) -> Any:
    return viewer.add_image(movie[:2], name="discs", axis_labels=("t", "y", "x"))


@pytest.mark.parametrize("kind", [EntitiesWidget, ClustersWidget, ClassesWidget, CompareWidget])
def test_a_widget_that_is_closed_leaves_nothing(
    viewer: Any,
    image: Any,
    threshold: Any,
    greys: Any,
    brightness: Any,
    until: Callable[..., None],
    kind: type,
) -> None:
    jobs = {EntitiesWidget: threshold, ClustersWidget: greys, ClassesWidget: brightness}
    job = {"segment": jobs[kind]} if kind in jobs else {}

    def open_and_close() -> ref[Any]:
        widget = kind(viewer, **job)
        dock = viewer.window.add_dock_widget(widget, name=kind.__name__)
        if kind is ClassesWidget:
            until(lambda: widget.classifier.vocabulary.vocabulary is not None)
        dock.destroyOnClose()
        return ref(widget)

    check_nothing_stays(viewer, open_and_close)


@pytest.mark.parametrize("name", ["entities_widget", "clusters_widget", "classes_widget"])
def test_a_run_whose_result_is_removed_leaves_nothing(
    viewer: Any,
    image: Any,
    labels_layers: Callable[[], list[Any]],
    request: pytest.FixtureRequest,
    until: Callable[..., None],
    name: str,
) -> None:
    widget = request.getfixturevalue(name)
    if name == "classes_widget":
        widget.names.names = ("bright",)

    def run_and_remove() -> ref[Any]:
        widget.run.native.click()
        until(lambda: widget.run.enabled and not widget.cancel.enabled)
        (layer,) = labels_layers()
        viewer.layers.remove(layer)
        return ref(layer)

    check_nothing_stays(viewer, run_and_remove, most=1)  # the widget remembers its last result
