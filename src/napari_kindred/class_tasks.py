"""Classes by name as a task for images from disk."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .results import Assembly, Segmentation
from .tasks import Task
from .writing import refuse_existing

if TYPE_CHECKING:
    import pandas as pd

    from .class_configs import ClassesConfig
    from .classes.meaning import Meaning
    from .classes.result import ClassSegmentation
    from .events import Event
    from .images import Frames


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

    method = "classes"
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
        from .classes.names import check_names

        super().__init__(config, scheduler)
        self.names = check_names(names)
        self._source: dict[str, Any] = {"clip": clip}
        self._given = {"clip": clip}
        if examples is not None:
            from .classes.examples import read_examples

            self._source = {"examples": read_examples(examples)}
            self._given = {"examples": str(Path(examples).resolve())}
        elif clip is None:
            from .classes.open_meaning import SHIPPED
            from .classes.vocabulary import Vocabulary

            known = Vocabulary.load(vocabulary or SHIPPED)
            for name in self.names:
                known.lookup(name)
            self._source, self._given = {"vocabulary": known}, {"vocabulary": known.sha256}
        self._meaning: Meaning | None = None
        self._opener: Callable[[], Meaning] | None = None

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        if self._meaning is not None:  # opened as it was, without learning once more
            from .classes.again import opener_of

            opener = opener_of(self._meaning, self.config.device)
            state |= {"_meaning": None, "_source": {}, "_opener": opener}
        return state

    def sendable(self, result: ClassSegmentation) -> ClassSegmentation:
        """Return a result without what a change of threshold would need."""
        things = np.asarray(result.entities)
        return replace(super().sendable(result), entities=things, seen=None)

    def iter_prepare(self) -> Generator[Event, None, None]:
        """Open what gives the names their meaning; examples are learnt."""
        from .classes.open_meaning import iter_open_meaning
        from .features import FeatureCache

        if self._opener is not None:
            self._meaning, self._opener = self._opener(), None
        if self._meaning is None:
            self._meaning = yield from iter_open_meaning(
                self.names, **self._source, config=self.config, cache=FeatureCache()
            )

    def iterate(
        self, image: Any, metadata_axes: str | None
    ) -> Generator[Event, None, ClassSegmentation]:
        """Begin :func:`napari_kindred.iter_segment_classes`."""
        from .classes.predict import iter_segment_classes

        yield from self.iter_prepare()
        return (
            yield from iter_segment_classes(
                image,
                self.names,
                meaning=self._meaning,
                config=self.config,
                metadata_axes=metadata_axes,
                scheduler=self.scheduler,
            )
        )

    def check_output(self, out: Path, overwrite: bool) -> None:
        """Check before a long job that all files can be written."""
        from .classes.result import beside

        super().check_output(out, overwrite)
        for place in beside(out):
            refuse_existing(place, overwrite)

    def identity(self) -> dict[str, Any]:
        """Return the names and what gives them their meaning."""
        return {"names": self.names, "given": self._given}

    def so_far(self, frames: Frames) -> ClassesSoFar:
        """Return an empty place for the frames of an image."""
        return ClassesSoFar(frames, self._colours)

    def facts(self) -> dict[str, Any]:
        """Return names, colours and what gives them their meaning."""
        known = {} if self._meaning is None else self._meaning.identity()
        return {"names": self.names, "colours": self._colours(), **known}

    def _colours(self) -> tuple[str, ...]:
        return () if self._meaning is None else self._meaning.check(self.names)

    def things(self, result: Segmentation) -> dict[str, tuple[int, int]]:
        """Count the things of each class."""
        table = result.table
        rows = zip(table["name"], table["count"], table["area"], strict=True)
        return {name: (int(count), int(area)) for name, count, area in rows}

    def tables(self, result: ClassSegmentation) -> tuple[pd.DataFrame, ...]:
        """Return a table of the classes, and one of their things."""
        return result.table, result.entity_table


class ClassesSoFar(Assembly):
    """Frames with classes; the tables of what comes have a row per class.

    Parameters
    ----------
    frames : Frames
        The image that is worked on.
    colours : callable
        Gives the classes' colours.
    """

    def __init__(self, frames: Frames, colours: Callable[[], Sequence[str]]) -> None:
        super().__init__(frames)
        self._colours = colours

    def table(self) -> pd.DataFrame:
        """Return a row per class, over all frames that are there."""
        from .classes.tables import sum_classes

        pixels = len(self.done) * math.prod(self.labels.shape[-2:])
        return sum_classes([super().table()], self._colours(), pixels)
