"""How likely an entity is right: its score, learnt from annotated pictures.

A network may be sure of every pixel of a speck, and a speck is still no cell.  So the score of an
entity is the chance that it overlaps a real one by more than half, a logistic function of what its
pixels tell together.  Training learns it at its end; weights that were never taught it have the
mean over an entity's pixels of foreground times similarity instead.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import expit

from . import decode

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .config import EntityConfig

LEAST = 30
"""From fewer right or fewer wrong entities than this nothing is learnt."""

SOFT = 1e-3
"""Keeps the logarithm of odds finite."""


@dataclass(frozen=True, slots=True)
class ObjectStats:
    """What is known of entities, summed over their pixels.

    Attributes
    ----------
    area : ndarray of int64, (N,)
        How many pixels they have.
    quality, foreground : ndarray of float64, (N,)
        Foreground times similarity, and foreground alone.
    log_width : ndarray of float64, (N,)
        Logarithm of the kernel width that their pixels speak of; NaN where the network tells none.
    """

    area: NDArray[np.int64]
    quality: NDArray[np.float64]
    foreground: NDArray[np.float64]
    log_width: NDArray[np.float64]

    def traits(self, scale: float) -> NDArray[np.float64]:
        """Return what a :class:`ScoreModel` looks at, a row for each entity in its fields' order.

        ``scale`` is that of the picture that the network saw.
        """
        area = np.maximum(self.area, 1)
        width = np.exp(self.log_width / area)
        size = np.log(area / decode.usual_area(width))
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


def object_stats(instances: decode.InstanceMap) -> ObjectStats:
    """Sum up what the pixels of entities 1 … N tell; ids without a pixel count as well."""
    at = np.flatnonzero(instances.labels)
    ids = instances.labels.ravel()[at] - 1
    count = int(instances.labels.max(initial=0))

    def total(values: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.bincount(ids, values.ravel()[at], minlength=count).astype(np.float64)

    area = np.bincount(ids, minlength=count)
    width = np.full(count, np.nan)
    if instances.width is not None:
        width = np.bincount(ids, np.log(instances.width.ravel()[at]), minlength=count)
    return ObjectStats(area, total(instances.quality), total(instances.foreground), width)


@dataclass(frozen=True, slots=True)
class ScoreModel:
    """A logistic function of an entity's traits.

    Attributes
    ----------
    bias : float
    quality, foreground : float
        Factors of the log odds of the two means over its pixels.
    size : float
        Of the logarithm of its area over that which its pixels speak of.
    diameter : float
        Of the logarithm of its diameter in pixels of the picture that the network saw.
    """

    bias: float
    quality: float
    foreground: float
    size: float
    diameter: float

    def __post_init__(self) -> None:
        if not all(np.isfinite(getattr(self, item.name)) for item in fields(self)):
            raise ValueError("Factors of a score must be finite.")

    def __call__(self, traits: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the chance that each entity is right, from rows of :meth:`ObjectStats.traits`."""
        bias, *factors = (getattr(self, item.name) for item in fields(self))
        return np.asarray(expit(bias + traits @ np.array(factors)))

    @classmethod
    def read(cls, text: str | None) -> ScoreModel | None:
        """Return the one that a weights file's header tells of, if any."""
        known: Any = json.loads(text) if text else None
        return None if known is None else cls(**{key: float(one) for key, one in known.items()})

    @classmethod
    def learn(
        cls,
        traits: NDArray[np.float64],
        right: NDArray[np.bool_],
        weights: NDArray[np.float64],
    ) -> ScoreModel | None:
        """Learn from entities that are known to be right or wrong.

        ``traits`` (N, 4), ``right`` (N,) bool, ``weights`` (N,).
        """
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
    """Scores the entities of a plane and tells which are kept.

    Attributes
    ----------
    scoring : ScoreModel or None
        Of the network; without it the score is the mean quality, and fragments are left out: what
        is much smaller than the entity that its pixels speak of.
    scale : float
        Of the picture that the network saw.
    config : EntityConfig
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
        """Tell which entities are large and sure enough."""
        keep = stats.area >= max(self.config.min_area, 1)
        keep &= self.scores(stats) >= self.config.min_score
        if self.scoring is None and self.config.min_score > 0:
            width = np.exp(stats.log_width / np.maximum(stats.area, 1))
            keep &= ~(stats.area < decode.WHOLE * decode.usual_area(width))
        return np.asarray(keep)

    def finish(self, instances: decode.InstanceMap) -> tuple[decode.Labels, decode.Floats]:
        """Leave out what is too small or doubtful, and number the others row by row.

        Returns
        -------
        labels : ndarray, (H, W) int32
            1 … N, 0 background.
        scores : ndarray, (N,) float32
        """
        stats = object_stats(instances)
        return decode.number(instances.labels, self.keeps(stats), self.scores(stats))
