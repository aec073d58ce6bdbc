"""A layer of named classes: its colours, its table, its threshold and its code. Free of Qt."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from ...classes.names import key
from ..common.layers import KEY, in_shape, layer_features
from .annotations_to_code import example_lines, examples_of

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    import pandas as pd
    from napari.layers import Labels

    from ...classes.config import ClassesConfig
    from ...classes.result import ClassSegmentation
    from ...classes.vocabulary.vocabulary import Vocabulary
    from ...core.events import Progress
    from .annotations import Annotation


Kind = Literal["vocabulary", "examples", "clip"]

KINDS: tuple[Kind, ...] = get_args(Kind)


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

        Called in another thread, because frames may have to be read.
        """
        if self.vocabulary is not None:
            return {"vocabulary": self.vocabulary}
        if self.kind == "examples":
            return {"examples": examples_of(self.examples)}
        return {self.kind: self.name}

    def entry(self) -> dict[str, Any]:
        """Return it as provenance has it; examples are the lines of Python that make them."""
        what: Any = self.name
        if self.kind == "examples":
            what = {"lines": list(self.taught_by) or example_lines(self.examples)}
        groups = [[name, list(members)] for name, members in self.groups]
        return {"arguments": {self.kind: what}, "groups": groups}

    @classmethod
    def read(cls, provenance: Mapping[str, Any]) -> ClassNameSource:
        """Return what :meth:`entry` wrote, which may be anything."""
        try:
            ((kind, what),) = provenance["arguments"].items()
            groups = tuple(
                (str(name), tuple(map(str, members)))
                for name, members in provenance.get("groups", ())
            )
            if kind not in KINDS:
                raise ValueError(kind)
            if isinstance(what, str):
                return cls(kind, what, groups=groups)
            return cls(kind, groups=groups, taught_by=tuple(map(str, what["lines"])))
        except (AttributeError, LookupError, TypeError, ValueError):
            return cls("vocabulary")


STATE = "napari-kindred classes"
"""Key of a layer's ``metadata`` for its :class:`Classes`."""

OPACITY = 0.5
"""The image has to show through."""


@dataclass(frozen=True, slots=True, eq=False)
class Classes:
    """State of a layer of classes, with all that is needed to change it.

    Attributes
    ----------
    result : ClassSegmentation
    shape : tuple of int
        Of the layer, which may have axes of length 1 that the result lacks.
    config : ClassesConfig
    name_source : ClassNameSource
    colours : mapping
        ``#rrggbb`` by :func:`~napari_kindred.classes.names.key`, where the user chose one.
    """

    result: ClassSegmentation
    shape: tuple[int, ...]
    config: ClassesConfig
    name_source: ClassNameSource
    colours: Mapping[str, str] = field(default_factory=dict)

    def palette(self) -> dict[int, str]:
        """Return each label's colour, ``#rrggbb``."""
        rows = self.result.table
        return {
            int(row["index"]): self.colours.get(key(row["name"]), row["colour"])
            for _, row in rows.iterrows()
        }

    @property
    def threshold(self) -> float | str:
        """Minimum confidence of a class, or ``"auto"``."""
        return self.config.threshold

    @property
    def can_be_grouped(self) -> bool:
        """Whether classes can be made one: there has to be code that makes them one as well."""
        name_source = self.name_source
        return self.vocabulary is not None and bool(
            name_source.name or name_source.kind == "examples"
        )

    @property
    def vocabulary(self) -> Vocabulary | None:
        """The vocabulary that defines the names, if one does."""
        observations = self.result.observations
        return (
            getattr(observations.classifier, "vocabulary", None)
            if observations is not None
            else None
        )


def classes_of(layer: Any) -> Classes | None:
    """Return what a layer holds of classes, None for other layers."""
    found = None if layer is None else layer.metadata.get(STATE)
    return found if isinstance(found, Classes) else None


