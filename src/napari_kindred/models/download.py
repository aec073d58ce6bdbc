"""Downloads that can be interrupted at any time; only a whole and right file gets its name."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from ..core.background import Report, listener
from ..core.errors import WeightsError, reason_of
from ..core.settings import CACHE_VARIABLE, cache_dir

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_BLOCK = 1 << 20
_LARGEST_FILE = 8 << 30
_NO_SUCH_PART = 416
_POLL_SECONDS = 0.2
"""Interval at which a file that another process is downloading is checked."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file of weights to be downloaded."""

    name: str
    source: str
    """URL."""
    sha256: str
    size: int
    """Bytes; 0 if unknown."""
    path: Path

    @property
    def part(self) -> Path:
        """Path of the incomplete file."""
        return self.path.with_name(self.path.name + ".part")


def file_sha256(path: Path) -> str:
    """Return a file's SHA-256 in hexadecimal; WeightsError if it cannot be read."""
    with reading(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def reading(path: Path) -> Iterator[Any]:
    """Open a file of weights to read its bytes."""
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise WeightsError(
            f"The file {str(path)!r} cannot be read ({reason_of(error)}); make it readable, or get "
            "it again."
        ) from error


def download(wanted: Wanted) -> None:
    """Download a file, resuming an earlier attempt, and report bytes to the :func:`.listener`.

    What the listener raises stops the download, which can be resumed.  Of several processes, one
    downloads and the others wait for it.
    """
    progress = listener()
    name, path, part = wanted.name, wanted.path, wanted.part
    with _writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    with _alone(wanted, progress):
        if path.is_file():  # another process was first
            return
        try:
            whole = _complete(wanted, progress)
        except (OSError, HTTPException) as error:  # URLError is an OSError
            raise WeightsError(
                f"The weights {name!r} could not be downloaded ({_answer_of(error)}); try again, "
                f"or get {wanted.source} on another machine and put it at {str(path)!r}."
            ) from error
        if not whole:
            part.unlink()
            raise WeightsError(
                f"What was downloaded from {wanted.source} is not the weights {name!r}; try again, "
                f"or get them on another machine and put them at {str(path)!r}."
            )
        with _writing(path.parent):
            part.replace(path)


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Report what cannot be written, as opposed to what cannot be downloaded."""
    try:
        yield
    except OSError as error:
        raise WeightsError(
            f"Weights cannot be saved in {str(folder)!r} ({reason_of(error)}); make room in it, or "
            f"name another folder by the environment variable {CACHE_VARIABLE}."
        ) from error


@contextmanager
def _alone(wanted: Wanted, progress: Report | None) -> Iterator[None]:
    """Let one process at a time download a file; the others wait, and report its progress."""
    from filelock import FileLock, Timeout

    lock = FileLock(wanted.path.with_name(wanted.path.name + ".lock"))
    while True:
        try:
            lock.acquire(timeout=_POLL_SECONDS)
            break
        except Timeout:
            if progress is not None:
                with suppress(OSError):
                    progress(wanted.part.stat().st_size, wanted.size)
        except NotImplementedError:  # a file system without locks: hashes reveal errors
            break
        except OSError as error:
            with _writing(wanted.path.parent):
                raise error from None
    try:
        yield
    finally:
        with suppress(OSError):  # while it is held, so that no process holds a deleted one
            Path(lock.lock_file).unlink()
        lock.release()


def _complete(wanted: Wanted, progress: Report | None) -> bool:
    """Fetch the missing part of a file, or all of it if the existing part does not fit."""
    # Without the size, the missing part is unknown.
    part, size = wanted.part, wanted.size
    have = part.stat().st_size if size and part.exists() else 0
    for begin in (have, 0) if have else (0,):
        try:
            if begin < size or not size:
                _fetch(wanted, begin, progress)
        except HTTPError as error:
            if not begin or error.code != _NO_SUCH_PART:
                raise
            error.close()
            continue
        if part.stat().st_size < size:
            raise URLError("the connection ended early")
        if file_sha256(part) == wanted.sha256:
            return True
    return False


def _fetch(wanted: Wanted, have: int, progress: Report | None) -> None:
    """Download a file, or the rest of it; anything else that comes is not written."""
    request = Request(wanted.source)  # noqa: S310 - the table's own URLs
    if have:
        request.add_header("Range", f"bytes={have}-")
    with urlopen(request, timeout=30) as answer:  # noqa: S310
        about = answer.headers
        resumed = have > 0 and (about.get("Content-Range") or "").startswith(f"bytes {have}-")
        if getattr(answer, "status", None) == 206 and not resumed:
            raise HTTPError(wanted.source, _NO_SUCH_PART, "another part came", about, None)
        have = have if resumed else 0
        length = about.get("Content-Length") or ""
        coming = have + int(length) if length.isdecimal() else 0
        if about.get_content_type() == "text/html":
            raise URLError("a web page came in its place, as of a network that asks for a login")
        if coming and coming != (wanted.size or coming):
            raise URLError(f"a file of {coming} bytes came, but {wanted.size} are expected")
        with _written(wanted.part, "ab" if resumed else "wb") as write:
            while block := answer.read1(_BLOCK):
                have += write(block)
                if have > (wanted.size or _LARGEST_FILE):
                    raise URLError("the file is larger than it should be")
                if progress is not None:
                    progress(have, wanted.size or coming)


@contextmanager
def _written(part: Path, mode: str) -> Iterator[Callable[[bytes], int]]:
    """Open a file for writing; it is deleted if the disk is full."""
    with _writing(part.parent):
        file = part.open(mode, buffering=0)

    def write(block: bytes) -> int:
        rest = memoryview(block)
        with _writing(part.parent):
            while rest:
                rest = rest[file.write(rest) :]
        return len(block)

    try:
        with file:
            yield write
    except WeightsError:
        part.unlink(missing_ok=True)
        raise


def _answer_of(error: Exception) -> str:
    """Return the reason of a failed download in a few words."""
    if isinstance(error, HTTPError):
        error.close()
        return f"HTTP {error.code} {error.reason}"
    reason = getattr(error, "reason", error)
    return reason_of(reason) if isinstance(reason, Exception) else str(reason)


# -- the Hugging Face hub, which timm and open_clip use ------------------------------------------


def hub_place(repository: str, file: str) -> Path:
    """Return where a file of the hub may be put by hand on a machine without network."""
    return cache_dir() / "hub" / repository.replace("/", "--") / file


def find_on_hub(repository: str, files: tuple[str, ...]) -> Path | None:
    """Return the first of a repository's files on this machine, put there or cached."""
    from huggingface_hub import try_to_load_from_cache

    for file in files:
        by_hand = hub_place(repository, file)
        if by_hand.is_file():
            return by_hand
        cached = try_to_load_from_cache(repository, file)
        if isinstance(cached, str):
            return Path(cached)
    return None


def fetch_from_hub(name: str, repository: str, files: tuple[str, ...]) -> Path:
    """Return the first of a repository's files, downloaded if need be.

    Parameters
    ----------
    name : str
        The encoder, for messages.
    repository : str
        ``owner/name`` on the hub.
    files : tuple of str
        Names of the same weights, the preferred one first.

    Raises
    ------
    WeightsError
        If none is installed and none can be downloaded; names the file and its place.
    """
    found = find_on_hub(repository, files)
    if found is not None:
        return found
    try:
        return _from_hub(repository, files, listener())
    except Exception as error:
        raise WeightsError(
            f"The weights of {name!r} could not be downloaded ({reason_of(error)}); try again, or "
            f"get https://huggingface.co/{repository}/resolve/main/{files[0]} on another machine "
            f"and put it at {str(hub_place(repository, files[0]))!r}."
        ) from error


def _from_hub(repository: str, files: tuple[str, ...], progress: Report | None) -> Path:
    """Download the first of a repository's files that there is."""
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    # The hub's own client tries for half a minute to reach it; without network, say so at once.
    try:
        with urlopen(Request(constants.ENDPOINT, method="HEAD"), timeout=10):  # noqa: S310
            pass
    except HTTPError:
        pass  # it answered
    for file in files[:-1]:
        try:
            return Path(hf_hub_download(repository, file, tqdm_class=_progress_bar(progress)))
        except EntryNotFoundError:
            continue  # the repository has the weights under their other name
    return Path(hf_hub_download(repository, files[-1], tqdm_class=_progress_bar(progress)))


def _progress_bar(progress: Report | None) -> Any:
    """Return a progress bar class that reports to ``progress`` and draws nothing."""
    from tqdm import tqdm

    class Reporting(tqdm):  # type: ignore[type-arg]
        def __init__(self, *args: Any, **options: Any) -> None:
            options.pop("name", None)
            super().__init__(*args, **{**options, "disable": True})
            self._done = int(options.get("initial") or 0)
            self._total = int(options.get("total") or 0)

        def update(self, n: float | None = 1) -> bool | None:
            self._done += int(n or 0)
            if progress is not None:
                progress(self._done, max(self._total, self._done))
            return None

    return Reporting
