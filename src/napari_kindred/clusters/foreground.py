"""Objects of a frame, from the raw maps of the shipped entity network.

The network's background head says where there is nothing.  Interpolated to pixels it outlines the
rest, which falls into objects where the pixels point to: cells that touch are objects apart.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from ..compute.device import select
from ..entities import decode
from ..entities.checkpoint import EntityNetSpec, load_network
from ..entities.config import EntityConfig
from ..entities.resampling import GridMapping
from ..entities.scoring import ObjectFilter
from ..entities.segment import to_maps
from .refine import tokens_of_pixels

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from ..entities.network import EntityNetwork

WEIGHTS = "kindred-entities"
"""Weights of the network that finds objects."""

OUTLINE = 0.5
"""Foreground probability from which a pixel belongs to an object.

On held-out images of ten kinds, ``benchmarks/clusters_outline.py``, this is the lowest
probability at which the foreground's IoU is within 0.005 of the best.
"""

LIKELY = 0.48
"""There are objects if their mean probability of being one is above this.

``benchmarks/clusters_outline.py`` measures it in natural and in microscope images.
"""

UNLIKELY = 0.05
"""Objects with a lower probability of being one are background.

In five movies that left out 28 of 70 objects that are none, and 9 of 330 that are.
"""

SMALLEST = 12
"""Objects with fewer pixels than this are background."""

MOST = 65_535
"""Largest number of objects of a frame, whose numbers have 16 bits; the smallest ones go first."""


@dataclass(frozen=True)
class ObjectNetwork:
    """The shipped entity network."""

    network: EntityNetwork
    sha256: str

    @property
    def stride(self) -> int:
        """Pixels per cell of the raw maps."""
        return self.network.config.output_stride

    @classmethod
    def open(cls, spec: EntityNetSpec, device: str) -> ObjectNetwork:
        """Load the network of a spec."""
        return cls(spec.open(device), spec.sha256)


def shipped_network(device: str | torch.device) -> tuple[ObjectNetwork, EntityNetSpec]:
    """Load the shipped network; returns its spec, too."""
    network, info = load_network(WEIGHTS, select(device))
    spec = EntityNetSpec.of(info, WEIGHTS)
    return ObjectNetwork(network, spec.sha256), spec


@dataclass(frozen=True)
class FrameObjects:
    """The N objects of one frame."""

    labels: NDArray[np.int32]
    """Object of each pixel, 0 in the background, (H, W)."""
    count: int
    scores: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    """Probability of each of being an object, (N,); empty if not known any more."""

    @property
    def areas(self) -> NDArray[np.intp]:
        """Pixels of each object, (N,)."""
        return np.bincount(self.labels.ravel(), minlength=self.count + 1)[1:]

    def tokens(self, step: tuple[float, float], grid: tuple[int, int]) -> Any:
        """Pixels that each object has in each token, a sparse matrix (N, h * w)."""
        rows, columns = tokens_of_pixels(self.labels.shape, step, grid)
        inside = self.labels > 0
        places = (rows * grid[1] + columns)[inside]
        return _counts(self.labels[inside] - 1, places, (self.count, grid[0] * grid[1]))

    def means(self, values: NDArray[np.float32], step: tuple[float, float]) -> Any:
        """Mean token of each object, (N, n); ``values`` (h, w, n)."""
        share = self.tokens(step, (values.shape[0], values.shape[1]))
        total = share @ values.reshape(-1, values.shape[-1]).astype(np.float64)
        return (total / self.areas[:, None]).astype(np.float32)

    def overlaps(self, other: FrameObjects) -> Any:
        """Pixels that objects share with those of another frame, a sparse matrix (N, M)."""
        both = (self.labels > 0) & (other.labels > 0)
        return _counts(self.labels[both] - 1, other.labels[both] - 1, (self.count, other.count))


def find_objects(
    found: ObjectNetwork, maps: NDArray[np.floating[Any]], shape: tuple[int, int]
) -> FrameObjects:
    """Find the objects of a frame (H, W) in raw maps (4, h, w) of its own scale."""
    labels, scores = _filtered(found, maps, shape, UNLIKELY)
    if len(scores) > MOST:
        areas = np.bincount(labels.ravel(), minlength=len(scores) + 1)
        large = areas > np.sort(areas[1:])[-MOST - 1]
        labels, scores = decode.numbered(labels, large), scores[large[1:]]
    return FrameObjects(labels, len(scores), scores)


def probabilities(
    found: ObjectNetwork, maps: NDArray[np.floating[Any]], shape: tuple[int, int]
) -> NDArray[np.float32]:
    """Probability of each object in a frame (H, W) of being one, doubtful ones included, (N,)."""
    return _filtered(found, maps, shape, 0.0)[1]


def _filtered(
    found: ObjectNetwork, maps: NDArray[np.floating[Any]], shape: tuple[int, int], least: float
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Labels (H, W), and probabilities (N,) of which none is below ``least``."""
    mapping = GridMapping.whole(shape, 1.0, found.stride)
    instances = decode.find_pieces(to_maps(maps.astype(np.float32), mapping), OUTLINE)
    config = EntityConfig(threshold=OUTLINE, min_score=least, min_area=SMALLEST)
    return ObjectFilter(found.network.scoring, 1.0, config).finish(instances)


def _counts(rows: NDArray[Any], columns: NDArray[Any], shape: tuple[int, int]) -> Any:
    ones = np.ones(len(rows), np.float32)
    return sparse.coo_array((ones, (rows, columns)), shape).tocsr()
