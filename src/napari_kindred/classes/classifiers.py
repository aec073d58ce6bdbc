"""Classifiers that score masks or pixels for class names."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

import numpy as np

from ..core.colors import hexadecimal
from ..core.errors import OptionError
from ..core.events import Notice, Progress
from ..models.feature_cache import key_of
from ..models.spec import Spec, spec_of
from .clip.text import contrast_beside
from .config import CONFIDENCE
from .proposals.base import Proposals, Proposer, ProposerSpec, iter_propose
from .proposals.masks import Masks
from .resolve import Resolved, best_of, resolve_map, resolve_masks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..models.feature_cache import FeatureCache
    from ..results.spill import Arrays
    from .clip.matching import ClipMatcher, ClipSpec, WordVectors
    from .config import Threshold
    from .escnet.predict import EscNetSpec
    from .escnet.training_free import FreeEscSpec
    from .vocabulary.vocabulary import Vocabulary

ObservationJob = Generator[Progress | Notice, None, "Arrays"]
VectorJob = Generator[Progress | Notice, None, "NDArray[np.float32]"]


@runtime_checkable
class Classifier(Protocol):
    """Classifies an image by names in two steps: slow inference, and a fast decision."""

    def check(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return the names' colours, ``#rrggbb``; OptionError for an undefined name."""
        ...

    def thresholds(self, names: Sequence[str], threshold: Threshold) -> NDArray[np.float32]:
        """Return the minimum confidence of each name, (C,)."""
        ...

    def iter_observe(self, pixels: NDArray[np.float32]) -> ObservationJob:
        """Run inference on an image (H, W, C) of about 0..1; returns input of :meth:`resolve`."""
        ...

    def nothing(self, shape: tuple[int, int]) -> Arrays:
        """Return the result of :meth:`iter_observe` for an image without content."""
        ...

    def resolve(
        self, observations: Arrays, names: Sequence[str], thresholds: NDArray[np.float32]
    ) -> Resolved:
        """Decide which pixels and objects are of which class."""
        ...

    def provenance(self) -> dict[str, Any]:
        """Return the facts that a result saves about its classifier."""
        ...


@dataclass(frozen=True)
class MaskClassifier(Classifier):
    """Classifies masks: proposals are found once, and scored for any names.

    With specs in place of what they open it is closed: it still decides about observations, and
    is what a result saves and a worker receives.  ``nms_box`` and ``nms_mask`` are those of
    :func:`.resolve.resolve_masks`.
    """

    proposer: Proposer | ProposerSpec
    cache: FeatureCache | None
    nms_box: float
    nms_mask: float

    @property
    def spec(self) -> ProposerSpec:
        """The spec of the proposer."""
        found: ProposerSpec = spec_of(self.proposer)
        return found

    def closed(self) -> Self:
        """Return the same without its weights."""
        return replace(self, proposer=self.spec)

    def open(self, device: str = "auto") -> Self:
        """Return the same with its weights loaded anew; see :meth:`.Spec.open`."""
        return replace(self, proposer=self.spec.open(device))

    @abstractmethod
    def _vectors(self, pixels: NDArray[np.float32], proposals: Proposals) -> VectorJob:
        """Return the input of :meth:`_scores`, (N, D)."""

    @abstractmethod
    def _scores(self, vectors: NDArray[np.float32], names: Sequence[str]) -> NDArray[np.float32]:
        """Return probabilities (N, C); the rest to 1 is none of the names."""

    def iter_observe(self, pixels: NDArray[np.float32]) -> ObservationJob:
        """Find proposals and their vectors; names do not matter."""
        if isinstance(self.proposer, ProposerSpec):
            return (yield from self.open().iter_observe(pixels))
        proposals = yield from iter_propose(self.proposer, pixels, self.cache)
        vectors = yield from self._vectors(pixels, proposals)
        return {**proposals.masks.arrays(), "quality": proposals.quality, "vectors": vectors}

    def nothing(self, shape: tuple[int, int]) -> Arrays:
        """Return the observations of an image without proposals."""
        none = Masks(shape, np.zeros((0, 4), np.int32), ())
        vectors = np.zeros((0, 1), np.float32)
        return {**none.arrays(), "quality": np.zeros(0, np.float32), "vectors": vectors}

    def resolve(
        self, observations: Arrays, names: Sequence[str], thresholds: NDArray[np.float32]
    ) -> Resolved:
        """Score the masks for these names, and decide which are of which class."""
        masks = Masks.from_arrays(observations)
        scores = np.zeros((0, len(names)), np.float32)
        if len(masks):
            scores = self._scores(observations["vectors"], names)
        kind = self.spec.kind
        if kind == "regions":
            return resolve_map(*best_of(masks, scores), thresholds)
        return resolve_masks(
            masks,
            scores,
            observations["quality"],
            thresholds,
            overlapping=kind == "sam",
            nms_box=self.nms_box,
            nms_mask=self.nms_mask,
            extents=self._extents(names),
        )

    def _extents(self, names: Sequence[str]) -> NDArray[np.float32]:
        """Return the usual diameters of whole objects of names, (C,); 0 if unknown."""
        return np.zeros(len(names), np.float32)


