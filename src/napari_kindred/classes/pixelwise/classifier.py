"""A classifier of pixels by a vocabulary that was taught on pixels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ...models.spec import Spec, spec_of
from ..classifiers import Classifier, vocabulary_facts
from ..resolve import Resolved, resolve_map
from .head import PixelHead

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ...results.spill import Arrays
    from ..classifiers import ObservationJob
    from ..config import Threshold
    from ..proposals.base import ProposerSpec
    from ..vocabulary.vocabulary import Vocabulary
    from .describer import PixelDescriber


@dataclass(frozen=True)
class VocabularyPixelClassifier(Classifier):
    """Classifies pixels by a trained vocabulary.

    ``maps`` are the classes of what was observed, in its order: those of the vocabulary, unless
    some were made one since.
    """

    describer: PixelDescriber | ProposerSpec
    vocabulary: Vocabulary
    maps: tuple[str, ...]

    def check(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return the colours that the vocabulary gives these names."""
        return self.vocabulary.colours(names)

    def thresholds(self, names: Sequence[str], threshold: Threshold) -> NDArray[np.float32]:
        """Return the given threshold, or the vocabulary's own."""
        return self.vocabulary.thresholds(names, threshold)

    def iter_observe(self, pixels: NDArray[np.float32]) -> ObservationJob:
        """Return the probability of every class at every pixel, in 255 steps."""
        head = self.vocabulary.head
        assert isinstance(head, PixelHead)  # noqa: S101 - only such vocabularies get here
        return {"maps": (yield from self._describer.iter_maps(pixels, head))}

    def nothing(self, shape: tuple[int, int]) -> Arrays:
        """Return maps of probability 0."""
        return {"maps": np.zeros((len(self.maps), *shape), np.uint8)}

    def resolve(
        self, observations: Arrays, names: Sequence[str], thresholds: NDArray[np.float32]
    ) -> Resolved:
        """Give each pixel its most probable class, none of these names included."""
        maps = observations["maps"]
        entries = [self.vocabulary.lookup(name) for name in self.maps]
        groups = self.vocabulary.groups(names)
        asked = {number: place for place, group in enumerate(groups) for number in group}
        shape = maps.shape[1:]
        wanted, others = np.zeros((len(names), *shape), np.uint16), np.zeros(shape, np.uint16)
        rest: dict[int, NDArray[np.uint16]] = {}
        for number, one in zip(entries, maps, strict=True):
            if number in asked:
                wanted[asked[number]] += one
            else:
                rest[number] = rest.get(number, 0) + one.astype(np.uint16)
        for one in rest.values():
            others = np.maximum(others, one)
        # Rounding may leave a step or two to none of the classes.
        none = 255 - np.minimum(maps.sum(0, dtype=np.uint16), 255)
        others = np.maximum(others, np.where(none <= len(maps), 0, none))
        best = wanted.argmax(0).astype(np.int32)
        chance = np.take_along_axis(wanted, best[None], 0)[0]
        found = np.where((chance > 0) & (chance >= others), best + 1, 0).astype(np.int32)
        return resolve_map(found, (chance / np.float32(255)).clip(0, 1), thresholds)

    def regrouped(self, vocabulary: Vocabulary, name: str, members: Sequence[str]) -> Classifier:
        """Return the same for a vocabulary in which some classes were made one."""
        gone = {self.vocabulary.lookup(member) for member in members}
        maps = tuple(name if self.vocabulary.lookup(one) in gone else one for one in self.maps)
        return replace(self, vocabulary=vocabulary, maps=maps)

    @property
    def spec(self) -> ProposerSpec:
        """The spec of the describer."""
        found: ProposerSpec = spec_of(self.describer)
        return found

    def closed(self) -> VocabularyPixelClassifier:
        """Return the same without its weights."""
        return replace(self, describer=self.spec)

    def open(self, device: str = "auto") -> VocabularyPixelClassifier:
        """Return the same with its weights loaded anew; see :meth:`.Spec.open`."""
        return replace(self, describer=self.spec.open(device))

    def provenance(self) -> dict[str, Any]:
        """Return the hashes of the vocabulary and of the weights of its vectors."""
        return vocabulary_facts(self.vocabulary)

    @cached_property
    def _describer(self) -> PixelDescriber:
        found: PixelDescriber = (
            self.describer.open() if isinstance(self.describer, Spec) else self.describer
        )
        return found
