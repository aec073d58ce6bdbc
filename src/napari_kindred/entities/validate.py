"""Accuracy of a network on annotated images, and what is learnt or chosen from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..core.events import Progress, finish
from ..models.augment import IGNORE
from ..results.metrics import THRESHOLDS, average_precision, instance_counts, overlaps
from .config import EntityConfig
from .resampling import GridMapping, scaled_shape
from .scoring import ObjectFilter, ScoreModel, object_stats
from .segment import chosen_scale, instances_of, iter_dense_bounded, resize_to, segment_plane

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from typing import Any

    from numpy.typing import NDArray

    from ..models.training_data import Example
    from .network import EntityNetwork

    Floats = NDArray[np.float32]
    Ids = NDArray[Any]

RIGHT = 0.5
"""An entity with a larger IoU than this is right."""

CUTS = (0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65)
"""Values of the option ``threshold`` that are compared."""

SCORES = (0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5)
"""Values of the option ``min_score`` that are compared."""


@dataclass(frozen=True)
class Settings:
    """The threshold and the minimum score that suit a network best.

    Attributes
    ----------
    threshold, min_score : float
        One of :data:`CUTS` and one of :data:`SCORES`.
    values : ndarray, (cuts, scores)
        Mean of AP50 and mSA over the groups of images.
    accuracy : dict of str to dict
        AP50 and mSA (pooled over a group's images), and the numbers of images and objects, of each
        group at the chosen setting.
    """

    threshold: float
    min_score: float
    values: NDArray[np.float64]
    accuracy: dict[str, dict[str, float]]


class SettingCounts:
    """Counts of right, wrong and missed objects at every threshold and minimum score.

    Every group of images counts the same, however many images it has.
    """

    def __init__(self) -> None:
        self.counts: dict[str, NDArray[np.float64]] = {}
        self.images: dict[str, int] = {}

    def add(self, network: EntityNetwork, group: str, image: Floats, truth: Ids) -> None:
        """Count one normalised image (H, W, C) with labels (H, W); the network runs once."""
        counts = np.zeros((len(CUTS), len(SCORES), len(THRESHOLDS), 3))
        scale, dense, mapping = _dense(network, image, truth)
        for i, cut in enumerate(CUTS):
            found = instances_of(network, dense, mapping, EntityConfig(threshold=cut))
            for j, score in enumerate(SCORES):
                chosen = EntityConfig(threshold=cut, min_score=score)
                labels, _ = ObjectFilter(network.scoring, scale, chosen).finish(found)
                counts[i, j] = np.array(instance_counts(truth, labels, THRESHOLDS))[:, :3]
        self.counts[group] = self.counts.get(group, 0) + counts
        self.images[group] = self.images.get(group, 0) + 1

    def best(self) -> Settings:
        """Return the best setting; at least one image must have been counted."""
        precision, objects = {}, {}
        for group, counts in self.counts.items():
            right, wrong, missed = np.moveaxis(counts, -1, 0)
            precision[group] = right / np.maximum(right + wrong + missed, 1)
            objects[group] = int((right + missed).max())
        values = np.mean([(p[..., 0] + p.mean(-1)) / 2 for p in precision.values()], axis=0)
        i, j = np.unravel_index(int(values.argmax()), values.shape)
        accuracy = {
            group: {
                "AP50": float(precision[group][i, j, 0]),
                "mSA": float(precision[group][i, j].mean()),
                "images": self.images[group],
                "objects": objects[group],
            }
            for group in sorted(precision)
        }
        return Settings(CUTS[i], SCORES[j], values, accuracy)


def iter_score_examples(
    network: EntityNetwork, examples: Sequence[Example], config: EntityConfig | None = None
) -> Generator[Progress, None, dict[str, float]]:
    """Segment each example at full size and score it against its labels.

    Nothing counts that lies mostly where labels are ``IGNORE``.
    """
    config, pairs = config or EntityConfig(), []
    for number, example in enumerate(examples):
        yield Progress(number, len(examples), "validating, image")
        found = segment_plane(network, _pixels(example), config).labels
        pairs.append(_that_count(example.labels, found))
    return average_precision(pairs)


def _that_count(truth: Ids, found: Ids) -> tuple[Ids, Ids]:
    """Leave out of both label images (H, W) what is ignored, and entities mostly there."""
    ignored = truth == IGNORE
    if ignored.any():
        size = np.bincount(found.ravel())
        outside = np.bincount(found[ignored], minlength=len(size)) > size / 2
        found = np.where(outside[found], 0, found)
    return np.maximum(truth, 0), found


def iter_choose_settings(
    network: EntityNetwork, examples: Sequence[Example]
) -> Generator[Progress, None, Settings | None]:
    """Choose threshold and minimum score on annotated images; None without any."""
    counts = SettingCounts()
    for number, example in enumerate(examples):
        yield Progress(number, len(examples), "choosing the threshold, image")
        if example.complete:
            counts.add(network, example.group, _pixels(example), example.labels)
    return counts.best() if counts.counts else None


def iter_learn_scoring(
    network: EntityNetwork, examples: Sequence[Example]
) -> Generator[Progress, None, ScoreModel | None]:
    """Learn the probability that an entity of a network is right: an IoU above ``RIGHT``.

    Each image is segmented at full size, without any object filter.  A group of images counts by
    the square root of the number of its entities.
    """
    traits, right, groups = [], [], []
    for number, example in enumerate(examples):
        yield Progress(number, len(examples), "learning the score, image")
        if example.complete:
            its_traits, is_right = _traits_and_truth(network, example)
            traits.append(its_traits)
            right.append(is_right)
            groups += [example.group] * len(is_right)
    if not groups:
        return None
    _, group, count = np.unique(groups, return_inverse=True, return_counts=True)
    weights = 1 / np.sqrt(count[group])
    return ScoreModel.learn(np.concatenate(traits), np.concatenate(right), weights)


def _traits_and_truth(
    network: EntityNetwork, example: Example
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the traits of an image's entities, and which of them are right."""
    config = EntityConfig()
    scale, dense, mapping = _dense(network, _pixels(example), example.labels)
    instances = instances_of(network, dense, mapping, config)
    stats = object_stats(instances)
    large = stats.area >= config.min_area
    right = np.zeros(len(large), bool)
    shared = overlaps(example.labels, instances.labels)
    right[shared.second[shared.iou > RIGHT] - 1] = True
    return stats.traits(scale)[large], right[large]


def _dense(network: EntityNetwork, pixels: Floats, truth: Ids) -> tuple[float, Floats, GridMapping]:
    """Return an image's automatic scale, its raw maps (C, h, w) and how they lie on its pixels."""
    config, shape = EntityConfig(), (truth.shape[0], truth.shape[1])
    scale = chosen_scale(network, pixels, config)
    image = resize_to(pixels, scaled_shape(shape, scale))
    dense = finish(iter_dense_bounded(network, image, config.tile))
    return scale, dense, GridMapping.whole(shape, scale, network.config.output_stride)


def _pixels(example: Example) -> NDArray[np.float32]:
    return np.asarray(example.pyramid[0].astype(np.float32).transpose(1, 2, 0))
