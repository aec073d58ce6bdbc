"""What gives the names their meaning, as it is chosen in the window. Free of Qt."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from .annotations_to_code import example_lines, examples_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ...classes.config import ClassesConfig
    from ...classes.vocabulary.vocabulary import Vocabulary
    from .annotations import Annotation

Kind = Literal["vocabulary", "examples", "clip"]

KINDS: tuple[Kind, ...] = get_args(Kind)

OF_TEACHING = ("proposals", "encoder", "channel", "points", "large", "region_size", "seed")
"""Options that say how examples are learnt."""


@dataclass(frozen=True, eq=False)
class ClassNameSource:
    """One of a vocabulary, examples, or CLIP.

    Attributes
    ----------
    kind : {"vocabulary", "examples", "clip"}
    name : str
        A vocabulary's name or path, or CLIP's model.
    examples : tuple of Annotation
    groups : tuple
        What was regrouped since, one after the other: the new name and those it is for.
    vocabulary : Vocabulary or None
        What is named here, or was learnt from the examples, regrouped; None when not read yet.
    taught_by : tuple of str
        The lines that make the examples, of a saved result: the examples are not at hand then.
    """

    kind: Kind
    name: str = ""
    examples: tuple[Annotation, ...] = ()
    groups: tuple[tuple[str, tuple[str, ...]], ...] = ()
    vocabulary: Vocabulary | None = None
    taught_by: tuple[str, ...] = ()

    def grouped(self, name: str, members: Sequence[str], vocabulary: Vocabulary) -> ClassNameSource:
        """Return the same with some classes made one."""
        return replace(self, groups=(*self.groups, (name, tuple(members))), vocabulary=vocabulary)

    def arguments(self) -> dict[str, Any]:
        """Return the argument of :func:`napari_kindred.iter_segment_classes` that says this.

        Called beside the window, for pictures may have to be read.
        """
        if self.vocabulary is not None:
            return {"vocabulary": self.vocabulary}
        if self.kind == "examples":
            return {"examples": examples_of(self.examples)}
        return {self.kind: self.name}

    def lines(self) -> list[str]:
        """Return the lines of Python that make the examples, if there are any."""
        if self.kind != "examples":
            return []
        return list(self.taught_by) or example_lines(self.examples)

    def code(self, config: ClassesConfig) -> tuple[list[str], dict[str, str]]:
        """Return the lines of Python that prepare this, and the argument that says it."""
        lines = self.lines()
        if not self.groups:
            return lines, {self.kind: "examples" if lines else repr(self.name)}
        if lines:
            options = "".join(
                f", {name}={value!r}" for name, value in self._teaching(config).items()
            )
            lines.append(f"vocabulary = nk.teach_classes(examples, folds=0{options})")
        else:
            lines.append(f"vocabulary = nk.Vocabulary.load({self.name!r})")
        for name, members in self.groups:
            lines.append(f"vocabulary = vocabulary.regroup({{{name!r}: {list(members)!r}}})")
        return lines, {"vocabulary": "vocabulary"}

    def _teaching(self, config: ClassesConfig) -> Mapping[str, Any]:
        from ...core.options import changed

        return {name: value for name, value in changed(config).items() if name in OF_TEACHING}
