"""Which pixels are of a kind? A napari plugin, and a library that runs without napari or Qt.

Names are loaded when first used, so that importing the package costs nothing: neither torch nor
napari nor Qt comes along.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._version import __version__

if TYPE_CHECKING:
    from .classes.config import ClassesConfig, TeachConfig
    from .classes.predict import iter_segment_classes, segment_classes
    from .classes.result import ClassSegmentation
    from .classes.vocabulary.examples import Example, read_examples
    from .classes.vocabulary.teach import iter_teach_classes, teach_classes
    from .classes.vocabulary.vocabulary import Vocabulary
    from .clusters.config import ClusterConfig
    from .clusters.model import HierarchicalClustering
    from .clusters.predict import cluster_stack, iter_cluster_stack
    from .clusters.result import ClusterSegmentation
    from .core.errors import KindredError
    from .entities.config import EntityConfig
    from .entities.learning.config import LearnConfig
    from .entities.learning.files import FineTuned
    from .entities.learning.fine_tune import fine_tune, iter_fine_tune
    from .entities.predict import iter_segment_entities, segment_entities
    from .linking.config import LinkConfig
    from .linking.predict import iter_link, link
    from .load import load_segmentation
    from .results.imports import load_outlines
    from .results.segmentation import Segmentation
    from .results.track_imports import load_tracks

_HOME = {
    "ClassSegmentation": "classes.result",
    "ClassesConfig": "classes.config",
    "ClusterConfig": "clusters.config",
    "ClusterSegmentation": "clusters.result",
    "EntityConfig": "entities.config",
    "Example": "classes.vocabulary.examples",
    "FineTuned": "entities.learning.files",
    "HierarchicalClustering": "clusters.model",
    "KindredError": "core.errors",
    "LearnConfig": "entities.learning.config",
    "LinkConfig": "linking.config",
    "Segmentation": "results.segmentation",
    "TeachConfig": "classes.config",
    "Vocabulary": "classes.vocabulary.vocabulary",
    "cluster_stack": "clusters.predict",
    "fine_tune": "entities.learning.fine_tune",
    "iter_cluster_stack": "clusters.predict",
    "iter_fine_tune": "entities.learning.fine_tune",
    "iter_link": "linking.predict",
    "iter_segment_classes": "classes.predict",
    "iter_segment_entities": "entities.predict",
    "iter_teach_classes": "classes.vocabulary.teach",
    "link": "linking.predict",
    "load_outlines": "results.imports",
    "load_tracks": "results.track_imports",
    "load_segmentation": "load",
    "read_examples": "classes.vocabulary.examples",
    "segment_classes": "classes.predict",
    "segment_entities": "entities.predict",
    "teach_classes": "classes.vocabulary.teach",
}

__all__ = [
    "ClassSegmentation",
    "ClassesConfig",
    "ClusterConfig",
    "ClusterSegmentation",
    "EntityConfig",
    "Example",
    "FineTuned",
    "HierarchicalClustering",
    "KindredError",
    "LearnConfig",
    "LinkConfig",
    "Segmentation",
    "TeachConfig",
    "Vocabulary",
    "__version__",
    "cluster_stack",
    "fine_tune",
    "iter_cluster_stack",
    "iter_fine_tune",
    "iter_link",
    "iter_segment_classes",
    "iter_segment_entities",
    "iter_teach_classes",
    "link",
    "load_outlines",
    "load_segmentation",
    "load_tracks",
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
    return sorted(__all__)
