"""Classifiers that score masks or pixels for class names."""

from __future__ import annotations

from abc import ABC, abstractmethod
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
from .clip.matching import contrast_beside
from .proposals.base import Proposals, Proposer, ProposerSpec, iter_propose
from .proposals.masks import Masks
from .proposals.open import reopen_proposer
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

CONFIDENCE = 0.7
"""Threshold of classifiers that have none of their own, as in the paper."""

Look = Generator[Progress | Notice, None, "Arrays"]
Vectors = Generator[Progress | Notice, None, "NDArray[np.float32]"]


@runtime_checkable
class Classifier(Protocol):
    """Tells names apart in a picture, in two steps: the long look, and the quick decision."""

    def check(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return the names' colours, ``#rrggbb``.

        Raises
        ------
        OptionError
            When a name has no meaning here.
        """
        ...

    def thresholds(self, names: Sequence[str], threshold: Threshold) -> NDArray[np.float32]:
        """Return the confidence that each name needs, (C,)."""
        ...

    def iter_observe(self, pixels: NDArray[np.float32]) -> Look:
        """Look at a picture (H, W, C) of about 0..1, and return what :meth:`resolve` needs."""
        ...

    def nothing(self, shape: tuple[int, int]) -> Arrays:
        """Return what :meth:`iter_observe` would for a picture without anything in it."""
        ...

    def resolve(
        self, observations: Arrays, names: Sequence[str], thresholds: NDArray[np.float32]
    ) -> Resolved:
        """Decide what is what."""
        ...

    def provenance(self) -> dict[str, Any]:
        """Return what a result says about its classifier."""
        ...


@dataclass(frozen=True)
class MaskClassifier(ABC):
    """Names of masks: proposals are found once, and scored by any names.

    With specs in the place of what they open it is closed: it still decides about what was
    observed, and is what a result saves and a worker receives.

    Attributes
    ----------
    proposer : Proposer or ProposerSpec
    cache : FeatureCache or None
    nms_box, nms_mask : float
        See :func:`.resolve.resolve_masks`.
    """

    proposer: Proposer | ProposerSpec
    cache: FeatureCache | None
    nms_box: float
    nms_mask: float

    @abstractmethod
    def check(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return the names' colours; see :meth:`Classifier.check`."""

    @abstractmethod
    def thresholds(self, names: Sequence[str], threshold: Threshold) -> NDArray[np.float32]:
        """Return the confidence that each name needs, (C,)."""

    @abstractmethod
    def provenance(self) -> dict[str, Any]:
        """Return what a result says about its classifier."""

    @property
    def spec(self) -> ProposerSpec:
        """The spec of the proposer."""
        return self.proposer if isinstance(self.proposer, ProposerSpec) else self.proposer.spec

    def closed(self) -> Self:
        """Return the same without its weights."""
        return replace(self, proposer=self.spec)

    def open(self, device: str = "auto") -> Self:
        """Return the same with its weights loaded anew; see :meth:`.Spec.open`."""
        return replace(self, proposer=reopen_proposer(self.spec, device))

    @abstractmethod
    def _vectors(self, pixels: NDArray[np.float32], proposals: Proposals) -> Vectors:
        """Return what :meth:`_scores` takes, (N, D)."""

    @abstractmethod
    def _scores(self, vectors: NDArray[np.float32], names: Sequence[str]) -> NDArray[np.float32]:
        """Return probabilities (N, C); what is missing to 1 is none of the names."""

    def iter_observe(self, pixels: NDArray[np.float32]) -> Look:
        """Find proposals and their vectors; names do not matter."""
        if isinstance(self.proposer, ProposerSpec):
            return (yield from self.open().iter_observe(pixels))
        proposals = yield from iter_propose(self.proposer, pixels, self.cache)
        vectors = yield from self._vectors(pixels, proposals)
        return {**proposals.masks.arrays(), "quality": proposals.quality, "vectors": vectors}

    def nothing(self, shape: tuple[int, int]) -> Arrays:
        """Return what a picture without proposals gives."""
        none = Masks(shape, np.zeros((0, 4), np.int32), ())
        return {
            **none.arrays(),
            "quality": np.zeros(0, np.float32),
            "vectors": np.zeros((0, 1), np.float32),
        }

    def resolve(
        self, observations: Arrays, names: Sequence[str], thresholds: NDArray[np.float32]
    ) -> Resolved:
        """Score the masks by these names, and decide what is what."""
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
        )


