"""The dock widget "Classes by name": pixels of the classes that the user names."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtWidgets import QFileDialog

from ...classes.names import check_names, key
from ...classes.vocabulary.examples import is_background
from ...core.errors import InputError, KindredError, OptionError
from ...methods import CLASSES
from ..common.form import native_row
from ..common.layers import LayerImage, keep_copy
from ..method_widget import MethodWidget, Segment
from .annotations import Target
from .classifier_input import ClassifierInput
from .examples_input import iter_learn
from .layer import Classes, classes_of
from .names_editor import NamesEditor
from .panel import ClassPanel
from .run import ClassRun, Learning

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    import napari.viewer
    from magicgui.widgets.bases import Widget
    from napari.layers import Image

    from ...classes.config import ClassesConfig
    from ...classes.vocabulary.vocabulary import Vocabulary
    from ...core.events import Event
    from ...results.segmentation import Segmentation

WIDTH = 350
"""Pixels that the dock's title needs, and that buttons need to show what is on them."""


class ClassesWidget(MethodWidget):
    """Finds classes by name, and lets threshold, names and colours be changed afterwards.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    segment : callable, optional
        Takes an array, names, ``config=`` and what gives names their meaning, and returns the
        generator that does the work; :func:`napari_kindred.iter_segment_classes` when left out.
    """

    method = CLASSES
    left_out = ("axes", "channel", "threshold")
    title = "Classes"
    run_tip = "Segment the named classes into a new Labels layer."

    def __init__(self, viewer: napari.viewer.Viewer, segment: Segment | None = None) -> None:
        self._ready = False
        super().__init__(viewer, segment)
        self.min_width = WIDTH
        self._ready = True
        self.classifier.turn()
        self._dress()
        viewer.events.theme.connect(self._dress)
        viewer.layers.selection.events.active.connect(self._take_result)
        viewer.layers.events.removed.connect(self._take_result)
        self._take_result()

    # -- what is on it ---------------------------------------------------------------------

    def own_inputs(self) -> list[Widget]:
        """Return the rows for names and their meaning; see :class:`MethodWidget`."""
        self.names = NamesEditor(self._named)
        self.classifier = ClassifierInput(
            self._viewer, self.target, self._meant_otherwise, self.names.add
        )
        self.classifier.examples.learn.changed.connect(self.learn)
        self.classifier.examples.save.changed.connect(self.save_learnt)
        return [*self.classifier.rows(), native_row(self.names, "Names", self.names.toolTip())]

    def own_outputs(self) -> list[Widget]:
        """Return what there is to do with classes; see :class:`MethodWidget`."""
        self.panel = ClassPanel(
            self.controls.show_message, partial(keep_copy, self._viewer), self.check, self._grouped
        )
        self.panel.rename.changed.connect(self.show_names)
        self.panel.save.changed.connect(self.save_shown)
        return [self.panel]

    def restore(self, options: Mapping[str, Any]) -> None:
        """Enter options of an earlier run; see :class:`MethodWidget`."""
        super().restore(options)
        if self.panel.layer is None:  # else the threshold is that layer's
            self.panel.enter(options.get("threshold"))

    def asked(self) -> dict[str, str]:
        """Return the names, as they are typed, and what they mean; see :class:`MethodWidget`."""
        return {**self.classifier.asked(), "names": self.names.toPlainText()}

    def ask_again(self, entries: Any) -> str:
        """Enter names together with what they mean, or neither; see :class:`MethodWidget`."""
        kept = entries if isinstance(entries, dict) else {}
        gone = self.classifier.choose(kept)
        alike = all(kept.get(word) == chosen for word, chosen in self.classifier.asked().items())
        self.names.setPlainText(str(kept.get("names", "")) if alike else "")
        return gone

    def target(self) -> Target:
        """Return the image that examples are marked on."""
        if self.known is None or self.image.value is None:
            raise InputError("Open the annotated image first.")
        self.frames(self.known)
        shown = tuple(self._viewer.dims.point)
        return Target(self.image.value, self.known.data, self.chosen.letters, shown)

    def _dress(self, *_: Any) -> None:
        """Follow napari's theme."""
        self.names.dress(str(self._viewer.theme))
        self.classifier.vocabulary.describe()

    # -- from what is entered to a run -----------------------------------------------------

    def entered(self) -> dict[str, Any]:
        """Return the threshold, having checked names and classifier; see :class:`MethodWidget`."""
        self.names.mark(wrong=False)
        threshold = {"threshold": self.panel.threshold}
        name_source = self.classifier.name_source(self.form.config(**threshold))
        try:
            names = check_names(self.names.names)
            if name_source.vocabulary is not None:
                name_source.vocabulary.scores(
                    np.zeros((0, name_source.vocabulary.head.dimension)), names
                )
            elif name_source.kind == "examples":
                _has_examples(names, self.classifier.examples.classes)
        except KindredError:
            self.names.mark(wrong=bool(self.names.names))
            raise
        return threshold

    def check(self, *_: Any) -> Any:
        """Check every entry; see :class:`MethodWidget`."""
        if not self._ready:
            return None
        config = super().check()
        examples = self.classifier.examples
        examples.learn.enabled = not self.controls.busy and bool(examples.annotations)
        examples.save.enabled = not self.controls.busy and self._learnt() is not None
        return config

    def _learnt(self) -> Vocabulary | None:
        """Return the vocabulary trained on the examples with the options entered, if any."""
        try:
            return self.classifier.examples.learnt(self._teaching())
        except KindredError:
            return None

    def _teaching(self) -> ClassesConfig:
        """Return the options for training on examples; names do not matter."""
        config: ClassesConfig = self.form.config(channel=self.channel.value)
        return config

    def _named(self) -> None:
        self.panel.recolour(self.names.chosen())
        self.check()

    def _meant_otherwise(self) -> None:
        if not self._ready:
            return
        kind = self.classifier.kind.value
        vocabulary = self.classifier.vocabulary.vocabulary if kind == "vocabulary" else None
        known = vocabulary.entries if vocabulary is not None else ()
        self.names.suggest({entry.name: entry.colour for entry in known})
        if kind == "examples":
            for name in self.classifier.examples.classes:
                if not is_background(name):
                    self.names.add(name)
        self.check()

    # -- running ---------------------------------------------------------------------------

    def job_of(
        self, data: Any, config: ClassesConfig
    ) -> Callable[[], Generator[Event, None, Segmentation]]:
        """Return what starts a job; see :class:`MethodWidget`."""
        segment, names, name_source = (
            self._segment,
            check_names(self.names.names),
            self.classifier.name_source(config),
        )
        return lambda: segment(data, names, config=config, **name_source.arguments())

    def run_of(self, layer: Image, image: LayerImage, config: ClassesConfig) -> ClassRun:
        """Return what shows a job; see :class:`MethodWidget`."""
        names, colours = check_names(self.names.names), self.names.colours()
        return ClassRun(
            self._viewer, layer, image, config, names, colours, self.names.chosen(),
            self.classifier.name_source(config),
        )  # fmt: skip

    def ended(self, run: Any, result: Any) -> None:
        """Show the classes; see :class:`MethodWidget`."""
        super().ended(run, result)
        classes = classes_of(run.layer)
        if classes is None or run.layer not in self._viewer.layers:
            return
        name_source = classes.name_source
        if name_source.kind == "examples" and name_source.vocabulary is None and classes.vocabulary:
            examples = self.classifier.examples
            if name_source.examples == examples.annotations:
                examples.keep(examples.key(classes.config), classes.vocabulary)
        self._viewer.layers.selection.active = run.layer
        self.panel.take(run.layer)

    def release(self) -> None:
        """Discard what is being read or checked; see :class:`MethodWidget`."""
        self.classifier.abandon()
        self.panel.abandon()

    def learn(self, *_: Any) -> None:
        """Train on the examples, and measure the accuracy."""
        examples = self.classifier.examples
        if self.controls.busy or not examples.annotations:
            return
        try:
            config = self._teaching()
        except KindredError as error:
            self.controls.show_message(str(error), wrong=True)
            return
        keep = partial(examples.keep, examples.key(config))
        run = Learning(sum(map(len, examples.annotations)), keep)
        self.controls.launch(run, partial(iter_learn, examples.annotations, config))
        examples.learn.enabled = False

    # -- afterwards ------------------------------------------------------------------------

    def _take_result(self, *_: Any) -> None:
        """Work on the classes that are selected, else on those that were before."""
        layer, now = self.layer_to_change(classes_of, self.panel.layer), self.panel.layer
        if layer is None or now is None or layer.unique_id != now.unique_id:
            self.panel.take(layer)

    def show_names(self, *_: Any) -> None:
        """Relabel the selected result with the names entered above."""
        try:
            self.panel.show_names(check_names(self.names.names))
        except KindredError as error:
            self.controls.show_message(str(error), wrong=True)

    def _grouped(self, classes: Classes) -> None:
        """Offer the regrouped vocabulary for the next run, with the names that it gave."""
        name_source = classes.name_source
        last = name_source.groups[-1][0]
        origin = "my examples" if name_source.kind == "examples" else Path(name_source.name).stem
        self.classifier.vocabulary.offer(f"{last} ({origin})", name_source)
        self.classifier.kind.value = "vocabulary"
        self.names.names = classes.result.names

    def save_learnt(self, *_: Any, path: Path | None = None) -> None:
        """Save the vocabulary trained on the examples; asks for the file if none is given."""
        self._save(self._learnt(), path)

    def save_shown(self, *_: Any, path: Path | None = None) -> None:
        """Save the vocabulary of the selected result; asks for the file where none is given."""
        classes = self.panel.state
        self._save(classes.vocabulary if classes is not None else None, path)

    def _save(self, vocabulary: Vocabulary | None, path: Path | None) -> None:
        if vocabulary is None:
            return
        if path is None:
            chosen, _filter = QFileDialog.getSaveFileName(
                self.native, "Save vocabulary", "my.kindred", "Vocabulary (*.kindred)"
            )
            if not chosen:
                return
            path = Path(chosen)
        named = path.with_suffix(".kindred")
        try:
            # The dialog has asked whether a file of that very name may be replaced.
            vocabulary.save(named, overwrite=named == path)
        except (KindredError, OSError) as error:
            self.controls.show_message(str(error), wrong=True)
            return
        kept = f"Saved the vocabulary to {str(named)!r}"
        if not vocabulary.quality:
            kept += "; its accuracy was not measured"
        self.controls.show_message(f"{kept}.")


def _has_examples(names: tuple[str, ...], classes: tuple[str, ...]) -> None:
    """Refuse names without examples."""
    known = set(map(key, classes))
    for name in names:
        if key(name) not in known:
            raise OptionError(
                f"There are no examples of {name!r}, only of {', '.join(classes)}; collect some, "
                "or remove the name."
            )
