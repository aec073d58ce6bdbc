"""A layer of named classes: its colours, its table, its threshold and its code. Free of Qt."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from ...classes.names import key
from ...methods import CLASSES
from ..common.layers import KEY, LayerImage, call_lines, in_shape, layer_features
from ..results.replay import Command, command_for
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

OF_TEACHING = ("proposals", "encoder", "channel", "points", "large", "region_size", "seed")
"""Options for training on examples."""


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


STATE = "napari-kindred classes"
"""Key of a layer's ``metadata`` for its :class:`Classes`."""

OPACITY = 0.5
"""The image has to show through."""


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """All that is needed to compute a result again.

    Attributes
    ----------
    image : LayerImage
    config : ClassesConfig
    name_source : ClassNameSource
    """

    image: LayerImage
    config: ClassesConfig
    name_source: ClassNameSource

    def code(self, names: Sequence[str]) -> str:
        """Return the Python code."""
        return _code(self.image.name, self.config, self.name_source, names)

    def command(self, names: Sequence[str]) -> Command:
        """Return the command line."""
        fault = _no_command(self.name_source, names)
        if fault:
            return Command(fault=fault)
        words = ["--names", ",".join(names), f"--{self.name_source.kind}", self.name_source.name]
        return command_for(self.image, self.config, CLASSES, words)

    def entry(self) -> dict[str, Any]:
        """Return it as plain data, for a :class:`SavedCall`."""
        return _entry(self.image.name, self.name_source)


@dataclass(frozen=True, slots=True, eq=False)
class SavedCall:
    """All that is needed to compute a saved result again; its image need not be open.

    Attributes
    ----------
    config : ClassesConfig
    text : str
        The Python code of what was saved.
    line : Command
        Its command line.
    image : str
        Name of the image's layer; empty where it is not known, as of a result of the command line.
    name_source : ClassNameSource
    """

    config: ClassesConfig
    text: str
    line: Command
    image: str = ""
    name_source: ClassNameSource = field(default_factory=lambda: ClassNameSource("vocabulary"))

    @classmethod
    def read(
        cls, config: ClassesConfig, text: str, line: Command, entry: Mapping[str, Any]
    ) -> SavedCall:
        """Return it with what :meth:`entry` wrote, which may be anything."""
        try:
            groups = tuple(
                (str(name), tuple(map(str, members))) for name, members in entry["groups"]
            )
            if entry["kind"] not in KINDS:
                raise ValueError(entry["kind"])
            lines = tuple(map(str, entry["lines"]))
            name_source = ClassNameSource(
                entry["kind"], str(entry["name"]), groups=groups, taught_by=lines
            )
            return cls(config, text, line, str(entry["image"]), name_source)
        except (LookupError, TypeError, ValueError):  # saved by a command, or an earlier version
            return cls(config, text, line)

    def code(self, names: Sequence[str]) -> str:
        """Return the Python code."""
        return _code(self.image, self.config, self.name_source, names) if self.image else self.text

    def command(self, names: Sequence[str]) -> Command:
        """Return the command line: that of what was saved, with other names and threshold."""
        fault = _no_command(self.name_source, names)
        if fault or not self.line.lines:
            return Command(fault=fault or self.line.fault)
        words = list(self.line.lines[-1])
        words[words.index("--names") + 1] = ",".join(names)
        if "--threshold" in words:
            at = words.index("--threshold")
            del words[at : at + 2]
        if self.config.threshold != "auto":
            words += ["--threshold", str(self.config.threshold)]
        return replace(self.line, lines=(*self.line.lines[:-1], tuple(words)))

    def entry(self) -> dict[str, Any]:
        """Return it as plain data."""
        return _entry(self.image, self.name_source) if self.image else {}


def _code(
    image: str, config: ClassesConfig, name_source: ClassNameSource, names: Sequence[str]
) -> str:
    lines, more = name_source.code(config)
    call = call_lines(image, config, "segment_classes", {"names": repr(list(names)), **more})
    first = ["import napari_kindred as nk", ""]
    return "\n".join([*first, *lines, *call, "labels = result.labels"]) + "\n"


def _entry(image: str, name_source: ClassNameSource) -> dict[str, Any]:
    return {
        "image": image,
        "kind": name_source.kind,
        "name": name_source.name,
        "lines": name_source.lines(),
        "groups": name_source.groups,
    }


def _no_command(name_source: ClassNameSource, names: Sequence[str]) -> str:
    """Return why no command can ask for these names, one sentence, if so."""
    if name_source.kind == "examples" or name_source.groups:
        return (
            "These classes were trained in this window. To get a command, press 'Save vocabulary "
            "…' "
            "below the table of classes, choose that file as the vocabulary and run again."
        )
    if any("," in name for name in names):
        return "A class name with a comma cannot be used in a command; rename it."
    return ""


@dataclass(frozen=True, slots=True, eq=False)
class Classes:
    """State of a layer of classes, with all that is needed to change it.

    Attributes
    ----------
    result : ClassSegmentation
    shape : tuple of int
        Of the layer, which may have axes of length 1 that the result lacks.
    call : Call or SavedCall
    colours : mapping
        ``#rrggbb`` by :func:`~napari_kindred.classes.names.key`, where the user chose one.
    """

    result: ClassSegmentation
    shape: tuple[int, ...]
    call: Call | SavedCall
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
        return self.call.config.threshold

    @property
    def can_be_grouped(self) -> bool:
        """Whether classes can be made one: there has to be code that makes them one as well."""
        name_source = self.call.name_source
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
    call = replace(classes.call, config=replace(classes.call.config, threshold=threshold))
    return replace(classes, result=classes.result.at_threshold(threshold), call=call)


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
    call = replace(
        classes.call, name_source=classes.call.name_source.grouped(name, members, coarser)
    )
    return replace(classes, result=result, call=call)


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
        "groups": [[name, list(members)] for name, members in classes.call.name_source.groups],
        "python": classes.call.code(classes.result.names),
        **classes.call.command(classes.result.names).entry(),
    }
    layer.metadata = {**layer.metadata, KEY: entry, STATE: classes}
