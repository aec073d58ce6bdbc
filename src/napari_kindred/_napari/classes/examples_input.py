"""Input for examples of classes, collected from layers, and their training."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from magicgui.widgets import Container, LineEdit, PushButton
from qtpy.QtWidgets import QAbstractItemView, QListWidget, QSizePolicy

from ...classes.names import check_names
from ...classes.recipe import OF_TEACHING
from ...core.errors import KindredError, OptionError
from ..common.form import labelled, native_row, row, sentence, show_message
from ..common.proxies import unwrap_proxy
from .annotations import Annotation, Target, collect, merge_examples
from .annotations_to_code import examples_of
from .layer import ClassNameSource

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from magicgui.widgets.bases import Widget

    from ...classes.config import ClassesConfig
    from ...classes.vocabulary.vocabulary import Vocabulary
    from ...core.events import Event
    from .live import LiveClasses

ROWS = 3
"""Collected layers that are seen without scrolling."""

_sessions: WeakKeyDictionary[Any, tuple[Annotation, ...]] = WeakKeyDictionary()
"""Examples by viewer: they outlive the widget, which may be closed and reopened."""

Key = tuple[Any, ...]


class ExamplesInput:
    """Collects annotations as examples of classes, and caches trained vocabularies."""

    def __init__(
        self, viewer: Any, target: Callable[[], Target], on_change: Callable[[], Any]
    ) -> None:
        self._viewer, self._target, self._on_change = viewer, target, on_change
        self._session = unwrap_proxy(viewer)
        self._trained: tuple[Key, Vocabulary] | None = None
        self.name = LineEdit(
            label="Class",
            tooltip="Class of the annotations in the selected layer; 'background' for anything "
            "else.",
        )
        self.name.native.setPlaceholderText("class name")
        self.collect = PushButton(
            text="Collect layer",
            tooltip="Add the annotations of the selected Points, Shapes or Labels layer as "
            "examples of this class. From a Labels layer only the current frame is added, and only "
            "the selected label if napari shows just that one.",
        )
        self.list = QListWidget()
        self.list.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.list.setFixedHeight(ROWS * (self.list.fontMetrics().height() + 6) + 6)
        self.list.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.list.setToolTip("Collected examples.")
        self.remove = PushButton(text="Remove", tooltip="Remove the selected examples.")
        self.train = PushButton(
            text="Train", tooltip="Train on the examples, and measure the accuracy."
        )
        self.save = PushButton(
            text="Save …",
            tooltip="Save the trained classes as a vocabulary, for other images.",
        )
        self.paint = PushButton(
            text="Paint live",
            tooltip="Paint all classes in one layer: 1, 2, 3 … are the names below, the next one "
            "is background. What is in view is classified after every stroke; Run does all of "
            "the image.",
        )
        self.paint.native.setCheckable(True)
        self.live: LiveClasses | None = None
        self.about = sentence()
        self.collect.changed.connect(self.take_layer)
        self.name.native.returnPressed.connect(self.take_layer)
        self.remove.changed.connect(self.remove_selected)
        self.list.itemSelectionChanged.connect(self._offer)
        self._refresh()

    def rows(self) -> list[Widget]:
        """Return what is shown, from top to bottom."""
        first: Container = labelled(self.name)
        first.append(self.collect)
        buttons = row(self.paint, self.remove, self.train, self.save)
        return [first, native_row(self.list), buttons, self.about]

    # -- collected examples ----------------------------------------------------------------

    @property
    def annotations(self) -> tuple[Annotation, ...]:
        """The examples collected in this viewer."""
        collected = _sessions.get(self._session, ())
        return collected if self.live is None else (*collected, *self.live.annotations())

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes that there are examples of, in the order of their first ones."""
        return tuple(dict.fromkeys(item.name for item in self.annotations))

    def take_layer(self, *_: Any) -> None:
        """Collect the selected layer."""
        try:
            if not self.name.value.strip():
                raise OptionError("Enter the class of these annotations above.")
            (name,) = check_names([self.name.value])
            new = collect(self._viewer.layers.selection.active, self._target(), name)
        except KindredError as error:
            self.show_message(str(error), wrong=True)
            return
        self._keep(merge_examples(_sessions.get(self._session, ()), new))
        self.show_message("")

    def remove_selected(self, *_: Any) -> None:
        """Remove the examples that are selected in the list."""
        rows = {index.row() for index in self.list.selectedIndexes()}
        collected = _sessions.get(self._session, ())
        self._keep(tuple(item for at, item in enumerate(collected) if at not in rows))
        self.show_message("")

    def _keep(self, annotations: tuple[Annotation, ...]) -> None:
        _sessions[self._session] = annotations
        self._refresh()
        self._on_change()

    def _refresh(self) -> None:
        self.list.clear()
        self.list.addItems([item.describe() for item in _sessions.get(self._session, ())])
        self._offer()

    def _offer(self) -> None:
        self.remove.enabled = bool(self.list.selectedIndexes())

    # -- training --------------------------------------------------------------------------

    def name_source(self, config: ClassesConfig) -> ClassNameSource:
        """Return the examples, with the vocabulary if it was trained with the same options."""
        if not self.annotations:
            raise OptionError(
                "There are no examples: annotate objects in a Points, Shapes or Labels layer, "
                "enter their class and press 'Collect layer'."
            )
        return ClassNameSource(
            "examples", examples=self.annotations, vocabulary=self.trained(config)
        )

    def trained(self, config: ClassesConfig) -> Vocabulary | None:
        """Return the vocabulary trained on these examples with these options, if there is one."""
        cached = self._trained
        return cached[1] if cached is not None and cached[0] == self.key(config) else None

    def key(self, config: ClassesConfig) -> Key:
        """Return the key under which a trained vocabulary is cached."""
        return self.annotations, tuple(getattr(config, name) for name in OF_TEACHING)

    def keep(self, key: Key, vocabulary: Vocabulary) -> None:
        """Cache a trained vocabulary."""
        self._trained = (key, vocabulary)
        self._on_change()

    def show_message(self, text: str, *, wrong: bool = False) -> None:
        """Show a sentence below the examples."""
        self.about.visible = bool(text)
        show_message(self.about, text, wrong=wrong)


def iter_train_examples(
    annotations: tuple[Annotation, ...], config: ClassesConfig
) -> Generator[Event, None, Vocabulary]:
    """Train on examples and measure the accuracy; called in another thread."""
    from ...classes.config import TeachConfig
    from ...classes.open import teaching_config
    from ...classes.vocabulary.teach import iter_teach_classes

    folds = TeachConfig().folds
    return iter_teach_classes(
        examples_of(annotations), config=replace(teaching_config(config), folds=folds)
    )
