"""Weights files of the Hugging Face hub, which timm and open_clip use."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from ..core.background import Report, listener
from ..core.errors import WeightsError, reason_of
from .weights import cache_dir


def place_of(repository: str, file: str) -> Path:
    """Return where a file of the hub may be put by hand on a machine without network."""
    return cache_dir() / "hub" / repository.replace("/", "--") / file


def find(repository: str, files: tuple[str, ...]) -> Path | None:
    """Return the first of a repository's files that is on this machine, put there or cached."""
    from huggingface_hub import try_to_load_from_cache

    for file in files:
        by_hand = place_of(repository, file)
        if by_hand.is_file():
            return by_hand
        cached = try_to_load_from_cache(repository, file)
        if isinstance(cached, str):
            return Path(cached)
    return None


def fetch(
    name: str, repository: str, files: tuple[str, ...], progress: Report | None = None
) -> Path:
    """Return the first of a repository's files that there is, downloaded where it must be.

    Parameters
    ----------
    name : str
        The encoder, for messages.
    repository : str
        ``owner/name`` on the hub.
    files : tuple of str
        Names of the same weights, the preferred one first.
    progress : callable, optional
        Told the bytes done and in total; the :func:`.background.listener` when left out.

    Raises
    ------
    WeightsError
        When none is here and none can be downloaded; it says what to put where.
    """
    found = find(repository, files)
    if found is not None:
        return found
    try:
        return _download(repository, files, progress or listener())
    except Exception as error:
        raise WeightsError(
            f"The weights of {name!r} could not be downloaded ({reason_of(error)}); try again, or "
            f"get https://huggingface.co/{repository}/resolve/main/{files[0]} on another machine "
            f"and put it at {str(place_of(repository, files[0]))!r}."
        ) from error


def _download(repository: str, files: tuple[str, ...], progress: Report | None) -> Path:
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
            return Path(hf_hub_download(repository, file, tqdm_class=_bar(progress)))
        except EntryNotFoundError:
            continue  # the repository has the weights under their other name
    return Path(hf_hub_download(repository, files[-1], tqdm_class=_bar(progress)))


def _bar(progress: Report | None) -> Any:
    """Return a progress bar class that tells ``progress`` and draws nothing."""
    from tqdm import tqdm

    class Told(tqdm):  # type: ignore[type-arg]
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

    return Told
