"""The methods: the only list of them, with the names and the parts of each.

Nothing of a method is imported before it is asked for, so the list itself costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True, slots=True)
class Method:
    """A way to make labels of an image.

    Attributes
    ----------
    name : str
        In the provenance of a result; also its command.
    noun, plural : str
        What a label stands for.
    suffix : str
        What the name of a result adds to that of its image.
    ids : {"frame", "stack", "track", "class"}
        Within what an id stands for the same; see :class:`.Segmentation`.
    folder_is_movie : bool
        Whether the command takes a folder as one movie rather than as images, each by itself.
    function : str
        Public name of the function that runs it.
    parts : mapping
        ``module:name`` inside the package of each part, see the properties.
    """

    name: str
    noun: str
    plural: str
    suffix: str
    ids: Literal["frame", "stack", "track", "class"]
    folder_is_movie: bool
    function: str
    parts: Mapping[str, str]

    @property
    def config(self) -> type[Any]:
        """The dataclass of its options."""
        return self._part("config")  # type: ignore[no-any-return]

    @property
    def iterator(self) -> Callable[..., Any]:
        """The generator twin of its public function."""
        return self._part("iterator")  # type: ignore[no-any-return]

    @property
    def result(self) -> type[Any]:
        """The class of its results."""
        return self._part("result")  # type: ignore[no-any-return]

    @property
    def recipe(self) -> type[Any]:
        """The class of how a result of it came about."""
        return self._part("recipe")  # type: ignore[no-any-return]

    @property
    def command(self) -> Any:
        """The module of its command: texts, ``add_arguments``, ``make_task`` and ``run``."""
        return self._part("command")

    @property
    def layer(self) -> Any:
        """The module that reopens its layers in napari; None if they hold nothing but labels."""
        return self._part("layer") if "layer" in self.parts else None

    @property
    def counts_objects(self) -> bool:
        """Whether each object has a label of its own."""
        return self.ids in ("frame", "track")

    def _part(self, what: str) -> Any:
        module, _, name = self.parts[what].partition(":")
        found = import_module(f".{module}", __package__)
        return getattr(found, name) if name else found


ENTITIES = Method(
    name="entities",
    noun="entity",
    plural="entities",
    suffix="entities",
    ids="frame",
    folder_is_movie=False,
    function="segment_entities",
    parts={
        "config": "entities.config:EntityConfig",
        "iterator": "entities.predict:iter_segment_entities",
        "result": "results.segmentation:Segmentation",
        "recipe": "results.recipe:Recipe",
        "command": "cli.entities",
    },
)

CLUSTERS = Method(
    name="clusters",
    noun="cluster",
    plural="clusters",
    suffix="clusters",
    ids="stack",
    folder_is_movie=True,
    function="cluster_stack",
    parts={
        "config": "clusters.config:ClusterConfig",
        "iterator": "clusters.predict:iter_cluster_stack",
        "result": "clusters.result:ClusterSegmentation",
        "recipe": "clusters.recipe:ClusterRecipe",
        "command": "cli.clusters",
        "layer": "_napari.clusters.layer",
    },
)

CLASSES = Method(
    name="classes",
    noun="class",
    plural="classes",
    suffix="classes",
    ids="class",
    folder_is_movie=False,
    function="segment_classes",
    parts={
        "config": "classes.config:ClassesConfig",
        "iterator": "classes.predict:iter_segment_classes",
        "result": "classes.result:ClassSegmentation",
        "recipe": "classes.recipe:ClassRecipe",
        "command": "cli.classes",
        "layer": "_napari.classes.layer",
    },
)

METHODS = {method.name: method for method in (ENTITIES, CLUSTERS, CLASSES)}
"""All methods by name, in the order of the help."""


def method_of(provenance: Mapping[str, Any]) -> Method | None:
    """Return the method that a provenance names; None for labels of another origin."""
    return METHODS.get(str(provenance.get("method")))
