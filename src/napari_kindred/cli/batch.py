"""Files and folders of images, where nothing that is done gets lost."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass, field
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from ..compute.dask_cluster import open_workers
from ..core.errors import InputError, OutputError
from ..core.events import finish
from ..images.readers import list_images, read_image, stem_of
from ..results.atomic import as_csv, as_json, check_folder, plain, refuse_existing, write_together
from ..results.segmentation import Segmentation, provenance
from ..results.storage import as_tiff
from .tasks import Report, Task, iter_image, run_task

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

PROVENANCE = "provenance.json"
"""Name of the file that tells how the results of a folder came about."""

_BETWEEN_WRITES = 5.0

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
    source: Path,
    out: Path,
    task: Task[Any],
    report: Report,
    overwrite: bool = False,
) -> Outcome:
    """Work on one image file; gives one result."""
    image = read_image(source)
    out = place_of(out, stem_of(source))
    refuse_input(out, source)
    task.check_output(out, overwrite)
    start = time.perf_counter()
    outcome = Outcome(out)

    def keep(result: Segmentation) -> None:
        result.save(out, overwrite=overwrite)
        outcome.count(result, task.object_counts(result))

    run_task(task, image, report, keep)
    outcome.seconds = time.perf_counter() - start
    return outcome


def place_of(out: Path, name: str) -> Path:
    """Return where a result goes: ``out`` itself, or a TIFF in it where it is a folder."""
    if not out.suffix or (out.is_dir() and out.suffix.lower() != ".zarr"):
        return out / f"{name}.tif"
    return out


def refuse_input(out: Path, source: Path) -> None:
    """Raise OutputError for a result that would replace the image."""
    if out.resolve() == source.resolve():
        raise OutputError(f"{str(out)!r} is the input itself; choose another name for the output.")


def process_folder(
    source: Path,
    out: Path,
    task: Task[Any],
    report: Callable[..., None],
    overwrite: bool = False,
    resume: bool = False,
) -> Outcome:
    """Work on every image of a folder; each is saved as soon as it is done."""
    images = _plan(source, out, task.ends)
    waiting = []
    for image, files in images:
        if not (resume and all(file.exists() for file in files)):
            waiting.append((image, files))
            for file in files:
                refuse_existing(file, overwrite or resume)
    log = _Log(out / PROVENANCE, task)
    log.check(overwrite, resume)
    if waiting:  # what is wrong with the options is said before anything is written
        finish(task.iter_prepare(), partial(report, place=0, count=len(waiting)))
    log.write()
    outcome = Outcome(out, skipped=len(images) - len(waiting))
    start = time.perf_counter()
    try:
        with open_workers(task.scheduler, task.config.device) as workers:
            large = cache(_is_large)
            small = ((path,) for path, _ in waiting if not large(path))
            jobs = workers.jobs(iter_image, task, task.fresh, small)
            for place, (path, files) in enumerate(waiting):
                tell = partial(report, place=place, count=len(waiting))
                keep = partial(_keep, task, files, log, outcome)
                try:
                    if workers.elsewhere and not large(path):
                        keep(finish(next(jobs), tell))
                    else:
                        run_task(task, read_image(path), tell, keep)
                except InputError as error:
                    outcome.failed[path.name] = str(error)
                    log.fail(path.name, str(error))
    finally:
        outcome.seconds = time.perf_counter() - start
        log.close(complete=outcome.done + outcome.skipped == len(images))
    return outcome


def _is_large(path: Path) -> bool:
    """Tell whether an image is better shared by workers than worked on by one."""
    try:
        return bool(math.prod(read_image(path).data.shape) > LARGE)
    except InputError:  # said when its turn comes
        return False


def _keep(
    task: Task[Any], files: Sequence[Path], log: _Log, outcome: Outcome, result: Segmentation
) -> None:
    """Write the result of one image of a folder."""
    if not result.provenance["complete"]:  # a half-done stack would pass for a whole one
        return
    labels, *tables = files
    writers = {path: as_csv(table) for path, table in zip(tables, task.tables(result), strict=True)}
    # The labels last, so that they never lie there without the others.
    write_together({**writers, labels: as_tiff(result)})
    log.add(labels.stem, result.provenance)
    outcome.count(result, task.object_counts(result))


def _plan(source: Path, out: Path, ends: Sequence[str]) -> list[tuple[Path, list[Path]]]:
    """Pair every image of a folder with the files its labels and tables will go to."""
    if out.suffix.lower() in (".tif", ".tiff", ".zarr"):
        raise OutputError(f"{str(source)!r} is a folder, so name a folder for the output as well.")
    if out.resolve() == source.resolve():
        raise OutputError("The output folder is the input folder; choose another one.")
    plan: list[tuple[Path, list[Path]]] = []
    takers: dict[Path, Path] = {}
    for image in list_images(source):
        files = [out / f"{stem_of(image)}.{end}" for end in ("tif", *ends)]
        for file in files:
            other = takers.setdefault(file, image)
            if other is not image:
                raise InputError(
                    f"{other.name!r} and {image.name!r} would both become {file.name!r}; "
                    "rename one of them."
                )
        plan.append((image, files))
    check_folder(out)
    return plan


class _Log:
    """The provenance of a folder, written now and then, so that a killed run leaves it too."""

    def __init__(self, path: Path, task: Task[Any]) -> None:
        self.path = path
        facts = provenance(method=task.method.name, config=task.config, **task.identity())
        self._same = ("method", "config", *task.identity())
        self.content: dict[str, Any] = {
            key: facts[key] for key in ("software", "version", *self._same)
        }
        self.content |= {"complete": False, "images": {}, "failed": {}}
        self._written = 0.0

    def check(self, overwrite: bool, resume: bool) -> None:
        """Take over what an earlier run wrote, or refuse to replace it."""
        if resume and self.path.exists():
            self._take_over()
        else:
            refuse_existing(self.path, overwrite)

    def _take_over(self) -> None:
        try:
            before = json.loads(self.path.read_text("utf-8"))
            options = {key: before.get(key) for key in self._same}
            images = dict(before["images"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise OutputError(
                f"{str(self.path)!r} is damaged; start over with another output folder."
            ) from error
        if options != {key: self.content[key] for key in self._same}:
            raise OutputError(
                f"{str(self.path.parent)!r} was begun with other options; give the same ones to "
                "go on, or choose another folder."
            )
        self.content["images"] = images

    def add(self, stem: str, facts: dict[str, Any]) -> None:
        shared = {*self.content, "image"}
        self.content["images"][stem] = plain(
            {key: value for key, value in facts.items() if key not in shared}
        )
        if time.monotonic() - self._written > _BETWEEN_WRITES:
            self.write()

    def fail(self, name: str, reason: str) -> None:
        self.content["failed"][name] = reason

    def close(self, complete: bool) -> None:
        self.content["complete"] = complete
        self.write()

    def write(self) -> None:
        """Write it down as it is now."""
        write_together({self.path: as_json(self.content)})
        self._written = time.monotonic()
