"""Which pixels are of a kind? A napari plugin, and a library that runs without napari or Qt.

Names are loaded when first used, so that importing the package costs nothing: neither torch nor
napari nor Qt comes along.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .config import ConsistentConfig, EntityConfig
    from .consistent.hierarchy import HierarchicalClustering
    from .consistent.predict import cluster_stack, iter_cluster_stack
    from .entities.predict import iter_segment_entities, segment_entities
    from .errors import KindredError
    from .results import Segmentation, load_segmentation

__version__ = "0.1.0"

_HOME = {
    "ConsistentConfig": "config",
    "EntityConfig": "config",
    "HierarchicalClustering": "consistent.hierarchy",
    "KindredError": "errors",
    "Segmentation": "results",
    "cluster_stack": "consistent.predict",
    "iter_cluster_stack": "consistent.predict",
    "iter_segment_entities": "entities.predict",
    "load_segmentation": "results",
    "segment_entities": "entities.predict",
}

__all__ = [
    "ConsistentConfig",
    "EntityConfig",
    "HierarchicalClustering",
    "KindredError",
    "Segmentation",
    "__version__",
    "cluster_stack",
    "iter_cluster_stack",
    "iter_segment_entities",
    "load_segmentation",
    "segment_entities",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its module on first use (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted({*globals(), *__all__})
