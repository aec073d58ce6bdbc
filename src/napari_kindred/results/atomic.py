"""Files that are written whole or not at all, and what JSON and tables can hold."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.errors import OutputError, reason_of
from ..images.readers import is_there

if TYPE_CHECKING:
    import pandas as pd

Writer = Callable[[Path], object]
"""Writes a file at the path that it is given."""


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

    Raises
    ------
    OutputError
        When they cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (OSError, ValueError) as error:
        raise OutputError(
            f"Nothing can be written into {str(folder)!r} ({reason_of(error)}); "
            "choose another folder."
        ) from error


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Raise OutputError for a path that exists and may not be replaced."""
    if is_there(path) and not overwrite:
        raise OutputError(
            f"{str(path)!r} is there already; choose another name, or allow overwriting."
        )


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to, and put it in place of ``path`` when all went well.

    Raises
    ------
    OutputError
        When writing fails, for example on a full disk; ``path`` is then as it was.
    """
    # The suffix stays, since writers go by it.
    part = path.with_name(f".{os.getpid()}.part.{path.name}")
    try:
        with raise_output_errors(path):
            yield part
            _put_in_place(part, path)
    finally:
        _delete(part)


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


def _put_in_place(part: Path, path: Path) -> None:
    if not path.is_dir():
        part.replace(path)
        return
    old = path.with_name(f".{os.getpid()}.old.{path.name}")
    path.rename(old)
    try:
        part.rename(path)
    except OSError:
        old.rename(path)
        raise
    _delete(old)


def _delete(path: Path) -> None:
    """Delete a file or folder, if it is there, as far as that is possible."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
        return
    with suppress(OSError):
        path.unlink(missing_ok=True)


def write_together(writers: Mapping[Path, Writer]) -> None:
    """Write several files, all of them or none; the last is also the last to be put in its place.

    Raises
    ------
    OutputError
        When one cannot be written; all are then as they were.
    """
    with ExitStack() as stack:
        parts = {path: stack.enter_context(replacing(path)) for path in reversed([*writers])}
        for path, write in writers.items():
            with raise_output_errors(path):
                write(parts[path])


def as_json(content: Mapping[str, Any]) -> Writer:
    """Return what writes a dictionary as JSON."""
    text = json.dumps(plain(content), indent=2, ensure_ascii=False) + "\n"
    return lambda path: path.write_text(text, "utf-8")


def as_csv(table: pd.DataFrame) -> Writer:
    """Return what writes a table as CSV."""
    return lambda path: table.to_csv(path, index=False, errors="backslashreplace")
