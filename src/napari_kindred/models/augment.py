"""Random crops for training: scale, rotation, flips, intensity, blur, noise, channel drop."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .debris import add_debris
from .synthetic import draw_synthetic

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .training_data import Example

IGNORE = -1
"""Label of pixels outside the image: they take part in no loss."""


@dataclass(frozen=True)
class Crop:
    """An image (3, c, c) float32 and labels (c, c) int64, ``IGNORE`` outside the image."""

    image: Tensor
    labels: Tensor
    complete: bool


def draw_scale(
    example: Example, crop: int, low: float, high: float, random: np.random.Generator
) -> float:
    """Draw the scale of an image: its median diameter becomes log-uniform in low..high.

    Enlarged at most 5 times, and never shrunk so far that the crop is mostly outside.
    """
    if example.diameter <= 0:
        return float(np.exp(random.uniform(math.log(0.5), math.log(1.5))))
    wanted = float(np.exp(random.uniform(math.log(low), math.log(high))))
    smallest = 0.75 * crop / min(example.labels.shape)
    return float(np.clip(wanted / example.diameter, smallest, 5.0))


def draw_crop(
    example: Example,
    crop: int,
    low: float,
    high: float,
    random: np.random.Generator,
    other: Example | None = None,
    debris: bool = False,
) -> Crop:
    """Cut a random crop of side ``crop`` out of an example, geometry and intensity augmented.

    Some of the entities of a crop of the ``other`` example, if given, are pasted in; with
    ``debris`` unlabelled specks and haze are drawn into it.
    """
    scale = draw_scale(example, crop, low, high, random)
    image, labels = _cut(example, crop, scale, random)
    if other is not None:
        ratio = example.diameter / other.diameter * math.exp(random.uniform(-0.3, 0.3))
        image, labels = paste(image, labels, *_cut(other, crop, scale * ratio, random), random)
    if debris:
        image = add_debris(image, labels, random)
    return Crop(
        _intensity(image, example.grey, random),
        torch.from_numpy(labels.astype(np.int64)),
        example.complete,
    )


def draw_synthetic_crop(
    kind: str, crop: int, random: np.random.Generator, debris: bool = False
) -> Crop:
    """Draw a synthetic image of a kind, its intensities augmented like those of real ones."""
    drawn = draw_synthetic(kind, crop, random)
    image = torch.from_numpy(drawn.image)
    if debris:
        image = add_debris(image, drawn.labels, random)
    image = _intensity(image, drawn.grey, random)
    return Crop(image, torch.from_numpy(drawn.labels.astype(np.int64)), complete=True)


def _cut(
    example: Example, crop: int, scale: float, random: np.random.Generator
) -> tuple[Tensor, NDArray[np.int32]]:
    """Cut a crop, enlarged by ``scale``, turned, flipped and stretched at random."""
    height, width = example.labels.shape
    angle = math.pi / 2 * int(random.integers(4))
    if random.random() < 0.5:
        angle += random.uniform(-math.pi / 4, math.pi / 4)
    stretch = math.exp(random.uniform(-0.25, 0.25)) if random.random() < 0.7 else 1.0
    flip = -1.0 if random.random() < 0.5 else 1.0
    centre = _centre(example, crop / scale, random)
    # Source position of an output pixel, in pixels from the crop's centre.
    sine, cosine = math.sin(angle) / scale, math.cos(angle) / scale
    matrix = np.array([[cosine / stretch, sine * stretch], [-sine / stretch, cosine * stretch]])
    matrix[:, 1] *= flip
    axis = np.arange(crop) - (crop - 1) / 2
    places = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1) @ matrix.T + centre
    size = np.array([height, width])
    # grid_sample needs (x, y) in -1..1 over the image's outer edges.
    grid = torch.from_numpy(((places + 0.5) / size * 2 - 1)[..., ::-1].astype(np.float32).copy())
    level = int(np.clip(np.floor(np.log2(1 / scale) + 0.25), 0, len(example.pyramid) - 1))
    source = torch.from_numpy(example.pyramid[level].astype(np.float32))[None]
    image = F.grid_sample(
        source, grid[None], mode="bilinear", padding_mode="reflection", align_corners=False
    )[0]
    row = np.rint(places[..., 0]).astype(int)
    column = np.rint(places[..., 1]).astype(int)
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    labels = np.where(
        inside, example.labels[row.clip(0, height - 1), column.clip(0, width - 1)], IGNORE
    )
    return image, labels


MOST_PASTED = 6
"""Largest number of entities pasted into a crop."""

LEFT = 0.6
"""An entity of which pasting leaves a smaller share of its pixels takes part in no loss."""


def paste(
    image: Tensor,
    labels: NDArray[np.int32],
    other: Tensor,
    others: NDArray[np.int32],
    random: np.random.Generator,
) -> tuple[Tensor, NDArray[np.int32]]:
    """Paste some whole entities of one crop into another, both image and labels.

    Their intensities are shifted by the difference of the two backgrounds, and blended over a
    pixel at their edges.
    """
    edge = np.ones(others.shape, bool)
    edge[1:-1, 1:-1] = False
    whole = np.setdiff1d(others, np.append(others[edge], (0, IGNORE)))
    background, other_background = (labels == 0), (others == 0)
    if not len(whole) or not background.any() or not other_background.any():
        return image, labels
    chosen = random.choice(
        whole, size=min(len(whole), int(random.integers(1, MOST_PASTED + 1))), replace=False
    )
    mask = np.isin(others, chosen) & (labels != IGNORE)
    first = image[:, torch.from_numpy(background)].median(1).values
    second = other[:, torch.from_numpy(other_background)].median(1).values
    soft = blur(torch.from_numpy(mask.astype(np.float32))[None], 0.7)
    image = image + soft * (other + (first - second)[:, None, None] - image)
    before = np.bincount(labels[labels > 0], minlength=1)
    after = np.bincount(labels[(labels > 0) & ~mask], minlength=len(before))
    hidden = np.flatnonzero((after < LEFT * before) & (before > 0))
    labels = np.where(np.isin(labels, hidden), IGNORE, labels)
    labels = np.where(mask, others + len(before), labels)
    return image, labels


def _centre(example: Example, side: float, random: np.random.Generator) -> np.ndarray:
    """Centre of a crop that covers ``side`` source pixels: on an entity in most cases."""
    shape = np.array(example.labels.shape, float)
    margin = np.minimum(side / 2, shape / 2)
    place = random.uniform(0, shape)
    if random.random() < 0.6:
        for _ in range(16):
            if example.labels[tuple(place.astype(int))] > 0:
                break
            place = random.uniform(0, shape)
        place = place + random.uniform(-side / 4, side / 4, 2)
    return np.clip(place, margin, shape - margin)


def _intensity(image: Tensor, grey: bool, random: np.random.Generator) -> Tensor:
    image = image.clamp_min(0)
    if not grey:
        image = _colour(image, random)
    if random.random() < (0.2 if grey else 0.1):
        image = (1 - image).clamp_min(0)
    if random.random() < 0.6:
        image = image ** float(np.exp(random.uniform(-0.7, 0.7)))
    if random.random() < 0.5:
        image = image * float(random.uniform(0.6, 1.3)) + float(random.uniform(-0.1, 0.15))
    if random.random() < 0.3:
        image = image * _illumination(image.shape[-1], random)
    if random.random() < 0.25:
        image = image + _texture(image.shape[-1], random)
    if random.random() < 0.25:
        image = blur(image, float(random.uniform(0.4, 1.6)))
    if random.random() < 0.4:
        sigma = float(random.uniform(0.01, 0.1))
        shape = image.shape if not grey else (1, *image.shape[1:])
        noise = random.standard_normal(shape, dtype=np.float32) * sigma
        image = image + torch.from_numpy(noise)
    return image.clamp(-0.2, 1.5)


def _colour(image: Tensor, random: np.random.Generator) -> Tensor:
    draw = random.random()
    if draw < 0.25:
        return image.mean(0, keepdim=True).expand(3, -1, -1)
    if draw < 0.4:
        keep = int(random.integers(3))
        return image[keep : keep + 1].expand(3, -1, -1)
    if draw < 0.5:
        image = image[torch.from_numpy(random.permutation(3))]
        if random.random() < 0.4:  # fewer channels than three: the others are empty
            image = image.clone()
            image[int(random.integers(3))] = 0
        return image
    if draw < 0.8:
        gain = torch.from_numpy(random.uniform(0.75, 1.25, (3, 1, 1)).astype(np.float32))
        return image * gain
    return image


def _illumination(side: int, random: np.random.Generator) -> Tensor:
    coarse = torch.from_numpy(random.uniform(0.5, 1.2, (1, 1, 3, 3)).astype(np.float32))
    return F.interpolate(coarse, size=(side, side), mode="bicubic", align_corners=True)[0]


def _texture(side: int, random: np.random.Generator) -> Tensor:
    """Blurred noise: the dirt, grain and unevenness of an empty background."""
    noise = torch.from_numpy(random.standard_normal((1, side, side), dtype=np.float32))
    noise = blur(noise, float(random.uniform(0.8, 3.0)))
    return noise / noise.std() * float(random.uniform(0.01, 0.05))


def blur(image: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of an image (C, H, W)."""
    radius = max(1, math.ceil(3 * sigma))
    x = torch.arange(-radius, radius + 1, dtype=torch.float32)
    kernel = torch.exp(-x.square() / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    out = F.pad(image[:, None], (radius, radius, radius, radius), mode="reflect")
    out = F.conv2d(out, kernel[None, None, :, None])
    return F.conv2d(out, kernel[None, None, None, :])[:, 0]
