"""Scores of a network on annotated pictures, as training and benchmarks use them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..config import EntityConfig
from ..metrics import average_precision
from .plane import segment_plane

if TYPE_CHECKING:
    from .dataset import Example
    from .network import EntityNetwork


def score_examples(
    network: EntityNetwork, examples: Sequence[Example], config: EntityConfig | None = None
) -> dict[str, float]:
    """Segment each example at full size and score it against its labels.

    Returns
    -------
    dict
        ``AP50``, ``mSA``, ``PQ`` and ``F1``, counts summed over the pictures.
    """
    config = config or EntityConfig()
    pairs = []
    for example in examples:
        pixels = example.pyramid[0].astype(np.float32).transpose(1, 2, 0)
        pairs.append((example.labels, segment_plane(network, pixels, config).labels))
    return average_precision(pairs)