def at_threshold(classes: Classes, threshold: Any) -> Classes:
    """Return the classes at another threshold; nothing is encoded again."""
    config = replace(classes.config, threshold=threshold)
    return replace(classes, result=classes.result.at_threshold(threshold), config=config)


def with_names(classes: Classes, names: Sequence[str]) -> Classes:
    """Return the classes with other names; nothing is encoded again."""
    return replace(classes, result=classes.result.with_names(names))


def iter_regrouped(
    classes: Classes, name: str, members: Sequence[str]
) -> Generator[Progress, None, Classes]:
    """Return the classes with some merged; their vocabulary is retrained, not evaluated.

    The new class has the colour of the first of them in the layer.
    """
    observations, vocabulary = classes.result.observations, classes.vocabulary
    assert observations is not None  # noqa: S101 - what has a vocabulary was seen
    assert vocabulary is not None  # noqa: S101 - only such classes are offered to be grouped
    # Measuring on examples left out takes several times as long as learning, and changes no label.
    unmeasured = replace(vocabulary, config=replace(vocabulary.config, folds=0))
    coarser = yield from unmeasured.iter_regroup({name: list(members)})
    coarser = replace(coarser, config=vocabulary.config)  # what is made of its file is measured
    coarser = _coloured(coarser, name, classes, members)
    classifier = replace(observations.classifier, vocabulary=coarser)  # type: ignore[type-var]
    gone = set(map(key, members))
    names = dict.fromkeys(
        name if key(before) in gone else before for before in classes.result.names
    )
    result = replace(
        classes.result, observations=replace(observations, classifier=classifier)
    ).with_names(tuple(names))
    name_source = classes.name_source.grouped(name, members, coarser)
    return replace(classes, result=result, name_source=name_source)


def _coloured(
    vocabulary: Vocabulary, name: str, classes: Classes, members: Sequence[str]
) -> Vocabulary:
    """Return the vocabulary with a name in the colour of the first member that is shown."""
    gone = set(map(key, members))
    palette = classes.palette()
    places = (at for at, shown in enumerate(classes.result.names, 1) if key(shown) in gone)
    colour = palette[next(places)]
    return vocabulary.with_entries(
        [
            replace(entry, colour=colour) if key(entry.name) == key(name) else entry
            for entry in vocabulary.entries
        ]
    )


# -- as a layer ------------------------------------------------------------------------------


def features(rows: pd.DataFrame) -> pd.DataFrame:
    """Return one row per class after a row for the background."""
    table = layer_features(rows)
    for column, word in (("name", "background"), ("colour", "")):
        if column in table:
            table[column] = table[column].fillna(word)
    return table


def colormap(palette: Mapping[int, str]) -> Any:
    """Return napari's direct colormap for labels with these colours, ``#rrggbb``."""
    from napari.utils.colormaps import DirectLabelColormap
    from napari.utils.colormaps.standardize_color import transform_color

    # A label that is no class is one that the user paints with: white.
    colours: dict[int | None, Any] = {None: np.ones(4), 0: np.zeros(4)}
    colours |= {label: transform_color(colour)[0] for label, colour in palette.items()}
    return DirectLabelColormap(color_dict=colours)


def show(layer: Labels, classes: Classes) -> None:
    """Show classes in a layer, replacing what differs."""
    before = classes_of(layer)
    if before is None or before.result is not classes.result:
        layer.data = in_shape(classes.result.labels, classes.shape)
    palette = classes.palette()
    rows = classes.result.table.assign(colour=list(palette.values()))
    layer.features = features(rows)
    if before is None or before.palette() != palette:
        layer.colormap = colormap(palette)
    facts = classes.result.provenance
    entry = {
        **layer.metadata.get(KEY, {}),
        **{name: facts[name] for name in ("names", "thresholds", "config") if name in facts},
        "colours": list(palette.values()),
        **classes.name_source.entry(),
    }
    layer.metadata = {**layer.metadata, KEY: entry, STATE: classes}
