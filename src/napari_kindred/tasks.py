"""What a method does with one image from disk; what is done is kept however it ends."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

from .events import Event, Notice, Partial, finish
from .images import Frames
from .results import Assembly, Segmentation, provenance
from .storage import check_output, refuse_existing
from .weights import file_sha256, resolve

if TYPE_CHECKING:
    import pandas as pd

    from .class_configs import ClassesConfig
    from .classes.meaning import Meaning
    from .classes.result import ClassSegmentation
    from .config import EntityConfig
    from .files import ImageFile

Result = TypeVar("Result")
Made = TypeVar("Made", bound=Segmentation)
Report = Callable[[Event], None]


class SoFar(Protocol):
    """The frames that are done while a task works."""

    @property
    def done(self) -> Any:
        """True when there are any."""

    def add(self, partial: Partial) -> None:
        """Take a finished frame in."""

    def segmentation(
        self,
        provenance: Mapping[str, Any],
        scale: tuple[float, ...] | None = None,
        units: tuple[str, ...] | None = None,
    ) -> Segmentation:
        """Return what is there as a result; its provenance tells whether that is all of it."""


class Task(ABC, Generic[Made]):
    """A method with its options, as files and folders need it.

    Parameters
    ----------
    config : dataclass
        The method's options; has ``axes`` and ``channel``.

    Attributes
    ----------
    method : str
        For provenance.
    ends : tuple of str
        How the names of an image's tables in a folder end, the first being the result's own.
    """

    method: ClassVar[str]
    ends: ClassVar[tuple[str, ...]] = ("csv",)

    def __init__(self, config: Any) -> None:
        self.config = config

    @abstractmethod
    def iterate(self, image: Any, metadata_axes: str | None) -> Generator[Event, None, Made]:
        """Begin the job on an image; see the ``iter_…`` function of the method."""

    def iter_prepare(self) -> Generator[Event, None, None]:
        """Load once what all images of a folder need."""
        yield from ()

    def identity(self) -> dict[str, Any]:
        """Return what must be the same, beside the config, for a folder to be gone on with."""
        return {}

    def so_far(self, frames: Frames) -> SoFar:
        """Return an empty place for the frames of an image."""
        return Assembly(frames)

    def facts(self) -> dict[str, Any]:
        """Return what the provenance of a stopped job says beside the usual."""
        return {}

    def things(self, result: Segmentation) -> dict[str, tuple[int, int]]:  # noqa: ARG002
        """Return by name how many things there are of a kind, and their area in pixels."""
        return {}

    def check_output(self, out: Path, overwrite: bool) -> None:
        """Check before a long job that its result can be written; see :mod:`.storage`."""
        check_output(out, overwrite)

    def tables(self, result: Made) -> tuple[pd.DataFrame, ...]:
        """Return the tables of an image in a folder, one for each of :attr:`ends`."""
        return (result.table,)


def run_task(
    task: Task[Made], image: ImageFile, report: Report, keep: Callable[[Segmentation], None]
) -> Made:
    """Work on an open image, and hand what there is to ``keep`` however it ends.

    Parameters
    ----------
    task : Task
    image : ImageFile
    report : callable
        Told every event.
    keep : callable
        Given the result; when the job is cancelled or fails, that of the frames done so far, its
        provenance's ``complete`` then being False.

    Returns
    -------
    Segmentation
        The complete result.
    """
    frames = Frames.open(image.data, task.config.axes, task.config.channel, image.axes)
    scale, units = image.scale_of(frames.output_axes)
    so_far = task.so_far(frames)
    notes = [image.note] if image.note else []
    for note in notes:
        report(Notice(note))
    job = task.iterate(image.data, image.axes)

    def watch(event: Event) -> None:
        if isinstance(event, Partial):
            so_far.add(event)
        report(event)

    start = time.perf_counter()
    try:
        result = finish(job, watch)
    except BaseException as error:  # a cancel too: what is done is kept, then it goes on its way
        job.close()
        if so_far.done:
            cancelled = isinstance(error, KeyboardInterrupt)
            why = "cancelled" if cancelled else str(error) or type(error).__name__
            facts = provenance(
                method=task.method,
                config=task.config,
                frames=frames,
                seconds=time.perf_counter() - start,
                notes=[*notes, f"stopped: {why}"],
                image=image.name,
                **task.facts(),
            )
            keep(so_far.segmentation(facts, scale, units))
        raise
    result.scale, result.units = scale, units
    result.provenance = {
        **result.provenance,
        "image": image.name,
        "notes": [*notes, *result.provenance.get("notes", [])],
        "complete": True,
        "frames_done": len(frames),
    }
    keep(result)
    return result


class EntityTask(Task[Segmentation]):
    """Every cell or nucleus its own label; takes an :class:`~napari_kindred.EntityConfig`."""

    method = "entities"
    config: EntityConfig

    def __init__(self, config: EntityConfig) -> None:
        super().__init__(config)
        self._model: Any = None

    def iter_prepare(self) -> Generator[Event, None, None]:
        """Load the network."""
        from .device import select
        from .entities.checkpoint import load_network

        self._model = load_network(self.config.weights, select(self.config.device))
        yield from ()

    def iterate(
        self, image: Any, metadata_axes: str | None
    ) -> Generator[Event, None, Segmentation]:
        """Begin :func:`napari_kindred.iter_segment_entities`."""
        from .entities.predict import iter_segment_entities

        return iter_segment_entities(
            image, config=self.config, metadata_axes=metadata_axes, model=self._model
        )

    def things(self, result: Segmentation) -> dict[str, tuple[int, int]]:
        """Count the entities."""
        return {"entities": (len(result.table), int(result.table["area"].sum()))}

    def facts(self) -> dict[str, Any]:
        """Return the weights' name and hash."""
        name = self.config.weights
        return {"weights": {"name": name, "sha256": file_sha256(resolve(name))}}


class ClassTask(Task["ClassSegmentation"]):
    """The classes that are named; takes a :class:`~napari_kindred.ClassesConfig`.

    Parameters
    ----------
    config : ClassesConfig
    names : sequence of str, or str
    vocabulary, examples, clip
        What gives the names their meaning; see :func:`napari_kindred.segment_classes`.

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
    ) -> None:
        from .classes.names import check_names

        super().__init__(config)
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

    def iter_prepare(self) -> Generator[Event, None, None]:
        """Open what gives the names their meaning; examples are learnt."""
        from .classes.open_meaning import iter_open_meaning
        from .features import FeatureCache

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
