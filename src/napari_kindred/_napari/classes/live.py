"""Classes painted in one layer: what is in view is classified anew after every stroke."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.errors import KindredError, OptionError
from ..common.label_state import direct_colormap
from ..common.later import Later
from ..common.placement import Placement, place_labels
from ..common.proxies import camera_of
from ..common.worker import Job
from .annotations import Annotation, Target, painted_classes

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from napari.layers import Labels
    from numpy.typing import NDArray

    from ...classes.config import ClassesConfig
    from ...classes.pixelwise.live import Index, LivePixels, Window
    from ...core.events import Event

LARGEST = 1024
"""Longest side of what is classified after a stroke, in pixels around the middle of the view."""

REST = 300
"""Milliseconds that the view must rest before what came into it is classified."""

GREY = "#7f7f7f"
"""Colour of strokes on what is no class."""

OPACITY = 0.5
"""Opacity of the classified labels, so that the image shows through."""


class LiveClasses:
    """A layer to paint classes in, and one that shows what they mean, while it is switched on.

    In the former 1, 2, 3 … are the names, and the number after the last is background.  ``names``
    are asked for with their colours; ``config`` for encoder, channel and device.
    """

    def __init__(
        self,
        viewer: Any,
        target: Callable[[], Target],
        names: Callable[[], Sequence[tuple[str, str]]],
        config: Callable[[], ClassesConfig],
        on_message: Callable[..., Any],
        on_change: Callable[[], Any],
    ) -> None:
        self._viewer, self._target, self._names = viewer, target, names
        self._config, self._on_message, self._on_change = config, on_message, on_change
        self.strokes: Labels | None = None
        self.shown: Labels | None = None
        self._image: Target | None = None
        self._placement: Placement | None = None
        self._painted: set[Index] = set()
        self._job: Job | None = None
        self._again = False
        self._marks: tuple[Annotation, ...] | None = None
        self._live: tuple[Any, LivePixels] | None = None
        self._later = Later(self._look)

    # -- on and off ------------------------------------------------------------------------

    @property
    def on(self) -> bool:
        """Whether strokes are classified."""
        return self.shown is not None

    def start(self) -> None:
        """Add the two layers, and follow what is painted; OptionError without names."""
        names = self._names()
        if not names:
            raise OptionError("Write the names of the classes first, one per line.")
        target = self._target()
        place = place_labels(target.layer, target.axes)
        title, palette = target.layer.name, self._palette()
        known = self._image is not None and self._image.layer is target.layer
        if not known or self.strokes not in self._viewer.layers:
            self.strokes = None
            self._painted.clear()
        self._image, self._placement, self._marks = target, place, None
        self.shown = self._viewer.add_labels(
            np.zeros(place.shape, np.uint8),
            name=f"{title} live",
            colormap=direct_colormap(palette),
            opacity=OPACITY,
            **place.options,
        )
        if self.strokes is None:
            self.strokes = self._viewer.add_labels(
                np.zeros(place.shape, np.uint8),
                name=f"{title} strokes",
                colormap=direct_colormap(palette),
                **place.options,
            )
            self.strokes.brush_size = 4
        self.strokes.mode = "paint"
        self._viewer.layers.selection.active = self.strokes
        self.strokes.events.paint.connect(self._stroke)
        self.strokes.events.set_data.connect(self._changed)  # the only event of undo and redo
        self._viewer.dims.events.current_step.connect(self._soon)
        camera_of(self._viewer).events.zoom.connect(self._soon)
        camera_of(self._viewer).events.center.connect(self._soon)
        self._viewer.layers.events.removed.connect(self._removed)
        self.tell()
        self._soon()

    def stop(self) -> None:
        """Follow no more; the strokes stay examples, what they meant goes."""
        if self.shown is None:
            return
        self.abandon()
        shown, self.shown = self.shown, None
        if shown in self._viewer.layers:
            self._viewer.layers.remove(shown)
        self._on_change()

    def abandon(self) -> None:
        """Follow no more, without touching the window, which may be closing."""
        if self.strokes is None or self.shown is None:
            return
        self._later.stop()
        if self._job is not None:
            self._job.abandon()
            self._job = None
        self.strokes.events.paint.disconnect(self._stroke)
        self.strokes.events.set_data.disconnect(self._changed)
        self._viewer.dims.events.current_step.disconnect(self._soon)
        camera_of(self._viewer).events.zoom.disconnect(self._soon)
        camera_of(self._viewer).events.center.disconnect(self._soon)
        self._viewer.layers.events.removed.disconnect(self._removed)

    def tell(self) -> None:
        """Tell the user which number stands for which class."""
        names = [name for name, _ in self._names()]
        listed = [f"{number} {name}" for number, name in enumerate([*names, "background"], 1)]
        self._on_message(f"Paint: {', '.join(listed)}.")

    def recolour(self) -> None:
        """Show the names' colours, and take the strokes for the names as they are now."""
        self._marks = None
        for layer in (self.strokes, self.shown):
            if layer is not None:
                layer.colormap = direct_colormap(self._palette())

    def annotations(self) -> tuple[Annotation, ...]:
        """Return the strokes as examples of their classes."""
        here = self.strokes is not None and self.strokes in self._viewer.layers
        if not here or self._image is None or self._placement is None:
            return ()
        if self._marks is not None:
            return self._marks
        names = dict(enumerate([*(name for name, _ in self._names()), "background"], 1))
        slots = {index: self._placement.slot(index) for index in sorted(self._painted)}
        assert self.strokes is not None  # noqa: S101 - it is there
        self._marks = painted_classes(self.strokes, self._image, names, slots)
        return self._marks

    def _palette(self) -> dict[int, str]:
        colours = [colour for _, colour in self._names()]
        return dict(enumerate([*colours, GREY], 1))

    def _removed(self, *_: Any) -> None:
        if self.strokes not in self._viewer.layers or self.shown not in self._viewer.layers:
            self._marks = None
            self.stop()

    # -- from a stroke to what is seen -----------------------------------------------------

    def _index(self) -> Index:
        target = self._image
        assert target is not None  # noqa: S101 - it is there from the start on
        step = np.asarray(target.layer.world_to_data(self._viewer.dims.point), float)
        return tuple(
            int(np.clip(round(step[axis]), 0, target.data.shape[axis] - 1))
            for axis in target.place("TZ")
        )

    def _window(self) -> Window:
        """Return the pixels in view, at most so many around their middle."""
        assert self.strokes is not None  # noqa: S101 - asked only while it is there
        assert self._placement is not None  # noqa: S101 - likewise
        spans = []
        for axis in self._placement.plane_axes:
            length = self.strokes.data.shape[axis]
            start, stop = (int(corner[axis]) for corner in self.strokes.corner_pixels)
            start, stop = max(0, start), min(length, stop + 1)
            if stop - start < 2:  # nothing was drawn yet
                start, stop = 0, length
            if stop - start > LARGEST:
                start = (start + stop - LARGEST) // 2
                stop = start + LARGEST
            spans.append(slice(start, stop))
        return spans[0], spans[1]

    def _stroke(self, *_: Any) -> None:
        self._painted.add(self._index())
        self._marks = None
        self._on_change()
        self._look()

    def _changed(self, *_: Any) -> None:
        self._marks = None
        self._soon()

    def _soon(self, *_: Any) -> None:
        if self._painted:
            self._later.ask(REST)

    def _look(self) -> None:
        """Classify what is in view, or do so after what is classified now."""
        if not self.on or self.strokes is None or self._placement is None or not self._painted:
            return
        if self._job is not None:
            self._again = True
            return
        index, window = self._index(), self._window()
        names = self._names()
        painted = {
            one: np.asarray(self.strokes.data[self._placement.slot(one)])
            for one in sorted(self._painted)
        }
        try:
            work = partial(self._iter_look, self._config(), index, window, painted, len(names))
        except KindredError as error:
            self._on_message(str(error), wrong=True)
            return
        self._job = Job(
            work,
            f"Classifying {self.strokes.name}",
            on_success=partial(self._repaint, index, window),
            on_failure=self._fail,
        )

    def _iter_look(
        self,
        config: ClassesConfig,
        index: Index,
        window: Window,
        painted: dict[Index, NDArray[Any]],
        classes: int,
    ) -> Generator[Event, None, NDArray[np.int32]]:
        """Classify a window; in another thread."""
        from ...classes.pixelwise.describer import PixelDescriber
        from ...classes.pixelwise.live import LivePixels, strokes_of
        from ...classes.proposals.open import DEFAULT_ENCODER
        from ...entities.channels import fit_channels
        from ...images.stack import ImageStack, normalise

        target = self._image
        assert target is not None  # noqa: S101 - it is there from the start on
        frames = ImageStack.open(target.data, target.axes, config.channel)
        fit_channels(frames)
        encoder = config.encoder or DEFAULT_ENCODER["pixels"]
        key = encoder, config.channel, config.device
        if self._live is None or self._live[0] != key:
            channels = 3 if frames.rgb else 1
            opened = PixelDescriber.open(encoder, channels=channels, device=config.device)
            self._live = key, LivePixels(opened)
        strokes = [strokes_of(labels, one, classes + 1) for one, labels in painted.items()]
        strokes = [one for one in strokes if len(one.codes)]
        return (
            yield from self._live[1].iter_show(
                lambda one: normalise(frames.read(one).pixels), index, window, strokes, classes
            )
        )

    def _repaint(self, index: Index, window: Window, labels: NDArray[np.int32]) -> None:
        self._job = None
        if self.shown is not None and self._placement is not None:
            plane = self.shown.data[self._placement.slot(index)]
            plane[...] = 0
            plane[window] = labels
            self.shown.refresh()
            self.tell()
        self._next()

    def _fail(self, error: KindredError) -> None:
        self._job = None
        self._on_message(str(error), wrong=True)
        self._next()

    def _next(self) -> None:
        if self._again:
            self._again = False
            self._look()
