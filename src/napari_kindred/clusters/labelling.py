"""From a fitted model to labels: tokens to clusters, whole objects, pixels, leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .kmeans import memberships, nearest, squared_distances
from .objects import Decisions, ObjectMemory, find_patches
from .refine import refine_edges, refine_none, tokens_of_pixels

if TYPE_CHECKING:
    from .config import ClusterConfig
    from .model import HierarchicalClustering
    from .refine_sam import DecoderOutlines


class Labeller:
    """Labels the frames of a movie in two sweeps: votes of objects first, then pixels.

    ``fitted_here`` tells a model fitted to this very movie from one that was given.
    """

    def __init__(
        self,
        model: HierarchicalClustering,
        config: ClusterConfig,
        decoder: DecoderOutlines | None = None,
        fitted_here: bool = True,
    ) -> None:
        self._model, self._decoder = model, decoder
        self._paper = config.preset == "paper"
        self._grid = config.refinement == "none" or (self._paper and config.refinement == "auto")
        # A paper's run, or one without re-assignment, labels fitted frames by their local clusters.
        self._local = fitted_here and len(model.local_labels_) > 0
        # Then tokens are whole, because the paper's components come last.
        self._whole = fitted_here and model.preset == "paper"
        self._objects = config.objects and not self._paper
        self._kinds = model.kinds_
        self._memory = ObjectMemory(self._kinds)
        self._decisions: Decisions | None = None

    @property
    def note(self) -> str:
        """A sentence for the user about the outlines; empty if all is well."""
        return "" if self._decoder is None else self._decoder.note

    def _clusters(self, number: int, reduced: np.ndarray) -> np.ndarray:
        """Cluster of each token (h, w) of frame ``number``."""
        if self._local:
            return self._model.local_clusters(number)
        return nearest(reduced, self._model.centres_)

    def _reduced(self, values: np.ndarray) -> np.ndarray:
        return self._model.reduce(values) if self._whole else values

    def vote(self, number: int, values: np.ndarray) -> None:
        """First sweep: let the objects of the next frame vote."""
        if not self._objects:
            return
        clusters = self._clusters(number, self._reduced(values))
        self._memory.add(find_patches(self._kinds[clusters]), clusters)

    def decide(self) -> None:
        """After the first sweep: decide on the objects' labels."""
        if self._objects:
            self._decisions = self._memory.decide()

    def leaves(
        self,
        number: int,
        values: np.ndarray,
        pixels: np.ndarray,
        step: tuple[float, float],
        valid: np.ndarray | None = None,
        embedding: np.ndarray | None = None,
    ) -> np.ndarray:
        """Second sweep: leaf of every pixel (H, W) of a normalised frame (H, W, C).

        ``values`` are reduced tokens, (h, w, n); whole ones, (h, w, D), of a movie just fitted as
        in the paper.  ``embedding`` (N, h', w', D) is the mask decoder's.
        """
        shape = pixels.shape[0], pixels.shape[1]
        reduced = self._reduced(values)
        clusters = self._clusters(number, reduced)
        final, concerned = clusters, None
        if self._decisions is not None:
            patches = find_patches(self._kinds[clusters])
            final = self._decisions.apply(number, patches, clusters)
            concerned = self._decisions.concerned(number, patches, clusters)
        asks = self._decoder is not None and embedding is not None
        if self._grid or (asks and self._paper):
            fine = refine_none(final, step, shape)
        else:
            fine = refine_edges(self._soft(reduced, final, concerned), pixels, step)
        if self._decoder is not None and embedding is not None:
            fine = self._decoder.refine(final, valid, embedding, fine, step)
        return self._leaf_of(reduced, fine, step, shape)

    def _soft(
        self, reduced: np.ndarray, final: np.ndarray, concerned: np.ndarray | None
    ) -> np.ndarray:
        """Memberships (h, w, K); of a decided object, its kind's mass is all its label's."""
        count = self._model.n_labels_
        if self._local:
            onehot: np.ndarray = np.eye(count, dtype=np.float32)[final]
            return onehot
        soft = memberships(reduced, self._model.centres_, self._model.temperature_)
        if concerned is None:
            return soft
        same_kind = self._kinds[None] == self._kinds[final[concerned]][:, None]
        rows = soft[concerned]
        mass = (rows * same_kind).sum(1)
        rows[same_kind] = 0
        rows[np.arange(len(rows)), final[concerned]] = mass
        soft[concerned] = rows
        return soft

    def _leaf_of(
        self,
        reduced: np.ndarray,
        fine: np.ndarray,
        step: tuple[float, float],
        shape: tuple[int, int],
    ) -> np.ndarray:
        """Leaf of each pixel: of its cluster's leaves, the one nearest to the pixel's token."""
        model = self._model
        distances = squared_distances(reduced, model.leaves_)
        best = np.empty((*reduced.shape[:2], model.n_labels_), np.int32)
        for cluster in range(model.n_labels_):
            leaves = np.flatnonzero(model.leaf_parents_ == cluster)
            best[..., cluster] = leaves[distances[..., leaves].argmin(-1)]
        leaf: np.ndarray = best[(*tokens_of_pixels(shape, step, reduced.shape[:2]), fine)]
        return leaf
