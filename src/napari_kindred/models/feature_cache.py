"""Features of images, cached on disk for later runs.

Every entry is a zarr group in a zip file of its own, which is named by its key and begins with a
checksum.  A failing cache costs only time: a damaged entry is deleted, a full or read-only disk
saves nothing, and several processes may use one folder at once.
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
"""Default limit in gigabytes."""

SHARE = 0.1
"""Share of the disk's free space, if that is less."""

LIMIT_VARIABLE = "NAPARI_KINDRED_CACHE_LIMIT"
"""Environment variable with another limit, in gigabytes; 0 saves nothing."""

SUFFIX = ".zarr.zip"

_UNFINISHED = ".part"

_CHECKSUM = 32
"""Bytes of the SHA-256 at the start of every file, of all that follows."""

_ABANDONED = 3600.0
"""Seconds after which an unfinished file counts as abandoned."""

_WRITES = 64
"""Number of written entries after which the folder is listed again, because others fill it too."""

_SPARE = 0.05
"""Share of the limit that is freed beyond the bytes needed, so that it is needed rarely."""


def content_of(pixels: NDArray[Any]) -> str:
    """Return the SHA-256 of an image's values, shape and dtype, as hexadecimal digits."""
    about = {"shape": list(pixels.shape), "dtype": pixels.dtype.str}
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


def key_of(pixels: NDArray[Any] | Sequence[str], settings: Mapping[str, Any]) -> str:
    """Return the key of what is computed from an image, or from several, with these settings.

    ``pixels`` is the image, or the :func:`content_of` of each image; ``settings`` are anything that
    JSON can hold.  The key is a SHA-256 as hexadecimal digits.
    """
    contents = [content_of(pixels)] if isinstance(pixels, np.ndarray) else list(pixels)
    about = {"contents": contents, "settings": dict(settings)}
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


class FeatureCache:
    """Arrays by key, in a folder that never holds much more than its limit.

    Create one per run: it never deletes entries that it has read or written itself.  Of a movie
    whose entries are larger than the limit, the first ones stay, which the next run finds.

    Parameters
    ----------
    folder : Path, optional
        Created when it is first written to; default ``features`` next to the downloaded weights.
    limit : int, optional
        Bytes; the least recently used entries are deleted first.  By default the environment
        variable :data:`LIMIT_VARIABLE`, else a tenth of the free disk, at most 10 GB.

    Raises
    ------
    OptionError
        If the limit is negative or not a number.
    """

    def __init__(self, folder: Path | None = None, limit: int | None = None) -> None:
        if limit is not None and limit < 0:
            raise OptionError(f"limit={limit} bytes is not possible; use 0 to keep nothing.")
        self.folder = cache_dir() / "features" if folder is None else Path(folder)
        self.limit = _default_limit(self.folder) if limit is None else limit
        self._mine: set[str] = set()
        self._total, self._full, self._until_listing = 0, False, 0

    @classmethod
    def of(cls, cache: FeatureCache | None) -> FeatureCache:
        """Return the given cache, or the shared one for None; OptionError for anything else."""
        must_be("cache", cache, cls, "make one of a folder")
        return cls() if cache is None else cache

    def get(self, key: str) -> dict[str, NDArray[Any]] | None:
        """Return the arrays of a key, or None if there are none or they are damaged."""
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
        """Save the arrays of a key, whole or not at all; other entries may be deleted for them."""
        path = self._place(key)
        part = path.with_name(f"{key}.{uuid.uuid4().hex}{_UNFINISHED}")
        try:
            if not self._make_room(sum(array.nbytes for array in arrays.values()), path.name):
                return
            self.folder.mkdir(parents=True, exist_ok=True)
            _write(part, arrays)
            size = part.stat().st_size
            part.replace(path)
        except OSError:  # a run continues without its cache
            with suppress(OSError):
                part.unlink()
            return
        self._mine.add(path.name)
        self._total += size

    def drop(self, key: str) -> None:
        """Delete the entry of a key, if any."""
        self._until_listing = 0  # there may be room again
        with suppress(OSError):
            self._place(key).unlink()

    def size(self) -> int:
        """Return the bytes of all entries."""
        return sum(size for _, size, _ in self._entries())

    def clear(self) -> int:
        """Delete all entries; returns the bytes that were freed."""
        freed = 0
        for _, size, path in self._entries():
            with suppress(OSError):
                path.unlink()
                freed += size
        return freed

    def _place(self, key: str) -> Path:
        if not key or not key.isalnum():
            raise OptionError(f"{key!r} is not a key; make one with key_of.")
        return self.folder / f"{key}{SUFFIX}"

    def _entries(self) -> list[tuple[float, int, Path]]:
        """Return when each entry was last used, its bytes and its file, oldest first."""
        found = []
        with suppress(OSError):
            for path in self.folder.iterdir():
                if path.name.endswith((SUFFIX, _UNFINISHED)):
                    with suppress(OSError):  # another process has deleted it
                        about = path.stat()
                        found.append((about.st_mtime, about.st_size, path))
        return sorted(found)

    def _make_room(self, wanted: int, name: str) -> bool:
        """Whether ``wanted`` more bytes fit, after deleting the least recently used entries."""
        if wanted > self.limit:
            return False
        fits = self._total + wanted <= self.limit
        if self._until_listing and (fits or self._full):
            self._until_listing -= 1
            return fits
        self._until_listing = _WRITES
        entries = [entry for entry in self._entries() if entry[2].name != name]
        self._total = sum(size for _, size, _ in entries)
        crowded = self._total + wanted > self.limit
        enough = (1 - _SPARE) * self.limit - wanted
        for used, size, path in entries:
            if path.name.endswith(SUFFIX):
                useless = crowded and self._total > enough and path.name not in self._mine
            else:
                useless = time.time() - used > _ABANDONED
            if useless:
                with suppress(OSError):
                    path.unlink()
                    self._total -= size
        self._full = self._total + wanted > self.limit
        return not self._full


def _default_limit(folder: Path) -> int:
    """Return the limit in bytes of a cache in a folder."""
    given = os.environ.get(LIMIT_VARIABLE)
    if given:
        try:
            limit = float(given)
        except ValueError:
            limit = -1.0
        if not 0 <= limit < math.inf:
            raise OptionError(
                f"{LIMIT_VARIABLE}={given!r} is not a number of gigabytes; set it to one such as "
                f"{LIMIT:g}, or to 0 to save nothing."
            )
        return int(limit * 1e9)
    preferred = preferences().cache_limit
    if preferred is not None:
        return int(preferred * 1e9)
    existing = next((place for place in (folder, *folder.parents) if place.is_dir()), None)
    try:
        free = shutil.disk_usage(existing or os.curdir).free
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

    # Zip and zarr have checksums of their own, but not of everything: if the list of contents is
    # damaged, a chunk may seem left out, which zarr takes for zeros.
    with path.open("rb") as file:
        if file.read(_CHECKSUM) != hashlib.file_digest(file, "sha256").digest():
            raise ValueError("not what was written")
    with ZipStore(path, mode="r") as store:
        group = zarr.open_group(store, mode="r")
        return {name: np.asarray(array[...]) for name, array in group.arrays()}
