"""Base of the dock widgets: choose an image, run a job in another thread, show progress, stop."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Generator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from magicgui.widgets import CheckBox, Container, PushButton

from ..core.events import Event
from ..core.options import changed
from .common.dock import Dock
from .common.form import Form, row, scrolled
from .common.image_input import ImageInput
from .common.layers import take_place
from .common.run_controls import RunControls, pinned
from .common.saved_options import load_options, save_options
from .common.settings import apply_settings, open_settings
from .common.shortcuts import bind_keys, forget, run_from_anywhere_in, used
from .results.painting import is_corrected
from .results.result_tools import ResultTools

if TYPE_CHECKING:
    import napari.viewer
    from magicgui.widgets.bases import ValueWidget, Widget
    from napari.layers import Image, Labels

    from ..images.stack import ImageStack
    from ..methods import Method
    from ..results.segmentation import Segmentation
    from .common.job_view import JobView
    from .common.layers import LayerImage
    from .common.run import Run

OF_AN_IMAGE = ("axes", "channel")
"""Options that are not reused for another image."""

ENTRIES = "entries"
"""Key under which entries that are no config options are saved."""

ABOUT_REPLACING = (
    "When a run is finished, remove the layer of the last result on the same image, unless you "
    "have corrected it."
)

Segment = Callable[..., Generator[Event, None, "Segmentation"]]


class MethodWidget(Container):
    """Asks for image and options, runs a job and shows its result as it grows.

    A method's widget adds inputs (:meth:`own_inputs`, :meth:`own_values`), starts jobs
    (:meth:`job_of`), shows them (:meth:`run_of`) and adds tools for results (:meth:`own_outputs`).
    """

    method: ClassVar[Method]
    left_out: ClassVar[tuple[str, ...]] = ("axes", "channel")
    title: ClassVar[str]
    """Name of a job in napari's activity window, followed by the image's name."""
    run_tip: ClassVar[str]

    def __init__(self, viewer: napari.viewer.Viewer, segment: Segment | None = None) -> None:
        super().__init__(labels=False)
        self._viewer = viewer
        self._segment = segment or self._iterate
        self.chosen = ImageInput(viewer, self.check, self._other_image)
        self.defaults = PushButton(text="Defaults", tooltip="Reset to defaults.")
        self.settings = PushButton(
            text="Settings …",
            tooltip="Device, memory and cache folder, for all widgets and sessions.",
        )
        folded = [*self.own_options(), row(self.defaults, self.settings)]
        self.form = Form(self.method.config, self.left_out, folded, self.form_inputs())
        self.replaces = CheckBox(text="Replace the last result", tooltip=ABOUT_REPLACING)
        self._replaced: Any = None
        self.controls = RunControls(viewer, self.title, self.run_tip, self.ended)
        self.more_tools = ResultTools(
            viewer, lambda: self.result, self._code_of_entries, self.controls.show_message
        )
        self._name_parts()
        for widget in self.form.inputs.values():
            widget.changed.connect(self.check)
        self.margins = (0, 0, 0, 0)
        self._rows = scrolled(
            self,
            [
                *(*self.chosen.rows(), *self.own_inputs(), *self.form.rows()),
                *(self.replaces, *self.own_outputs(), *self.more_tools.rows()),
            ],
        )
        self._pinned = pinned(self.controls.rows())
        self.native.layout().addWidget(self._pinned.native)
        self.form.unfold(False)
        self.controls.settle()
        self.more_tools.settle()
        self._dock = Dock(self.native, self._closed, partial(used, viewer, self))
        self.native.destroyed.connect(self._abandon)
        bind_keys(viewer, self)
        run_from_anywhere_in(self.native, self.start)
        options, damaged = load_options(self.title)
        self.restore(options)
        self.chosen.take_layer()
        self.chosen.take_axes()
        missing = self.restore_entries(options.pop(ENTRIES, None))
        if missing:  # shown only once
            save_options(self.title, options)
        self.controls.show_message(" ".join(filter(None, (apply_settings(), damaged, missing))))

    def _name_parts(self) -> None:
        """Name the parts of the widget that users press and read."""
        self.image, self.axes, self.channel = (
            self.chosen.layer,
            self.chosen.axes,
            self.chosen.channel,
        )
        self.about = self.chosen.about
        self.run, self.cancel = self.controls.run, self.controls.cancel
        self.progress, self.status = self.controls.progress, self.controls.status
        self.table, self.copy = self.more_tools.table, self.more_tools.copy
        self.run.changed.connect(self.start)
        self.defaults.changed.connect(self.take_defaults)
        self.settings.changed.connect(lambda: self.controls.show_message(open_settings()))

    def _iterate(self, *args: Any, **options: Any) -> Generator[Event, None, Segmentation]:
        """Import and start the job; called in another thread because it imports torch."""
        return self.method.iterator(*args, **options)

    # -- hooks for the methods -------------------------------------------------------------

    def own_inputs(self) -> list[Widget]:
        """Return rows to be shown above the form."""
        return []

    def own_options(self) -> list[Widget]:
        """Return rows to be folded away with the options that rarely need a change."""
        return []

    def form_inputs(self) -> dict[str, ValueWidget]:
        """Return inputs of the form, by option, that are made in another way than from its type."""
        return {}

    def own_outputs(self) -> list[Widget]:
        """Return rows to be shown below the form."""
        return []

    def own_values(self) -> dict[str, Any]:
        """Return the config fields that :meth:`own_inputs` ask for, or raise a KindredError."""
        return {}

    def job_of(self, data: Any, config: Any) -> Callable[[], Generator[Event, None, Segmentation]]:
        """Return what starts a job; it is called in another thread."""
        segment = self._segment
        return lambda: segment(data, config=config)

    @abstractmethod
    def run_of(self, layer: Image, image: LayerImage, config: Any) -> Run:
        """Return what shows a job."""

    def ended(self, run: JobView, result: Any) -> None:
        """Allow the next run; called when a job has ended, ``result`` is None if it was stopped."""
        replaced, self._replaced = self._replaced, None
        if result is not None and replaced is not None and replaced in self._viewer.layers:
            if is_corrected(replaced):
                run.notice(f"{replaced.name!r} stays, because you have corrected it.")
            else:
                take_place(self._viewer, replaced, run.layer)
        self.check()

    def release(self) -> None:
        """Discard what is being looked up: the widget is closed."""

    @property
    def result(self) -> Labels | None:
        """The layer of the last run, from its first frame on."""
        return self.controls.view.layer if self.controls.view is not None else None

    # -- from layer to a valid entry -------------------------------------------------------

    def reset_choices(self, *_: Any) -> None:
        """Follow the layer list; napari calls this whenever layers come, go or are renamed."""
        self.chosen.reset_choices()

    def check(self, *_: Any) -> Any:
        """Return the config that would be run; None, with Run disabled, if an entry is wrong."""
        config = self.chosen.check(self.config)
        self.run.enabled = config is not None and not self.controls.busy
        return config

    def _other_image(self, image_id: Any) -> None:
        """Clear what was shown about a run on the image before."""
        view = self.controls.view
        if view is not None and view.image_id != image_id and not self.controls.busy:
            self.controls.show_message("")

    @property
    def layer_image(self) -> LayerImage | None:
        """The chosen image."""
        return self.chosen.image

    def frames(self, image: LayerImage) -> ImageStack:
        """Open an image with the axes and channel entered; no pixels are read."""
        return self.chosen.frames(image)

    def config(self) -> Any:
        """Return the config that is entered, or raise a KindredError."""
        place = {"axes": self.chosen.letters, "channel": self.chosen.channels}
        return self.form.config(**place, **self.own_values())

    def restore(self, options: Mapping[str, Any]) -> None:
        """Enter options of an earlier run; what is not among them takes its default."""
        self.form.restore(options)

    def entries(self) -> dict[str, str]:
        """Return the entries that are no config options, to be saved with them."""
        return {}

    def restore_entries(self, entries: Any) -> str:  # noqa: ARG002 - for those that ask for more
        """Restore what :meth:`entries` returned; returns a sentence if something is missing."""
        return ""

    def take_defaults(self, *_: Any) -> None:
        """Enter the defaults of all options."""
        self.restore({})
        self.restore_entries(None)
        self.controls.show_message("All options are at their defaults.")

    # -- running ---------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether a job is running."""
        return self.controls.busy

    def start(self, *_: Any) -> None:
        """Run the job on the chosen layer."""
        config = self.check()
        if config is None or self.controls.busy or self.layer_image is None:
            return
        used(self._viewer, self)
        options, entries = changed(config), self.entries()
        saved = {key: options[key] for key in options if key not in OF_AN_IMAGE}
        save_options(self.title, {**saved, ENTRIES: entries} if entries else saved)
        run = self.run_of(self.image.value, self.layer_image, config)
        last = self.controls.view
        same = last is not None and last.image_id == run.image_id
        self._replaced = self.result if self.replaces.value and same else None
        self.controls.launch(run, self.job_of(self.layer_image.file, config))

    def stop(self, *_: Any) -> None:
        """Ask the job to stop; what is done stays."""
        self.controls.stop()

    def _closed(self) -> None:
        """Stop, and keep what is done: the dock was closed, the viewer stays."""
        self.controls.stop()
        forget(self._viewer, self)
        self.more_tools.abandon()
        self.release()

    def _abandon(self, *_: Any) -> None:
        """Stop without touching the window, which is being closed."""
        self.controls.abandon()
        self.more_tools.abandon()
        self.release()

    # -- afterwards ------------------------------------------------------------------------

    def python(self) -> str:
        """Return the code for the selected result, else the last one, else the entries."""
        return self.more_tools.python()

    def _code_of_entries(self) -> str:
        config = self.check()
        if config is None or self.layer_image is None:
            return ""
        return self.run_of(self.image.value, self.layer_image, config).code()
