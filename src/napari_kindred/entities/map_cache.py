"""Raw maps of a network, kept so that a run with another threshold needs no network."""

from __future__ import annotations

import copy
import hashlib
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    Maps = NDArray[np.float32]

Network = TypeVar("Network")
"""An entity network, which knows this file."""

LIMIT = 1 << 28
"""Bytes of maps that are kept: those of 64 frames of 1024 × 1024 pixels at scale 1."""


class MapCache:
    """Raw maps (C, h, w) by the pixels they were made from; the oldest go first.

    Parameters
    ----------
    limit : int
        Bytes of maps that are kept at most.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit, self._bytes = limit, 0
        self._maps: OrderedDict[Any, Maps] = OrderedDict()
        self._lock = threading.Lock()
        self._weights: torch.Tensor | None = None
        self._dropped = False

    def begin(self) -> None:
        """Forget whether maps were dropped: a run begins."""
        self._dropped = False

    @property
    def complete(self) -> bool:
        """Whether there are maps, and none was dropped since the last run began."""
        return bool(self._maps) and not self._dropped

    def clear(self) -> None:
        """Drop all maps."""
        with self._lock:
            self._maps.clear()
            self._bytes, self._weights, self._dropped = 0, None, True

    def key(self, network: torch.nn.Module, image: torch.Tensor, *how: Any) -> Any:
        """Return the key of a network's maps of an image (B, 3, H, W), looked at in some way.

        Maps of other weights are dropped.
        """
        weights = next(network.parameters())
        if weights is not self._weights:
            self.clear()
            self._weights, self._dropped = weights, False
        grey = image.stride(1) == 0  # one channel, shown three times
        pixels = image[:, :1] if grey else image
        digest = hashlib.blake2b(pixels.contiguous().numpy().data, digest_size=16).digest()
        engine = getattr(vars(network).get("forward"), "name", "torch")
        return digest, tuple(image.shape), grey, engine, how

    def find(self, key: Any) -> Maps | None:
        """Return the maps of a key, if they are kept."""
        with self._lock:
            maps = self._maps.get(key)
            if maps is not None:
                self._maps.move_to_end(key)
            return maps

    def keep(self, key: Any, maps: Maps) -> None:
        """Keep maps, which must not change any more."""
        with self._lock:
            if key in self._maps:
                return
            self._maps[key], self._bytes = maps, self._bytes + maps.nbytes
            while self._bytes > self._limit:
                self._dropped = True
                self._bytes -= self._maps.popitem(last=False)[1].nbytes


def keeping(network: Network, maps: MapCache | None) -> Network:
    """Return a network whose maps are kept."""
    if maps is None:
        return network
    maps.begin()
    other = copy.copy(network)
    setattr(other, "kept", maps)  # noqa: B010 - its class is not known here
    return other
