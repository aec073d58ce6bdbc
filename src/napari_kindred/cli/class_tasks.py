"""Classes by name as a task for images from disk."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.events import finish
from ..methods import CLASSES
from .tasks import Task

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    import pandas as pd

    from ..classes.classifiers import Classifier
    from ..classes.config import ClassesConfig
    from ..classes.result import ClassSegmentation
    from ..core.events import Event
    from ..results.segmentation import Segmentation


class ClassTask(Task["ClassSegmentation"]):
    """The classes that are named; takes a :class:`~napari_kindred.ClassesConfig`.

    Parameters
    ----------
    config : ClassesConfig
    names : sequence of str, or str
    vocabulary, examples, clip
        What gives the names their meaning; see :func:`napari_kindred.segment_classes`.
    scheduler : optional
        As for :class:`Task`.

    Raises
    ------
    KindredError
        When the vocabulary or the examples cannot be read, or a name is not known.
    """

    method = CLASSES
    ends = ("csv", "entities.csv")
    config: ClassesConfig

    def __init__(
        self,
        config: ClassesConfig,
        names: Sequence[str] | str,
        vocabulary: str | Path | None = None,
        examples: str | Path | None = None,
        clip: str | None = None,
        scheduler: Any = None,
    ) -> None:
        from ..classes.names import check_names

        super().__init__(config, scheduler)
        self.names = check_names(names)
        self._source: dict[str, Any] = {"clip": clip}
        self._given = {"clip": clip}
        self._arguments = {"clip": clip and _absolute(clip)}
        if examples is not None:
            from ..classes.vocabulary.examples import read_examples

            self._source = {"examples": read_examples(examples)}
            self._given = self._arguments = {"examples": str(Path(examples).resolve())}
        elif clip is None:
            from ..classes.open import SHIPPED
            from ..classes.vocabulary.vocabulary import Vocabulary

            known = Vocabulary.load(vocabulary or SHIPPED)
            for name in self.names:
                known.lookup(name)
            self._source, self._given = {"vocabulary": known}, {"vocabulary": known.sha256}
            self._arguments = {"vocabulary": _absolute(str(vocabulary or SHIPPED))}
        self._classifier: Classifier | None = None

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        if self._classifier is not None:  # opened as it was, without learning once more
            from ..classes.open import closed

            state |= {"_classifier": closed(self._classifier), "_source": {}}
        return state

    def fresh(self) -> ClassTask:
        """Return the same task with its weights loaded anew."""
        from ..classes.open import opened

        task = copy.copy(self)
        if task._classifier is not None:
            task._classifier = opened(task._classifier, self.config.device)
        return task

    def sendable(self, result: ClassSegmentation) -> ClassSegmentation:
        """Return a result without what a change of threshold would need."""
        things = np.asarray(result.entities)
        return replace(super().sendable(result), entities=things, observations=None)

    def iter_prepare(self) -> Generator[Event, None, None]:
        """Open what gives the names their meaning; examples are learnt."""
        from ..classes.open import iter_open_classifier
        from ..models.feature_cache import FeatureCache

        if self._classifier is None:
            self._classifier = yield from iter_open_classifier(
                self.names, **self._source, config=self.config, cache=FeatureCache()
            )

    def iterate(
        self, image: Any, metadata_axes: str | None
    ) -> Generator[Event, None, ClassSegmentation]:
        """Begin :func:`napari_kindred.iter_segment_classes`."""
        from ..classes.predict import iter_segment_classes

        yield from self.iter_prepare()
        return (
            yield from iter_segment_classes(
                image,
                self.names,
                classifier=self._classifier,
                config=self.config,
                metadata_axes=metadata_axes,
                scheduler=self.scheduler,
            )
        )

    def files(self, out: Path) -> list[Path]:
        """Return the files that a result of this name is made of."""
        from ..classes.result import beside

        return [*super().files(out), *beside(out)]

    def arguments(self) -> dict[str, Any]:
        """Return what defines the names."""
        return self._arguments

    def weights(self) -> dict[str, Any]:
        """Return the weights of the classifier, and its vocabulary if it was not learned here."""
        finish(self.iter_prepare())
        assert self._classifier is not None  # noqa: S101 - it was just opened
        found = self._classifier.provenance()
        kinds = {"weights", *self._arguments}
        return {name: found[name] for name in found if name in kinds}

    def identity(self) -> dict[str, Any]:
        """Return the names and what gives them their meaning."""
        return {"names": self.names, "given": self._given}

    def object_counts(self, result: Segmentation) -> dict[str, tuple[int, int]]:
        """Count the things of each class."""
        table = result.table
        rows = zip(table["name"], table["count"], table["area"], strict=True)
        return {name: (int(count), int(area)) for name, count, area in rows}

    def tables(self, result: ClassSegmentation) -> tuple[pd.DataFrame, ...]:
        """Return a table of the classes, and one of their things."""
        return result.table, result.entity_table


def _absolute(name: str) -> str:
    """Return a name as it is, a path so that it leads there from everywhere."""
    return str(Path(name).absolute()) if Path(name).exists() else name
