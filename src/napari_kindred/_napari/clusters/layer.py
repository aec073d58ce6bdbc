"""A layer of consistent clusters: its level, names, colours and background. Free of Qt.

A cluster is known by its leaves, the finest clusters that it is made of: its label changes with
the level, its leaves do not. So a name or a colour stays with a cluster wherever the cluster is.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ...clusters.levels import relabel
from ...core.colors import as_hex, palette
from ...results.recipe import origin_of
from ..common.label_state import LabelState, state_of
from ..common.layers import in_shape, table_features

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from ...clusters.result import ClusterSegmentation
    from ...results.segmentation import Segmentation

Leaves = frozenset[int]
Colour = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True, eq=False)
class Clusters(LabelState):
    """State of a layer of clusters, with all that is needed to change its level."""

    result: ClusterSegmentation  # at the level that is shown, without background
    level: int  # number of clusters
    labels_of_leaves: np.ndarray  # int32, at this level, without background
    shape: tuple[int, ...]
    origin: Mapping[str, Any]  # how the result came about, before it was changed
    colour_numbers: tuple[int, ...]  # of each leaf; a cluster has that of the first of its leaves
    names: Mapping[Leaves, str] = field(default_factory=dict)
    colours: Mapping[Leaves, Colour] = field(default_factory=dict)  # chosen by the user
    background: Leaves = frozenset()  # shown as label 0

    @property
    def model(self) -> Any:
        """The model that clustered the movie."""
        return self.result.model

    @property
    def all_labels(self) -> list[int]:
        """The labels of all clusters, those made background included."""
        return [int(label) for label in np.unique(self.labels_of_leaves) if label > 0]

    def leaves(self, label: int) -> Leaves:
        """Return the leaves of a cluster; none for a label that is no cluster."""
        return frozenset(np.flatnonzero(self.labels_of_leaves == label).tolist())

    def hidden(self, label: int) -> bool:
        """Return whether a cluster was made background."""
        leaves = self.leaves(label)
        return bool(leaves) and leaves <= self.background

    def name(self, label: int) -> str:
        """Return a cluster's name, empty if it has none."""
        return self.names.get(self.leaves(label), "background" if self.hidden(label) else "")

    def colour(self, label: int) -> Colour:
        """Return a cluster's colour, red, green, blue and opacity from 0 to 1."""
        leaves = self.leaves(label)
        if leaves in self.colours:
            return self.colours[leaves]
        colours = palette()
        number = min(self.colour_numbers[leaf] for leaf in leaves)
        return colours[(number - 1) % len(colours)]

    # -- as a layer; see LabelState --------------------------------------------------------

    def hidden_labels(self) -> list[int]:
        return [label for label in self.all_labels if self.hidden(label)]

    def visible_lut(self) -> np.ndarray:
        """Return the label of each leaf as the layer shows it, background being 0."""
        labels = self.labels_of_leaves.copy()
        labels[sorted(self.background)] = 0
        return labels

    def labels(self) -> Any:
        if self.background:
            labels = relabel(self.result.leaves, self.visible_lut())
        else:
            labels = self.result.labels
        return in_shape(labels, self.shape)

    def features(self) -> pd.DataFrame:
        rows = self.result.table.drop(columns="name", errors="ignore")
        rows = rows.set_index("index").reindex(self.all_labels).rename_axis("index").reset_index()
        rows.insert(1, "name", [self.name(label) for label in rows["index"]])
        return table_features(rows)

    def palette(self) -> dict[int, Colour]:
        return {label: self.colour(label) for label in self.all_labels}

    def entry(self) -> dict[str, Any]:
        return {
            "clusters": self.model.n_labels_,
            "level": self.level,
            "names": {str(label): self.name(label) for label in self.all_labels},
            "colours": {str(label): as_hex(colour) for label, colour in self.palette().items()},
            "background": self.hidden_labels(),
        }

    def shows_labels_of(self, other: Clusters) -> bool:
        return self.result.leaves is other.result.leaves and np.array_equal(
            self.visible_lut(), other.visible_lut()
        )

    def to_save(self) -> Segmentation:
        hidden = self.hidden_labels()
        return self.result.without(hidden) if hidden else self.result

    def replay(self) -> dict[str, Any]:
        return {"palette": list(self.colour_numbers)}


