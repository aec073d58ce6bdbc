"""Consistent hierarchical clustering (BYOCL) as a scikit-learn style estimator of tokens.

Frames are clustered in batches, and only the means of those local clusters, the *prototypes*, are
clustered over the whole movie (``papers/byocl.txt``; ``preset="paper"`` is exactly that).  The
default goes on from there: see :class:`HierarchicalClustering`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from sklearn.base import BaseEstimator, ClusterMixin

from ..core.errors import InputError
from ..results.atomic import plain
from . import kinds, kmeans, model_io, prepass
from .config import ClusterConfig
from .fitted import FittedClusters
from .kmeans import Basis, fit_basis, fit_centres, nearest, squared_distances
from .merge_tree import best_count, grow_leaves, ward_merges

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..images.intensity import Levels
    from .kmeans import Floats

TEMPERATURE = 0.3
"""Temperature of soft assignments, in units of the mean squared distance to the nearest centre."""

SAMPLED = 1500
"""Tokens of each frame in the sample on which clusters are refined."""

SIZE_POWER = 0.5
"""Power of its number of tokens that weights a prototype."""

LARGEST_SAMPLE = 60_000
"""Number of tokens above which the sample is thinned to half."""


class HierarchicalClustering(FittedClusters, ClusterMixin, BaseEstimator):  # type: ignore[misc]
    """The same kind of token, the same label, in every frame.

    Parameters
    ----------
    n_clusters : int or "auto"
        Number of labels; ``"auto"`` is at the largest gap of the hierarchy of prototypes.
    batch_size : int
        Number of frames that are clustered together first.
    kinds : int or "auto"
        Number of kinds of objects, where objects were found; ``"auto"`` has the best silhouette.
    n_local : int
        Clusters of a batch; with the default preset at least ``n_clusters``.
    n_components : int
        Number of principal components.
    preset : {"default", "paper"}
        ``"paper"``: components and local clusters of each batch by itself, prototypes of equal
        weight clustered in components of their own, tokens labelled through their local cluster;
        the options below are then without effect.
    carry_over : bool
        Whether a batch begins with the local clusters of the batch before.
    reassign : bool
        Whether clusters are refined on a sample of tokens, and each token belongs to the nearest
        of them; otherwise it belongs to that of its local cluster.
    background : {"auto", "objects", "none", "largest"}
        Whether the largest cluster is label 0.  Of tokens alone ``"auto"`` is ``"none"``;
        ``"objects"`` needs images, see :func:`napari_kindred.cluster_stack`.
    seed : int

    Attributes
    ----------
    prototypes_ : ndarray, (M, D)
        Mean token of each local cluster, in the encoder's own dimensions; with
        ``preset="default"`` expanded from the mean of its reduced tokens.
    sizes_ : ndarray, (M,)
        Number of its tokens.
    prototype_labels_ : ndarray, (M,)
        Cluster of each prototype, 0 … K - 1.
    centres_ : ndarray, (K, n)
        Clusters in reduced space.
    leaves_, leaf_parents_, leaf_areas_ : ndarray
        Leaves of the hierarchy in reduced space, the cluster of each, and its area in tokens.
    merges_ : ndarray, (L - 1, 2)
        The hierarchy; see :func:`.merge_tree.ward_merges`.
    objects_ : bool
        Whether kinds of objects were clustered; cluster 0 and leaf 0 are then the background.
    examples_ : dict
        Leaves of the nodes that were picked, by name; see :meth:`remember`.
    intensity_ : tuple of two floats, or of two tuples of float, or None
        Intensities that became 0 and 1 before encoding, of each channel if there are several.
    """

    def __init__(
        self,
        n_clusters: int | Literal["auto"] = 12,
        *,
        batch_size: int = 4,
        kinds: int | Literal["auto"] = 3,
        n_local: int = 10,
        n_components: int = 20,
        preset: Literal["default", "paper"] = "default",
        carry_over: bool = True,
        reassign: bool = True,
        background: Literal["auto", "objects", "none", "largest"] = "auto",
        seed: int = 0,
    ) -> None:
        self.n_clusters = n_clusters
        self.batch_size = batch_size
        self.kinds = kinds
        self.n_local = n_local
        self.n_components = n_components
        self.preset = preset
        self.carry_over = carry_over
        self.reassign = reassign
        self.background = background
        self.seed = seed

    # -- fitting ----------------------------------------------------------------------------

    def fit(self, frames: Iterable[Floats], y: object = None) -> HierarchicalClustering:  # noqa: ARG002
        """Cluster a movie.

        Parameters
        ----------
        frames : array (T, h, w, D), or iterable of arrays (h, w, D)
            Tokens of each frame in order of time.  Of an iterator, the first batch is the sample.

        Raises
        ------
        InputError
            When there are too few tokens for the clusters asked for.
        OptionError
            When a parameter has a value that it cannot take.
        """
        self.reset()
        movie = prepass.frames_of(frames)
        if self.preset == "default" and isinstance(movie, np.ndarray | list | tuple) and len(movie):
            self.fit_on_sample(prepass.alike(movie[i] for i in prepass.sample_places(len(movie))))
        rest = iter(movie)
        while batch := list(islice(rest, self.batch_size)):
            self.partial_fit(batch)
        return self.finish()

    def reset(self) -> None:
        """Forget everything, and check the parameters."""
        ClusterConfig(**plain(self.get_params()))  # whose names and limits are the same
        self.basis_: Basis | None = None
        self.intensity_: Levels | None = None
        self.encoder_: dict[str, Any] = {}
        self.examples_: dict[str, frozenset[int]] = {}
        self.objects_ = False
        self.local_labels_: list[NDArray[np.unsignedinteger[Any]]] = []
        self._prototypes: list[Floats] = []
        self._sizes: list[NDArray[np.int64]] = []
        self._carried: Floats | None = None
        self._sample: list[Floats] = []
        self._inside: list[Floats] = []
        self._scores: list[NDArray[np.float64]] = []  # of objects, summed like their prototypes
        self._every = 1

    def fit_on_sample(self, frames: Sequence[Floats]) -> None:
        """Find components and first clusters in a few frames spread over the movie (h, w, D)."""
        if self.background == "objects":
            raise InputError("Objects are found in images; give the movie to cluster_stack.")
        self.begin(prepass.fit_on_sample(frames, self.n_components))

    def begin(self, sample: prepass.Sample) -> None:
        """Begin with what :func:`.prepass.fit_on_sample` found."""
        self.basis_, reduced = sample.basis, sample.tokens.astype(np.float32)
        self.objects_ = sample.objects
        fewest = 2 if self.n_clusters == "auto" else self.n_clusters
        if self.objects_:
            fewest = 1
        count = max(kmeans.different(reduced, self._local_count()), fewest)
        self.first_ = fit_centres(reduced, count, self.seed)
        self.first_ = self.first_[np.argsort(-np.bincount(nearest(reduced, self.first_)))]
        self._carried = self.first_

    @property
    def asked(self) -> int | None:
        """Number of clusters besides label 0 that was asked for, None for "auto"."""
        count = self.kinds if self.objects_ else self.n_clusters
        if count == "auto":
            return None
        return count - (not self.objects_ and self.background == "largest")

    def _local_count(self) -> int:
        count = self.kinds if self.objects_ else self.n_clusters
        if self.preset == "paper" or count == "auto":
            return self.n_local
        return max(self.n_local, count)

    def partial_fit(self, batch: Any, y: object = None) -> HierarchicalClustering:  # noqa: ARG002
        """Cluster one more batch, (B, h, w, D); :meth:`finish` makes its clusters the movie's."""
        if not hasattr(self, "_prototypes"):
            self.reset()
        frames = prepass.alike(batch)
        if self.preset == "default":
            if self.basis_ is None:
                self.fit_on_sample(frames)
            return self.partial_fit_reduced([self.reduce(frame) for frame in frames])
        flat = [prepass.flattened(frame) for frame in frames]
        tokens = np.concatenate(flat)
        reduced = fit_basis(tokens, self.n_components).reduce(tokens)
        count = kmeans.different(reduced, self._local_count())
        local = nearest(reduced, fit_centres(reduced, count, self.seed))
        self._add_batch(flat, local, frames[0].shape[:2])
        return self

    def partial_fit_reduced(self, batch: Sequence[Floats]) -> HierarchicalClustering:
        """Cluster one more batch whose tokens are reduced already, (B, h, w, n).

        They are rounded to half precision.  Only for ``preset="default"``, after
        :meth:`fit_on_sample`.
        """
        self._fit_batch(batch)
        return self

    def _fit_batch(self, batch: Sequence[Floats]) -> NDArray[np.intp]:
        """Cluster one more batch; returns the local cluster of each token."""
        frames = [prepass.halved(np.asarray(frame, np.float32)) for frame in batch]
        flat = [prepass.flattened(frame) for frame in frames]
        reduced, number = np.concatenate(flat), len(self._prototypes)
        local = nearest(reduced, self._local_centres(reduced, number))
        self._add_sample(reduced, len(frames), number)
        self._add_batch(flat, local, frames[0].shape[:2])
        return local

    def partial_fit_objects(
        self, batch: Sequence[tuple[Floats, Floats, Floats]]
    ) -> HierarchicalClustering:
        """Cluster the objects of one more batch; only after :meth:`begin` with objects.

        For each frame the mean tokens of its objects (N, n), the probability of each of being one
        (N,), and a sample of the tokens inside them, each next to the mean token of its object,
        (S, 2 n).
        """
        means = [mean[:, None] for mean, _, _ in batch]
        if sum(map(len, means)):
            local, count = self._fit_batch(means), len(self._sizes[-1])
            scores = np.concatenate([score for _, score, _ in batch])
            self._scores.append(np.bincount(local, scores, minlength=count).astype(np.float64))
            self._inside = kinds.thinned([*self._inside, *(inside for _, _, inside in batch)])
        return self

    def _add_batch(
        self, flat: list[Floats], local: NDArray[np.intp], shape: tuple[int, ...]
    ) -> None:
        """Add the prototypes of a batch's local clusters."""
        # Black frames have fewer clusters; the missing ones have no tokens.
        prototypes, sizes = kmeans.means(flat, local, self._local_count())
        self._prototypes.append(prototypes)
        self._sizes.append(sizes)
        if not self._reassigns():
            dtype = np.min_scalar_type(self._local_count() - 1)
            self.local_labels_ += list(local.astype(dtype).reshape(-1, *shape))

    def _local_centres(self, reduced: Floats, number: int) -> Floats:
        random = np.random.default_rng((self.seed, number))
        sampled = kmeans.sample(reduced, kmeans.FITTED // 2, random)
        start = self._carried if self.carry_over else None
        count = self._local_count() if start is None else len(start)
        distinct = kmeans.different(sampled, count)
        if start is not None and distinct < count:
            return start
        centres = fit_centres(sampled, distinct, self.seed, start=start)
        if self.carry_over:
            self._carried = centres
        return centres

    def _add_sample(self, reduced: Floats, frames: int, number: int) -> None:
        random = np.random.default_rng((self.seed, number, 1))
        if number % self._every:
            return
        self._sample.append(kmeans.sample(reduced, SAMPLED * frames, random))
        if sum(map(len, self._sample)) > LARGEST_SAMPLE:
            self._sample = self._sample[::2]
            self._every *= 2

    def _reassigns(self) -> bool:
        return self.reassign and self.preset == "default"

    def finish(self) -> HierarchicalClustering:
        """Cluster the prototypes of all batches, and build the hierarchy below and above."""
        if not getattr(self, "_prototypes", None):
            raise InputError("There is nothing to cluster yet: give it frames first.")
        self.prototypes_ = np.concatenate(self._prototypes)
        self.sizes_ = np.concatenate(self._sizes)
        # Without local clusters that lost all their tokens.
        filled = np.flatnonzero(self.sizes_)
        prototypes, sizes = self.prototypes_[filled], self.sizes_[filled]
        if self.preset == "paper" or self.basis_ is None:
            self.basis_ = fit_basis(prototypes, self.n_components)
            reduced, weights = self.basis_.reduce(prototypes), np.ones(len(filled))
        else:
            reduced, weights = prototypes, sizes.astype(np.float64) ** SIZE_POWER
            self.prototypes_ = self.basis_.expand(self.prototypes_)
        count = self.n_clusters
        if self.objects_:
            count = kinds.count_kinds(self.kinds, reduced, np.concatenate(self._sample))
        elif count == "auto":
            count = best_count(reduced, weights)
        if len(reduced) < count:
            raise InputError(
                f"The movie gives only {len(reduced)} prototypes, too few for {count} clusters; "
                "ask for fewer clusters, or for more in each batch (n_local)."
            )
        tokens = np.concatenate(self._sample) if self._sample else reduced
        self.prototype_labels_ = np.full(len(self.prototypes_), -1)
        if self.objects_:
            most = (
                count if self.kinds == "auto" else min(len(reduced), kmeans.different(tokens, 64))
            )
            centres, specks = kinds.kinds_and_specks(
                lambda more: self._centres(reduced, weights, tokens, more),
                reduced,
                np.concatenate(self._scores)[filled] / sizes,
                sizes,
                range(count, most + 1),
            )
            owner = nearest(reduced, centres)
            self.prototype_labels_[filled] = np.where(owner < specks, 0, owner - specks + 1)
            self._set_kinds(kinds.grow(centres, np.concatenate(self._inside), self.seed, specks))
        else:
            centres = self._centres(reduced, weights, tokens, count)
            self.prototype_labels_[filled] = nearest(reduced, centres)
            self._grow(tokens, centres, None if self._sample else sizes)
        return self

    def _centres(
        self, reduced: Floats, weights: NDArray[np.float64], tokens: Floats, count: int
    ) -> Floats:
        """Cluster prototypes (M, n), and polish the centres found on tokens (N, n)."""
        centres = fit_centres(reduced, count, self.seed, weights=weights, tries=10)
        if self._reassigns():
            centres = fit_centres(tokens, count, self.seed, start=centres)
        return centres

    def _grow(
        self, tokens: Floats, centres: Floats, weights: NDArray[np.int64] | None = None
    ) -> None:
        """Set clusters and hierarchy."""
        self.centres_ = centres
        distances = squared_distances(tokens, centres).min(1)
        self.temperature_ = TEMPERATURE * float(distances.mean())
        self.leaves_, self.leaf_parents_, self.leaf_areas_ = grow_leaves(
            tokens, centres, self.seed, weights
        )
        # Of unit mass, because a large background would otherwise be split before anything else.
        masses = np.ones(len(self.leaves_))
        self.merges_, _ = ward_merges(self.leaves_, masses, self.leaf_parents_)

    def _set_kinds(self, tree: kinds.KindTree) -> None:
        self.centres_, self.leaves_, self.merges_ = tree.centres, tree.leaves, tree.merges
        self.leaf_parents_, self.leaf_areas_ = tree.parents, tree.areas
        self.temperature_ = TEMPERATURE * tree.spread

    # -- labelling what was fitted -------------------------------------------------------------

    def fit_predict(self, frames: Iterable[Floats], y: object = None) -> NDArray[np.int32]:  # noqa: ARG002
        """Cluster a movie and return the labels of its tokens, (T, h, w) int32."""
        movie = prepass.frames_of(frames)
        frames = movie if isinstance(movie, np.ndarray | list | tuple) else list(movie)
        self.fit(frames)
        if self._reassigns():
            return self.predict(frames)
        return np.stack([self.numbers_[self.local_clusters(i)] for i in range(len(frames))])

    # -- to disk and back -------------------------------------------------------------------

    @classmethod
    def load(cls, path: str | Path) -> HierarchicalClustering:
        """Read a model that :meth:`save` wrote.

        Raises
        ------
        WeightsError
            When the file is missing, damaged or no model.
        """
        return model_io.load_model(Path(path), cls.unpacked)

    @classmethod
    def unpacked(
        cls, tensors: dict[str, NDArray[Any]], facts: dict[str, Any]
    ) -> HierarchicalClustering:
        """Build a model from what :meth:`packed` put into a file; what does not fit raises."""
        model = cls(**facts["options"])
        model.reset()
        model_io.set_parts(model, tensors, facts)
        return model
