"""Consistent clustering of a movie on disk, where nothing that is done gets lost."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from ..core.errors import OptionError, OutputError
from ..images.image_folder import read_folder
from ..images.readers import is_image, read_image
from ..methods import CLUSTERS
from ..results.atomic import check_folder, refuse_existing
from .places import place_of, refuse_input, save_surely
from .tasks import Report, Task, run_task

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    from ..clusters.config import ClusterConfig
    from ..clusters.result import ClusterSegmentation
    from ..core.events import Event
    from ..results.segmentation import Segmentation

_SUFFIX = re.compile(r"(\.ome)?\.(zarr|tiff?)$", re.IGNORECASE)


class ClusterTask(Task["ClusterSegmentation"]):
    """The same kind, the same label, in all frames; takes a :class:`.ClusterConfig`.

    Parameters
    ----------
    config : ClusterConfig
    model : Path, optional
        A saved model that labels the frames, instead of clustering them.
    scheduler : optional
        Who encodes the frames; see :func:`.dask_cluster.open_workers`.
    """

    method = CLUSTERS
    config: ClusterConfig

    def __init__(
        self, config: ClusterConfig, model: Path | None = None, scheduler: Any = None
    ) -> None:
        super().__init__(config, scheduler)
        self.model = model

    def iterate(
        self, image: Any, metadata_axes: str | None
    ) -> Generator[Event, None, ClusterSegmentation]:
        """Begin :func:`napari_kindred.iter_cluster_stack`."""
        from ..clusters.predict import iter_cluster_stack

        return iter_cluster_stack(
            image,
            config=self.config,
            model=self.model,
            metadata_axes=metadata_axes,
            scheduler=self.scheduler,
        )

    def files(self, out: Path) -> list[Path]:
        """Return the files that a result of this name is made of."""
        from ..clusters.result import frames_beside

        more = [] if out.suffix.lower() == ".zarr" else [frames_beside(out)]
        return [*super().files(out), *more]

    def arguments(self) -> dict[str, Any]:
        """Return where the model is."""
        return {} if self.model is None else {"model": str(self.model.absolute())}

    def weights(self) -> dict[str, Any]:
        """Return the encoder's name and hash."""
        from ..encoders.registry import EncoderSpec, open_encoder

        spec = EncoderSpec.of(open_encoder(self.config.encoder, stride=self.config.stride))
        return {"weights": {"name": spec.name, "sha256": spec.sha256}}


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
    source: str | Path,
    out: Path,
    config: ClusterConfig,
    report: Report,
    *,
    overwrite: bool = False,
    model: Path | None = None,
    save_model: Path | None = None,
    levels: Sequence[int] = (),
    at_level: int | None = None,
    hide: Sequence[int] = (),
    scheduler: Any = None,
) -> MovieOutcome:
    """Cluster a movie, from one file or a folder with a file per frame, into one result."""
    image = read_image(source) if is_image(source) else read_folder(source)
    out = place_of(out, image.name)
    places = {level: level_path(out, level) for level in levels}
    task = ClusterTask(config, model, scheduler)
    _check_places(task, source, [out, *places.values()], save_model, overwrite)
    start = time.perf_counter()
    outcome = MovieOutcome(out)

    def keep(result: Segmentation) -> None:
        try:
            if result.provenance["complete"]:
                result = _as_asked(result, at_level, hide)
        finally:  # what took long is there even where what was asked of it cannot be
            save_surely(partial(result.save, out, overwrite=overwrite), result, out, source)
        outcome.clusters, outcome.provenance = len(result.table), result.provenance
        outcome.frames = int(result.provenance["frames_done"])

    result = run_task(task, image, report, keep)
    if save_model is not None:
        result.model.save(save_model)
        outcome.more.append(save_model)
    for level, place in places.items():
        _at_level(result, level).save(place, overwrite=overwrite)
        outcome.more.append(place)
    outcome.seconds = time.perf_counter() - start
    return outcome


def _at_level(result: ClusterSegmentation, level: int) -> ClusterSegmentation:
    if level not in result.levels:
        raise OptionError(
            f"There are no {level} clusters to be shown; this movie has between "
            f"{result.levels[0]} and {result.levels[-1]}."
        )
    return result.at_level(level)


def _as_asked(result: Any, level: int | None, hide: Sequence[int]) -> ClusterSegmentation:
    """Return a complete result at a level, some of its clusters made background."""
    shown: ClusterSegmentation = result if level is None else _at_level(result, level)
    return shown.without(hide) if hide else shown


def level_path(out: Path, level: int) -> Path:
    """Return where the labels of a further level go: ``NAME.level6.tif`` for ``NAME.tif``."""
    found = _SUFFIX.search(out.name)
    suffix = found.group() if found else out.suffix
    return out.with_name(f"{out.name[: len(out.name) - len(suffix)]}.level{level}{suffix}")


def _check_places(
    task: ClusterTask,
    source: str | Path,
    results: Sequence[Path],
    model: Path | None,
    overwrite: bool,
) -> None:
    """Check before a long job that everything can be written, and is none of the input."""
    models = [] if model is None else [model]
    refuse_input([file for place in results for file in task.files(place)] + models, source)
    for place in results:
        task.check_output(place, overwrite)
    if model is not None:
        if model.suffix.lower() != ".safetensors":
            raise OutputError(f"{model.name!r} is no name for a model; end it in .safetensors.")
        check_folder(model.parent)
        refuse_existing(model, overwrite)
