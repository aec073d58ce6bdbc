"""Form and buttons to learn from corrections."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from magicgui.widgets import ComboBox, FloatSpinBox, LineEdit, PushButton
from napari.layers import Labels, Shapes
from qtpy.QtWidgets import QMessageBox

from ...core.errors import KindredError
from ...core.settings import weights_dir
from ...entities.learning.config import LearnConfig
from ...entities.learning.files import card_of, learnt_weights, title_of
from ..common.following import Following
from ..common.form import labelled, narrow, row
from ..common.layers import KEY
from .learn_view import Corrected, LearnView, iter_learn, read_numbers
from .weights_input import SHIPPED

if TYPE_CHECKING:
    from collections.abc import Callable

    from magicgui.widgets.bases import Widget

    from ...entities.learning.files import FineTuned
    from ...images.stack import ImageStack
    from ..common.run_controls import RunControls
    from .learn_view import CorrectedFrame
    from .weights_input import WeightsInput

SHOWN, PAINTED, ALL, NUMBERS, RESULTS = "shown", "painted", "all", "numbers", "results"

CHECKED = {
    SHOWN: "the frame that is shown",
    PAINTED: "frames that I painted on",
    ALL: "all frames with labels",
    NUMBERS: "frames by number",
    RESULTS: "all results in the layer list",
}
"""What can be checked besides the inside of drawn shapes."""

ABOUT_CHECKED = (
    "What you have looked through and corrected: there every object is labelled, and the rest is "
    "background. Nothing else is learnt from. Draw a Shapes layer to check a part of a frame."
)


class LearnPanel:
    """Learns from the selected labels, and shows what came of it."""

    def __init__(
        self,
        viewer: Any,
        layer: Callable[[], Any],
        stack: Callable[[], ImageStack],
        weights: WeightsInput,
        controls: RunControls,
    ) -> None:
        self._viewer, self._layer, self._stack = viewer, layer, stack
        self._weights, self._controls = weights, controls
        options = LearnConfig()
        self.open = PushButton(
            text="▸ Learn from my corrections",
            tooltip="Teach the weights by the objects that you corrected, in a few minutes.",
        )
        self.open.native.setCheckable(True)
        self.checked = ComboBox(label="Checked", choices=self._choices, tooltip=ABOUT_CHECKED)
        narrow(self.checked)
        self.numbers = LineEdit(label="Frames", value="0", tooltip="Such as 0-3, 7; from 0.")
        self.name = LineEdit(
            label="Name", tooltip="What to call the weights; made of number and date if empty."
        )
        self.minutes = FloatSpinBox(
            label="Minutes",
            value=options.minutes,
            min=0.1,
            max=600,
            step=0.5,
            tooltip="Longest time to learn. It stops earlier if it gets no better.",
        )
        self.learn = PushButton(text="Learn")
        self.delete = PushButton(text="Delete weights …")
        self.checked.changed.connect(self.follow)
        self.learn.changed.connect(self.start)
        self.delete.changed.connect(self.ask_delete)
        self._fields = [labelled(one) for one in (self.checked, self.numbers)]
        self._folded: list[Widget] = [
            *self._fields,
            labelled(self.name),
            labelled(self.minutes),
            row(self.learn, self.delete),
        ]
        self.open.native.toggled.connect(self.unfold)
        self._following = Following(viewer, self.follow, viewer.dims.events.ndim)
        weights.changed.connect(self.follow)

    def rows(self) -> list[Widget]:
        """Return what is shown, from top to bottom."""
        return [self.open, *self._folded]

    def unfold(self, show: bool) -> None:
        """Show or hide the form; to be called once after the rows are laid out."""
        for each in self._folded:
            each.visible = show
        if show:
            self._weights.refresh()  # some may have been learnt elsewhere meanwhile
        self.open.text = f"{'▾' if show else '▸'} Learn from my corrections"
        self.follow()

    # -- what there is to choose ------------------------------------------------------------

    @property
    def labels(self) -> Any:
        """The selected Labels layer, a result or not, else the last result."""
        active = self._viewer.layers.selection.active
        return active if isinstance(active, Labels) else self._layer()

    def _choices(self, *_: Any) -> list[tuple[str, str]]:
        named = dict(CHECKED)
        layer = self.labels
        single = layer is None or layer.ndim < 3
        if single:
            named[SHOWN] = "the whole image"
            for name in (PAINTED, ALL, NUMBERS):
                del named[name]
        drawn = [one for one in self._viewer.layers if isinstance(one, Shapes)]
        return [
            *((text, key) for key, text in named.items()),
            *((f"inside {one.name}", str(one.unique_id)) for one in drawn),
        ]

    def follow(self, *_: Any) -> None:
        """Show what the layers allow."""
        before = self.checked.value
        with self.checked.changed.blocked():
            self.checked.reset_choices()
            if before in self.checked.choices:
                self.checked.value = before
        self._fields[1].visible = self._unfolded and self.checked.value == NUMBERS
        busy = self._controls.busy
        fault = "" if self.labels is not None else "There are no labels yet: press Run first."
        self.learn.enabled = not (fault or busy)
        self.learn.tooltip = f"Learn from what is checked, and measure before and after. {fault}"
        self.delete.enabled = self._own_file() is not None and not busy
        self.delete.tooltip = (
            "Undo: delete the weights chosen under More options, and go back to those that they "
            "were learnt from."
        )

    @property
    def _unfolded(self) -> bool:
        return bool(self.open.native.isChecked())

    # -- learning ---------------------------------------------------------------------------

    def start(self, *_: Any) -> None:
        """Learn in another thread, from the labels as they are now."""
        if self._controls.busy or self.labels is None:
            return
        try:
            frames = self.frames()
            config = LearnConfig(minutes=self.minutes.value)
        except KindredError as error:
            self._controls.show_message(str(error), wrong=True)
            return
        view = LearnView(self.labels, self._learnt)
        weights, name = self._weights.value, self.name.value.strip()
        self._controls.launch(view, partial(iter_learn, frames, weights, name, config))
        self.follow()

    def frames(self) -> list[CorrectedFrame]:
        """Return what is checked, or raise a KindredError."""
        if self.checked.value == RESULTS:
            return [
                frame
                for layer in self._viewer.layers
                if isinstance(layer, Labels) and KEY in layer.metadata
                for corrected in [self._corrected(layer)]
                for frame in corrected.frames(corrected.painted() or corrected.labelled())
            ]
        corrected = self._corrected(self.labels)
        shown = corrected.shown(self._viewer)
        choice = self.checked.value
        for shapes in self._viewer.layers:
            if str(shapes.unique_id) == choice:
                return corrected.inside(shapes, shown)
        ways = {
            PAINTED: corrected.painted,
            ALL: corrected.labelled,
            NUMBERS: lambda: corrected.numbers(read_numbers(self.numbers.value)),
        }
        return corrected.frames(ways.get(choice, lambda: [shown])() or [shown])

    def _corrected(self, layer: Any) -> Corrected:
        return Corrected.of(self._viewer, layer, self._stack)

    def _learnt(self, learnt: FineTuned) -> None:
        """Take the weights for the next run, if they are better."""
        self._weights.refresh()
        self._weights.value = learnt.weights
        self.name.value = ""

    # -- undo -------------------------------------------------------------------------------

    def _own_file(self) -> Path | None:
        """Return the file of the chosen weights if it was learnt from corrections here."""
        path = Path(self._weights.value)
        return path if path.parent == weights_dir().absolute() and path.is_file() else None

    def ask_delete(self, *_: Any) -> None:
        """Delete the chosen weights if the user is sure."""
        path = self._own_file()
        if path is None:
            return
        question = f"Delete the weights {title_of(str(path))!r}?"
        yes = QMessageBox.StandardButton.Yes
        if QMessageBox.question(self.learn.native, "Delete weights", question) == yes:
            self.delete_weights(path)

    def delete_weights(self, path: Path) -> None:
        """Delete weights, and choose those that they were learnt from."""
        name, start = title_of(str(path)), str(card_of(path).get("start", SHIPPED))
        try:
            path.unlink()
        except OSError as error:
            self._controls.show_message(f"{name!r} could not be deleted: {error}.", wrong=True)
            return
        self._weights.value = str(learnt_weights().get(start, SHIPPED))
        self._weights.refresh()
        self._controls.show_message(f"Deleted {name!r}; the next run uses {start!r}.")

    def abandon(self) -> None:
        """Follow nothing any more: the widget is closed."""
        self._following.stop()
