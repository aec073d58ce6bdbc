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
from ..common.layers import KEY, in_shape, layer_features

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from napari.layers import Labels

    from ...clusters.result import ClusterSegmentation

STATE = "napari-kindred clusters"
"""Key of a layer's ``metadata`` for its :class:`Clusters`."""

OPACITY = 0.5
"""Every pixel has a label, so the image has to show through."""

Leaves = frozenset[int]
Colour = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True, eq=False)
class Clusters:
    """State of a layer of clusters, with all that is needed to change its level.

    Attributes
    ----------
    result : ClusterSegmentation
        At the level that is shown, without background.
    level : int
        Number of clusters.
    labels_of_leaves : ndarray of int32, shape (n_leaves,)
        Label of each leaf at this level, without background.
    shape : tuple of int
        Of the layer, which may have axes of length 1 that the result lacks.
    origin : mapping
        How the result came about, before its level or background was changed.
    palette : tuple of int
        Number of each leaf's colour; a cluster has that of the first of its leaves.
    names, colours : mapping
        What the user gave to some clusters.
    background : frozenset of int
        Leaves that are shown as label 0.
    """

    result: ClusterSegmentation
    level: int
    labels_of_leaves: np.ndarray
    shape: tuple[int, ...]
    origin: Mapping[str, Any]
    palette: tuple[int, ...]
    names: Mapping[Leaves, str] = field(default_factory=dict)
    colours: Mapping[Leaves, Colour] = field(default_factory=dict)
    background: Leaves = frozenset()

    @property
    def model(self) -> Any:
        """The model that clustered the movie."""
        return self.result.model

    def leaves(self, label: int) -> Leaves:
        """Return the leaves of a cluster; none for a label that is no cluster."""
        return frozenset(np.flatnonzero(self.labels_of_leaves == label).tolist())

    def labels(self) -> list[int]:
        """Return the labels of all clusters, those made background included."""
        return [int(label) for label in np.unique(self.labels_of_leaves) if label > 0]

    def hidden_labels(self) -> list[int]:
        """Return the labels of the clusters that were made background."""
        return [label for label in self.labels() if self.hidden(label)]

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
        number = min(self.palette[leaf] for leaf in leaves)
        return colours[(number - 1) % len(colours)]


def clusters_of(layer: Any) -> Clusters | None:
    """Return what a layer holds of clusters, None for other layers."""
    found = None if layer is None else layer.metadata.get(STATE)
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
    palette = np.zeros(len(finest), int)
    free = int(labels.max()) + 1
    leading: set[int] = set()
    for leaf in order:
        label = int(labels[leaf])
        if label in leading:
            palette[leaf], free = free, free + 1
        else:
            palette[leaf] = label
            leading.add(label)
    return Clusters(result, level, labels, shape, origin, tuple(palette.tolist()))


def at_level(clusters: Clusters, level: int) -> Clusters:
    """Return the same with another number of clusters.

    Background stays as far as its clusters do not merge with others.
    """
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
        palette=source.palette,
        names=source.names,
        colours=source.colours,
        background=source.background,
    )


# -- as a layer ------------------------------------------------------------------------------


def visible_lut(clusters: Clusters) -> np.ndarray:
    """Return the label of each leaf as the layer shows it, background being 0."""
    labels = clusters.labels_of_leaves.copy()
    labels[sorted(clusters.background)] = 0
    return labels


def layer_data(clusters: Clusters) -> Any:
    """Return the labels in the layer's shape; lazy where the leaves are on disk."""
    if clusters.background:
        labels = relabel(clusters.result.leaves, visible_lut(clusters))
    else:
        labels = clusters.result.labels
    return in_shape(labels, clusters.shape)


def features(clusters: Clusters) -> pd.DataFrame:
    """Return one row per cluster, its name included, after a row for the background."""
    rows = clusters.result.table.drop(columns="name", errors="ignore")
    rows = rows.set_index("index").reindex(clusters.labels()).rename_axis("index").reset_index()
    rows.insert(1, "name", [clusters.name(label) for label in rows["index"]])
    table = layer_features(rows)
    table["name"] = table["name"].fillna("background")
    return table


def colormap(clusters: Clusters | None = None) -> Any:
    """Return napari's direct colormap for the clusters, or for the preview of some."""
    from napari.utils.colormaps import DirectLabelColormap

    # A label that is no cluster is one that the user paints with: white.
    colours: dict[int | None, Any] = {None: np.ones(4), 0: np.zeros(4)}
    if clusters is None:
        colours |= {label: np.array(colour) for label, colour in enumerate(palette(), start=1)}
    else:
        colours |= {label: np.array(clusters.colour(label)) for label in clusters.labels()}
    return DirectLabelColormap(color_dict=colours)


def entry(clusters: Clusters) -> dict[str, Any]:
    """Return what a layer's metadata say of its clusters."""
    labels = clusters.labels()
    return {
        "clusters": clusters.model.n_labels_,
        "level": clusters.level,
        "names": {str(label): clusters.name(label) for label in labels},
        "colours": {str(label): as_hex(clusters.colour(label)) for label in labels},
        "background": clusters.hidden_labels(),
    }


def show(layer: Labels, clusters: Clusters, shown: Clusters | None = None) -> None:
    """Show clusters in a layer, replacing what differs from ``shown``, which its data show now."""
    before = clusters_of(layer)
    pictured = shown or before
    if pictured is None or not _same_picture(pictured, clusters):
        layer.data = layer_data(clusters)
    layer.features = features(clusters)
    if before is None or _colours(before) != _colours(clusters):
        layer.colormap = colormap(clusters)
    facts = {**layer.metadata.get(KEY, {}), **entry(clusters)}
    layer.metadata = {**layer.metadata, KEY: facts, STATE: clusters}


def _same_picture(one: Clusters, other: Clusters) -> bool:
    return one.result.leaves is other.result.leaves and np.array_equal(
        visible_lut(one), visible_lut(other)
    )


def _colours(clusters: Clusters) -> dict[int, Colour]:
    return {label: clusters.colour(label) for label in clusters.labels()}
