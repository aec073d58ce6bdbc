"""The score of an entity: its probability of being correct, learnt from annotated images.

A network may be certain of every pixel of a speck, and a speck is still not a cell.  So the score
of an entity is the probability that it overlaps a real one by more than half, a logistic function
of statistics of its pixels.  Training learns it at its end; without it, the score is the mean of
foreground times similarity over the entity's pixels.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit

from . import decode

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .config import EntityConfig

LEAST = 30
"""Minimum number of right, and of wrong, entities to learn from."""

SURE = 0.6
"""Foreground of the pixels that count for an entity's score: those that scores are learnt from.

With a lower threshold an entity gets a rim of doubtful pixels, and is no less likely for it.
"""

SOFT = 1e-3
"""Keeps the logarithm of odds finite."""


@dataclass(frozen=True, slots=True)
class ObjectStats:
    """Statistics of N entities, summed over their pixels."""

    area: NDArray[np.int64]
    quality: NDArray[np.float64]
    """Foreground times similarity."""
    foreground: NDArray[np.float64]
    log_width: NDArray[np.float64]
    """Logarithm of the predicted kernel width; NaN without positional features."""

    def traits(self, scale: float) -> NDArray[np.float64]:
        """Return a score model's inputs, (N, 4), of a plane segmented at ``scale``."""
        area = np.maximum(self.area, 1)
        width = np.exp(self.log_width / area)
        size = np.log(area / decode.usual_size(width))
        return np.stack(
            [
                _log_odds(self.quality / area),
                _log_odds(self.foreground / area),
                np.where(np.isnan(size), 0.0, size),
                np.log(scale * np.sqrt(4 / np.pi * area)),
            ],
            axis=1,
        )


def _log_odds(share: NDArray[np.float64]) -> NDArray[np.float64]:
    share = np.clip(share, SOFT, 1)
    return np.asarray(np.log(share / (1 - share + SOFT)))


def object_stats(instances: decode.InstanceMap, count: int | None = None) -> ObjectStats:
    """Sum up the statistics of entities 1 … ``count``, or to the largest id, pixels or not."""
    at = np.flatnonzero(instances.labels)
    ids = instances.labels.ravel()[at] - 1
    count = int(instances.labels.max(initial=0)) if count is None else count
    area = np.bincount(ids, minlength=count)
    sure = instances.foreground.ravel()[at] >= SURE
    surely = np.bincount(ids[sure], minlength=count)
    sure |= (surely == 0)[ids]
    share = area / np.maximum(np.bincount(ids[sure], minlength=count), 1)

    def total(values: NDArray[np.float32]) -> NDArray[np.float64]:
        """Sum up values as if all pixels were like the sure ones."""
        return share * np.bincount(ids[sure], values.ravel()[at][sure], minlength=count)

    width = np.full(count, np.nan)
    if instances.width is not None:
        width = np.bincount(ids, np.log(instances.width.ravel()[at]), minlength=count)
    return ObjectStats(area, total(instances.quality), total(instances.foreground), width)


@dataclass(frozen=True, slots=True)
class ScoreModel:
    """Logistic function of an entity's traits; a factor for each."""

    bias: float
    quality: float
    """Of the log odds of its mean quality."""
    foreground: float
    """Of the log odds of its mean foreground."""
    size: float
    """Of the logarithm of its area over the predicted one."""
    diameter: float
    """Of the logarithm of its diameter in pixels of the scaled plane."""

    def __post_init__(self) -> None:
        if not all(np.isfinite(getattr(self, item.name)) for item in fields(self)):
            raise ValueError("Factors of a score must be finite.")

    def __call__(self, traits: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the probability that each entity is correct, from rows of traits."""
        bias, *factors = (getattr(self, item.name) for item in fields(self))
        return np.asarray(expit(bias + traits @ np.array(factors)))

    @classmethod
    def read(cls, text: str | None) -> ScoreModel | None:
        """Return the one in a weights file's header, if any."""
        if not text:
            return None
        return cls(**{key: float(value) for key, value in json.loads(text).items()})

    @classmethod
    def learn(
        cls,
        traits: NDArray[np.float64],
        right: NDArray[np.bool_],
        weights: NDArray[np.float64],
    ) -> ScoreModel | None:
        """Learn from N entities that are right or wrong."""
        from sklearn.linear_model import LogisticRegression

        if min(right.sum(), (~right).sum()) < LEAST:
            return None
        middle, spread = traits.mean(0), np.maximum(traits.std(0), SOFT)
        model = LogisticRegression(C=1.0, max_iter=1000)
        model.fit((traits - middle) / spread, right, sample_weight=weights / weights.mean())
        factors = model.coef_[0] / spread
        bias = float(model.intercept_[0] - factors @ middle)
        return cls(bias, *(float(factor) for factor in factors))


@dataclass(frozen=True)
class ObjectFilter:
    """Scores the entities of a plane and decides which are kept.

    Without a score model the score is the mean quality, and fragments are left out: entities much
    smaller than their pixels predict.
    """

    scoring: ScoreModel | None
    scale: float
    config: EntityConfig

    def scores(self, stats: ObjectStats) -> NDArray[np.float32]:
        """Return the score of each entity, 0 … 1."""
        if self.scoring is None:
            return (stats.quality / np.maximum(stats.area, 1)).astype(np.float32)
        return self.scoring(stats.traits(self.scale)).astype(np.float32)

    def keeps(self, stats: ObjectStats) -> NDArray[np.bool_]:
        """Whether each entity is large enough and has the minimum score."""
        keep = stats.area >= max(self.config.min_area, 1)
        keep &= self.scores(stats) >= self.config.min_score
        if self.scoring is None and self.config.min_score > 0:
            width = np.exp(stats.log_width / np.maximum(stats.area, 1))
            keep &= ~(stats.area < decode.WHOLE * decode.usual_size(width))
        return np.asarray(keep)

    def finish(self, instances: decode.InstanceMap) -> tuple[decode.Labels, decode.Floats]:
        """Leave out small and doubtful entities and number the others as :func:`.decode.number`."""
        stats = object_stats(instances)
        return decode.number(instances.labels, self.keeps(stats), self.scores(stats))
