"""Segmentation of files and folders, where nothing that is done gets lost."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import InputError, OutputError
from .events import Event, Partial
from .files import ImageFile, list_images, read_image, stem_of
from .images import Frames
from .results import Assembly, Segmentation, provenance
from .storage import (
    check_folder,
    check_output,
    plain,
    refuse_existing,
    write_json,
    write_labels,
    write_table,
)
from .weights import file_sha256, resolve

if TYPE_CHECKING:
    from .config import EntityConfig

Segment = Callable[..., Generator[Event, None, Segmentation]]
Report = Callable[[Event], None]

PROVENANCE = "provenance.json"
"""Name of the file that tells how the results of a folder came about."""

_BETWEEN_WRITES = 5.0


@dataclass
class Outcome:
    """What became of a file or folder.

    Attributes
    ----------
    out : Path
        Where the labels are.
    entities, frames : int
        How many were found, in how many frames.
    done, skipped : int
        Images segmented now, and images that an earlier run had finished.
    failed : dict
        Image name to the sentence that says why.
    provenance : dict
        Of the last image.
    seconds : float
    """

    out: Path
    entities: int = 0
    frames: int = 0
    done: int = 0
    skipped: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    def count(self, result: Segmentation) -> None:
        """Add an image's result."""
        self.done += 1
        self.entities += len(result.table)
        self.frames += int(result.provenance.get("frames_done", 0))
        self.provenance = result.provenance


def segment_image(
    image: ImageFile,
    config: EntityConfig,
    report: Report,
    keep: Callable[[Segmentation], None],
    segment: Segment | None = None,
) -> Segmentation:
    """Segment an open image, and hand what there is to ``keep`` however it ends.

    Parameters
    ----------
    image : ImageFile
    config : EntityConfig
    report : callable
        Told every event.
    keep : callable
        Given the result; when the job is cancelled or fails, that of the frames done so far, its
        provenance's ``complete`` then being False.
    segment : callable, optional
        :func:`napari_kindred.iter_segment_entities` or something that behaves like it.

    Returns
    -------
    Segmentation
        The complete result.
    """
    frames = Frames.open(image.data, config.axes, config.channel, image.axes)
    scale, units = image.scale_of(frames.output_axes)
    assembly = Assembly(frames)
    job = (segment or _segment)(image.data, config=config, metadata_axes=image.axes)
    start = time.perf_counter()
    try:
        result = _drive(job, assembly, report)
    except BaseException as error:  # a cancel too: what is done is kept, then it goes on its way
        job.close()
        if assembly.done:
            facts = provenance(
                method="entities",
                config=config,
                frames=frames,
                weights={"name": config.weights, "sha256": file_sha256(resolve(config.weights))},
                seconds=time.perf_counter() - start,
                notes=[f"stopped: {str(error) or type(error).__name__}"],
            )
            keep(assembly.segmentation(facts, scale, units))
        raise
    result.scale, result.units = scale, units
    result.provenance = {
        **result.provenance,
        "image": image.name,
        "complete": True,
        "frames_done": len(frames),
    }
    keep(result)
    return result


def _segment(*args: Any, **options: Any) -> Generator[Event, None, Segmentation]:
    """Import the real thing only now, for it brings torch along."""
    from .entities.predict import iter_segment_entities

    return iter_segment_entities(*args, **options)


def _load(config: EntityConfig) -> Any:
    """Load the network once for many images."""
    from .device import select
    from .entities.checkpoint import load_network

    return load_network(config.weights, select(config.device))


def _drive(
    job: Generator[Event, None, Segmentation], assembly: Assembly, report: Report
) -> Segmentation:
    while True:
        try:
            event = next(job)
        except StopIteration as stop:
            result: Segmentation = stop.value
            return result
        if isinstance(event, Partial):
            assembly.add(event)
        report(event)


def segment_file(
    source: Path,
    out: Path,
    config: EntityConfig,
    report: Report,
    overwrite: bool = False,
    segment: Segment | None = None,
) -> Outcome:
    """Segment one image file into one result.

    Parameters
    ----------
    source : Path
        An image that :func:`napari_kindred.images.read_image` reads.
    out : Path
        ``NAME.ome.zarr`` or ``NAME.tif``; a folder gets a TIFF of the image's name.
    config : EntityConfig
    report : callable
        Told every event.
    overwrite : bool
        Whether a result that is there may be replaced.

    Raises
    ------
    KindredError
        For what is wrong with input, options, weights or output. Frames done before are saved.
    """
    image = read_image(source)
    if not out.suffix or (out.is_dir() and out.suffix.lower() != ".zarr"):
        out = out / f"{stem_of(source)}.tif"
    if out.resolve() == source.resolve():
        raise OutputError(f"{str(out)!r} is the input itself; choose another name for the output.")
    check_output(out, overwrite)
    start = time.perf_counter()
    outcome = Outcome(out)

    def keep(result: Segmentation) -> None:
        result.save(out, overwrite=overwrite)
        outcome.count(result)

    segment_image(image, config, report, keep, segment)
    outcome.seconds = time.perf_counter() - start
    return outcome


