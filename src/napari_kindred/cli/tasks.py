"""What a method does with one image from disk; what is done is kept however it ends."""

from __future__ import annotations

import copy
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import numpy as np

from ..core.errors import reason_of
from ..core.events import Event, Partial, Progress, finish
from ..images.readers import read_image
from ..images.stack import ImageStack
from ..methods import ENTITIES
from ..models.download import file_sha256
from ..models.spec import absolute
from ..models.weights import resolve
from ..results.atomic import plain, refuse_existing
from ..results.recipe import FileInput
from ..results.segmentation import Segmentation, provenance
from ..results.storage import check_output, files_of
from ..results.tables import count_divisions, count_objects, entities_per_frame

if TYPE_CHECKING:
    import pandas as pd

    from ..entities.checkpoint import EntityNetSpec
    from ..entities.config import EntityConfig
    from ..images.readers import ImageFile
    from ..methods import Method
    from ..results.assembly import Assembly

Result = TypeVar("Result")
Made = TypeVar("Made", bound=Segmentation)
Report = Callable[[Event], None]


class Task(ABC, Generic[Made]):
    """A method with its options, as files and folders need it.

    Parameters
    ----------
    config : dataclass
        The method's options; has ``axes`` and ``channel``.
    scheduler : optional
        Who works on the frames; see :func:`.dask_cluster.open_workers`.

    Attributes
    ----------
    method : Method
    ends : tuple of str
        How the names of an image's tables in a folder end, the first being the result's own.
    """

    method: ClassVar[Method]
    ends: ClassVar[tuple[str, ...]] = ("csv",)

    def __init__(self, config: Any, scheduler: Any = None) -> None:
        self.config, self.scheduler = config, scheduler

    @abstractmethod
    def iterate(self, image: Any, metadata_axes: str | None) -> Generator[Event, None, Made]:
        """Begin the job on an image; see the ``iter_…`` function of the method."""

    def iter_prepare(self) -> Generator[Event, None, None]:
        """Load once what all images of a folder need."""
        yield from ()

    def fresh(self) -> Task[Made]:
        """Return the same task, prepared anew, for another thread or process."""
        task = copy.copy(self)
        finish(task.iter_prepare())
        return task

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy needs; networks are opened anew."""
        return {**self.__dict__, "scheduler": None}

    def sendable(self, result: Made) -> Made:
        """Return a result as it is sent to another process, all of it in memory."""
        return replace(result, labels=np.asarray(result.labels))

    def arguments(self) -> dict[str, Any]:
        """Return further arguments of the method's function, as plain data."""
        return {}

    def weights(self) -> dict[str, Any]:
        """Return what identifies the weights at hand, by its entry in the provenance."""
        return {}

    def identity(self) -> dict[str, Any]:
        """Return what must be the same, beside the config, for a folder to be gone on with."""
        return {}

    def object_counts(self, result: Segmentation) -> dict[str, tuple[int, int]]:  # noqa: ARG002
        """Return by name how many things there are of a kind, and their area in pixels."""
        return {}

    def files(self, out: Path) -> list[Path]:
        """Return the files that a result of this name is made of."""
        return files_of(out)

    def check_output(self, out: Path, overwrite: bool) -> None:
        """Check before a long job that its result can be written; see :mod:`.storage`."""
        check_output(out, overwrite)
        for file in self.files(out):
            refuse_existing(file, overwrite)

    def summary(self, table: pd.DataFrame, pixels: int) -> pd.DataFrame:  # noqa: ARG002
        """Return the rows of an image in the table of all images, made of its own table."""
        return table.drop(columns="colour", errors="ignore")

    def tables(self, result: Made) -> tuple[pd.DataFrame, ...]:
        """Return the tables of an image in a folder, one for each of :attr:`ends`."""
        return (result.table,)


def run_task(
    task: Task[Made], image: ImageFile, report: Report, keep: Callable[[Segmentation], None]
) -> Made:
    """Work on an open image, and hand what there is to ``keep`` however it ends."""
    origin = _origin(task, image)
    image = replace(image, path=None)  # the result goes where the user says, not beside it
    frames = ImageStack.open(image, task.config.axes, task.config.channel)
    assembly: Assembly | None = None
    job = _iter_task(task, image, frames, origin)

    def watch(event: Event) -> None:
        nonlocal assembly
        if isinstance(event, Partial):
            assembly = event.assembly
        report(event)

    start = time.perf_counter()
    try:
        result = finish(job, watch)
    except BaseException as error:  # a cancel too: what is done is kept, then it goes on its way
        job.close()
        if assembly is not None:
            cancelled = isinstance(error, KeyboardInterrupt)
            why = "cancelled" if cancelled else reason_of(error)
            part = assembly.result(notes=[f"stopped: {why}"])
            facts = provenance(
                method=task.method.name,
                config=task.config,
                frames=frames,
                seconds=time.perf_counter() - start,
                **origin,
            )
            part.provenance = {**facts, **part.provenance, "image": image.name}
            _keep_surely(keep, part)
        raise
    _keep_surely(keep, result)
    return result


