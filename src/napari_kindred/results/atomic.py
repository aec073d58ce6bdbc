"""Files that are written whole or not at all, and what JSON and tables can hold."""

from __future__ import annotations

import dataclasses
import json
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.errors import OutputError, reason_of
from ..images.readers import is_there
from .base import KEY

if TYPE_CHECKING:
    import pandas as pd

Writer = Callable[[Path], object]
"""Writes a file at the path that it is given."""

_PART = ".napari-kindred-*"
"""Names of the hidden folders that files are written in."""

_OLD = 86_400.0
"""Seconds after which such a folder is one that a killed process left."""

_PATIENCE = 10.0
"""Seconds to wait for another who puts files in their place."""

_LONGEST_SUFFIX = 16
"""Letters of a suffix by which writers may go."""


def plain(value: Any) -> Any:
    """Turn dataclasses, numpy values and paths into what JSON can hold."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain(dataclasses.asdict(value))
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    if value is None or isinstance(value, bool | int | float):
        return value
    # Names of files may hold bytes that are no text.
    return str(value).encode("utf-8", "backslashreplace").decode("utf-8")


def check_folder(folder: Path) -> None:
    """Make a folder where there is none, and check that files can be written into it.

    What processes that were killed left half-written in it is deleted.

    Raises
    ------
    OutputError
        When they cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(_PART):
            with suppress(FileNotFoundError):  # another who saves here has just deleted its own
                if time.time() - left.stat().st_mtime > _OLD:
                    shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (OSError, ValueError) as error:
        raise OutputError(
            f"Nothing can be written into {str(folder)!r} ({reason_of(error)}); "
            "choose another folder."
        ) from error


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Raise OutputError for a path that cannot be a file's, or exists and may not be replaced."""
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return
    except (OSError, ValueError) as error:
        raise OutputError(
            f"No file can be named {path.name!r} ({reason_of(error)}); choose a shorter name."
        ) from error
    if not overwrite:
        raise OutputError(
            f"{str(path)!r} is there already; choose another name, or allow overwriting."
        )
    if stat.S_ISDIR(found.st_mode) and not is_ours(path):
        raise OutputError(
            f"{str(path)!r} is a folder that napari-kindred did not write, so it is not replaced; "
            "choose another name, or delete it yourself."
        )


def is_ours(folder: Path) -> bool:
    """Return whether a folder is an OME-Zarr that this package wrote."""
    try:
        about = json.loads((folder / "zarr.json").read_text("utf-8"))
        return bool(KEY in about["attributes"])
    except (OSError, ValueError, LookupError, TypeError):
        return False


@contextmanager
def replacing(path: Path, overwrite: bool = True) -> Iterator[Path]:
    """Give a temporary path to write to, and put it in place of ``path`` when all went well.

    Raises
    ------
    OutputError
        When writing fails, for example on a full disk, or when the file is there by now and may
        not be replaced; ``path`` is then as it was.
    """
    with raise_output_errors(path), _hidden_folder(path.parent) as folder:
        part = folder / f"new{_suffix_of(path)}"
        yield part
        _put_in_place({path: part}, folder, overwrite)


def write_together(writers: Mapping[Path, Writer], overwrite: bool = True) -> None:
    """Write several files of a folder, all of them or none; the last is put in its place last.

    Raises
    ------
    OutputError
        When one cannot be written, or is there by now and may not be replaced; all are then as
        they were.
    """
    folder_of_all = next(iter(writers)).parent
    with raise_output_errors(next(reversed([*writers]))), _hidden_folder(folder_of_all) as folder:
        parts: dict[Path, Path] = {}
        for number, (path, write) in enumerate(writers.items()):
            parts[path] = folder / f"new{number}{_suffix_of(path)}"
            with raise_output_errors(path):
                write(parts[path])
        _put_in_place(parts, folder, overwrite)


@contextmanager
def _hidden_folder(parent: Path) -> Iterator[Path]:
    """Give a folder of our own beside what will be replaced; deleted with all that is left in it.

    Its name is drawn at random and taken exclusively, as threads share the number of their process
    and containers share numbers of processes.
    """
    folder = Path(tempfile.mkdtemp(prefix=_PART[:-1], dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _suffix_of(path: Path) -> str:
    """Return the end of a name by which writers go; all of the name may be too long."""
    return f"{'.ome' if path.stem.lower().endswith('.ome') else ''}{path.suffix}"[-_LONGEST_SUFFIX:]


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Wait until no other thread, process or machine puts files in their place in a folder."""
    from filelock import SoftFileLock, Timeout

    lock = SoftFileLock(folder / ".napari-kindred.lock")
    try:
        lock.acquire(_PATIENCE, poll_interval=0.01)
    except Timeout:  # who holds it was killed, for it takes no time
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.acquire(_PATIENCE, poll_interval=0.01)
    try:
        yield
    finally:
        lock.release()


def _put_in_place(parts: Mapping[Path, Path], folder: Path, overwrite: bool = True) -> None:
    """Move files or folders to their places, all of them or none."""
    with _locked(folder.parent), ExitStack() as undo:
        for path in parts:
            refuse_existing(path, overwrite)
        if len(parts) > 1 or any(path.is_dir() for path in parts):
            # What counts goes first and comes last: no moment shows it beside what is another's.
            for number, path in enumerate(reversed([*parts])):
                if is_there(path):
                    path.rename(folder / f"old{number}")
                    undo.callback((folder / f"old{number}").rename, path)
        for path, part in parts.items():
            part.replace(path)
            undo.callback(path.rename, part)
        undo.pop_all()


@contextmanager
def raise_output_errors(path: Path) -> Iterator[None]:
    """Tell what cannot be written, and why.

    Raises
    ------
    OutputError
        In place of any OSError.
    """
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"Cannot write {str(path)!r} ({reason_of(error)}); choose another place."
        ) from error


def as_json(content: Mapping[str, Any]) -> Writer:
    """Return what writes a dictionary as JSON."""
    text = json.dumps(plain(content), indent=2, ensure_ascii=False) + "\n"
    return lambda path: path.write_text(text, "utf-8")


def as_spreadsheet(table: pd.DataFrame) -> Writer:
    """Return what writes a table as CSV that spreadsheets open with µ and ² as what they are."""
    return lambda path: table.to_csv(path, index=False, encoding="utf-8-sig", float_format=_short)


def _short(value: Any) -> str:
    """Return a number with at most 7 significant digits, or all digits of a whole one."""
    return f"{value:.0f}" if value.is_integer() else f"{value:.7g}"


def as_csv(table: pd.DataFrame) -> Writer:
    """Return what writes a table as CSV."""
    return lambda path: table.to_csv(path, index=False, errors="backslashreplace")
