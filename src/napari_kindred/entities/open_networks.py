"""Networks that stay open between runs and tasks, so that weights are read and compiled once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..models.weights import resolve
from .checkpoint import load_network
from .engine import release

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import torch

    from .network import EntityNetwork

    Pair = tuple[EntityNetwork, Mapping[str, Any]]

MOST = 4
"""Networks that are kept open while nobody uses them, the shipped one takes 10 MB."""

_idle: OrderedDict[tuple[Any, ...], list[Pair]] = OrderedDict()
_taken: dict[int, tuple[Any, ...]] = {}
_lock = threading.Lock()


def take(name: str, device: torch.device) -> Pair:
    """Return a network and its info that nobody else uses; :func:`give_back` ends its use.

    ``name`` and ``device`` as in :func:`.checkpoint.load_network`, with the same errors.
    """
    path = resolve(str(name))
    facts = path.stat()
    key = str(path), facts.st_mtime_ns, facts.st_size, str(device), str(name)
    with _lock:
        free = _idle.get(key)
        pair = free.pop() if free else None
        if not free:
            _idle.pop(key, None)
    if pair is None:
        pair = load_network(name, device)
    with _lock:
        _taken[id(pair[0])] = key
    return pair


def give_back(pair: Pair) -> None:
    """Keep a network open for the next one who wants it; the longest unused is dropped."""
    release(pair[0])
    with _lock:
        key = _taken.pop(id(pair[0]), None)
        if key is None:
            return
        _idle.setdefault(key, []).append(pair)
        _idle.move_to_end(key)
        while sum(map(len, _idle.values())) > MOST:
            oldest = next(iter(_idle))
            _idle[oldest].pop(0)
            if not _idle[oldest]:
                del _idle[oldest]


@contextmanager
def borrowed(name: str, device: torch.device) -> Iterator[Pair]:
    """Take a network for the time of a block."""
    pair = take(name, device)
    try:
        yield pair
    finally:
        give_back(pair)


def close_all() -> None:
    """Drop the networks that nobody uses."""
    with _lock:
        _idle.clear()
