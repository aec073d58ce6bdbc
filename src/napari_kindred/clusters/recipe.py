"""How clusters came about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..results.recipe import Recipe, recipe_of

if TYPE_CHECKING:
    from pathlib import Path

    from ..results.recipe import Words


@dataclass(frozen=True)
class ClusterRecipe(Recipe):
    """The clustering, or the model that labels the frames, and the level and clusters shown.

    ``arguments["model"]`` is the path of a saved model, or the provenance of the clusters that it
    comes from.
    """

    @property
    def source(self) -> Recipe | None:
        """Provenance of a model that is in no file."""
        model = self.arguments.get("model")
        return recipe_of(model) if isinstance(model, Mapping) else None

    def preparation(self) -> list[str]:
        """Return the lines that make the model, if a result has it."""
        return [] if self.source is None else [*self.source.call(), "model = result.model"]

    def code(self) -> dict[str, str]:
        """Return the model."""
        return super().code() if self.source is None else {"model": "model"}

    def steps(self) -> list[str]:
        """Return the level, and the clusters that are background."""
        level, hidden = self._level(), self._hidden()
        return [
            *([] if level is None else [f"at_level({level})"]),
            *([f"without({hidden})"] if hidden else []),
        ]

    def words_of_steps(self) -> list[str]:
        """Return the same as arguments."""
        level, hidden = self._level(), self._hidden()
        return [
            *([] if level is None else ["--at-level", str(level)]),
            *(["--hide", ",".join(map(str, hidden))] if hidden else []),
        ]

    def commands(self, image: str | Path | None = None, out: Path | None = None) -> list[Words]:
        """Return the command, after the one that saves the model if a result has it."""
        (words,) = super().commands(image, out)
        model, source = self.arguments.get("model"), self.source
        if source is None:
            return [words if model is None else (*words, "--model", str(model))]
        *before, making = source.commands()
        file = making[making.index("--out") + 1].removesuffix(".ome.zarr") + ".safetensors"
        return [*before, (*making, "--save-model", file), (*words, "--model", file)]

    def _level(self) -> int | None:
        """Return the level that is shown, if it is not the clustering's own."""
        level = self.provenance.get("level")
        return None if level in (None, self.provenance.get("clusters")) else int(str(level))

    def _hidden(self) -> list[int]:
        return [int(label) for label in self.provenance.get("background") or ()]
