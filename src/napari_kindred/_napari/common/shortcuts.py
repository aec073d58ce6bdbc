"""Keys for Run, Cancel, and the next frame in which a label appears or disappears."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakKeyDictionary, ref

import numpy as np
from napari.layers import Labels
from qtpy.QtCore import Qt
from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import QShortcut

from ...core.events import Progress
from .proxies import level_0, unwrap_proxy
from .worker import Job

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from numpy.typing import NDArray
    from qtpy.QtWidgets import QWidget


def ids_of(labels: NDArray[Any]) -> set[int]:
    """Return the labels that there are in a frame, without the background."""
    import pandas as pd

    found = set(pd.unique(np.asarray(labels).ravel()).tolist())  # by hashing: nothing is sorted
    return found - {0}


def differ(before: set[int], now: set[int]) -> bool:
    """Return whether a label appeared or disappeared between two frames.

    If ids mean the same in every frame the sets are compared; if each frame has its own, only their
    numbers can be.
    """
    return before != now if before & now else len(before) != len(now)


def iter_next_jump(labels: Any, frame: int, step: int = 1) -> Generator[Progress, None, int | None]:
    """Find the next (``step`` 1) or previous (-1) frame with other ids, None if there is none."""
    count = int(labels.shape[0])
    numbers = range(frame + 1, count) if step > 0 else range(frame - 1, 0, -1)
    ids: dict[int, set[int]] = {}
    for done, number in enumerate(numbers):
        for place in (number - 1, number):
            if place not in ids:
                ids[place] = ids_of(labels[place])
        if differ(ids[number - 1], ids[number]):
            return number
        ids.pop(number - 1 if step > 0 else number)
        yield Progress(done + 1, len(numbers), "looking for changes", done + 1, len(numbers))
    return None


class Runnable(Protocol):
    """A widget that the keys work on."""

    @property
    def busy(self) -> bool:
        """Whether its job is running."""

    @property
    def result(self) -> Labels | None:
        """The layer with its last result."""

    def start(self) -> None:
        """Run."""

    def stop(self) -> None:
        """Cancel."""


RUN, CANCEL, NEXT, PREVIOUS = "Control-Enter", "Control-.", "Alt-Right", "Alt-Left"

_widgets: WeakKeyDictionary[Any, list[ref[Runnable]]] = WeakKeyDictionary()
"""Those that were opened in each viewer, the one used last at the end."""


def shortcut_hint(key: str) -> str:
    """Return a key as tooltips show it."""
    return f" ({key.replace('Control', 'Ctrl').replace('-', '+')})"


def run_from_anywhere_in(widget: QWidget, run: Callable[[], Any]) -> None:
    """Make the key for Run work whatever has the focus in a widget: buttons react to Enter too."""
    for key in ("Ctrl+Return", "Ctrl+Enter"):
        shortcut = QShortcut(QKeySequence(key), widget)
        shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
        shortcut.activated.connect(run)


def bind_free(viewer: Any, actions: Mapping[str, Callable[[Any], None]]) -> list[str]:
    """Bind keys that nobody has bound, and return them; the others stay as they are.

    napari asks for the name of what a key calls, which a ``partial`` lacks.
    """
    bound = []
    for key, action in actions.items():
        with suppress(ValueError):
            unwrap_proxy(viewer).bind_key(key, action)
            bound.append(key)
    return bound


def unbind(viewer: Any, keys: list[str]) -> None:
    """Free keys that :func:`bind_free` returned, and empty the list."""
    while keys:
        unwrap_proxy(viewer).bind_key(keys.pop(), None)


def bind_keys(viewer: Any, widget: Runnable) -> None:
    """Bind the keys to a widget until another one is used; keys that are bound already stay."""
    viewer = unwrap_proxy(viewer)
    if viewer not in _widgets:
        _widgets[viewer] = []
        actions = {
            RUN: _run,
            CANCEL: _cancel,
            NEXT: lambda viewer: jump(viewer, 1),
            PREVIOUS: lambda viewer: jump(viewer, -1),
        }
        bind_free(viewer, actions)
    used(viewer, widget)


def used(viewer: Any, widget: Runnable) -> None:
    """Direct the keys to this widget."""
    viewer = unwrap_proxy(viewer)
    others = [other for other in _widgets.get(viewer, []) if other() not in (None, widget)]
    _widgets[viewer] = [*others, ref(widget)]


def forget(viewer: Any, widget: Runnable) -> None:
    """Direct the keys to another widget: this one was closed."""
    viewer = unwrap_proxy(viewer)
    others = [other for other in _widgets.get(viewer, []) if other() not in (None, widget)]
    _widgets[viewer] = others


def _open(viewer: Any) -> list[Runnable]:
    """Return the widgets that are open, the one used last first."""
    widgets = (widget() for widget in reversed(_widgets.get(viewer, [])))
    return [widget for widget in widgets if widget is not None]


def _run(viewer: Any) -> None:
    """Press Run in the widget that was used last."""
    for widget in _open(viewer)[:1]:
        widget.start()


def _cancel(viewer: Any) -> None:
    """Press Cancel in the widget whose job was begun last."""
    for widget in [widget for widget in _open(viewer) if widget.busy][:1]:
        widget.stop()


# -- the next frame with changes ---------------------------------------------------------------


def jump(viewer: Any, step: int) -> None:
    """Go to the next (``step`` 1) or previous (-1) frame in which a label appears or disappears."""
    viewer = unwrap_proxy(viewer)
    movie = movie_of(viewer)
    if movie is None:
        viewer.status = "Select a Labels layer with several frames to step through its changes."
        return
    layer, axis = movie
    frames = _Frames(level_0(layer), axis)
    now = round(float(layer.world_to_data(viewer.dims.point)[axis]))
    Job(
        lambda: iter_next_jump(frames, min(max(now, 0), frames.shape[0] - 1), step),
        f"Changes in {layer.name}",
        on_success=partial(_go, viewer, layer, axis, step),
        on_failure=lambda error: setattr(viewer, "status", str(error)),
    )


def movie_of(viewer: Any) -> tuple[Labels, int] | None:
    """Return the selected labels, else the last result, else the uppermost, and the frame axis."""
    layer = _labels(unwrap_proxy(viewer))
    axis = None if layer is None else frame_axis(layer)
    return None if layer is None or axis is None else (layer, axis)


def frame_axis(layer: Labels) -> int | None:
    """Return the first axis of a layer with several frames, None if there is none."""
    shape = level_0(layer).shape
    return next((axis for axis, size in enumerate(shape[:-2]) if size > 1), None)


def _go(viewer: Any, layer: Labels, axis: int, step: int, frame: int | None) -> None:
    if frame is None:
        way = "later" if step > 0 else "earlier"
        viewer.status = f"No label appears or disappears in a {way} frame of {layer.name!r}."
        return
    place = np.zeros(layer.ndim)
    place[axis] = frame
    shown = viewer.dims.ndim - layer.ndim + axis  # layers are lined up by their last axes
    viewer.dims.set_point(shown, float(layer.data_to_world(place)[axis]))
    viewer.status = f"Frame {frame} of {layer.name!r}: a label appears or disappears."


def _labels(viewer: Any) -> Labels | None:
    """Return the selected labels, else the last result, else the uppermost labels."""
    results = [widget.result for widget in _open(viewer)]
    for layer in (viewer.layers.selection.active, *results, *reversed(viewer.layers)):
        if isinstance(layer, Labels) and layer in viewer.layers:
            return layer
    return None


class _Frames:
    """Labels with the frame axis first, read lazily."""

    def __init__(self, data: Any, axis: int) -> None:
        self._data, self._before = data, (slice(None),) * axis
        self.shape = (data.shape[axis],)

    def __getitem__(self, frame: int) -> np.ndarray:
        return np.asarray(self._data[(*self._before, frame)])