@dataclass(frozen=True)
class VocabularyClassifier(MaskClassifier):
    """Names that were taught (U-SAM)."""

    vocabulary: Vocabulary

    def check(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return the colours that the vocabulary gives these names."""
        known = self.vocabulary
        known.scores(np.zeros((0, known.head.dimension), np.float32), names)
        return tuple(known.entries[known.lookup(name)].colour for name in names)

    def thresholds(self, names: Sequence[str], threshold: Threshold) -> NDArray[np.float32]:
        """Return the vocabulary's own thresholds, or the one that was asked for."""
        known = self.vocabulary
        own = [known.entries[known.lookup(name)].threshold for name in names]
        return np.array([value if threshold == "auto" else threshold for value in own], np.float32)

    def provenance(self) -> dict[str, Any]:
        """Return the hash of the vocabulary, and what its masks and vectors come from."""
        spec = self.vocabulary.spec
        return {
            "classifier": "vocabulary",
            "vocabulary": {"names": self.vocabulary.names, "sha256": self.vocabulary.sha256},
            "weights": {"name": spec.encoder, "sha256": spec.sha256},
            "proposer": spec.as_dict(),
        }

    def _vectors(self, pixels: NDArray[np.float32], proposals: Proposals) -> Vectors:  # noqa: ARG002
        """Return the proposals' own vectors, which the vocabulary was taught with."""
        yield from ()
        return proposals.embeddings

    def _scores(self, vectors: NDArray[np.float32], names: Sequence[str]) -> NDArray[np.float32]:
        """Return probabilities among all that the vocabulary knows."""
        return self.vocabulary.scores(vectors, names)


@dataclass(frozen=True)
class ClipMaskClassifier(MaskClassifier):
    """Names that CLIP compares with what lies under a mask (U-SAM's baseline SAM+CLIP)."""

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
        """Return the threshold asked for; that of the paper otherwise."""
        return np.full(len(names), CONFIDENCE if threshold == "auto" else threshold, np.float32)

    def provenance(self) -> dict[str, Any]:
        """Return which CLIP is asked, and about which masks."""
        clip = self.clip_spec
        return {
            "classifier": "clip",
            "weights": {"name": clip.name, "sha256": clip.sha256},
            "clip": clip.as_dict(),
            "proposer": self.spec.as_dict(),
        }

    def word_vectors(self, names: Sequence[str]) -> WordVectors:
        """Return the vectors of names and contrast; CLIP is opened only for words without one."""
        words = self._beside(names)
        if self.words is not None and self.words.knows(words):
            return self.words
        return self._matcher.word_vectors(words)

    def _beside(self, names: Sequence[str]) -> list[str]:
        """Return the names, and what a mask may be besides them."""
        return [*names, *contrast_beside(names, self.clip_spec.contrast)]

    @cached_property
    def _matcher(self) -> ClipMatcher:
        return self.clip.open() if isinstance(self.clip, Spec) else self.clip

    def _vectors(self, pixels: NDArray[np.float32], proposals: Proposals) -> Vectors:
        """Return CLIP's vectors of the masks' crops; those of the cache where it has them."""
        if self.cache is None:
            return (yield from self._matcher.iter_embed(pixels, proposals.masks))
        about = {"proposer": proposals.spec.as_dict(), "clip": self.clip_spec.as_dict()}
        key = key_of(pixels, about)
        known = self.cache.get(key)
        if known is not None:
            return known["vectors"]
        vectors = yield from self._matcher.iter_embed(pixels, proposals.masks)
        self.cache.put(key, {"vectors": vectors})
        return vectors

    def _scores(self, vectors: NDArray[np.float32], names: Sequence[str]) -> NDArray[np.float32]:
        """Return probabilities among these names."""
        return self.word_vectors(names).scores(vectors, self._beside(names), len(names))


class PixelPredictor(Protocol):
    """Gives every pixel a probability of each name; see :mod:`.escnet`."""

    def iter_class_map(
        self, pixels: NDArray[np.float32], names: Sequence[str]
    ) -> Generator[Progress | Notice, None, NDArray[np.float32]]:
        """Return probabilities (C, H, W)."""
        ...

    @property
    def spec(self) -> EscNetSpec | FreeEscSpec | None:
        """Its weights; None while it is trained."""
        ...


@dataclass(frozen=True)
class PixelClassifier:
    """Names of pixels: a network takes the names and the picture together.

    Attributes
    ----------
    network : PixelPredictor, or the spec of one
    names : tuple of str
        What it is asked for.
    threshold : float
        Used when none is asked for.
    """

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
        """Return the threshold asked for; otherwise this classifier's own."""
        return np.full(len(names), self.threshold if threshold == "auto" else threshold, np.float32)

    def iter_observe(self, pixels: NDArray[np.float32]) -> Look:
        """Return the probability of every name at every pixel, in 255 steps."""
        if isinstance(self.network, Spec):
            return (yield from self.open().iter_observe(pixels))
        maps = yield from self.network.iter_class_map(pixels, self.names)
        return {"maps": np.rint(255 * maps.clip(0, 1)).astype(np.uint8)}

    def nothing(self, shape: tuple[int, int]) -> Arrays:
        """Return maps without any probability."""
        return {"maps": np.zeros((len(self.names), *shape), np.uint8)}

    def resolve(
        self, observations: Arrays, names: Sequence[str], thresholds: NDArray[np.float32]
    ) -> Resolved:
        """Decide among these names."""
        maps = observations["maps"][[self.names.index(name) for name in names]]
        best = maps.argmax(0).astype(np.int32)
        confidence = np.take_along_axis(maps, best[None], 0)[0].astype(np.float32) / 255
        # Nothing is everywhere: a probability of 0 is no class, whatever the threshold.
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
        """Return the network that is asked."""
        facts = self.spec.as_dict()
        weights = {key: facts.pop(key) for key in ("name", "sha256")}
        return {"classifier": "clip", "network": self.spec.kind, "weights": weights, **facts}


def in_order(names: Sequence[str]) -> tuple[str, ...]:
    """Return a colour for each name."""
    return tuple(hexadecimal(number) for number in range(len(names)))
