"""How classes came about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..core.errors import OutputError
from ..core.options import changed
from ..results.recipe import Recipe

OF_TEACHING = ("proposals", "encoder", "channel", "points", "masks", "large", "region_size", "seed")
"""Options of how examples are learned."""


@dataclass(frozen=True)
class ClassRecipe(Recipe):
    """The names, and what defines them.

    ``arguments`` has one of ``vocabulary``, ``examples`` and ``clip``: a name or path, or, of
    examples that no file holds, the lines of Python that make them.
    """

    @property
    def names(self) -> list[str]:
        """The classes, in the order of their labels."""
        return [str(name) for name in self.provenance["names"]]

    @property
    def definition(self) -> tuple[str, Any]:
        """What defines the names: ``vocabulary``, ``examples`` or ``clip``, and which."""
        given = [(kind, value) for kind, value in self.arguments.items() if value is not None]
        if len(given) != 1:
            raise OutputError(
                "The result does not say what defines its classes: save the vocabulary as a file, "
                "and run again with that file."
            )
        return given[0]

    @property
    def groups(self) -> list[tuple[str, list[str]]]:
        """What was merged afterwards, one after the other: the new name and its members."""
        groups = self.provenance.get("groups") or ()
        return [(str(name), [str(member) for member in members]) for name, members in groups]

    def preparation(self) -> list[str]:
        """Return the lines that make examples, or merge classes of a vocabulary."""
        kind, value = self.definition
        made = isinstance(value, Mapping)
        lines = [str(line) for line in value["lines"]] if made else []
        if not self.groups:
            return lines
        if kind == "examples":
            examples = "examples" if made else repr(value)
            teaching = {k: v for k, v in changed(self.config).items() if k in OF_TEACHING}
            options = "".join(f", {name}={option!r}" for name, option in teaching.items())
            lines.append(f"vocabulary = nk.teach_classes({examples}, folds=0{options})")
        else:
            lines.append(f"vocabulary = nk.Vocabulary.load({value!r})")
        for name, members in self.groups:
            lines.append(f"vocabulary = vocabulary.regroup({{{name!r}: {members!r}}})")
        return lines

    def code(self) -> dict[str, str]:
        """Return the names, and what defines them."""
        kind, value = self.definition
        definition: dict[str, Any] = {kind: kind if isinstance(value, Mapping) else repr(value)}
        return {"names": repr(self.names)} | (
            {"vocabulary": "vocabulary"} if self.groups else definition
        )

    def words(self) -> list[str]:
        """Return the same as arguments."""
        kind, value = self.definition
        return ["--names", ",".join(self.names), f"--{kind}", str(value)]

    def fault_in_command(self) -> str:
        """Return why no command can ask for these names, if so."""
        if self.groups or any(isinstance(value, Mapping) for value in self.arguments.values()):
            return (
                "These classes were trained in this window. To get a command, press 'Save "
                "vocabulary …' below the table of classes, choose that file as the vocabulary and "
                "run again."
            )
        if any("," in name for name in self.names):
            return "A class name with a comma cannot be used in a command; rename it."
        return ""
