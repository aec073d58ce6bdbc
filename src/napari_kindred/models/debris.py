"""What lies in microscope images and is no object: specks, and light from out of focus.

Neither is labelled.  A network that was not shown them takes specks for small objects and haze for
large ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_SPECKS = 60
"""Largest number of specks in a crop."""

SPECK_RADIUS = (0.03, 0.13)
"""Radius of a speck, at least about a pixel, as a share of the objects' median diameter."""

USUAL = 24.0
"""Median diameter, in pixels, that is assumed where a crop shows no object."""


def add_debris(image: Tensor, labels: NDArray[np.int32], random: np.random.Generator) -> Tensor:
    """Draw specks or haze, or both, into an image (3, H, W); the labels stay as they are."""
    plane = image.numpy()
    sizes = np.bincount(labels[labels > 0].astype(np.int64))
    sizes = sizes[sizes > 0]
    diameter = float(np.sqrt(4 / np.pi * np.median(sizes))) if len(sizes) else USUAL
    background = plane[:, labels == 0] if (labels == 0).any() else plane.reshape(len(plane), -1)
    usual = np.median(background, 1)[:, None, None]
    bright = float(np.abs(plane - usual).max(0)[labels > 0].mean()) if len(sizes) else 0.3
    added = np.zeros(labels.shape, np.float32)
    draw = random.random()
    if draw < 0.7:
        added += bright * specks(labels, diameter, random)
    if draw > 0.5 and len(sizes):
        return torch.from_numpy(plane + added + haze(plane - usual, labels, diameter, random))
    return torch.from_numpy(plane + added)


def specks(
    labels: NDArray[np.int32], diameter: float, random: np.random.Generator
) -> NDArray[np.float32]:
    """Draw dust, hot pixels and rings of dust out of focus beside the objects, -1 ... 1."""
    plane = np.zeros(labels.shape, np.float32)
    free = np.argwhere(labels <= 0)
    if not len(free):
        return plane
    count = int(np.exp(random.uniform(0, np.log(MOST_SPECKS))))
    sign = random.choice([-1.0, 1.0, 0.0])  # 0: dark and bright ones beside each other
    ring = random.random() < 0.3
    typical = diameter * random.uniform(*SPECK_RADIUS)
    strength = random.uniform(0.1, 1.0)
    for row, column in free[random.integers(len(free), size=count)]:
        radius = float(np.clip(typical * np.exp(random.normal(0, 0.3)), 0.5, 6.0))
        reach = int(np.ceil(3 * radius)) + 1
        low = max(row - reach, 0), max(column - reach, 0)
        window = plane[low[0] : row + reach + 1, low[1] : column + reach + 1]
        rows = np.arange(window.shape[0])[:, None] + low[0] - row + random.uniform(-0.5, 0.5)
        columns = np.arange(window.shape[1])[None] + low[1] - column + random.uniform(-0.5, 0.5)
        distance = (rows**2 + columns**2) / radius**2
        spot = np.exp(-distance / 2)
        if ring:
            spot = spot * (distance - 1)
        height = strength * random.uniform(0.3, 1.0) * (sign or random.choice([-1.0, 1.0]))
        window += (height * spot).astype(np.float32)
    return plane


def haze(
    contrast: NDArray[np.float32],
    labels: NDArray[np.int32],
    diameter: float,
    random: np.random.Generator,
) -> NDArray[np.float32]:
    """Shift and blur the objects' own light, as if others lay out of focus above them."""
    light = contrast * (labels > 0)
    shift = random.integers(0, labels.shape)
    light = np.roll(light, tuple(shift), axis=(1, 2))
    sigma = diameter * float(random.uniform(0.25, 0.8))
    blurred = ndimage.gaussian_filter(light, (0, sigma, sigma), mode="reflect", truncate=2.5)
    return np.asarray(blurred * random.uniform(0.2, 1.0), np.float32)
