"""Accuracy of a network on annotated images, and the score model learnt from them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..core.events import Progress, finish
from ..results.metrics import average_precision, overlaps
from .config import EntityConfig
from .resampling import GridMapping, scaled_shape
from .scoring import ScoreModel, object_stats
from .segment import chosen_scale, instances_of, iter_dense_bounded, resize_to, segment_plane

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from numpy.typing import NDArray

    from ..models.training_data import Example
    from .network import EntityNetwork


RIGHT = 0.5
"""An entity with a larger IoU than this is right."""


def iter_score_examples(
    network: EntityNetwork, examples: Sequence[Example], config: EntityConfig | None = None
) -> Generator[Progress, None, dict[str, float]]:
    """Segment each example at full size and score it against its labels."""
    config, pairs = config or EntityConfig(), []
    for number, example in enumerate(examples):
        yield Progress(number, len(examples), "validating, image")
        found = segment_plane(network, _pixels(example), config).labels
        pairs.append((example.labels, found))
    return average_precision(pairs)


def iter_learn_scoring(
    network: EntityNetwork, examples: Sequence[Example]
) -> Generator[Progress, None, ScoreModel | None]:
    """Learn the probability that an entity of a network is right.

    Each image is segmented at full size, without any object filter.  An entity is right if its
    IoU with a real one is above 0.5.  A group of images counts by the square root of the number
    of its entities.
    """
    traits, right, groups = [], [], []
    for number, example in enumerate(examples):
        yield Progress(number, len(examples), "learning the score, image")
        if example.complete:
            seen, good = _tried(network, example)
            traits.append(seen)
            right.append(good)
            groups += [example.group] * len(good)
    if not groups:
        return None
    _, group, count = np.unique(groups, return_inverse=True, return_counts=True)
    weights = 1 / np.sqrt(count[group])
    return ScoreModel.learn(np.concatenate(traits), np.concatenate(right), weights)


def _tried(
    network: EntityNetwork, example: Example
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the traits of an image's entities, and which of them are right."""
    config, pixels, shape = EntityConfig(), _pixels(example), example.labels.shape
    scale = chosen_scale(network, pixels, config)
    image = resize_to(pixels, scaled_shape(shape, scale))
    dense = finish(iter_dense_bounded(network, image, config.tile))
    mapping = GridMapping.whole(shape, scale, network.config.output_stride)
    instances = instances_of(network, dense, mapping, config)
    stats = object_stats(instances)
    large = stats.area >= config.min_area
    right = np.zeros(len(large), bool)
    shared = overlaps(example.labels, instances.labels)
    right[shared.second[shared.iou > RIGHT] - 1] = True
    return stats.traits(scale)[large], right[large]


def _pixels(example: Example) -> NDArray[np.float32]:
    return np.asarray(example.pyramid[0].astype(np.float32).transpose(1, 2, 0))
