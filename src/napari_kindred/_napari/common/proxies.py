"""Objects behind napari's proxies, and data at full resolution. Free of Qt."""

from __future__ import annotations

from typing import Any


def unwrap_proxy(thing: Any) -> Any:
    """Return what is behind the proxy that napari hands to plugins, a new one each time."""
    return getattr(thing, "__wrapped__", thing)


def level_0(layer: Any) -> Any:
    """Return a layer's data at full resolution."""
    return layer.data[0] if layer.multiscale else layer.data


def camera_of(viewer: Any) -> Any:
    """Return a viewer's camera, which newer napari keeps in the scene."""
    return getattr(viewer, "scene", viewer).camera
