"""A fitted model of consistent clusters: it projects, labels and numbers tokens."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.errors import InputError, OptionError
from . import model_io, prepass
from .kmeans import Basis, nearest
from .levels import lut
from .merge_tree import cut

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..encoders.base import Encoder
    from .kmeans import Floats
    from .nodes import ClusterNode


class FittedClusters:
    """What a model does once it is fitted; the estimator is :class:`.HierarchicalClustering`."""

    background: str
    batch_size: int
    prototype_labels_: NDArray[np.intp]
    local_labels_: list[NDArray[np.unsignedinteger[Any]]]
    _prototypes: list[Floats]
    basis_: Basis | None
    objects_: bool
    centres_: Floats
    leaf_parents_: NDArray[np.integer[Any]]
    leaf_areas_: NDArray[Any]
    merges_: NDArray[np.int32]
    encoder_: dict[str, Any]
    examples_: dict[str, frozenset[int]]

    @property
    def n_labels_(self) -> int:
        """Number of clusters found."""
        return len(self.centres_)

    @property
    def kinds_(self) -> NDArray[np.intp]:
        """Rough kind of each cluster: the hierarchy cut at a third as many."""
        kinds = cut(self.merges_, max(2, self.n_labels_ // 3))
        first = np.searchsorted(self.leaf_parents_, np.arange(self.n_labels_))
        return kinds[first]

    # -- labelling --------------------------------------------------------------------------

    def reduce(self, tokens: Floats) -> Floats:
        """Project tokens (…, D) to the space of the clusters (…, n)."""
        if getattr(self, "basis_", None) is None:
            raise InputError("There is nothing to project with yet: give it frames first.")
        basis: Basis = self.basis_  # type: ignore[assignment]
        if np.shape(tokens)[-1:] != basis.mean.shape:
            raise InputError(f"Tokens must have {len(basis.mean)} values, as at first.")
        return basis.reduce(np.asarray(tokens, np.float32))

    def predict(self, frames: Iterable[Floats]) -> NDArray[np.int32]:
        """Label tokens by the stored clusters, without clustering anew.

        Parameters
        ----------
        frames : array (T, h, w, D), or iterable of arrays (h, w, D)

        Returns
        -------
        ndarray of int32, (T, h, w)
            As :func:`.levels.lut` numbers them.
        """
        if not hasattr(self, "centres_"):
            raise InputError("The model is not fitted; call fit first, or load one.")
        if self.objects_:
            raise InputError(
                "The model tells objects from the background in images; give it to cluster_stack."
            )
        numbers = self.numbers_
        labels = [
            numbers[nearest(self.reduce(prepass.as_tokens(frame)), self.centres_)]
            for frame in frames
        ]
        if len({frame.shape for frame in labels}) != 1:
            raise InputError("Give at least one frame, and all of one size.")
        return np.stack(labels)

    @property
    def numbers_(self) -> NDArray[np.int32]:
        """Label of each cluster 0 … K - 1; see :func:`.levels.lut`."""
        first = np.searchsorted(self.leaf_parents_, np.arange(self.n_labels_))
        return self.lut(self.n_labels_)[first]

    def lut(self, n: int) -> NDArray[np.int32]:
        """Return the label of each leaf when there are ``n`` clusters; see :func:`.levels.lut`."""
        background = "objects" if self.objects_ else self.background
        return lut(self.merges_, self.leaf_areas_, background, n)

    def remember(self, name: str, node: ClusterNode) -> None:
        """Keep a node under a name, to find it in every movie that this model labels."""
        self.examples_[name] = node.leaves

    def local_clusters(self, number: int) -> NDArray[np.intp]:
        """Cluster of each token (h, w) of a fitted frame through its local one (paper step 5)."""
        batch = number // self.batch_size
        table = self.prototype_labels_.reshape(-1, len(self._prototypes[0]))[batch]
        clusters: NDArray[np.intp] = table[self.local_labels_[number]]
        return clusters

    # -- to disk -----------------------------------------------------------------------------

    def save(self, path: str | Path) -> Path:
        """Write the model as a safetensors file: prototypes, clusters, hierarchy, options."""
        return model_io.save_model(self.packed(), Path(path))

    def packed(self) -> bytes:
        """Return the fitted model as the content of its file."""
        if not hasattr(self, "centres_") or self.basis_ is None:
            raise InputError("The model is not fitted; cluster a movie first.")
        return model_io.pack(*model_io.parts_of(self))

    def check_encoder(self, encoder: Encoder, spec: dict[str, Any]) -> None:
        """Raise InputError or OptionError if tokens of an encoder cannot be labelled."""
        basis: Basis | None = getattr(self, "basis_", None)
        if not hasattr(self, "centres_") or basis is None:
            raise InputError("The model is not fitted; call fit first, or load one.")
        made = self.encoder_
        for what, value in spec.items():
            if made and made.get(what) != value:
                raise OptionError(
                    f"The model was made with the encoder {made.get('name')!r} at stride "
                    f"{made.get('stride')}, other weights do not fit it; choose that encoder."
                )
        if basis.mean.shape != (encoder.dimension,):
            raise OptionError(
                f"The model was made of tokens of {len(basis.mean)} values, but those of "
                f"{encoder.name!r} have {encoder.dimension}; choose the encoder that it was made "
                "with."
            )
