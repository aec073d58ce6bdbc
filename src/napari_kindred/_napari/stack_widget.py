"""What the dock widgets share: choose an image, run a job on it beside the window, watch, stop."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Generator
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from magicgui.widgets import ComboBox, Container, LineEdit, ProgressBar, PushButton
from napari.layers import Image
from qtpy.QtWidgets import QApplication

from ..axes import fault_in_axes
from ..errors import InputError, KindredError
from ..events import Event, Notice, Partial, Progress
from ..images import Frames
from .form import Form, labelled, mark, row, scrolled, sentence
from .layers import KEY, LayerImage, describe, read_layer
from .worker import Job

if TYPE_CHECKING:
    import napari.viewer
    from magicgui.widgets.bases import Widget
    from napari.layers import Labels

    from ..results import Segmentation
    from .run import Run, Shown

Segment = Callable[..., Generator[Event, None, "Segmentation"]]

NO_IMAGE = (
    "Open an image first: File ▸ Open File(s), or try one of File ▸ Open Sample ▸ napari-kindred."
)
FEATURES_TABLE = "Features table widget"
"""What napari calls the widget that shows a layer's features."""


class StackWidget(Container):
    """Asks for image and options, runs a job and shows its result as it grows.

    A method's own widget says which config its form is built from, what else it asks for
    (:meth:`own_inputs`, :meth:`entered`), how a job is started (:meth:`job_of`) and shown
    (:meth:`run_of`), and what there is to do with a result (:meth:`own_outputs`).

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    segment : callable
        Takes an array and ``config=``, and returns the generator that does the work.
    """

    config_class: ClassVar[type]
    left_out: ClassVar[tuple[str, ...]] = ("axes", "channel")
    title: ClassVar[str]
    """What napari's activity window calls a job, before the image's name."""
    run_tip: ClassVar[str]

    def __init__(self, viewer: napari.viewer.Viewer, segment: Segment) -> None:
        super().__init__(labels=False)
        self._viewer = viewer
        self._segment = segment
        self._image: LayerImage | None = None
        self._chosen: Any = None
        self._job: Job | None = None
        self._run: Shown | None = None
        self._make_inputs()
        self._make_outputs()
        self.margins = (0, 0, 0, 0)
        self._rows = scrolled(
            self,
            [
                *(labelled(widget) for widget in (self.image, self.axes, self.channel)),
                *(self.about, *self.own_inputs(), *self.form.rows()),
                *(self.buttons, self.progress, self.status, *self.own_outputs(), self.tools),
            ],
        )
        self.form.unfold(False)
        self.progress.visible = False
        self.native.destroyed.connect(self._abandon)
        self._take_layer()
        self._take_axes()

    # -- what a method's widget says -------------------------------------------------------

    def own_inputs(self) -> list[Widget]:
        """Return rows to be shown above the form."""
        return []

    def own_options(self) -> list[Widget]:
        """Return rows to be folded away with the options that rarely need a change."""
        return []

    def own_outputs(self) -> list[Widget]:
        """Return rows to be shown below the status."""
        return []

    def entered(self) -> dict[str, Any]:
        """Return the config fields that :meth:`own_inputs` ask for.

        Raises
        ------
        KindredError
            When one of them cannot be used.
        """
        return {}

    def job_of(self, data: Any, config: Any) -> Callable[[], Generator[Event, None, Segmentation]]:
        """Return what starts a job; it is called in another thread."""
        segment = self._segment
        return lambda: segment(data, config=config)

    @abstractmethod
    def run_of(self, layer: Image, image: LayerImage, config: Any) -> Run:
        """Return what shows a job."""

    @property
    def result(self) -> Labels | None:
        """The layer of the last run, from its first frame on."""
        return self._run.layer if self._run is not None else None

    # -- what is on it ---------------------------------------------------------------------

    def _make_inputs(self) -> None:
        self.image = ComboBox(
            label="Image", choices=self._images, tooltip="The image layer to segment."
        )
        self.axes = LineEdit(
            label="Axes",
            tooltip="One letter per axis: T time, C channel, Z depth, Y, X, and S for colour. "
            "It is guessed; correct it where it is wrong.",
        )
        self.channel = ComboBox(
            label="Channel", choices=[], tooltip="Which channel to segment, counted from 0."
        )
        self.about = sentence()
        self.form = Form(self.config_class, self.left_out, self.own_options())
        self.image.changed.connect(self._take_layer)
        self.axes.changed.connect(self._take_axes)
        for widget in (self.channel, *self.form.inputs.values()):
            widget.changed.connect(self.check)

    def _make_outputs(self) -> None:
        self.run = PushButton(text="Run", tooltip=self.run_tip)
        self.cancel = PushButton(
            text="Cancel", enabled=False, tooltip="Stop; the frames done so far are kept."
        )
        self.progress = ProgressBar(min=0, max=1000, value=0)
        self.status = sentence()
        self.table = PushButton(
            text="Features table", tooltip="Show napari's table of what is known of each label."
        )
        self.copy = PushButton(
            text="Copy as Python",
            tooltip="Put the code on the clipboard that computes the selected result again.",
        )
        self.buttons = row(self.run, self.cancel)
        self.tools = row(self.table, self.copy)
        self.run.changed.connect(self.start)
        self.cancel.changed.connect(self.stop)
        self.table.changed.connect(self.show_table)
        self.copy.changed.connect(self.copy_python)

    def _images(self, *_: Any) -> list[tuple[str, Image]]:
        return [(layer.name, layer) for layer in self._viewer.layers if isinstance(layer, Image)]

    def reset_choices(self, *_: Any) -> None:
        """Follow the layer list; napari calls this whenever layers come, go or are renamed."""
        with self.image.changed.blocked():
            self.image.reset_choices()
            # A choice is known by its name, so one that was renamed has to be chosen again.
            for layer in self.image.choices:
                if layer.unique_id == self._chosen:
                    self.image.value = layer
        self._take_layer()

    # -- from layer to a valid entry -------------------------------------------------------

    def _take_layer(self, *_: Any) -> None:
        """Show what is guessed about the layer, if another one than before is chosen."""
        # Plugins see layers through proxies, which are made anew each time: only ids compare.
        layer = self.image.value
        chosen = None if layer is None else layer.unique_id
        if chosen == self._chosen:
            self.check()
            return
        self._chosen = chosen
        self._read_layer()
        with self.axes.changed.blocked():
            self.axes.value = self._image.guess.axes if self._image else ""
        self._take_axes()

    def _read_layer(self) -> None:
        """Look at the layer anew: its data or its name may have changed."""
        self._image, layer = None, self.image.value
        if layer is None:
            self.about.value = NO_IMAGE
            return
        try:
            self._image = read_layer(layer, self._viewer.dims.axis_labels)
        except KindredError as error:
            self.about.value = str(error)

    def _take_axes(self, *_: Any) -> None:
        """Offer the channels that the axes leave to choose from."""
        with self.channel.changed.blocked():
            self.channel.choices = self._channels()
        self.channel.enabled = len(self.channel.choices) > 1
        self.check()

    def _channels(self) -> list[tuple[str, int | None]]:
        axes = self.letters
        if self._image is None or _fault(self._image, axes):
            return [("–", None)]
        if "S" in axes:
            return [("colour", None), ("red", 0), ("green", 1), ("blue", 2)]
        if "C" in axes:
            count = int(self._image.data.shape[axes.index("C")])
            return [(str(number), number) for number in range(count)]
        return [("–", None)]

    def check(self, *_: Any) -> Any:
        """Check every entry, say in one sentence what is wrong, and let Run be pressed or not.

        Returns
        -------
        dataclass or None
            The config that would be run; None where something is wrong.
        """
        config = None
        mark(self.axes, wrong=False)
        self._read_layer()
        if self._image is not None:
            try:
                frames = self.frames(self._image)
                config = self.config()
                self.about.value = describe(self._image, frames)
            except KindredError as error:
                mark(self.axes, wrong=_fault(self._image, self.letters) is not None)
                self.about.value = str(error)
        self.run.enabled = config is not None and self._job is None
        return config

    @property
    def letters(self) -> str:
        """The axes that are entered, one letter each."""
        return str(self.axes.value).strip().upper()

    def frames(self, image: LayerImage) -> Frames:
        """Open an image as entered; nothing is read.

        Raises
        ------
        InputError
            When axes or channel do not fit it.
        """
        if not self.letters:
            raise InputError(f"Name the axes, one letter each: {image.guess.why}.")
        return Frames.open(image.file, self.letters, self.channel.value)

    def config(self) -> Any:
        """Return the config that is entered.

        Raises
        ------
        KindredError
            When something entered cannot be used.
        """
        return self.form.config(axes=self.letters, channel=self.channel.value, **self.entered())

    # -- running ---------------------------------------------------------------------------

    def start(self, *_: Any) -> None:
        """Run the job on the chosen layer."""
        config = self.check()
        if config is None or self._job is not None or self._image is None:
            return
        run = self.run_of(self.image.value, self._image, config)
        self._launch(run, self.job_of(self._image.file, config))

    def _launch(self, run: Shown, job: Callable[[], Generator[Event, None, Any]]) -> None:
        self._run = run
        self.progress.value = 0
        self.progress.visible = True
        self.cancel.enabled = True
        self._say("Starting …")
        self._job = Job(
            job,
            f"{self.title} of {run.source}",
            on_event=partial(self._event, run),
            on_success=partial(self._done, run),
            on_failure=partial(self._failed, run),
            on_cancel=partial(self._cancelled, run),
        )
        self.run.enabled = False

    def stop(self, *_: Any) -> None:
        """Ask the job to stop; what is done stays."""
        if self._job is not None:
            self.cancel.enabled = False
            self._say("Stopping …")
            self._job.cancel()

    def _abandon(self, *_: Any) -> None:
        if self._job is not None:
            self._job.abandon()

    def _event(self, run: Shown, event: Event) -> None:
        if isinstance(event, Progress):
            self.progress.value = round(1000 * min(1.0, event.done / max(event.total, 1e-9)))
            if self.cancel.enabled:
                self._say(" ".join([run.progress(event), *run.notices()]))
        elif isinstance(event, Partial):
            run.add(event)
        elif isinstance(event, Notice):
            run.notice(event.text)

    def _done(self, run: Shown, result: Any) -> None:
        self._end(run, run.finish(result))

    def _cancelled(self, run: Shown) -> None:
        self._end(run, f"Cancelled. {run.interrupt('cancelled')}")

    def _failed(self, run: Shown, error: KindredError) -> None:
        kept = run.interrupt(str(error))
        self._end(run, f"{error} {kept}" if run.layer is not None else str(error), wrong=True)

    def _end(self, run: Shown, text: str, *, wrong: bool = False) -> None:
        self._job = None
        self.cancel.enabled = False
        self.progress.visible = False
        self.check()
        self._say(" ".join([text, *run.notices()]), wrong=wrong)

    def _say(self, text: str, *, wrong: bool = False) -> None:
        self.status.value = text
        self.status.native.setStyleSheet("color: #f08a85;" if wrong else "")

    # -- afterwards ------------------------------------------------------------------------

    def layer_to_change(self, state_of: Callable[[Any], Any], now: Any) -> Any:
        """Return the selected layer where it can be changed, else the one before, else the result.

        Parameters
        ----------
        state_of : callable
            Takes a layer; returns None where it cannot be changed.
        now : layer or None
            The one before.
        """
        active = self._viewer.layers.selection.active
        last = self.result
        if active is not None and last is not None and active.unique_id == last.unique_id:
            now = None  # of a run that was stopped, nobody means the one before
        for layer in (active, now, last):
            if state_of(layer) is not None and layer in self._viewer.layers:
                return layer
        return None

    def show_table(self, *_: Any) -> None:
        """Open napari's own table of the selected layer's features."""
        if self.result is not None and self.result in self._viewer.layers:
            self._viewer.layers.selection.active = self.result
        try:
            self._viewer.window.add_plugin_dock_widget("napari", FEATURES_TABLE, tabify=True)
        except ValueError:
            self._say("This napari has no features table; save the layer's features instead.")

    def copy_python(self, *_: Any) -> None:
        """Put the call on the clipboard that computes the selected, or the last, result again."""
        code = self.python()
        if code:
            QApplication.clipboard().setText(code)
            self._say("The code is on the clipboard; paste it into napari's console.")
        else:
            self._say("There is nothing to copy yet: choose an image and valid options.")

    def python(self) -> str:
        """Return the code for the selected result, else the last one, else the entries."""
        active = self._viewer.layers.selection.active
        for layer in (active, self.result):
            code = layer.metadata.get(KEY, {}).get("python") if layer is not None else None
            if code:
                return str(code)
        config = self.check()
        if config is None or self._image is None:
            return ""
        return self.run_of(self.image.value, self._image, config).code()


def _fault(image: LayerImage, axes: str) -> str | None:
    """Return what is wrong with the axes entered, as the end of a sentence, or None."""
    return fault_in_axes(axes, tuple(image.data.shape)) if axes else "are missing"