@dataclass(frozen=True)
class VocabularyClassifier(MaskClassifier):
    """Classifies masks by a trained vocabulary (U-SAM)."""

    vocabulary: Vocabulary

    def check(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return the colours that the vocabulary gives these names."""
        return self.vocabulary.colours(names)

    def thresholds(self, names: Sequence[str], threshold: Threshold) -> NDArray[np.float32]:
        """Return the given threshold, or the vocabulary's own."""
        return self.vocabulary.thresholds(names, threshold)

    def provenance(self) -> dict[str, Any]:
        """Return the hashes of the vocabulary and of the weights of its embeddings."""
        return vocabulary_facts(self.vocabulary)

    def regrouped(self, vocabulary: Vocabulary, name: str, members: Sequence[str]) -> Classifier:  # noqa: ARG002
        """Return the same for a vocabulary in which some classes were made one."""
        return replace(self, vocabulary=vocabulary)

    def _extents(self, names: Sequence[str]) -> NDArray[np.float32]:
        vocabulary = self.vocabulary
        own = [vocabulary.entries[vocabulary.lookup(name)].extent for name in names]
        return np.array(own, np.float32)

    def _vectors(self, pixels: NDArray[np.float32], proposals: Proposals) -> VectorJob:  # noqa: ARG002
        yield from ()
        return proposals.embeddings

    def _scores(self, vectors: NDArray[np.float32], names: Sequence[str]) -> NDArray[np.float32]:
        return self.vocabulary.scores(vectors, names)


def vocabulary_facts(vocabulary: Vocabulary) -> dict[str, Any]:
    """Return what a result saves about the vocabulary that made it."""
    spec = vocabulary.spec
    return {
        "classifier": "vocabulary",
        "vocabulary": {"names": vocabulary.names, "sha256": vocabulary.sha256},
        "weights": {"name": spec.encoder, "sha256": spec.sha256},
        "proposer": spec.as_dict(),
    }


@dataclass(frozen=True)
class ClipMaskClassifier(MaskClassifier):
    """Classifies the content of masks with CLIP (U-SAM's baseline SAM+CLIP)."""

    clip: ClipMatcher | ClipSpec
    words: WordVectors | None = None

    @property
    def clip_spec(self) -> ClipSpec:
        """The spec of the CLIP."""
        found: ClipSpec = spec_of(self.clip)
        return found

    def closed(self) -> Self:
        """Return the same without its weights."""
        return replace(super().closed(), clip=self.clip_spec)

    def open(self, device: str = "auto") -> Self:
        """Return the same with its weights loaded anew; see :meth:`.Spec.open`."""
        return replace(super().open(device), clip=self.clip_spec.open(device))

    def check(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return colours in order; CLIP takes every name."""
        return in_order(names)

    def thresholds(self, names: Sequence[str], threshold: Threshold) -> NDArray[np.float32]:
        """Return the given threshold, or that of the paper."""
        return np.full(len(names), CONFIDENCE if threshold == "auto" else threshold, np.float32)

    def provenance(self) -> dict[str, Any]:
        """Return the facts of the CLIP and of the masks."""
        clip = self.clip_spec
        return {
            "classifier": "clip",
            "weights": {"name": clip.name, "sha256": clip.sha256},
            "clip": clip.as_dict(),
            "proposer": self.spec.as_dict(),
        }

    def word_vectors(self, names: Sequence[str]) -> WordVectors:
        """Return the vectors of names and contrast; CLIP is opened only for missing ones."""
        words = self._with_contrast(names)
        if self.words is not None and self.words.covers(words):
            return self.words
        return self._matcher.word_vectors(words)

    def _with_contrast(self, names: Sequence[str]) -> list[str]:
        return [*names, *contrast_beside(names, self.clip_spec.contrast)]

    @cached_property
    def _matcher(self) -> ClipMatcher:
        return self.clip.open() if isinstance(self.clip, Spec) else self.clip

    def _vectors(self, pixels: NDArray[np.float32], proposals: Proposals) -> VectorJob:
        """Return CLIP's vectors of the masks' crops, from the cache if they are there."""
        if self.cache is None:
            return (yield from self._matcher.iter_embed(pixels, proposals.masks))
        specs = {"proposer": proposals.spec.as_dict(), "clip": self.clip_spec.as_dict()}
        key = key_of(pixels, specs)
        cached = self.cache.get(key)
        if cached is not None:
            return cached["vectors"]
        vectors = yield from self._matcher.iter_embed(pixels, proposals.masks)
        self.cache.put(key, {"vectors": vectors})
        return vectors

    def _scores(self, vectors: NDArray[np.float32], names: Sequence[str]) -> NDArray[np.float32]:
        return self.word_vectors(names).scores(vectors, self._with_contrast(names), len(names))


class PixelPredictor(Protocol):
    """Gives every pixel a probability of each name; see :mod:`.escnet`."""

    def iter_class_map(
        self, pixels: NDArray[np.float32], names: Sequence[str]
    ) -> Generator[Progress | Notice, None, NDArray[np.float32]]:
        """Return probabilities (C, H, W)."""
        ...

    @property
    def spec(self) -> EscNetSpec | FreeEscSpec | None:
        """The spec of its weights; None during training."""
        ...


@dataclass(frozen=True)
class PixelClassifier(Classifier):
    """Classifies pixels: a network takes ``names`` and image together."""

    network: PixelPredictor | EscNetSpec | FreeEscSpec
    names: tuple[str, ...]
    threshold: float = 0.5

    def check(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return colours in order."""
        missing = [name for name in names if name not in self.names]
        if missing:
            raise OptionError(
                f"{missing[0]!r} was not among the names looked for, {', '.join(self.names)}; "
                "run again with it."
            )
        return in_order(names)

    def thresholds(self, names: Sequence[str], threshold: Threshold) -> NDArray[np.float32]:
        """Return the given threshold, or this classifier's own."""
        return np.full(len(names), self.threshold if threshold == "auto" else threshold, np.float32)

    def iter_observe(self, pixels: NDArray[np.float32]) -> ObservationJob:
        """Return the probability of every name at every pixel, in 255 steps."""
        if isinstance(self.network, Spec):
            return (yield from self.open().iter_observe(pixels))
        maps = yield from self.network.iter_class_map(pixels, self.names)
        return {"maps": np.rint(255 * maps.clip(0, 1)).astype(np.uint8)}

    def nothing(self, shape: tuple[int, int]) -> Arrays:
        """Return maps of probability 0."""
        return {"maps": np.zeros((len(self.names), *shape), np.uint8)}

    def resolve(
        self, observations: Arrays, names: Sequence[str], thresholds: NDArray[np.float32]
    ) -> Resolved:
        """Decide among these names."""
        maps = observations["maps"][[self.names.index(name) for name in names]]
        best = maps.argmax(0).astype(np.int32)
        confidence = np.take_along_axis(maps, best[None], 0)[0].astype(np.float32) / 255
        # A probability of 0 is no class, whatever the threshold.
        return resolve_map(np.where(confidence > 0, best + 1, 0), confidence, thresholds)

    @property
    def spec(self) -> EscNetSpec | FreeEscSpec:
        """The spec of the network."""
        found: EscNetSpec | FreeEscSpec = spec_of(self.network)
        return found

    def closed(self) -> PixelClassifier:
        """Return the same without its weights."""
        return replace(self, network=self.spec)

    def open(self, device: str = "auto") -> PixelClassifier:
        """Return the same with its weights loaded anew; see :meth:`.Spec.open`."""
        return replace(self, network=self.spec.open(device))

    def provenance(self) -> dict[str, Any]:
        """Return the facts of the network."""
        facts = self.spec.as_dict()
        weights = {key: facts.pop(key) for key in ("name", "sha256")}
        return {"classifier": "clip", "network": self.spec.kind, "weights": weights, **facts}


def in_order(names: Sequence[str]) -> tuple[str, ...]:
    """Return a colour for each name."""
    return tuple(hexadecimal(number) for number in range(len(names)))
