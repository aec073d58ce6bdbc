"""A layer of named classes: its colours, its table, its threshold and its code. Free of Qt."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from ...classes.config import ClassesConfig
from ...classes.names import key
from ...core.errors import OptionError
from ..common.label_state import LabelState, state_of
from ..common.layers import in_shape, table_features
from .annotations_to_code import example_lines, examples_of

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    import pandas as pd

    from ...classes.result import ClassSegmentation
    from ...classes.vocabulary.vocabulary import Vocabulary
    from ...core.events import Progress
    from ...results.segmentation import Segmentation
    from .annotations import Annotation


Kind = Literal["vocabulary", "examples", "clip"]

KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True, eq=False)
class ClassNameSource:
    """One of a vocabulary, examples, or CLIP."""

    kind: Kind
    name: str = ""  # a vocabulary's name or path, or CLIP's model
    examples: tuple[Annotation, ...] = ()
    groups: tuple[tuple[str, tuple[str, ...]], ...] = ()  # merged since: new name, members
    vocabulary: Vocabulary | None = None  # named or trained here, merged; None if not read yet
    example_code: tuple[str, ...] = ()  # of a saved result, whose examples are not at hand

    def merged(self, name: str, members: Sequence[str], vocabulary: Vocabulary) -> ClassNameSource:
        """Return the same with some classes made one."""
        return replace(self, groups=(*self.groups, (name, tuple(members))), vocabulary=vocabulary)

    def arguments(self) -> dict[str, Any]:
        """Return the argument of ``iter_segment_classes``; in another thread, as it may read."""
        if self.vocabulary is not None:
            return {"vocabulary": self.vocabulary}
        if self.kind == "examples":
            return {"examples": examples_of(self.examples)}
        return {self.kind: self.name}

    def entry(self) -> dict[str, Any]:
        """Return it as provenance has it; examples are the lines of Python that make them."""
        what: Any = self.name
        if self.kind == "examples":
            what = {"lines": list(self.example_code) or example_lines(self.examples)}
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
            return cls(kind, groups=groups, example_code=tuple(map(str, what["lines"])))
        except (AttributeError, LookupError, TypeError, ValueError):
            return cls("vocabulary")


@dataclass(frozen=True, slots=True, eq=False)
class Classes(LabelState):
    """State of a layer of classes, with all that is needed to change it."""

    result: ClassSegmentation
    shape: tuple[int, ...]
    config: ClassesConfig
    name_source: ClassNameSource
    colours: Mapping[str, str] = field(default_factory=dict)  # chosen by the user, by name's key

    @property
    def threshold(self) -> float | str:
        """Minimum confidence of a class, or ``"auto"``."""
        return self.config.threshold

    @property
    def can_be_merged(self) -> bool:
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

    # -- as a layer; see LabelState --------------------------------------------------------

    def labels(self) -> Any:
        return in_shape(self.result.labels, self.shape)

    def features(self) -> pd.DataFrame:
        return table_features(self.result.table.assign(colour=list(self.palette().values())))

    def palette(self) -> dict[int, str]:
        rows = self.result.table
        return {
            int(row["index"]): self.colours.get(key(row["name"]), row["colour"])
            for _, row in rows.iterrows()
        }

    def entry(self) -> dict[str, Any]:
        facts = self.result.provenance
        return {
            **{name: facts[name] for name in ("names", "thresholds", "config") if name in facts},
            "colours": list(self.palette().values()),
            **self.name_source.entry(),
        }

    def shows_labels_of(self, other: Classes) -> bool:
        return self.result is other.result

    def to_save(self) -> Segmentation | None:
        if self.result.entities is None:
            return None
        return replace(self.result, entities=in_shape(self.result.entities, self.shape))


def classes_of(layer: Any) -> Classes | None:
    """Return what a layer holds of classes, None for other layers."""
    found = state_of(layer)
    return found if isinstance(found, Classes) else None


def at_threshold(classes: Classes, threshold: Any) -> Classes:
    """Return the classes at another threshold; nothing is encoded again."""
    config = replace(classes.config, threshold=threshold)
    return replace(classes, result=classes.result.at_threshold(threshold), config=config)


def with_names(classes: Classes, names: Sequence[str]) -> Classes:
    """Return the classes with other names; nothing is encoded again."""
    return replace(classes, result=classes.result.with_names(names))


def iter_merged(
    classes: Classes, name: str, members: Sequence[str]
) -> Generator[Progress, None, Classes]:
    """Return classes with some merged, in the colour of the first; retrains the vocabulary."""
    observations, vocabulary = classes.result.observations, classes.vocabulary
    assert observations is not None  # noqa: S101 - what has a vocabulary was seen
    assert vocabulary is not None  # noqa: S101 - only such classes are offered to be grouped
    # Measuring on examples left out takes several times as long as learning, and changes no label.
    unmeasured = replace(vocabulary, config=replace(vocabulary.config, folds=0))
    coarser = yield from unmeasured.iter_regroup({name: list(members)})
    coarser = replace(coarser, config=vocabulary.config)  # what is made of its file is measured
    coarser = _coloured(coarser, name, classes, members)
    known: Any = observations.classifier
    classifier = known.regrouped(coarser, name, members)
    gone = set(map(key, members))
    names = dict.fromkeys(
        name if key(before) in gone else before for before in classes.result.names
    )
    result = replace(
        classes.result, observations=replace(observations, classifier=classifier)
    ).with_names(tuple(names))
    name_source = classes.name_source.merged(name, members, coarser)
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


def preview_palette() -> dict[int, str]:
    """Return no colours: a saved table has those of its classes."""
    return {}


def reopen(result: Any, _replay: Mapping[str, Any]) -> Classes | None:
    """Return the state of a saved result; None if it was saved without its entities."""
    if getattr(result, "entities", None) is None:
        return None
    facts = result.provenance
    try:
        config = ClassesConfig(**facts["config"])
        rows = zip(result.table["name"], result.table["colour"], strict=True)
    except (OptionError, TypeError, KeyError):  # written by another version
        return None
    colours = {key(str(name)): str(colour) for name, colour in rows}
    source = ClassNameSource.read(facts)
    return Classes(result, tuple(result.labels.shape), config, source, colours)
