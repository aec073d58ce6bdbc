"""The dock widget "Classes by name": pixels of the classes that the user names."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...classes.names import check_names, key
from ...classes.vocabulary.examples import is_background
from ...core.colors import main_colours
from ...core.errors import InputError, KindredError, OptionError
from ...methods import CLASSES
from ..common.form import native_row
from ..label_widget import LabelWidget
from .annotations import Target
from .classifier_input import ClassifierInput
from .examples_input import iter_train_examples
from .layer import Classes, classes_of
from .live import LiveClasses
from .names_editor import NamesEditor
from .panel import ClassPanel
from .run import ClassRun, TrainingView

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    import napari.viewer
    from magicgui.widgets.bases import Widget
    from napari.layers import Image

    from ...classes.config import ClassesConfig
    from ...classes.vocabulary.vocabulary import Vocabulary
    from ...core.events import Event
    from ...results.segmentation import Segmentation
    from ..common.layers import LayerImage
    from ..method_widget import Segment


class ClassesWidget(LabelWidget):
    """Finds classes by name, and lets threshold, names and colours be changed afterwards."""

    method = CLASSES
    left_out = ("axes", "channel", "threshold")
    title = "Classes"
    run_tip = "Segment the named classes into a new Labels layer."

    def __init__(self, viewer: napari.viewer.Viewer, segment: Segment | None = None) -> None:
        self._ready = False
        super().__init__(viewer, segment)
        self._ready = True
        self.classifier.show_page()
        self._follow_theme()
        viewer.events.theme.connect(self._follow_theme)

    # -- what is on it ---------------------------------------------------------------------

    def own_inputs(self) -> list[Widget]:
        self.names = NamesEditor(self._names_changed)
        self.classifier = ClassifierInput(
            self._viewer, self.target, self._classifier_changed, self.names.add
        )
        examples = self.classifier.examples
        examples.live = LiveClasses(
            self._viewer,
            self.target,
            lambda: list(zip(self.names.names, self.names.colours(), strict=True)),
            self._teaching,
            examples.show_message,
            self.check,
        )
        examples.paint.native.toggled.connect(self.paint_live)
        self.classifier.examples.train.changed.connect(self.train)
        self.classifier.examples.save.changed.connect(self.save_trained)
        return [*self.classifier.rows(), native_row(self.names, "Names", self.names.toolTip())]

    def make_panel(self) -> ClassPanel:
        panel = ClassPanel(self.controls.show_message, self._viewer, self.check, self._offer_merged)
        panel.rename.changed.connect(self.show_names)
        panel.save.changed.connect(self.save_shown)
        return panel

    def restore(self, options: Mapping[str, Any]) -> None:
        super().restore(options)
        if self.panel.layer is None:  # else the threshold is that layer's
            self.panel.enter(options.get("threshold"))

    def entries(self) -> dict[str, str]:
        return {**self.classifier.entries(), "names": self.names.toPlainText()}

    def restore_entries(self, entries: Any) -> str:
        saved = entries if isinstance(entries, dict) else {}
        missing = self.classifier.choose(saved)
        # Names are restored only together with what defines them.
        same = all(saved.get(key) == chosen for key, chosen in self.classifier.entries().items())
        self.names.setPlainText(str(saved.get("names", "")) if same else "")
        return missing

    def target(self) -> Target:
        """Return the image that examples are annotated on."""
        if self.layer_image is None or self.image.value is None:
            raise InputError("Open the annotated image first.")
        self.frames(self.layer_image)
        shown = tuple(self._viewer.dims.point)
        return Target(self.image.value, self.layer_image.data, self.chosen.letters, shown)

    def _follow_theme(self, *_: Any) -> None:
        """Follow napari's theme."""
        self.names.follow_theme(str(self._viewer.theme))
        self.classifier.vocabulary.describe()

    # -- from what is entered to a run -----------------------------------------------------

    def own_values(self) -> dict[str, Any]:
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
        if not self._ready:
            return None
        config = super().check()
        examples = self.classifier.examples
        examples.train.enabled = not self.controls.busy and bool(examples.annotations)
        examples.save.enabled = not self.controls.busy and self._trained() is not None
        return config

    def _trained(self) -> Vocabulary | None:
        """Return the vocabulary trained on the examples with the options entered, if any."""
        try:
            return self.classifier.examples.trained(self._teaching())
        except KindredError:
            return None

    def _teaching(self) -> ClassesConfig:
        """Return the options for training on examples; names do not matter."""
        config: ClassesConfig = self.form.config(channel=self.chosen.channels)
        return config

    def paint_live(self, on: bool) -> None:
        """Begin to classify what is painted, or end it."""
        examples = self.classifier.examples
        live = examples.live
        assert live is not None  # noqa: S101 - made with the widget
        if not on:
            live.stop()
            return
        try:
            live.start()
        except KindredError as error:
            examples.paint.native.setChecked(False)
            examples.show_message(str(error), wrong=True)
            return
        # What Run does is then what was seen.
        self.form.inputs["proposals"].value = "pixels"
        self.check()

    def _names_changed(self) -> None:
        live = self.classifier.examples.live
        if live is not None and live.on:
            live.recolour()
            live.tell()
        self.panel.recolour(self.names.chosen())
        self.check()

    def _classifier_changed(self) -> None:
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
        segment, names, name_source = (
            self._segment,
            check_names(self.names.names),
            self.classifier.name_source(config),
        )
        return lambda: segment(data, names, config=config, **name_source.arguments())

    def run_of(self, layer: Image, image: LayerImage, config: ClassesConfig) -> ClassRun:
        names, colours = check_names(self.names.names), self.names.colours()
        self.names.keep_colours()
        shown = dict(zip(map(key, names), colours, strict=True))
        return ClassRun(
            self._viewer, layer, image, config, names, colours, shown,
            self.classifier.name_source(config),
        )  # fmt: skip

    def _other_image(self, image_id: Any) -> None:
        super()._other_image(image_id)
        layer = self.image.value
        small = np.zeros((0, 4)) if layer is None else layer.thumbnail.reshape(-1, 4) / 255
        self.names.avoid(main_colours(small[small[:, 3] > 0][:, :3]))

    def ended(self, run: Any, result: Any) -> None:
        super().ended(run, result)
        classes, examples = classes_of(run.layer), self.classifier.examples
        if classes is None or classes.vocabulary is None:
            return
        source = classes.name_source
        untrained = source.kind == "examples" and source.vocabulary is None
        if untrained and source.examples == examples.annotations:
            examples.keep(examples.key(classes.config), classes.vocabulary)

    def _closed(self) -> None:
        if self.classifier.examples.live is not None:
            self.classifier.examples.live.stop()
        super()._closed()

    def release(self) -> None:
        self.classifier.abandon()
        self.panel.abandon()
        if self.classifier.examples.live is not None:
            self.classifier.examples.live.abandon()

    def train(self, *_: Any) -> None:
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
        run = TrainingView(sum(map(len, examples.annotations)), keep)
        self.controls.launch(run, partial(iter_train_examples, examples.annotations, config))
        examples.train.enabled = False

    # -- afterwards ------------------------------------------------------------------------

    def show_names(self, *_: Any) -> None:
        """Relabel the selected result with the names entered above."""
        try:
            self.panel.show_names(check_names(self.names.names))
        except KindredError as error:
            self.controls.show_message(str(error), wrong=True)

    def _offer_merged(self, classes: Classes) -> None:
        """Offer the regrouped vocabulary for the next run, with the names that it gave."""
        name_source = classes.name_source
        last = name_source.groups[-1][0]
        origin = "my examples" if name_source.kind == "examples" else Path(name_source.name).stem
        self.classifier.vocabulary.offer(f"{last} ({origin})", name_source)
        self.classifier.kind.value = "vocabulary"
        self.names.names = classes.result.names

    def save_trained(self, *_: Any, path: Path | None = None) -> None:
        """Save the vocabulary trained on the examples; asks for the file if none is given."""
        self._save(self._trained(), path)

    def save_shown(self, *_: Any, path: Path | None = None) -> None:
        """Save the vocabulary of the selected result; asks for the file where none is given."""
        classes = self.panel.state
        self._save(classes.vocabulary if classes is not None else None, path)

    def _save(self, vocabulary: Vocabulary | None, path: Path | None) -> None:
        if vocabulary is not None:
            note = "" if vocabulary.quality else "; its accuracy was not measured"
            write = partial(vocabulary.save, overwrite=True)
            self.save_file("vocabulary", "my.kindred", write, path, note)


def _has_examples(names: tuple[str, ...], classes: tuple[str, ...]) -> None:
    """Refuse names without examples."""
    known = set(map(key, classes))
    for name in names:
        if key(name) not in known:
            raise OptionError(
                f"There are no examples of {name!r}, only of {', '.join(classes)}; collect some, "
                "or remove the name."
            )
