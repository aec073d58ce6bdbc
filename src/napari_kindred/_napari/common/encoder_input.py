"""Input for the encoder, with its licence and whether it is installed."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from magicgui.widgets import ComboBox, Container, Label
from qtpy.QtWidgets import QComboBox

from ...core.errors import KindredError
from ...encoders.registry import DEFAULT, EncoderInfo, describe_encoder, list_encoders
from .form import labelled, mark, narrow, sentence
from .worker import Job

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

TOOLTIP = (
    "Network whose features are clustered. Choose one, or type timm:MODEL, "
    "clip:MODEL/PRETRAINED or the path of a SAM file."
)
SLOW = ("timm:", "clip:")
"""Prefixes of encoder names that need a large library to check."""


class EncoderInput:
    """A list of encoders that other names can be typed into, and a line about the chosen one."""

    def __init__(
        self,
        on_known: Callable[[], Any],
        label: str = "Encoder",
        tooltip: str = TOOLTIP,
        names: Sequence[str] = (),
        look_up: Callable[[str], EncoderInfo] | None = None,
    ) -> None:
        self._on_known: Callable[[], Any] = lambda: None  # not called before it is laid out
        self._lookup: Job | None = None
        self._look_up = look_up
        self.usable = False
        # Names with a placeholder are patterns: they are in the tooltip, not in the list.
        known = [info.name for info in list_encoders() if "<" not in info.name]
        first = names[0] if names else DEFAULT
        self.choice = ComboBox(
            label=label, choices=list(names or known), value=first, tooltip=tooltip
        )
        self.about: Label = sentence()
        box = narrow(self.choice)
        box.setEditable(True)
        box.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        box.lineEdit().editingFinished.connect(self._typed)
        self.choice.changed.connect(self.describe)
        if look_up is None:
            self.describe()
        self._on_known = on_known

    def rows(self) -> list[Container | Label]:
        """Return what is shown, from top to bottom."""
        return [labelled(self.choice), self.about]

    def choose(self, name: str) -> None:
        """Choose an encoder as if its name were typed."""
        self.choice.native.setEditText(name)
        self._typed()

    def _typed(self) -> None:
        """Make what was typed one of the choices, and choose it."""
        text = self.choice.native.currentText().strip()
        if not text or text == self.choice.value:
            self.choice.native.setEditText(str(self.choice.value))
            return
        if text not in self.choice.choices:
            with self.choice.changed.blocked():
                before = self.choice.value
                self.choice.choices = [*self.choice.choices, text]
                self.choice.value = before
        self.choice.value = text

    def describe(self, *_: Any) -> None:
        """Show what is known about the encoder, or in red what is wrong with its name."""
        name = str(self.choice.value)
        self.abandon()
        if self._look_up is None and not name.startswith(SLOW):
            try:
                self._known(describe_encoder(name))
            except KindredError as error:
                self._unknown(error)
            return
        self.usable = False
        self.about.value = "Checking …"
        mark(self.choice, wrong=False)
        # Their libraries bring torch along, which would hold up the window for seconds.
        self._lookup = Job(
            partial(self._look_up or describe_encoder, name),
            f"Checking {name}",
            on_success=self._known,
            on_failure=self._unknown,
        )
        self._on_known()

    def abandon(self) -> None:
        """Discard the check that is running."""
        if self._lookup is not None:
            self._lookup.abandon()
            self._lookup = None

    def _known(self, info: EncoderInfo) -> None:
        self.usable = True
        mark(self.choice, wrong=False)
        self.about.value = describe(info)
        self.about.tooltip = f"Use for: {info.about}" if info.about else ""
        self._on_known()

    def _unknown(self, error: KindredError) -> None:
        self.usable = False
        mark(self.choice, wrong=True)
        self.about.value = str(error)
        self._on_known()


def describe(info: EncoderInfo) -> str:
    """Return whether an encoder's weights are installed, and their licence, one line."""
    if info.here:
        where = "Installed"
    elif info.package:
        where = f"In the package {info.package}, which is not installed"
    elif info.size:
        where = f"Downloaded on first use ({megabytes(info.size)})"
    else:
        where = "Downloaded on first use"
    return f"{where}; licence {info.licence or 'unknown'}."


def megabytes(size: int) -> str:
    """Return a file's size for people."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{max(1, round(size / 1e6))} MB"
