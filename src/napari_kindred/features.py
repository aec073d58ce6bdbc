"""What was computed once from a picture, kept on disk: the next run with it begins at the end.

Every entry is a safetensors file of its own, named by its key, with a checksum.  A cache may fail
in any way and only ever costs time: a damaged entry is deleted, a full or read-only disk keeps
nothing, and several processes may use one folder at once.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from .errors import OptionError
from .weights import cache_dir

if TYPE_CHECKING:
    from numpy.typing import NDArray

LIMIT = 2 << 30
"""Bytes that a cache keeps unless told otherwise."""

SUFFIX = ".features"

_ABANDONED = 3600.0
"""Seconds after which a file that was never finished is nobody's."""


def key_of(pixels: NDArray[Any], settings: Mapping[str, Any]) -> str:
    """Return the key of what is computed from a picture with these settings.

    Parameters
    ----------
    pixels : ndarray
    settings : mapping
        Anything that JSON can hold, in any order.

    Returns
    -------
    str
        SHA-256 as hexadecimal digits: of the values, their shape and dtype, and the settings.
    """
    about = {
        "shape": list(pixels.shape),
        "dtype": pixels.dtype.str,
        "settings": dict(settings),
    }
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


class FeatureCache:
    """Arrays by key, in a folder that never holds much more than its limit.

    Parameters
    ----------
    folder : Path, optional
        Made when it is first written to; ``features`` beside the downloaded weights when left out.
    limit : int
        Bytes; what was used least recently goes first.

    Raises
    ------
    OptionError
        When the limit is negative.
    """

    def __init__(self, folder: Path | None = None, limit: int = LIMIT) -> None:
        if limit < 0:
            raise OptionError(f"limit={limit} bytes is not possible; use 0 to keep nothing.")
        self.folder = cache_dir() / "features" if folder is None else Path(folder)
        self.limit = limit

    def get(self, key: str) -> dict[str, NDArray[Any]] | None:
        """Return the arrays of a key, or None when there are none or they are damaged."""
        path = self._place(key)
        try:
            content = path.read_bytes()
        except OSError:
            return None
        digest, payload = content[:32], content[32:]
        if hashlib.sha256(payload).digest() == digest:
            with suppress(SafetensorError):
                arrays: dict[str, NDArray[Any]] = load(payload)
                with suppress(OSError):  # a read-only cache still answers
                    os.utime(path)
                return arrays
        with suppress(OSError):
            path.unlink()
        return None

    def put(self, key: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Keep the arrays of a key, whole or not at all; others may have to go for them."""
        payload = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
        size = len(payload) + 32
        if size > self.limit:
            return
        path = self._place(key)
        part = path.with_name(f"{key}.{uuid.uuid4().hex}.part")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._make_room(size, keep=path)
            with part.open("wb") as file:
                file.write(hashlib.sha256(payload).digest())
                file.write(payload)
            part.replace(path)
        except OSError:  # no place to keep it is no reason to stop
            with suppress(OSError):
                part.unlink()

    def size(self) -> int:
        """Return the bytes of all entries."""
        return sum(size for _, size, _ in self._entries())

    def clear(self) -> None:
        """Delete all entries."""
        for _, _, path in self._entries():
            with suppress(OSError):
                path.unlink()

    def _place(self, key: str) -> Path:
        if not key or not key.isalnum():
            raise OptionError(f"{key!r} is no key; make one with key_of.")
        return self.folder / f"{key}{SUFFIX}"

    def _entries(self) -> list[tuple[float, int, Path]]:
        """Return when each entry was last used, its bytes and its file, oldest first."""
        found = []
        with suppress(OSError):
            for path in self.folder.iterdir():
                if path.suffix in (SUFFIX, ".part"):
                    with suppress(OSError):  # gone by now: another process made room
                        about = path.stat()
                        found.append((about.st_mtime, about.st_size, path))
        return sorted(found)

    def _make_room(self, wanted: int, keep: Path) -> None:
        """Delete what was used least recently until ``wanted`` more bytes fit."""
        entries = [entry for entry in self._entries() if entry[2] != keep]
        total = sum(size for _, size, _ in entries)
        now = time.time()
        for used, size, path in entries:
            abandoned = path.suffix == ".part" and now - used > _ABANDONED
            if abandoned or (total + wanted > self.limit and path.suffix == SUFFIX):
                with suppress(OSError):
                    path.unlink()
                    total -= size
