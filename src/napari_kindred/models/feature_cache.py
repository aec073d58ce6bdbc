"""What was computed once from a picture, kept on disk: the next run with it begins at the end.

Every entry is a zarr group in a zip file of its own, which its key names and which begins with a
checksum.  A cache may fail in any way and only ever costs time: a damaged entry is deleted, a full
or read-only disk keeps nothing, and several processes may use one folder at once.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.errors import OptionError
from ..core.options import must_be
from ..core.settings import cache_dir, preferences

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

LIMIT = 10.0
"""Gigabytes that a cache keeps at most unless told otherwise."""

SHARE = 0.1
"""Of a disk's free space, which is less on a full one."""

LIMIT_VARIABLE = "NAPARI_KINDRED_CACHE_LIMIT"
"""Environment variable that gives another limit, in gigabytes; 0 keeps nothing."""

SUFFIX = ".zarr.zip"

_UNFINISHED = ".part"

_OLD = ".features"
"""What entries ended in before they were zarr; nothing reads them any more."""

_CHECKSUM = 32
"""Bytes of the SHA-256 that every file begins with, of all that follows."""

_ABANDONED = 3600.0
"""Seconds after which a file that was never finished is nobody's."""

_LOOKS = 64
"""How many entries are kept before the folder is looked through again, for others fill it too."""

_SPARE = 0.05
"""Of the limit, which is made free beyond what is wanted, so that it is seldom looked for."""


def content_of(pixels: NDArray[Any]) -> str:
    """Return the SHA-256 of a picture's values, shape and dtype, as hexadecimal digits."""
    about = {"shape": list(pixels.shape), "dtype": pixels.dtype.str}
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


def key_of(pixels: NDArray[Any] | Sequence[str], settings: Mapping[str, Any]) -> str:
    """Return the key of what is computed from a picture with these settings.

    Parameters
    ----------
    pixels : ndarray, or sequence of str
        The picture, or what :func:`content_of` said of one or several.
    settings : mapping
        Anything that JSON can hold, in any order.

    Returns
    -------
    str
        SHA-256 as hexadecimal digits: of the values, their shape and dtype, and the settings.
    """
    contents = [content_of(pixels)] if isinstance(pixels, np.ndarray) else list(pixels)
    about = {"contents": contents, "settings": dict(settings)}
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


