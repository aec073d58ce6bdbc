"""State of a layer of clusters or classes, and how it is changed. Free of Qt."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np

from .layers import KEY

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from napari.layers import Labels

    from ...results.segmentation import Segmentation

STATE = "napari-kindred state"
"""Key of a layer's ``metadata`` for its :class:`LabelState`."""

OPACITY = 0.5
"""Labels of kinds cover the image, so it has to show through."""


class LabelState(ABC):
    """State of a layer whose labels have names and colours; immutable."""

    result: Any
    shape: tuple[int, ...]  # of the layer, which may have axes of length 1 that the result lacks

    @abstractmethod
    def labels(self) -> Any:
        """Return the labels in the layer's shape."""

    @abstractmethod
    def features(self) -> pd.DataFrame:
        """Return the layer's table."""

    @abstractmethod
    def palette(self) -> dict[int, Any]:
        """Return the colour of each label."""

    @abstractmethod
    def entry(self) -> dict[str, Any]:
        """Return what the provenance says of this state."""

    @abstractmethod
    def shows_labels_of(self, other: Any) -> bool:
        """Whether another state of the same method shows the same labels."""

    @abstractmethod
    def to_save(self) -> Segmentation | None:
        """Return the result with the arrays to be saved; None if only the labels are."""

    def hidden_labels(self) -> list[int]:
        """Return the labels that were made background."""
        return []

    def replay(self) -> dict[str, Any]:
        """Return what a saved layer needs to be changed further, as plain data."""
        return {}


def state_of(layer: Any) -> Any:
    """Return the :class:`LabelState` of a layer, None for other layers."""
    return None if layer is None else layer.metadata.get(STATE)


def show(layer: Labels, state: LabelState, shown: LabelState | None = None) -> None:
    """Show a state, replacing what differs from ``shown``, whose labels the layer has now."""
    before = state_of(layer)
    labelled = shown or before
    if labelled is None or not state.shows_labels_of(labelled):
        layer.data = state.labels()
    layer.features = state.features()
    palette = state.palette()
    if before is None or before.palette() != palette:
        layer.colormap = direct_colormap(palette)
    entry = {**layer.metadata.get(KEY, {}), **state.entry()}
    layer.metadata = {**layer.metadata, KEY: entry, STATE: state}


def direct_colormap(palette: Mapping[int, Any]) -> Any:
    """Return napari's colormap for labels with these colours, ``#rrggbb`` or RGBA from 0 to 1."""
    from napari.utils.colormaps import DirectLabelColormap
    from napari.utils.colormaps.standardize_color import transform_color

    # A label that has no colour is one that the user paints with: white.
    colours: dict[int | None, Any] = {None: np.ones(4), 0: np.zeros(4)}
    colours |= {label: transform_color(colour)[0] for label, colour in palette.items()}
    return DirectLabelColormap(color_dict=colours)