def _keep_surely(keep: Callable[[Segmentation], None], result: Segmentation) -> None:
    """Keep a result; who cancels meanwhile gets what there is, who cancels twice gets nothing."""
    try:
        keep(result)
    except KeyboardInterrupt:
        keep(result)
        raise


def iter_image(task: Task[Made], path: Path) -> Generator[Event, None, Made]:
    """Work on an image file; the task of a folder, as other processes take it."""
    yield Progress(0, 1, "reading")
    image = read_image(path)
    origin = _origin(task, image)
    image = replace(image, path=None)
    frames = ImageStack.open(image, task.config.axes, task.config.channel)
    return task.sendable((yield from _iter_task(task, image, frames, origin)))


def _iter_task(
    task: Task[Made], image: ImageFile, frames: ImageStack, origin: Mapping[str, Any]
) -> Generator[Event, None, Made]:
    """Work on an image, whose facts go into the result."""
    result = yield from task.iterate(image, image.axes)
    result.provenance = {
        **result.provenance,
        **origin,
        "complete": True,
        "frames_done": len(frames),
    }
    return result


def _origin(task: Task[Any], image: ImageFile) -> dict[str, Any]:
    """Return what a result says of its image and arguments, so that it can be made again."""
    arguments, place = task.arguments(), (task.config.axes, task.config.channel)
    file = FileInput(image.source, *place) if image.source else None
    facts = {"image": image.name, "file": file, "arguments": arguments}
    return {name: plain(value) for name, value in facts.items()} | {"files": hashes_of(arguments)}


def hashes_of(arguments: Mapping[str, Any]) -> dict[str, str]:
    """Return the SHA-256 of the files that arguments name."""
    paths = {name: Path(value) for name, value in arguments.items() if isinstance(value, str)}
    return {name: file_sha256(path) for name, path in paths.items() if path.is_file()}


DIVISIONS = "divisions"
"""Name of their count among those of objects."""


class EntityTask(Task[Segmentation]):
    """Every cell or nucleus its own label; takes an :class:`~napari_kindred.EntityConfig`.

    The parameters are those of :class:`Task`.
    """

    method = ENTITIES
    config: EntityConfig

    def __init__(self, config: EntityConfig, scheduler: Any = None) -> None:
        super().__init__(config, scheduler)
        self._spec: EntityNetSpec | None = None
        self._model: Any = None

    def iter_prepare(self) -> Generator[Event, None, None]:
        """Load the network."""
        from ..compute.device import select
        from ..entities.checkpoint import EntityNetSpec, load_network

        device = select(self.config.device)
        if self._spec is None:
            network, info = load_network(self.config.weights, device)
            self._spec = EntityNetSpec.of(info, self.config.weights)
        else:
            network = self._spec.open(device)
        self._model = network, self._spec.as_dict()
        yield from ()

    def iterate(
        self, image: Any, metadata_axes: str | None
    ) -> Generator[Event, None, Segmentation]:
        """Begin :func:`napari_kindred.iter_segment_entities`."""
        from ..entities.predict import iter_segment_entities

        return iter_segment_entities(
            image,
            config=self.config,
            metadata_axes=metadata_axes,
            model=self._model,
            scheduler=self.scheduler,
        )

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_model": None}

    def object_counts(self, result: Segmentation) -> dict[str, tuple[int, int]]:
        """Count the entities; the same one in several frames counts once."""
        size = "volume" if "volume" in result.table else "area"
        pixels, divisions = int(result.table[size].sum()), count_divisions(result)
        return {ENTITIES.plural: (count_objects(result), pixels), DIVISIONS: (divisions, 0)}

    def summary(self, table: pd.DataFrame, pixels: int) -> pd.DataFrame:
        """Return one row: count, area, mean area, share of the pixels and mean intensity."""
        whole = table.drop(columns="frame", errors="ignore")
        return entities_per_frame(whole, 1, pixels).drop(columns="frame")

    def weights(self) -> dict[str, Any]:
        """Return the weights' name and hash."""
        name = self.config.weights
        return {"weights": {"name": absolute(name), "sha256": file_sha256(resolve(name))}}
