"""The provenance of a folder of results: what is done, of which images, by which options."""

from __future__ import annotations

import hashlib
import json
import math
import time
from typing import TYPE_CHECKING, Any

import pandas as pd

from ..core.errors import OutputError
from ..images.readers import natural_key
from ..models.download import file_sha256
from ..results.atomic import Writer, as_json, as_spreadsheet, plain, refuse_existing, write_together
from ..results.label_tiff import read_tiff
from ..results.segmentation import provenance
from ..results.storage import PROVENANCE, about_of, read_table
from ..results.tables import with_units
from .tasks import hashes_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from ..results.segmentation import Segmentation
    from .tasks import Task

SUMMARY = "summary.csv"
"""Name of the table of all images of a folder."""

_OF_WEIGHTS = ("weights", "vocabulary", "clip", "files")
"""Entries that are hashes of weights."""

_SHARE = 0.05
"""Of the time that may go into writing the log of what is done, which grows with it.

A killed run computes again what it finished after the last write.
"""


class FolderLog:
    """Provenance of a folder, written now and then, so that a killed run leaves it too.

    Parameters
    ----------
    folder : Path
        Where the results go.
    task : Task

    Attributes
    ----------
    content : dict
        As it is written: facts that hold for all images, and ``images`` by their stem.
    """

    def __init__(self, folder: Path, task: Task[Any]) -> None:
        self.path = folder / PROVENANCE
        self._task = task
        facts = provenance(method=task.method.name, config=task.config, **task.identity())
        self._same = ["method", "config", *task.identity()]
        self.content: dict[str, Any] = {
            key: facts[key] for key in ("software", "version", *self._same)
        }
        self.content |= {"complete": False, "planned": [], "images": {}, "failed": {}}
        self._written, self._took = 0.0, 0.0

    @property
    def images(self) -> dict[str, Any]:
        """What is known of the images that are done, by their stem."""
        found: dict[str, Any] = self.content["images"]
        return found

    def begin(self, overwrite: bool, resume: bool) -> None:
        """Take over what an earlier run wrote, or refuse to replace it."""
        if resume and self.path.exists():
            self.add_weights()
            self._take_over()
        else:
            for path in (self.path, self.path.with_name(SUMMARY)):
                refuse_existing(path, overwrite)

    def plan(self, stems: Iterable[str]) -> None:
        """Write down which images will be done, as the names of their files were free."""
        self.content["planned"] = sorted({*self.content["planned"], *stems})

    def add_weights(self) -> None:
        """Write down which weights are used; a vocabulary may have to be opened for it."""
        task = self._task
        found = {**plain(task.weights()), "files": hashes_of(task.arguments())}
        self._same += [name for name in found if name not in self._same]
        self.content |= found

    def _take_over(self) -> None:
        try:
            before = json.loads(self.path.read_text("utf-8"))
            found = {key: before.get(key) for key in self._same}
            images, planned = dict(before["images"]), list(before["planned"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise OutputError(
                f"{str(self.path)!r} is damaged; start over with another output folder."
            ) from error
        others = [key for key in self._same if found[key] != self.content[key]]
        if others:
            what = "options" if set(others) - {*_OF_WEIGHTS} else "weights"
            raise OutputError(
                f"{str(self.path.parent)!r} was begun with other {what}; give the same ones to "
                "resume, or choose another folder."
            )
        self.content |= {"images": images, "planned": planned}

    def is_done(self, image: Path, files: Sequence[Path], overwrite: bool) -> bool:
        """Return whether an earlier run finished an image, and its files are still whole.

        Raises
        ------
        OutputError
            If the files are of another image of this name, or not of an earlier run at all.
        """
        entry = self.images.get(files[0].stem)
        if entry is None:
            if files[0].stem not in self.content["planned"]:
                for file in files:
                    refuse_existing(file, overwrite)
            return False
        if entry["content"] == content_of(image):
            return all(_is_whole(file, entry) for file in files)
        place = entry["file"]["path"]
        if place != str(image.absolute()) and not overwrite:
            raise OutputError(
                f"{str(files[0])!r} is of another image, {place!r}; choose another folder, or "
                "allow overwriting."
            )
        return False

    def add(self, content: str, files: Sequence[Path], result: Segmentation) -> None:
        """Write down that an image is done: the hash of its content, and what was written."""
        facts = {
            key: value
            for key, value in result.provenance.items()
            if key != "image" and (key not in self.content or self.content[key] != value)
        }
        _, *tables = files
        labels = {key: value for key, value in about_of(result).items() if key != "provenance"}
        self.images[files[0].stem] = plain(
            {
                **facts,
                "labels": labels,
                "content": content,
                "written": {file.name: file_sha256(file) for file in files},
                "rows": {file.name: len(read_table(file)) for file in tables},
            }
        )
        if time.monotonic() - self._written >= self._took / _SHARE:
            self.write()

    def fail(self, name: str, reason: str) -> None:
        """Write down why an image could not be used."""
        self.content["failed"][name] = reason

    def write(self, more: Mapping[Path, Writer] | None = None) -> None:
        """Write all of it down as it is now."""
        start = time.monotonic()
        write_together({**(more or {}), self.path: as_json(self.content)})
        self._written = time.monotonic()
        self._took = self._written - start

    def close(self, complete: bool) -> None:
        """Write all of it down, with a table that sums up the images that are done."""
        self.content["complete"] = complete
        path = self.path.with_name(SUMMARY)
        rows = [self._summary(stem) for stem in sorted(self.images, key=natural_key)]
        self.write({path: as_spreadsheet(pd.concat(rows, ignore_index=True))} if rows else None)

    def _summary(self, stem: str) -> pd.DataFrame:
        """Return the rows of an image: one, or one per class."""
        about = self.images[stem]["labels"]
        try:
            table = read_table(self.path.with_name(f"{stem}.csv"))
            rows = self._task.summary(table, math.prod(about["shape"]))
        except (OSError, ValueError, KeyError):  # it was changed meanwhile
            return pd.DataFrame({"image": [stem]})
        rows = with_units(rows, about["axes"], about["scale"], about["units"])
        rows.insert(0, "image", stem)
        rows.insert(1, "frames", math.prod(about["shape"][:-2]))
        return rows


def content_of(image: Path) -> str:
    """Return a hash of an image file, or of all files of an OME-Zarr; "" if it cannot be read."""
    found = hashlib.sha256()
    try:
        for path in [image] if image.is_file() else sorted(image.rglob("*")):
            if path.is_file():
                with path.open("rb") as file:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
                found.update(f"{path.relative_to(image).as_posix()} {digest}\n".encode())
    except OSError:
        return ""
    return found.hexdigest()


def _is_whole(file: Path, entry: Mapping[str, Any]) -> bool:
    """Return whether a file is as it was written, or was changed by hand without being damaged."""
    try:
        if file_sha256(file) == entry["written"][file.name]:
            return True
        if file.name in entry["rows"]:
            return len(read_table(file)) == int(entry["rows"][file.name])
        found, wanted = read_tiff(file).shape, entry["labels"]["shape"]
        return [n for n in found if n > 1] == [n for n in wanted if n > 1]
    except Exception:  # noqa: BLE001 - a damaged file may fail in any way
        return False