def clusters_of(layer: Any) -> Clusters | None:
    """Return what a layer holds of clusters, None for other layers."""
    found = state_of(layer)
    return found if isinstance(found, Clusters) else None


def begin(
    result: ClusterSegmentation, shape: tuple[int, ...], origin: Mapping[str, Any]
) -> Clusters:
    """Return the state of a layer of this shape that shows the result of a run."""
    level = result.level
    labels = result.model.lut(level)
    # Leaves by size, as the finest level numbers them; clusters of this level keep the colours
    # that they were previewed in.
    finest = result.model.lut(result.levels[-1])
    order = sorted(range(len(finest)), key=lambda leaf: int(finest[leaf]))
    numbers = np.zeros(len(finest), int)
    free = int(labels.max()) + 1
    leading: set[int] = set()
    for leaf in order:
        label = int(labels[leaf])
        if label in leading:
            numbers[leaf], free = free, free + 1
        else:
            numbers[leaf] = label
            leading.add(label)
    return Clusters(result, level, labels, shape, origin, tuple(numbers.tolist()))


def at_level(clusters: Clusters, level: int) -> Clusters:
    """Return another number of clusters; background stays unless it merges with others."""
    labels = clusters.model.lut(level)
    kept: set[int] = set()
    for label in np.unique(labels):
        leaves = frozenset(np.flatnonzero(labels == label).tolist())
        if leaves <= clusters.background:
            kept |= leaves
    return replace(
        clusters,
        result=clusters.result.at_level(level),
        level=level,
        labels_of_leaves=labels,
        background=frozenset(kept),
    )


def named(clusters: Clusters, label: int, name: str) -> Clusters:
    """Return the same with a cluster's name changed; an empty name takes it away."""
    leaves = clusters.leaves(label)
    names = {key: value for key, value in clusters.names.items() if key != leaves}
    if name.strip() and leaves:
        names[leaves] = name.strip()
    return replace(clusters, names=names)


def coloured(clusters: Clusters, label: int, colour: Colour) -> Clusters:
    """Return the same with a cluster's colour changed."""
    leaves = clusters.leaves(label)
    return replace(clusters, colours={**clusters.colours, leaves: colour}) if leaves else clusters


def background_toggled(clusters: Clusters, label: int) -> Clusters:
    """Return the same with a cluster made background or brought back; label 0 brings back all."""
    if label == 0:
        return replace(clusters, background=frozenset())
    return replace(clusters, background=clusters.background ^ clusters.leaves(label))


def carried_over(source: Clusters, clusters: Clusters) -> Clusters:
    """Return clusters of the same model with another layer's level, names and colours."""
    same = clusters if clusters.level == source.level else at_level(clusters, source.level)
    return replace(
        same,
        colour_numbers=source.colour_numbers,
        names=source.names,
        colours=source.colours,
        background=source.background,
    )


def preview_palette() -> dict[int, Colour]:
    """Return the colours of clusters while they are computed."""
    return dict(enumerate(palette(), start=1))


def reopen(result: Any, replay: Mapping[str, Any]) -> Clusters | None:
    """Return the state of a saved result; None if it was saved without its leaves."""
    if getattr(result, "leaves", None) is None:
        return None
    hidden = result.background
    whole = result.at_level(result.level) if hidden else result
    begun = begin(whole, tuple(result.labels.shape), origin_of(result.provenance))
    if replay:
        begun = replace(begun, colour_numbers=tuple(replay["palette"]))
    colours = result.provenance.get("colours", {}).items()
    return replace(
        begun,
        names={begun.leaves(label): name for label, name in result.names.items()},
        colours={begun.leaves(int(label)): _rgba(colour) for label, colour in colours},
        background=frozenset().union(*(begun.leaves(label) for label in hidden)),
    )


def _rgba(colour: str) -> Colour:
    red, green, blue = (int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
    return red, green, blue, 1.0
