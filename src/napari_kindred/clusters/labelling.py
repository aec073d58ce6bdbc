"""From a fitted model to labels: tokens to clusters, whole objects, pixels, leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .kmeans import memberships, nearest, squared_distances
from .objects import Decisions, ObjectMemory, find_patches
from .refine import refine_edges, refine_none
from .refine_sam import refine_decoder

if TYPE_CHECKING:
    from ..encoders.base import MaskDecoder
    from .config import ClusterConfig
    from .model import HierarchicalClustering


class Labeller:
    """Labels the frames of a movie in two sweeps: votes of objects first, then pixels.

    Parameters
    ----------
    model : HierarchicalClustering
        Fitted.
    config : ClusterConfig
    decoder : MaskDecoder or None
        Of the encoder, for ``refinement="decoder"``.
    fitted_here : bool
        Whether the movie is the one that the model was fitted to, just now.
    """

    def __init__(
        self,
        model: HierarchicalClustering,
        config: ClusterConfig,
        decoder: MaskDecoder | None = None,
        fitted_here: bool = True,
    ) -> None:
        self._model, self._config, self._decoder = model, config, decoder
        self._paper = config.preset == "paper"
        # A paper's run, or one without re-assignment, labels fitted frames by their local clusters.
        self._local = fitted_here and len(model.local_labels_) > 0
        # Tokens were kept whole then, since the paper's components come last.
        self._whole = fitted_here and model.preset == "paper"
        self._objects = config.objects and not self._paper
        self._kinds = model.kinds_
        self._memory = ObjectMemory(self._kinds)
        self._decisions: Decisions | None = None

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
        """Second sweep: leaf of every pixel (H, W) of a frame.

        Parameters
        ----------
        values : ndarray, (h, w, n)
            Reduced tokens; whole ones, (h, w, D), of a movie just fitted as the paper does.
        pixels : ndarray, (H, W, C)
            The normalised frame.
        step : tuple of two floats
            Pixels per token.
        valid : ndarray of bool, (h, w), optional
        embedding : ndarray, (h', w', D), optional
            What the mask decoder wants.
        """
        model, shape = self._model, (pixels.shape[0], pixels.shape[1])
        reduced = self._reduced(values)
        clusters = self._clusters(number, reduced)
        final, concerned = clusters, None
        if self._decisions is not None:
            patches = find_patches(self._kinds[clusters])
            final = self._decisions.apply(number, patches, clusters)
            concerned = self._decisions.concerned(number, patches, clusters)
        way = self._config.refinement
        if way == "none":
            fine = refine_none(final, step, shape)
        elif way == "decoder" and self._decoder is not None and embedding is not None:
            seen = np.zeros(embedding.shape[:2], bool)
            seen[: final.shape[0], : final.shape[1]] = True if valid is None else valid
            whole = np.zeros(seen.shape, np.int64)
            whole[: final.shape[0], : final.shape[1]] = final
            fine = refine_decoder(
                whole, seen, embedding, self._decoder, shape, step, model.n_labels_
            )
        else:
            fine = refine_edges(self._soft(reduced, final, concerned), pixels, step)
        return self._leaf_of(reduced, fine, step, shape)

    def _soft(
        self, reduced: np.ndarray, final: np.ndarray, concerned: np.ndarray | None
    ) -> np.ndarray:
        """Memberships (h, w, K); where an object was decided on, its kind's are all its label's."""
        count = self._model.n_labels_
        if self._local:
            onehot: np.ndarray = np.eye(count, dtype=np.float32)[final]
            return onehot
        soft = memberships(reduced, self._model.centres_, self._model.temperature_)
        if concerned is None:
            return soft
        mine = self._kinds[None] == self._kinds[final[concerned]][:, None]
        rows = soft[concerned]
        mass = (rows * mine).sum(1)
        rows[mine] = 0
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
        """Leaf of each pixel: of its cluster's leaves, the one next to the pixel's token."""
        model = self._model
        distances = squared_distances(reduced, model.leaves_)
        best = np.empty((*reduced.shape[:2], model.n_labels_), np.int32)
        for cluster in range(model.n_labels_):
            leaves = np.flatnonzero(model.leaf_parents_ == cluster)
            best[..., cluster] = leaves[distances[..., leaves].argmin(-1)]
        rows, columns = (
            np.minimum(((np.arange(size) + 0.5) / length).astype(int), count - 1)
            for size, length, count in zip(shape, step, reduced.shape[:2], strict=True)
        )
        leaf: np.ndarray = best[rows[:, None], columns[None], fine]
        return leaf


def provisional(
    model: HierarchicalClustering,
    reduced: np.ndarray,
    shape: tuple[int, int],
    step: tuple[float, float],
) -> np.ndarray:
    """Labels (H, W) int32 of a frame before the movie's clusters are known.

    Those of the first look, 1 the largest; the same in all frames.
    """
    return refine_none(nearest(reduced, model.first_) + 1, step, shape)
