"""Consistent clustering of a movie on disk, where nothing that is done gets lost."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import OptionError, OutputError
from .events import Event, Notice, Partial
from .files import ImageFile, is_image, read_image
from .images import Frames
from .numbering import Renumbering
from .results import Segmentation, make_labels, provenance
from .sequences import read_folder
from .storage import check_folder, check_output, refuse_existing

if TYPE_CHECKING:
    import pandas as pd

    from .config import ConsistentConfig
    from .consistent.result import ClusterSegmentation

Cluster = Callable[..., "Generator[Event, None, ClusterSegmentation]"]

_COLUMNS = ("index", "area", "share", "first_frame", "last_frame", "frames")
_SUFFIX = re.compile(r"(\.ome)?\.(zarr|tiff?)$", re.IGNORECASE)


class ProvisionalFrames:
    """Frames that are labelled twice: provisionally while they are clustered, then for good.

    Parameters
    ----------
    labels : array
        Where they go, numpy or zarr.
    shape : tuple of int
        Lengths of the leading axes, along which there are frames.
    slot : callable, optional
        Returns a frame's place in ``labels``; its index itself when left out.
    """

    def __init__(
        self,
        labels: Any,
        shape: Sequence[int],
        slot: Callable[[tuple[int, ...]], Any] = lambda index: index,
    ) -> None:
        self.labels = labels
        self._shape, self._slot = tuple(shape), slot
        self._counts: dict[tuple[int, ...], np.ndarray] = {}
        self._final: set[tuple[int, ...]] = set()
        self._renumbering = Renumbering()

    @property
    def done(self) -> int:
        """How many frames there are."""
        return len(self._counts)

    @property
    def provisional(self) -> bool:
        """Whether there are frames, and none was labelled a second time."""
        return bool(self._counts) and not self._final

    def add(self, partial: Partial) -> None:
        """Take in a frame, or take it in again with its final labels."""
        slot = self._slot(partial.index)
        if partial.index in self._counts:
            self._renumbering.learn(np.asarray(self.labels[slot]), partial.labels)
            self._final.add(partial.index)
        self.labels[slot] = partial.labels
        self._counts[partial.index] = np.bincount(partial.labels.ravel())

    def settle(self) -> None:
        """Give all frames the final ids where only some have them, after a run was stopped."""
        if not self._final:
            return
        for index in self._counts.keys() - self._final:
            slot = self._slot(index)
            labels = np.asarray(self.labels[slot])
            labels = self._renumbering.lut(int(labels.max(initial=0)))[labels]
            self.labels[slot] = labels
            self._counts[index] = np.bincount(labels.ravel())
        self._final |= self._counts.keys()

    def table(self) -> pd.DataFrame:
        """Return a row per cluster.

        Returns
        -------
        DataFrame
            Columns ``index``, ``area`` over all frames in pixels, ``share`` of all their pixels,
            ``first_frame``, ``last_frame`` and ``frames``, the number of those it is in; ids from
            1 without a gap.
        """
        import pandas as pd

        order = sorted(self._counts)
        largest = max((len(counts) for counts in self._counts.values()), default=1)
        areas = np.zeros((len(order), largest), np.int64)
        for row, index in zip(areas, order, strict=True):
            row[: len(self._counts[index])] = self._counts[index]
        frames = [int(np.ravel_multi_index(index, self._shape)) if index else 0 for index in order]
        rows = []
        for label in range(1, largest):
            area = int(areas[:, label].sum())
            seen = [frame for frame, here in zip(frames, areas[:, label], strict=True) if here]
            first, last = (seen[0], seen[-1]) if seen else (-1, -1)
            rows.append((label, area, area / int(areas.sum()), first, last, len(seen)))
        return pd.DataFrame(rows, columns=list(_COLUMNS))


@dataclass
class MovieOutcome:
    """What became of a movie.

    Attributes
    ----------
    out : Path
        Where the labels are.
    clusters, frames : int
        How many clusters, in how many frames that were done.
    more : list of Path
        What else was written: labels at further levels, and the model.
    provenance : dict
    seconds : float
    """

    out: Path
    clusters: int = 0
    frames: int = 0
    more: list[Path] = field(default_factory=list)
    provenance: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0


def cluster_file(
    source: Path,
    out: Path,
    config: ConsistentConfig,
    report: Callable[[Event], None],
    *,
    overwrite: bool = False,
    model: Path | None = None,
    save_model: Path | None = None,
    levels: Sequence[int] = (),
    cluster: Cluster | None = None,
) -> MovieOutcome:
    """Cluster a movie, from one file or a folder with a file per frame, into one result.

    Parameters
    ----------
    source : Path
        An image file or OME-Zarr, or a folder whose images are the frames of one movie, in the
        order of their names.
    out : Path
        ``NAME.ome.zarr`` or ``NAME.tif``; a folder gets a TIFF of the movie's name.
    config : ConsistentConfig
    report : callable
        Told every event.
    overwrite : bool
        Whether results that are there may be replaced.
    model : Path, optional
        A saved model that labels the frames, instead of clustering them.
    save_model : Path, optional
        Where the model goes; ends in ``.safetensors``.
    levels : sequence of int
        Further numbers of clusters; each gets a result of its own, ``NAME.level6.tif``.
    cluster : callable, optional
        :func:`napari_kindred.iter_cluster_stack` or something that behaves like it.

    Raises
    ------
    KindredError
        For what is wrong with input, options, weights or output. Frames done before are saved.
    """
    image = read_image(source) if is_image(source) else read_folder(source)
    if not out.suffix or (out.is_dir() and out.suffix.lower() != ".zarr"):
        out = out / f"{image.name}.tif"
    places = {level: level_path(out, level) for level in levels}
    _check_places(source, [out, *places.values()], save_model, overwrite)
    start = time.perf_counter()
    outcome = MovieOutcome(out)

    def keep(result: Segmentation) -> None:
        result.save(out, overwrite=overwrite)
        outcome.clusters, outcome.provenance = len(result.table), result.provenance
        outcome.frames = int(result.provenance["frames_done"])

    options = {} if model is None else {"model": model}
    result = cluster_image(image, config, report, keep, cluster or _cluster, **options)
    if save_model is not None:
        result.model.save(save_model)
        outcome.more.append(save_model)
    for level, place in places.items():
        if level not in result.levels:
            raise OptionError(
                f"There are no {level} clusters to be shown; this movie has between "
                f"{result.levels[0]} and {result.levels[-1]}."
            )
        result.at_level(level).save(place, overwrite=overwrite)
        outcome.more.append(place)
    outcome.seconds = time.perf_counter() - start
    return outcome


def cluster_image(
    image: ImageFile,
    config: ConsistentConfig,
    report: Callable[[Event], None],
    keep: Callable[[Segmentation], None],
    cluster: Cluster,
    **options: Any,
) -> ClusterSegmentation:
    """Cluster an open movie, and hand what there is to ``keep`` however it ends.

    Parameters
    ----------
    image : ImageFile
    config : ConsistentConfig
    report : callable
        Told every event.
    keep : callable
        Given the result; when the job is cancelled or fails, that of the frames done so far, its
        provenance's ``complete`` then being False.
    cluster : callable
        :func:`napari_kindred.iter_cluster_stack` or something that behaves like it.
    **options
        Passed on to it.
    """
    frames = Frames.open(image.data, config.axes, config.channel, image.axes)
    scale, units = image.scale_of(frames.output_axes)
    so_far = ProvisionalFrames(make_labels(frames.output_shape), frames.leading_shape)
    job = cluster(image.data, config=config, metadata_axes=image.axes, **options)
    start = time.perf_counter()
    notes = [image.note] if image.note else []
    for note in notes:
        report(Notice(note))
    try:
        result = _drive(job, so_far, report)
    except BaseException as error:  # a cancel too: what is done is kept, then it goes on its way
        job.close()
        if so_far.done:
            so_far.settle()
            cancelled = isinstance(error, KeyboardInterrupt | GeneratorExit)
            why = "cancelled" if cancelled else str(error) or type(error).__name__
            if so_far.provisional and config.preset != "paper" and "model" not in options:
                notes.append("Labels and outlines are still provisional.")
            facts = provenance(
                method="consistent",
                config=config,
                frames=frames,
                seconds=time.perf_counter() - start,
                notes=[*notes, f"stopped: {why}"],
                image=image.name,
                complete=False,
                frames_done=so_far.done,
            )
            table = so_far.table()
            keep(Segmentation(so_far.labels, table, facts, frames.output_axes, scale, units))
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


def level_path(out: Path, level: int) -> Path:
    """Return where the labels of a further level go: ``NAME.level6.tif`` for ``NAME.tif``."""
    found = _SUFFIX.search(out.name)
    suffix = found.group() if found else out.suffix
    return out.with_name(f"{out.name[: len(out.name) - len(suffix)]}.level{level}{suffix}")


def _cluster(*args: Any, **options: Any) -> Generator[Event, None, ClusterSegmentation]:
    """Import the real thing only now, for it brings torch along."""
    from .consistent.predict import iter_cluster_stack

    return iter_cluster_stack(*args, **options)


def _drive(
    job: Generator[Event, None, ClusterSegmentation],
    so_far: ProvisionalFrames,
    report: Callable[[Event], None],
) -> ClusterSegmentation:
    while True:
        try:
            event = next(job)
        except StopIteration as stop:
            result: ClusterSegmentation = stop.value
            return result
        if isinstance(event, Partial):
            so_far.add(event)
        report(event)


def _check_places(
    source: Path, results: Sequence[Path], model: Path | None, overwrite: bool
) -> None:
    """Check before a long job that everything can be written."""
    if results[0].resolve() == source.resolve():
        raise OutputError(
            f"{str(results[0])!r} is the input itself; choose another name for the output."
        )
    for place in results:
        check_output(place, overwrite)
    if model is not None:
        if model.suffix.lower() != ".safetensors":
            raise OutputError(f"{model.name!r} is no name for a model; end it in .safetensors.")
        check_folder(model.parent)
        refuse_existing(model, overwrite)
