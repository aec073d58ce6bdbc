"""What gave a saved result's names their meaning: opened again only for what was not kept of it."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ..core.events import Notice, Progress
from .clip.matching import chances, contrast_beside
from .open import reopen_clip, reopen_map
from .proposals.base import reopen_proposer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .clip.matching import ClipMatcher
    from .proposals.base import Proposals, Recipe
    from .proposals.masks import Masks

Steps = Generator[Progress | Notice, None, "NDArray[np.float32]"]


@dataclass
class ClosedProposer:
    """What proposes masks by a recipe; see :class:`.base.Proposer`.

    Attributes
    ----------
    recipe : Recipe
    """

    recipe: Recipe

    def iter_propose(
        self, pixels: NDArray[np.float32]
    ) -> Generator[Progress | Notice, None, Proposals]:
        """Find the proposals of one picture, with the weights opened again."""
        return (yield from reopen_proposer(self.recipe).iter_propose(pixels))


@dataclass(frozen=True, eq=False)
class ClosedClip:
    """A CLIP of which the vectors of some words were kept; see :class:`.matching.ClipMatcher`.

    Attributes
    ----------
    known : dict
        Its identity.
    words : tuple of str
    texts : ndarray of float32, shape (len(words), D)
    sharpness : float
        Factor before its cosines.
    """

    known: dict[str, Any]
    words: tuple[str, ...]
    texts: NDArray[np.float32]
    sharpness: float

    def identity(self) -> dict[str, Any]:
        """Return what a result says about how its names were understood."""
        return self.known

    def scores(self, embeddings: NDArray[np.float32], names: Sequence[str]) -> NDArray[np.float32]:
        """Tell how well names fit masks; only for words that were not kept CLIP is opened."""
        wanted = [*names, *contrast_beside(names, self.known["contrast"])]
        if not set(wanted) <= set(self.words):
            return self._opened.scores(embeddings, names)
        texts = self.texts[[self.words.index(word) for word in wanted]]
        return chances(embeddings, texts, self.sharpness, len(names))

    def texts_of(self, names: Sequence[str]) -> tuple[list[str], NDArray[np.float32], float]:
        """Return what is kept of CLIP for these names; see :meth:`.ClipMatcher.texts_of`."""
        wanted = [*names, *contrast_beside(names, self.known["contrast"])]
        if not set(wanted) <= set(self.words):
            return self._opened.texts_of(names)
        return list(self.words), self.texts, self.sharpness

    def iter_embed(self, pixels: NDArray[np.float32], masks: Masks) -> Steps:
        """Embed what lies under each mask of a picture."""
        return (yield from self._opened.iter_embed(pixels, masks))

    @cached_property
    def _opened(self) -> ClipMatcher:
        return reopen_clip(self.known, "auto")


@dataclass(frozen=True)
class ClosedNetwork:
    """A network that names pixels; see :class:`.classifiers.PixelPredictor`.

    Attributes
    ----------
    known : dict
        Its identity.
    names : tuple of str
        What it was asked for.
    threshold : float
        Of the classifier that it belongs to.
    """

    known: dict[str, Any]
    names: tuple[str, ...]
    threshold: float

    def identity(self) -> dict[str, Any]:
        """Return what this is, as plain data."""
        return self.known

    def iter_class_map(self, pixels: NDArray[np.float32], names: Sequence[str]) -> Steps:
        """Return probabilities (C, H, W), with the weights opened again."""
        opened = reopen_map(self.known, self.names, self.threshold, "auto")
        return (yield from opened.network.iter_class_map(pixels, names))
