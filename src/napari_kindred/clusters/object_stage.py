"""The part of a run that finds objects: are there any, where are they, of which kinds so far."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..core.errors import InputError
from ..results.spill import SpillFile
from .foreground import LIKELY, FrameObjects, find_objects, probabilities
from .kinds import FEW, groups, tokens_inside
from .kmeans import nearest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from .foreground import ObjectNetwork
    from .frame_features import FrameFeatures
    from .kmeans import Floats
    from .model import HierarchicalClustering

FOUND = (
    "There are cells or nuclei: they were told from the background first, and clustered by kind; "
    "background='none' clusters whole frames."
)
NOT_FOUND = (
    "There are no cells or nuclei to tell from the background, so whole frames were clustered; "
    "background='objects' tells them apart nevertheless."
)


class ObjectStage:
    """Objects of a movie, which are on disk."""

    def __init__(self, network: ObjectNetwork, shape: tuple[int, int]) -> None:
        self.network = network
        self._shape = shape  # of a frame
        self._labels = SpillFile(np.uint16)
        self._groups = np.zeros(0, np.intp)

    def close(self) -> None:
        """Delete what is on disk."""
        self._labels.close()

    def find(self, features: FrameFeatures) -> FrameObjects:
        """Find the objects of an encoded frame."""
        if features.maps is None:
            raise InputError("A frame came without its raw maps; run it again.")
        return find_objects(self.network, features.maps, self._shape)

    def put(self, objects: FrameObjects) -> None:
        """Spill the next frame's objects."""
        self._labels.append(objects.labels)

    def __getitem__(self, number: int) -> FrameObjects:
        """Return the objects of a frame that was put."""
        labels = self._labels[number].astype(np.int32)
        return FrameObjects(labels, int(labels.max(initial=0)))

    def present(self, sampled: Sequence[FrameFeatures], asked: bool) -> bool:
        """Whether sampled frames show objects, or some at all if these are asked for.

        The network gives each object its probability of being one; their mean decides.
        """
        scores = np.concatenate(
            [
                probabilities(self.network, features.maps, self._shape)
                for features in sampled
                if features.maps is not None
            ]
        )
        if asked and not len(scores):
            raise InputError(
                "No objects were found in the movie; choose background='none' to cluster whole "
                "frames."
            )
        return asked or (len(scores) > 0 and float(scores.mean()) > LIKELY)

    def begin(self, model: HierarchicalClustering) -> None:
        """Group the first clusters of a model into provisional kinds."""
        self._groups = groups(model.first_, FEW if model.kinds == "auto" else model.kinds)

    def fit(
        self,
        model: HierarchicalClustering,
        batch: Sequence[Floats],
        objects: Sequence[FrameObjects],
        step: tuple[float, float],
        first: int,
    ) -> Iterator[NDArray[np.int32]]:
        """Cluster and spill the objects of a batch of frames; yields provisional labels (H, W).

        ``batch`` are tokens (h, w, n), ``first`` is the number of the first frame.
        """
        means = [one.means(values, step) for values, one in zip(batch, objects, strict=True)]
        inside = [
            tokens_inside(one, values, mean, step, (model.seed, first + number))
            for number, (values, one, mean) in enumerate(zip(batch, objects, means, strict=True))
        ]
        scores = [one.scores for one in objects]
        model.partial_fit_objects(list(zip(means, scores, inside, strict=True)))
        for one, mean in zip(objects, means, strict=True):
            self.put(one)
            kinds = self._groups[nearest(mean, model.first_)] + 1
            yield np.concatenate([[0], kinds]).astype(np.int32)[one.labels]
