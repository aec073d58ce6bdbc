"""Nodes of the tree picked by a click: what they are, and the layer that shows them. Free of Qt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...clusters.nodes import ClusterNode
from ...core.colors import palette
from ..common.label_state import OPACITY, direct_colormap
from ..common.layers import KEY, POSITION, in_shape, table_features

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .layer import Clusters, Leaves

PICKS_OF = "napari-kindred picks of"
"""Key of a layer's ``metadata`` for the layer of clusters whose picks it shows."""


def leaf_at(clusters: Clusters, place: Sequence[float]) -> int | None:
    """Return the leaf at a place in the layer's data, None outside of it."""
    index = tuple(int(np.floor(value + 0.5)) for value in place[-len(clusters.shape) :])
    inside = all(0 <= at < size for at, size in zip(index, clusters.shape, strict=True))
    if not inside:
        return None
    return int(np.asarray(in_shape(clusters.result.leaves, clusters.shape)[index]))


def cluster_of(clusters: Clusters, leaf: int) -> Leaves:
    """Return the leaves of the cluster that is shown where a leaf is, none for the background."""
    label = int(clusters.labels_of_leaves[leaf])
    return clusters.leaves(label) if label else frozenset()


def node_of(clusters: Clusters, leaves: Leaves) -> ClusterNode:
    """Return leaves as a node of the tree."""
    return ClusterNode(leaves, clusters.result.leaves, clusters.model.merges_)


def narrower(node: ClusterNode, leaf: int | None) -> ClusterNode:
    """Return the part of a node with a leaf in it, else its larger part; a leaf is its own."""
    parts = node.parts()
    return next((part for part in parts if leaf in part.leaves), parts[0] if parts else node)


def show_picks(viewer: Any, layer: Any, clusters: Clusters) -> Any:
    """Show a layer's picks as a layer next to it; returns that layer, None without picks."""
    shown = picks_layer(viewer, layer)
    names = list(clusters.model.examples_)
    if not names:
        if shown is not None:
            viewer.layers.remove(shown)
        return None
    result = clusters.result.picked()
    rows = result.table.set_index("index").reindex(range(1, len(names) + 1)).reset_index()
    rows.insert(1, "name", names)
    colours = palette()
    options: dict[str, Any] = {
        "features": table_features(rows),
        "colormap": direct_colormap(
            {label: colours[label % len(colours)] for label in rows["index"]}
        ),
        "metadata": {
            KEY: {**layer.metadata.get(KEY, {}), **result.provenance},
            PICKS_OF: layer.unique_id,
        },
    }
    labels = in_shape(result.labels, clusters.shape)
    if shown is None:
        active = viewer.layers.selection.active
        options |= {name: getattr(layer, name) for name in POSITION}
        shown = viewer.add_labels(labels, name=f"{layer.name} picks", opacity=OPACITY, **options)
        layer.visible = False
        viewer.layers.selection.active = active
        return shown
    shown.data = labels
    for name, value in options.items():
        setattr(shown, name, value)
    return shown


def picks_layer(viewer: Any, layer: Any) -> Any:
    """Return the layer that shows the picks of a layer of clusters, None if there is none."""
    own = layer.unique_id
    return next((one for one in viewer.layers if one.metadata.get(PICKS_OF) == own), None)
