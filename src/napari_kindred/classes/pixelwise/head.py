"""What tells the classes of pixels apart: a forest on filters, a linear head on tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.errors import InputError
from ...core.events import Progress
from ..vocabulary.mil import NOTHING, UNKNOWN, UNMARKED
from ..vocabulary.train_head import SMALLEST, instance_weights, one_thread
from .forest import Forest, grow

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from numpy.typing import NDArray

    from ..config import TeachConfig
    from ..vocabulary.mil import Bag

VERSION = 1
"""Of the arrays of a head."""

STRENGTH = 0.03
"""Inverse of the ridge penalty of the linear head, whose tokens are standardised."""

NEVER = -30.0
"""Logit of a class that no example showed."""


@dataclass(frozen=True, eq=False)
class PixelHead:
    """Scores pixels: the mean of a forest on filters and of a linear head on tokens.

    ``weights`` (outputs, D) and ``bias`` (outputs,) take tokens as they are.  With ``nothing`` the
    last output is none of the ``classes``.  A pixel's vector is its ``filters`` values, then D.
    """

    forest: Forest
    weights: NDArray[np.float32]
    bias: NDArray[np.float32]
    filters: int
    classes: int
    nothing: bool

    @property
    def dimension(self) -> int:
        """Length of a pixel's vector."""
        return self.filters + int(self.weights.shape[1])

    def probabilities(self, vectors: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return the probabilities (N, C) of pixels' vectors (N, dimension)."""
        values = np.asarray(vectors, np.float32)
        logits = values[:, self.filters :] @ self.weights.T + self.bias
        return self.mixed(values[:, : self.filters], logits)[:, : self.classes]

    def mixed(
        self, filters: NDArray[np.float32], logits: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Return the probabilities (N, outputs) of filters (N, F) and the tokens' logits."""
        powers = np.exp(logits - logits.max(1, keepdims=True))
        mean: NDArray[np.float32] = self.forest.probabilities(filters)
        mean += powers / powers.sum(1, keepdims=True)
        mean /= 2
        return mean

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all of it as arrays; see :meth:`from_arrays`."""
        return {
            "version": np.array([VERSION]),
            "shape": np.array([self.filters, self.classes, self.nothing]),
            "weights": self.weights,
            "bias": self.bias,
            **{f"forest.{name}": value for name, value in self.forest.arrays().items()},
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> PixelHead:
        """Build a head from the result of :meth:`arrays`; ValueError if they are none."""
        if arrays["version"].tolist() != [VERSION]:
            raise ValueError("another version")
        filters, classes, nothing = (int(value) for value in arrays["shape"])
        weights, bias = (arrays[name].astype(np.float32) for name in ("weights", "bias"))
        if weights.ndim != 2 or bias.shape != (classes + nothing,) != weights.shape[:1]:
            raise ValueError("the head's shape")
        if not (np.isfinite(weights).all() and np.isfinite(bias).all()):
            raise ValueError("values that are not finite")
        inside = {
            name.removeprefix("forest."): value
            for name, value in arrays.items()
            if name.startswith("forest.")
        }
        forest = Forest.from_arrays(inside, filters, classes + nothing)
        return cls(forest, weights, bias, filters, classes, bool(nothing))


def iter_train_pixel_head(
    bags: Sequence[Bag], classes: int, filters: int, config: TeachConfig
) -> Generator[Progress, None, PixelHead]:
    """Train a head on the marked pixels of bags, yielding its progress."""
    codes = np.concatenate([bag.instances for bag in bags])
    marked = codes != UNKNOWN
    if not config.unmarked:
        marked &= codes != UNMARKED
    codes = codes[marked]
    vectors = np.concatenate([bag.embeddings for bag in bags])[marked].astype(np.float32)
    weights = instance_weights(codes, config.unmarked)
    outside = (codes == NOTHING) | (codes == UNMARKED)
    nothing = bool(outside.any())
    codes = np.where(outside, classes, codes)
    seen = np.unique(codes)
    if len(seen) < 2:
        raise InputError(
            "Only one class is marked, so nothing tells it from the rest; mark some of the rest "
            "as 'background', or as a class of its own."
        )
    weights /= weights.mean()
    yield Progress(0, 2, "learning")
    with one_thread():
        forest = grow(vectors[:, :filters], codes, weights, classes + nothing, config.seed)
    yield Progress(1, 2, "learning")
    with one_thread():
        linear, bias = _linear(vectors[:, filters:], codes, weights, classes + nothing)
    return PixelHead(forest, linear, bias, filters, classes, nothing)


def _linear(
    tokens: NDArray[np.float32],
    codes: NDArray[np.integer],
    weights: NDArray[np.float32],
    outputs: int,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Fit a linear head on tokens (N, D): its weights (outputs, D) and bias (outputs,)."""
    from sklearn.linear_model import LogisticRegression

    mean, deviation = tokens.mean(0), tokens.std(0)
    deviation = np.where(deviation > SMALLEST, deviation, 1.0)
    fitted = LogisticRegression(C=STRENGTH, max_iter=300)
    fitted.fit((tokens - mean) / deviation, codes, weights)
    slopes, offsets = fitted.coef_, fitted.intercept_
    if len(slopes) == 1:  # of two classes only that of the second one
        slopes, offsets = (np.concatenate([0 * part, part]) for part in (slopes, offsets))
    slopes = slopes / deviation
    found, bias = np.zeros((outputs, tokens.shape[1])), np.full(outputs, NEVER)
    seen = fitted.classes_.astype(int)
    found[seen], bias[seen] = slopes, offsets - slopes @ mean
    return found.astype(np.float32), bias.astype(np.float32)
