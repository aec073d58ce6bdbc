"""Which pixels are of a kind? A napari plugin, and a library that runs without napari or Qt.

Names are loaded when first used, so that importing the package costs nothing: neither torch nor
napari nor Qt comes along.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .class_configs import ClassesConfig, TeachConfig
    from .classes.examples import Example, read_examples
    from .classes.predict import iter_segment_classes, segment_classes
    from .classes.result import ClassSegmentation
    from .classes.teach import iter_teach_classes, teach_classes
    from .classes.vocabulary import Vocabulary
    from .config import ConsistentConfig, EntityConfig
    from .consistent.hierarchy import HierarchicalClustering
    from .consistent.predict import cluster_stack, iter_cluster_stack
    from .entities.predict import iter_segment_entities, segment_entities
    from .errors import KindredError
    from .results import Segmentation, load_segmentation

__version__ = "0.1.0"

_HOME = {
    "ClassSegmentation": "classes.result",
    "ClassesConfig": "class_configs",
    "ConsistentConfig": "config",
    "EntityConfig": "config",
    "Example": "classes.examples",
    "HierarchicalClustering": "consistent.hierarchy",
    "KindredError": "errors",
    "Segmentation": "results",
    "TeachConfig": "class_configs",
    "Vocabulary": "classes.vocabulary",
    "cluster_stack": "consistent.predict",
    "iter_cluster_stack": "consistent.predict",
    "iter_segment_classes": "classes.predict",
    "iter_segment_entities": "entities.predict",
    "iter_teach_classes": "classes.teach",
    "load_segmentation": "results",
    "read_examples": "classes.examples",
    "segment_classes": "classes.predict",
    "segment_entities": "entities.predict",
    "teach_classes": "classes.teach",
}

__all__ = [
    "ClassSegmentation",
    "ClassesConfig",
    "ConsistentConfig",
    "EntityConfig",
    "Example",
    "HierarchicalClustering",
    "KindredError",
    "Segmentation",
    "TeachConfig",
    "Vocabulary",
    "__version__",
    "cluster_stack",
    "iter_cluster_stack",
    "iter_segment_classes",
    "iter_segment_entities",
    "iter_teach_classes",
    "load_segmentation",
    "read_examples",
    "segment_classes",
    "segment_entities",
    "teach_classes",
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
