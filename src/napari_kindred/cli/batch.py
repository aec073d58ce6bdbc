"""Files and folders of images, where nothing that is done gets lost."""

from __future__ import annotations

import math
import sys
import time
from dataclasses import dataclass, field
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from ..compute.dask_cluster import open_workers
from ..core.errors import InputError, OutputError
from ..core.events import finish
from ..images.readers import images_in, list_images, read_image, stem_of
from ..results.atomic import as_csv, check_folder, refuse_existing, write_together
from ..results.storage import as_tiff
from .folder_log import SUMMARY, FolderLog, content_of
from .places import place_of, refuse_input, save_surely
from .tasks import Report, Task, iter_image, run_task

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ..results.segmentation import Segmentation

LARGE = 1 << 26
"""Values of an image from which on its frames are handed to workers one by one; smaller ones are
handed out whole."""


@dataclass
class Outcome:
    """What became of a file or folder.

    Attributes
    ----------
    out : Path
        Where the labels are.
    object_counts : dict
        By name: how many things of a kind were found, and their area in pixels.
    frames, pixels : int
        How many were looked at.
    done, skipped : int
        Images done now, and images that an earlier run had finished.
    failed : dict
        Image name to the sentence that says why.
    provenance : dict
        Of the last image.
    seconds : float
    """

    out: Path
    object_counts: dict[str, tuple[int, int]] = field(default_factory=dict)
    frames: int = 0
    pixels: int = 0
    done: int = 0
    skipped: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    def count(self, result: Segmentation, object_counts: dict[str, tuple[int, int]]) -> None:
        """Add an image's result."""
        self.done += 1
        for name, (count, area) in object_counts.items():
            counts, areas = self.object_counts.get(name, (0, 0))
            self.object_counts[name] = counts + count, areas + area
        frames = int(result.provenance["frames_done"])
        self.frames += frames
        self.pixels += frames * math.prod(result.labels.shape[-2:])
        self.provenance = result.provenance


def process_file(
    source: str | Path,
    out: Path,
    task: Task[Any],
    report: Report,
    overwrite: bool = False,
) -> Outcome:
    """Work on one image file; gives one result."""
    image = read_image(source)
    out = place_of(out, stem_of(source))
    refuse_input(task.files(out), source)
    task.check_output(out, overwrite)
    start = time.perf_counter()
    outcome = Outcome(out)

    def keep(result: Segmentation) -> None:
        save_surely(partial(result.save, out, overwrite=overwrite), result, out, source)
        outcome.count(result, task.object_counts(result))

    run_task(task, image, report, keep)
    outcome.seconds = time.perf_counter() - start
    return outcome


def process_folder(
    source: Path,
    out: Path,
    task: Task[Any],
    report: Callable[..., None],
    overwrite: bool = False,
    resume: bool = False,
) -> Outcome:
    """Work on every image of a folder; each is saved as soon as it is done."""
    images, unnamable = _plan(source, out, task.ends)
    log = FolderLog(out, task)
    log.begin(overwrite, resume)
    waiting = []
    for image, files in images:
        if resume and log.is_done(image, files, overwrite):
            continue
        waiting.append((image, files))
        for file in () if resume else files:
            refuse_existing(file, overwrite)
    if waiting:  # what is wrong with the options is said before anything is written
        finish(task.iter_prepare(), partial(report, place=0, count=len(waiting)))
    log.plan(files[0].stem for _, files in images)
    log.add_weights()
    log.write()
    outcome = Outcome(out, skipped=len(images) - len(waiting), failed=unnamable)
    for name, reason in unnamable.items():
        log.fail(name, reason)
    start = time.perf_counter()
    try:
        with open_workers(task.scheduler, task.config.device) as workers:
            # Hashed before it is read, so that an image that is replaced meanwhile is noticed.
            large, content = cache(_is_large), cache(content_of)
            small = ((path,) for path, _ in waiting if not large(path) and content(path) != "")
            jobs = workers.jobs(iter_image, task, task.fresh, small)
            for place, (path, files) in enumerate(waiting):
                tell = partial(report, place=place, count=len(waiting))
                keep = partial(_keep, task, path, files, log, outcome, content(path))
                try:
                    if workers.elsewhere and not large(path):
                        keep(finish(next(jobs), tell))
                    else:
                        run_task(task, read_image(path), tell, keep)
                except InputError as error:
                    outcome.failed[_name(path, source)] = str(error)
                    log.fail(_name(path, source), str(error))
    finally:
        outcome.seconds = time.perf_counter() - start
        _close(log, outcome, len(images) + len(unnamable))
    return outcome


def _name(image: Path, source: Path) -> str:
    """Return the name of an image of a folder or plate for messages."""
    inside = image.is_relative_to(source) and image != source
    return image.relative_to(source).as_posix() if inside else image.name


def _is_large(path: Path) -> bool:
    """Tell whether an image is better shared by workers than worked on by one."""
    try:
        return bool(math.prod(read_image(path).data.shape) > LARGE)
    except InputError:  # said when its turn comes
        return False


def _keep(
    task: Task[Any],
    image: Path,
    files: Sequence[Path],
    log: FolderLog,
    outcome: Outcome,
    content: str,
    result: Segmentation,
) -> None:
    """Write the result of one image of a folder."""
    if not result.provenance["complete"]:  # a half-done stack would pass for a whole one
        return
    labels, *tables = files
    writers = {path: as_csv(table) for path, table in zip(tables, task.tables(result), strict=True)}
    # The labels last, so that they never lie there without the others.
    writers[labels] = as_tiff(result)
    save_surely(partial(write_together, writers), result, labels, image.parent)
    log.add(content, files, result)
    outcome.count(result, task.object_counts(result))


def _plan(
    source: Path, out: Path, ends: Sequence[str]
) -> tuple[list[tuple[Path, list[Path]]], dict[str, str]]:
    """Pair every image of a folder with the files its labels and tables will go to.

    Images whose name leaves no room for those of their tables come second, each with a sentence.
    """
    if out.suffix.lower() in (".tif", ".tiff", ".zarr"):
        fields = images_in(source)
        if fields:
            raise OutputError(
                f"{source.name!r} holds {len(fields)} images; name a folder for the output, or "
                f"give one of them, such as {str(fields[0])!r}."
            )
        raise OutputError(f"{str(source)!r} is a folder, so name a folder for the output as well.")
    if out.resolve() == source.resolve():
        raise OutputError("The output folder is the input folder; choose another one.")
    plan: list[tuple[Path, list[Path]]] = []
    unnamable: dict[str, str] = {}
    takers = {out / SUMMARY: out / SUMMARY}
    for image in list_images(source):
        files = [out / f"{stem_of(image)}.{end}" for end in ("tif", *ends)]
        for file in files:
            other = takers.setdefault(file, image)
            if other is not image:
                raise InputError(
                    f"{_name(other, source)!r} and {_name(image, source)!r} would both become "
                    f"{file.name!r}; "
                    "rename one of them."
                )
        plan.append((image, files))
    refuse_input([file for _, files in plan for file in files], source)
    check_folder(out)
    for image, files in [*plan]:
        try:
            for file in files:
                refuse_existing(file, overwrite=True)
        except OutputError as error:
            unnamable[_name(image, source)] = str(error)
            plan.remove((image, files))
    return plan, unnamable


def _close(log: FolderLog, outcome: Outcome, count: int) -> None:
    """Write down how it ended; an error on its way is not hidden by one of writing."""
    failing = sys.exc_info()[0] is not None
    try:
        log.close(outcome.done + outcome.skipped == count)
    except OutputError:
        if not failing:
            raise
