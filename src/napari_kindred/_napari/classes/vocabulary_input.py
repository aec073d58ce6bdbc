"""The choice of a vocabulary, and the names that it knows."""

from __future__ import annotations

from functools import partial
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from magicgui.widgets import ComboBox, Container, PushButton
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog

from ...core.errors import KindredError, OptionError
from ..common.form import labelled, mark, narrow, sentence
from ..common.worker import Job
from .layer import ClassNameSource

if TYPE_CHECKING:
    from collections.abc import Callable

    from magicgui.widgets.bases import Widget

    from ...classes.vocabulary.vocabulary import Vocabulary

SHIPPED = ("microscopy",)
"""Vocabularies that come with the package."""

ALL = "all classes"

BUTTON = 62
"""Width, in pixels, of the button next to the list."""


class VocabularyInput:
    """A list of vocabularies, to which files can be added, and the classes of the chosen one."""

    def __init__(self, on_known: Callable[[], Any], on_name: Callable[[str], Any]) -> None:
        self._on_known, self._on_name = on_known, on_name
        self._sources: dict[str, ClassNameSource] = {
            name: ClassNameSource("vocabulary", name) for name in SHIPPED
        }
        self._wrong = ""
        self._reading: Job | None = None
        self.choice = ComboBox(
            label="Vocabulary",
            choices=list(self._sources),
            value=SHIPPED[0],
            tooltip="Trained classes: those that come with napari-kindred, or a file.",
        )
        self.open = PushButton(text="Open …", tooltip="Open a vocabulary, a *.kindred file.")
        self.open.max_width = BUTTON
        narrow(self.choice)
        self.about = sentence()
        self.about.native.setTextFormat(Qt.TextFormat.RichText)
        self.about.native.linkActivated.connect(self._clicked)
        self.choice.changed.connect(self.read)
        self.open.changed.connect(self.ask_file)

    def rows(self) -> list[Widget]:
        """Return what is shown, from top to bottom."""
        row: Container = labelled(self.choice)
        row.append(self.open)
        return [row, self.about]

    @property
    def vocabulary(self) -> Vocabulary | None:
        """The chosen vocabulary; None while it is read, or if it cannot be read."""
        return self._sources[self.choice.value].vocabulary

    @property
    def name(self) -> str:
        """Name of the chosen vocabulary, or path of its file; empty if classes were merged."""
        chosen = self._sources[self.choice.value]
        return "" if chosen.groups else chosen.name

    def choose(self, name: str) -> None:
        """Choose a vocabulary by its name, or by the path of its file."""
        for title, source in self._sources.items():
            if source.kind == "vocabulary" and source.name == name and not source.groups:
                self.choice.value = title
                return
        self.take_file(Path(name))

    def name_source(self) -> ClassNameSource:
        """Return what is chosen."""
        if self.vocabulary is None:
            raise OptionError(self._wrong or "The vocabulary is being read.")
        return self._sources[self.choice.value]

    # -- reading ---------------------------------------------------------------------------

    def ask_file(self, *_: Any) -> None:
        """Ask the user for a file."""
        chosen, _filter = QFileDialog.getOpenFileName(
            self.choice.native, "Open vocabulary", "", "Vocabulary (*.kindred)"
        )
        if chosen:
            self.take_file(Path(chosen))

    def take_file(self, path: Path) -> None:
        """Offer a vocabulary's file, and choose it."""
        self._sources.pop(path.name, None)
        self.offer(path.name, ClassNameSource("vocabulary", str(path)))
        self.read()

    def offer(self, title: str, name_source: ClassNameSource) -> None:
        """Offer another vocabulary, and choose it."""
        self._sources[title] = name_source
        with self.choice.changed.blocked():
            self.choice.choices = list(self._sources)
            self.choice.value = title
        for place, name in enumerate(self._sources):  # in full, as the list may cut it off
            self.choice.native.setItemData(place, name, Qt.ItemDataRole.ToolTipRole)
        self.describe()

    def read(self, *_: Any) -> None:
        """Read what is chosen, unless it was read before; its libraries take a while to load."""
        self.abandon()
        self._wrong = ""
        self.describe()
        if self.vocabulary is not None:
            return
        title = str(self.choice.value)
        name = self._sources[title].name
        self._reading = Job(
            partial(_load, name),
            f"Reading {title}",
            on_success=lambda vocabulary: self._read(title, vocabulary),
            on_failure=self._fail,
        )

    def abandon(self) -> None:
        """Discard what is being read."""
        if self._reading is not None:
            self._reading.abandon()
            self._reading = None

    def _read(self, title: str, vocabulary: Vocabulary) -> None:
        self._reading = None
        self._sources[title] = ClassNameSource(
            "vocabulary", self._sources[title].name, vocabulary=vocabulary
        )
        self.describe()

    def _fail(self, error: KindredError) -> None:
        self._reading = None
        self._wrong = str(error)
        self.describe()

    def describe(self) -> None:
        """List the classes of the chosen vocabulary, or show what is wrong with it."""
        vocabulary = self.vocabulary
        mark(self.choice, wrong=bool(self._wrong))
        if self._wrong:
            self.about.value = escape(self._wrong)
        elif vocabulary is None:
            self.about.value = "Reading …"
        else:
            names = [*vocabulary.names, ALL]
            colour = self.about.native.palette().windowText().color().name()
            links = (
                f'<a href="{number}" style="color: {colour}">{escape(name)}</a>'
                for number, name in enumerate(names)
            )
            self.about.value = f"Classes: {', '.join(links)}."
            self.about.tooltip = "Click on a name to add it."
        self._on_known()

    def _clicked(self, link: str) -> None:
        vocabulary = self.vocabulary
        if vocabulary is None:
            return
        names = vocabulary.names
        for name in names if int(link) == len(names) else (names[int(link)],):
            self._on_name(name)


def _load(name: str) -> Vocabulary:
    from ...classes.vocabulary.vocabulary import Vocabulary

    return Vocabulary.load(name)
