"""A layer of named classes: its colours, its table, its threshold and its code. Free of Qt."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..classes.names import key
from .command import Command, command_for
from .layers import KEY, LayerImage, call_lines, in_shape, layer_features

if TYPE_CHECKING:
    import pandas as pd
    from napari.layers import Labels

    from ..class_configs import ClassesConfig
    from ..classes.result import ClassSegmentation
    from ..classes.vocabulary import Vocabulary
    from ..events import Progress
    from .meant import Meant

STATE = "napari-kindred classes"
"""Where a layer's ``metadata`` holds its :class:`Classes`."""

OPACITY = 0.5
"""The image has to show through."""


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """What it takes to compute a result once more.

    Attributes
    ----------
    image : LayerImage
    config : ClassesConfig
    meant : Meant
    """

    image: LayerImage
    config: ClassesConfig
    meant: Meant

    def code(self, names: Sequence[str]) -> str:
        """Return the Python code."""
        lines, more = self.meant.code(self.config)
        call = call_lines(
            self.image, self.config, "segment_classes", {"names": repr(list(names)), **more}
        )
        first = ["import napari_kindred as nk", ""]
        return "\n".join([*first, *lines, *call, "labels = result.labels"]) + "\n"

    def command(self, names: Sequence[str]) -> Command:
        """Return the command line."""
        if self.meant.kind == "examples" or self.meant.groups:
            return Command(
                fault="These names got their meaning in this window; press 'Save vocabulary …' "
                "beside the table of classes, choose that file as the vocabulary and run again, "
                "and there is a command."
            )
        if any("," in name for name in names):
            return Command(fault="A command cannot name a class with a comma; rename it.")
        words = ["--names", ",".join(names), f"--{self.meant.kind}", self.meant.name]
        return command_for(self.image, self.config, "classes", "classes", words)


@dataclass(frozen=True, slots=True, eq=False)
class Classes:
    """What a layer shows, and what it takes to show it otherwise.

    Attributes
    ----------
    result : ClassSegmentation
    shape : tuple of int
        Of the layer, which may have axes of length 1 that the result lacks.
    call : Call
    colours : mapping
        ``#rrggbb`` by :func:`~napari_kindred.classes.names.key`, where the user chose one.
    """

    result: ClassSegmentation
    shape: tuple[int, ...]
    call: Call
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
        """How sure a class has to be, or ``"auto"``."""
        return self.call.config.threshold

    @property
    def vocabulary(self) -> Vocabulary | None:
        """What the names mean here, where a vocabulary says so."""
        seen = self.result.seen
        return getattr(seen.meaning, "vocabulary", None) if seen is not None else None


def classes_of(layer: Any) -> Classes | None:
    """Return what a layer holds of classes, None for other layers."""
    found = None if layer is None else layer.metadata.get(STATE)
    return found if isinstance(found, Classes) else None


def at_threshold(classes: Classes, threshold: Any) -> Classes:
    """Return the same at another threshold; nothing is encoded again."""
    call = replace(classes.call, config=replace(classes.call.config, threshold=threshold))
    return replace(classes, result=classes.result.at_threshold(threshold), call=call)


def with_names(classes: Classes, names: Sequence[str]) -> Classes:
    """Return the same with other names; nothing is encoded again."""
    return replace(classes, result=classes.result.with_names(names))


def iter_regrouped(
    classes: Classes, name: str, members: Sequence[str]
) -> Generator[Progress, None, Classes]:
    """Return the same with some classes made one, which their vocabulary learns anew, unmeasured.

    The new class has the colour of the first of them in the layer.

    Raises
    ------
    OptionError
        When the vocabulary cannot be regrouped so.
    """
    seen, vocabulary = classes.result.seen, classes.vocabulary
    assert seen is not None  # noqa: S101 - what has a vocabulary was seen
    assert vocabulary is not None  # noqa: S101 - only such classes are offered to be grouped
    # Measuring on examples left out takes several times as long as learning, and changes no label.
    unmeasured = replace(vocabulary, config=replace(vocabulary.config, folds=0))
    coarser = yield from unmeasured.iter_regroup({name: list(members)})
    coarser = replace(coarser, config=vocabulary.config)  # what is made of its file is measured
    coarser = _coloured(coarser, name, classes, members)
    meaning = replace(seen.meaning, vocabulary=coarser)  # type: ignore[type-var]
    gone = set(map(key, members))
    names = dict.fromkeys(
        name if key(before) in gone else before for before in classes.result.names
    )
    result = replace(classes.result, seen=replace(seen, meaning=meaning)).with_names(tuple(names))
    call = replace(classes.call, meant=classes.call.meant.grouped(name, members, coarser))
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
    """Let a layer show classes, at once.

    Parameters
    ----------
    layer : Labels
        Its data, features, colours and metadata are replaced where they differ.
    classes : Classes
    """
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
        "groups": [[name, list(members)] for name, members in classes.call.meant.groups],
        "python": classes.call.code(classes.result.names),
        **classes.call.command(classes.result.names).entry(),
    }
    layer.metadata = {**layer.metadata, KEY: entry, STATE: classes}