def segment_folder(
    source: Path,
    out: Path,
    config: EntityConfig,
    report: Callable[[int, int, Event], None],
    overwrite: bool = False,
    resume: bool = False,
    segment: Segment | None = None,
) -> Outcome:
    """Segment every image of a folder; each is saved as soon as it is done.

    Parameters
    ----------
    source : Path
        Folder of images; each is taken by itself.
    out : Path
        Folder for one label TIFF and one CSV per image, of the image's name, and one
        ``provenance.json``.
    config : EntityConfig
    report : callable
        Told the image's place, how many there are, and the event.
    overwrite : bool
        Whether results that are there may be replaced.
    resume : bool
        Whether images whose results are there are left out, after a run that was stopped.

    Returns
    -------
    Outcome
        With the images that failed; the others are done all the same.

    Raises
    ------
    KindredError
        For what is wrong with the folders or options.
    """
    images = _plan(source, out)
    waiting = []
    for image, labels in images:
        finished = labels.exists() and labels.with_suffix(".csv").exists()
        if not (resume and finished):
            waiting.append((image, labels))
            for path in (labels, labels.with_suffix(".csv")):
                refuse_existing(path, overwrite or resume)
    log = _Log(out / PROVENANCE, config)
    log.open(overwrite, resume)
    if segment is None:
        segment = partial(_segment, model=_load(config)) if waiting else _segment
    outcome = Outcome(out, skipped=len(images) - len(waiting))
    start = time.perf_counter()

    def keep_as(labels: Path) -> Callable[[Segmentation], None]:
        def keep(result: Segmentation) -> None:
            if result.provenance["complete"]:  # a half-done stack would pass for a whole one
                write_table(labels.with_suffix(".csv"), result.table)
                write_labels(labels, result)
                log.add(labels.stem, result.provenance)
                outcome.count(result)

        return keep

    try:
        for place, (path, labels) in enumerate(waiting):
            try:
                segment_image(
                    read_image(path),
                    config,
                    lambda event, place=place: report(place, len(waiting), event),  # type: ignore[misc]
                    keep_as(labels),
                    segment,
                )
            except InputError as error:
                outcome.failed[path.name] = str(error)
                log.fail(path.name, str(error))
    finally:
        outcome.seconds = time.perf_counter() - start
        log.close(complete=outcome.done + outcome.skipped == len(images))
    return outcome


def _plan(source: Path, out: Path) -> list[tuple[Path, Path]]:
    """Pair every image of a folder with the file its labels will go to."""
    if out.suffix.lower() in (".tif", ".tiff", ".zarr"):
        raise OutputError(f"{str(source)!r} is a folder, so name a folder for the output as well.")
    if out.resolve() == source.resolve():
        raise OutputError("The output folder is the input folder; choose another one.")
    targets: dict[Path, Path] = {}
    for image in list_images(source):
        labels = out / f"{stem_of(image)}.tif"
        if labels in targets:
            raise InputError(
                f"{targets[labels].name!r} and {image.name!r} would both become {labels.name!r}; "
                "rename one of them."
            )
        targets[labels] = image
    check_folder(out)
    return [(image, labels) for labels, image in targets.items()]


class _Log:
    """The provenance of a folder, written now and then, so that a killed run leaves it too."""

    def __init__(self, path: Path, config: EntityConfig) -> None:
        self.path = path
        facts = provenance(method="entities", config=config)
        self.content: dict[str, Any] = {
            key: facts[key] for key in ("software", "version", "method", "config")
        }
        self.content |= {"complete": False, "images": {}, "failed": {}}
        self._written = 0.0

    def open(self, overwrite: bool, resume: bool) -> None:
        if resume and self.path.exists():
            self._take_over()
        else:
            refuse_existing(self.path, overwrite)
        self._write()

    def _take_over(self) -> None:
        try:
            before = json.loads(self.path.read_text("utf-8"))
            config, images = before["config"], dict(before["images"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise OutputError(
                f"{str(self.path)!r} is damaged; start over with another output folder."
            ) from error
        if config != self.content["config"]:
            raise OutputError(
                f"{str(self.path.parent)!r} was begun with other options; give the same ones to "
                "go on, or choose another folder."
            )
        self.content["images"] = images

    def add(self, stem: str, facts: dict[str, Any]) -> None:
        shared = {"software", "version", "method", "config", "complete", "image"}
        self.content["images"][stem] = plain(
            {key: value for key, value in facts.items() if key not in shared}
        )
        if time.monotonic() - self._written > _BETWEEN_WRITES:
            self._write()

    def fail(self, name: str, reason: str) -> None:
        self.content["failed"][name] = reason

    def close(self, complete: bool) -> None:
        self.content["complete"] = complete
        self._write()

    def _write(self) -> None:
        write_json(self.path, self.content)
        self._written = time.monotonic()