class FeatureCache:
    """Arrays by key, in a folder that never holds much more than its limit.

    One is made for a run: what it took or gave itself it never deletes.  A movie whose entries are
    larger than the limit so has as many of them kept as fit, rather than the last ones in place of
    the first, of which the next run would find none.

    Parameters
    ----------
    folder : Path, optional
        Made when it is first written to; ``features`` beside the downloaded weights when left out.
    limit : int, optional
        Bytes; what was used least recently goes first.  When left out, what the environment
        variable :data:`LIMIT_VARIABLE` says, else a tenth of the free disk, at most 10 GB.

    Raises
    ------
    OptionError
        When the limit is negative or no number.
    """

    def __init__(self, folder: Path | None = None, limit: int | None = None) -> None:
        if limit is not None and limit < 0:
            raise OptionError(f"limit={limit} bytes is not possible; use 0 to keep nothing.")
        self.folder = cache_dir() / "features" if folder is None else Path(folder)
        self.limit = _default_limit(self.folder) if limit is None else limit
        self._mine: set[str] = set()
        self._total, self._full, self._until_look = 0, False, 0

    @classmethod
    def of(cls, cache: FeatureCache | None) -> FeatureCache:
        """Return the cache that was given, or the shared one when that is None.

        Raises
        ------
        OptionError
            When it is neither.
        """
        must_be("cache", cache, cls, "make one of a folder")
        return cls() if cache is None else cache

    def get(self, key: str) -> dict[str, NDArray[Any]] | None:
        """Return the arrays of a key, or None when there are none or they are damaged."""
        path = self._place(key)
        if not self.limit or not path.is_file():
            return None
        try:
            arrays = _read(path)
        except Exception:  # noqa: BLE001 - what reading a damaged entry raises has no end
            with suppress(OSError):
                path.unlink()
            return None
        with suppress(OSError):  # a read-only cache still answers
            os.utime(path)
        self._mine.add(path.name)
        return arrays

    def put(self, key: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Keep the arrays of a key, whole or not at all; others may have to go for them."""
        path = self._place(key)
        part = path.with_name(f"{key}.{uuid.uuid4().hex}{_UNFINISHED}")
        try:
            if not self._make_room(sum(array.nbytes for array in arrays.values()), path.name):
                return
            self.folder.mkdir(parents=True, exist_ok=True)
            _write(part, arrays)
            size = part.stat().st_size
            part.replace(path)
        except OSError:  # no place to keep it is no reason to stop
            with suppress(OSError):
                part.unlink()
            return
        self._mine.add(path.name)
        self._total += size

    def drop(self, key: str) -> None:
        """Delete what is kept of a key, if anything is."""
        self._until_look = 0  # there may be room again
        with suppress(OSError):
            self._place(key).unlink()

    def size(self) -> int:
        """Return the bytes of all entries."""
        return sum(size for _, size, _ in self._entries())

    def clear(self) -> int:
        """Delete all entries, those of earlier versions too; return the bytes that were freed."""
        freed = 0
        for _, size, path in self._entries():
            with suppress(OSError):
                path.unlink()
                freed += size
        return freed

    def _place(self, key: str) -> Path:
        if not key or not key.isalnum():
            raise OptionError(f"{key!r} is no key; make one with key_of.")
        return self.folder / f"{key}{SUFFIX}"

    def _entries(self) -> list[tuple[float, int, Path]]:
        """Return when each entry was last used, its bytes and its file, oldest first."""
        found = []
        with suppress(OSError):
            for path in self.folder.iterdir():
                if path.name.endswith((SUFFIX, _UNFINISHED, _OLD)):
                    with suppress(OSError):  # gone by now: another process made room
                        about = path.stat()
                        found.append((about.st_mtime, about.st_size, path))
        return sorted(found)

    def _make_room(self, wanted: int, name: str) -> bool:
        """Tell whether ``wanted`` more bytes fit, once what was used least recently is deleted."""
        if wanted > self.limit:
            return False
        fits = self._total + wanted <= self.limit
        if self._until_look and (fits or self._full):
            self._until_look -= 1
            return fits
        self._until_look = _LOOKS
        entries = [entry for entry in self._entries() if entry[2].name != name]
        self._total = sum(size for _, size, _ in entries)
        crowded = self._total + wanted > self.limit
        enough = (1 - _SPARE) * self.limit - wanted
        for used, size, path in entries:
            if path.name.endswith(SUFFIX):
                useless = crowded and self._total > enough and path.name not in self._mine
            else:
                useless = path.suffix == _OLD or time.time() - used > _ABANDONED
            if useless:
                with suppress(OSError):
                    path.unlink()
                    self._total -= size
        self._full = self._total + wanted > self.limit
        return not self._full


def _default_limit(folder: Path) -> int:
    """Return the bytes that a cache in a folder keeps when nobody said how many."""
    given = os.environ.get(LIMIT_VARIABLE)
    if given:
        try:
            limit = float(given)
        except ValueError:
            limit = -1.0
        if not 0 <= limit < math.inf:
            raise OptionError(
                f"{LIMIT_VARIABLE}={given!r} is no number of gigabytes; set it to one such as "
                f"{LIMIT:g}, or to 0 to keep nothing."
            )
        return int(limit * 1e9)
    preferred = preferences().cache_limit
    if preferred is not None:
        return int(preferred * 1e9)
    there = next((place for place in (folder, *folder.parents) if place.is_dir()), None)
    try:
        free = shutil.disk_usage(there or os.curdir).free
    except OSError:
        return 0
    return int(min(LIMIT * 1e9, SHARE * free))


def _write(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays as a zarr group, one chunk each, behind a checksum of the whole file."""
    import zarr
    from zarr.codecs import BloscCodec
    from zarr.storage import ZipStore

    path.write_bytes(bytes(_CHECKSUM))  # a zip file may begin with anything
    with ZipStore(path, mode="a") as store:
        group = zarr.create_group(store)
        for name, array in arrays.items():
            group.create_array(
                name,
                data=np.asarray(array, order="C"),
                chunks=tuple(max(1, size) for size in array.shape),
                compressors=BloscCodec(cname="zstd", clevel=3, shuffle="shuffle"),
            )
    with path.open("r+b") as file:
        file.seek(_CHECKSUM)
        checksum = hashlib.file_digest(file, "sha256").digest()
        file.seek(0)
        file.write(checksum)


def _read(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of a file."""
    import zarr
    from zarr.storage import ZipStore

    # Zip and zarr have checksums of their own, but not of everything: where the list of contents
    # is damaged, a chunk may seem left out, which zarr takes for zeros.
    with path.open("rb") as file:
        if file.read(_CHECKSUM) != hashlib.file_digest(file, "sha256").digest():
            raise ValueError("not what was written")
    with ZipStore(path, mode="r") as store:
        group = zarr.open_group(store, mode="r")
        return {name: np.asarray(array[...]) for name, array in group.arrays()}
