"""Keys for Run, Cancel, and the next frame in which a label appears or disappears."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakKeyDictionary, ref

import numpy as np
from napari.layers import Labels

from ...core.events import Progress
from .proxies import level_0, unwrap_proxy
from .worker import Job

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from numpy.typing import NDArray


def ids_of(labels: NDArray[Any]) -> set[int]:
    """Return the labels that there are in a frame, without the background."""
    import pandas as pd

    found = set(pd.unique(np.asarray(labels).ravel()).tolist())  # by hashing: nothing is sorted
    return found - {0}


def differ(before: set[int], now: set[int]) -> bool:
    """Return whether a label appeared or disappeared between two frames.

    Where ids mean the same in every frame, another set of them tells; where each frame has ids of
    its own, only another number of them can.
    """
    return before != now if before & now else len(before) != len(now)


def iter_next_jump(labels: Any, frame: int, step: int = 1) -> Generator[Progress, None, int | None]:
    """Find the next (``step`` 1) or previous (-1) frame whose ids differ from the one before it.

    ``labels`` (T, Y, X) may be lazy: it is read frame by frame. Returns None if there is none.
    """
    count = int(labels.shape[0])
    numbers = range(frame + 1, count) if step > 0 else range(frame - 1, 0, -1)
    seen: dict[int, set[int]] = {}
    for done, number in enumerate(numbers):
        for place in (number - 1, number):
            if place not in seen:
                seen[place] = ids_of(labels[place])
        if differ(seen[number - 1], seen[number]):
            return number
        seen.pop(number - 1 if step > 0 else number)
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
    """Return a key as tooltips tell it."""
    return f" ({key.replace('Control', 'Ctrl').replace('-', '+')})"


def bind_keys(viewer: Any, widget: Runnable) -> None:
    """Bind the keys to a widget until another one is used.

    A key that is bound already stays as it is.
    """
    viewer = unwrap_proxy(viewer)
    if viewer not in _widgets:
        _widgets[viewer] = []
        actions: dict[str, Callable[[Any], None]] = {
            RUN: _run,
            CANCEL: _cancel,
            NEXT: _next,
            PREVIOUS: _previous,
        }
        for key, action in actions.items():
            with suppress(ValueError):
                viewer.bind_key(key, action)
    used(viewer, widget)


def used(viewer: Any, widget: Runnable) -> None:
    """Direct the keys to this widget."""
    viewer = unwrap_proxy(viewer)
    others = [known for known in _widgets.get(viewer, []) if known() not in (None, widget)]
    _widgets[viewer] = [*others, ref(widget)]


def forget(viewer: Any, widget: Runnable) -> None:
    """Direct the keys to another widget: this one was closed."""
    viewer = unwrap_proxy(viewer)
    known = _widgets.get(viewer, [])
    known[:] = [kept for kept in known if kept() not in (None, widget)]


def _open(viewer: Any) -> list[Runnable]:
    """Return the widgets that are open, the one used last first."""
    known = (kept() for kept in reversed(_widgets.get(viewer, [])))
    return [widget for widget in known if widget is not None]


def _run(viewer: Any) -> None:
    """Press Run in the widget that was used last."""
    for widget in _open(viewer)[:1]:
        widget.start()


def _cancel(viewer: Any) -> None:
    """Press Cancel in the widget whose job was begun last."""
    for widget in [widget for widget in _open(viewer) if widget.busy][:1]:
        widget.stop()


def _next(viewer: Any) -> None:
    """Go to the next frame with changes."""
    jump(viewer, 1)


def _previous(viewer: Any) -> None:
    """Go to the previous frame with changes."""
    jump(viewer, -1)


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
