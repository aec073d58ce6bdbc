"""From kinds of objects to labels: each object one kind, remembered over time, then its parts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from ..results.spill import SpillStore
from .kmeans import nearest, squared_distances
from .objects import IN_MEMORY, MEMORY
from .refine import tokens_of_pixels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .foreground import FrameObjects
    from .kmeans import Floats
    from .model import HierarchicalClustering
    from .object_stage import ObjectStage


class ObjectLabeller:
    """Labels the frames of a movie in two sweeps: objects get their kinds, then pixels.

    An object's token is averaged with those of the objects that it overlaps with in the frames
    before and after, each frame further away counting less: what moves keeps its kind.
    """

    def __init__(
        self,
        model: HierarchicalClustering,
        objects: ObjectStage,
        step: tuple[float, float],
        outlines: bool,
    ) -> None:
        self._model, self._objects, self._step = model, objects, step
        self._outlines = outlines  # of pixels; otherwise of tokens
        # Kinds, then specks, which are leaves of the background.
        self._specks = np.flatnonzero(model.leaf_parents_ == 0)[1:]
        self._centres = np.concatenate([model.centres_[1:], model.leaves_[self._specks]])
        self._frames = SpillStore(IN_MEMORY)
        self._last: FrameObjects | None = None
        self._kinds: list[NDArray[np.uint8]] = []

    def vote(self, number: int, values: Floats) -> None:
        """First sweep: add the next frame, with its tokens (h, w, n)."""
        objects = self._objects[number]
        frame: dict[str, NDArray[Any]] = {"means": objects.means(values, self._step)}
        if self._last is not None:
            link = objects.overlaps(self._last)
            frame |= {"data": link.data, "indices": link.indices, "indptr": link.indptr}
        self._frames.put(len(self._frames), frame)
        self._last = objects

    def decide(self) -> None:
        """After the first sweep: decide on the kind of each object."""
        count, backward = len(self._frames), SpillStore(IN_MEMORY)
        after = link = None
        for number in reversed(range(count)):
            after = _remember(self._means(number), link, after)
            backward.put(number, {"means": after})
            link = self._link(number)
            link = None if link is None else link.T.tocsr()
        before = None
        for number in range(count):
            before = _remember(self._means(number), self._link(number), before)
            both = (before + backward.get(number)["means"]) / np.float32(2)
            kinds = nearest(both.astype(np.float32), self._centres) + 1
            self._kinds.append(kinds.astype(np.uint8))

    def leaves(
        self,
        number: int,
        values: Floats,
        pixels: Floats,  # noqa: ARG002
        step: tuple[float, float],
        *_: object,
    ) -> NDArray[np.int32]:
        """Second sweep: leaf of every pixel (H, W) of a frame with tokens (h, w, n)."""
        model, grid = self._model, (values.shape[0], values.shape[1])
        kinds = np.concatenate([[0], self._kinds[number]])[self._objects[number].labels]
        shape = (kinds.shape[0], kinds.shape[1])
        if not self._outlines:
            kinds = kinds[_centres(shape, step, grid)][tokens_of_pixels(shape, step, grid)]
        distances = squared_distances(values, model.leaves_)
        best = np.zeros((*grid, len(self._centres) + 1), np.int32)
        best[..., model.n_labels_ :] = self._specks
        for kind in range(1, model.n_labels_):
            leaves = np.flatnonzero(model.leaf_parents_ == kind)
            best[..., kind] = leaves[distances[..., leaves].argmin(-1)]
        leaf: NDArray[np.int32] = best[(*tokens_of_pixels(shape, step, grid), kinds)]
        return leaf

    def _means(self, number: int) -> Floats:
        return self._frames.get(number)["means"]

    def _link(self, number: int) -> Any:
        """Return the overlaps of a frame's objects with those before, None for the first."""
        frame = self._frames.get(number)
        if "indptr" not in frame:
            return None
        shape = (len(frame["means"]), len(self._means(number - 1)))
        return sparse.csr_array((frame["data"], frame["indices"], frame["indptr"]), shape)


def _remember(own: Floats, link: Any, before: Floats | None) -> Floats:
    """Mix the tokens of a frame's objects (N, n) with those remembered of linked ones (M, n)."""
    now = own.copy()
    if link is not None and link.shape[0] and link.shape[1]:
        total = np.asarray(link.sum(1)).ravel()
        linked = total > 0
        remembered = (link @ before)[linked] / total[linked, None]
        now[linked] = (1 - MEMORY) * own[linked] + MEMORY * remembered
    return now


def _centres(
    shape: tuple[int, int], step: tuple[float, float], grid: tuple[int, int]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the row (h, 1) and the column (w,) of the pixel at the centre of each token."""
    rows, columns = (
        np.minimum(((np.arange(count) + 0.5) * size).astype(np.intp), length - 1)
        for length, size, count in zip(shape, step, grid, strict=True)
    )
    return rows[:, None], columns
