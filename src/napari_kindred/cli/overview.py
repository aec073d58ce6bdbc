"""A picture of a result: frames above, the same frames with coloured labels below."""

from __future__ import annotations

from typing import Any

import numpy as np
from skimage.color import hsv2rgb
from skimage.segmentation import find_boundaries

from ..images.stack import ImageStack, normalise

_GOLDEN = 0.6180339887498949
_GAP = 6


def colour_labels(labels: np.ndarray) -> np.ndarray:
    """Give every label a colour of its own, neighbouring ids far apart in hue.

    ``labels`` (Y, X) int; returns (Y, X, 3) float.
    """
    hue = (labels * _GOLDEN) % 1.0
    strength = (labels > 0).astype(float)
    colours: np.ndarray = hsv2rgb(np.stack([hue, 0.75 * strength, strength], axis=-1))
    return colours


def draw_frame(pixels: np.ndarray, labels: np.ndarray, largest: int = 480) -> np.ndarray:
    """Draw one frame above its labels.

    ``pixels`` (Y, X, C) float32, ``labels`` (Y, X) int; returns (2 * height + gap, width, 3) uint8.
    """
    step = max(1, -(-max(labels.shape) // largest))
    pixels, labels = pixels[::step, ::step], np.asarray(labels[::step, ::step])
    seen = np.clip(normalise(pixels), 0, 1)
    seen = np.broadcast_to(seen, (*labels.shape, 3))
    inside = (labels > 0)[..., None]
    mixed = np.where(inside, 0.55 * seen + 0.45 * colour_labels(labels), seen)
    edge = find_boundaries(labels, mode="inner")
    mixed[edge] = colour_labels(labels)[edge]
    gap = np.ones((_GAP, labels.shape[1], 3))
    return (np.concatenate([seen, gap, mixed]) * 255).astype(np.uint8)


def draw_overview(frames: ImageStack, labels: Any, count: int = 4) -> np.ndarray:
    """Draw several frames of a result side by side, from the first to the last.

    Returns (height, width, 3) uint8.
    """
    indices = list(frames.indices())
    chosen = np.unique(np.linspace(0, len(indices) - 1, count).round().astype(int))
    pictures = []
    for place in chosen:
        index = indices[place]
        picture = draw_frame(frames.read(index).normalised(), np.asarray(labels[index]))
        pictures += [picture, np.full((picture.shape[0], _GAP, 3), 255, np.uint8)]
    return np.concatenate(pictures[:-1], axis=1)
