"""Following the selected layer, for the panels that work on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class Following:
    """Calls a function when another layer is selected, added or removed, until it is stopped.

    ``others`` are further emitters of events that it is called for.
    """

    def __init__(self, viewer: Any, follow: Callable[..., Any], *others: Any) -> None:
        self._follow = follow
        layers = viewer.layers
        self._emitters = [
            layers.selection.events.active,
            layers.events.removed,
            layers.events.inserted,
            *others,
        ]
        for emitter in self._emitters:
            emitter.connect(follow)

    def stop(self) -> None:
        """Call it no more."""
        for emitter in self._emitters:
            emitter.disconnect(self._follow)
        self._emitters = []
