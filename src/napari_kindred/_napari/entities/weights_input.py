"""Drop-down for weights: shipped ones, those learnt from corrections, and a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from magicgui.widgets import ComboBox
from qtpy.QtWidgets import QFileDialog

from ...core.settings import weights_dir
from ...entities.learning.files import learnt_weights, title_of
from ...models.spec import absolute

SHIPPED = "kindred-entities"

BROWSE = "Browse …"

FILES = "Weights (*.safetensors)"


class WeightsInput(ComboBox):
    """Chooses weights by name; its value is a name, or the path of a file."""

    def __init__(self, label: str, tooltip: str) -> None:
        self._others: list[str] = []
        self._before = SHIPPED
        super().__init__(name="weights", label=label, tooltip=tooltip, choices=self._listed)
        self.changed.connect(self._browse)

    def _listed(self, *_: Any) -> list[tuple[str, str]]:
        named = [(name, str(path)) for name, path in learnt_weights().items()]
        known = {path for _, path in named}
        others = [(title_of(path), path) for path in self._others if path not in known]
        return [(SHIPPED, SHIPPED), *named, *others, (BROWSE, BROWSE)]

    @property
    def value(self) -> str:
        """Name of the weights, or path of their file."""
        chosen = ComboBox.value.fget(self)
        return self._before if chosen in (None, BROWSE) else str(chosen)

    @value.setter
    def value(self, value: str) -> None:
        path = absolute(str(value)) or SHIPPED
        if path not in self.choices:
            self._others.append(path)
            self.refresh()
        ComboBox.value.fset(self, path)

    def refresh(self) -> None:
        """Follow the folder of learnt weights."""
        chosen = self.value
        with self.changed.blocked():
            self.reset_choices()
        if chosen not in self.choices:
            self.value = SHIPPED

    def _browse(self, chosen: Any) -> None:
        if chosen != BROWSE:
            self._before = self.value
            return
        folder = Path(self._before).parent if Path(self._before).is_file() else weights_dir()
        path, _ = QFileDialog.getOpenFileName(self.native, "Weights", str(folder), FILES)
        self.value = path or self._before
