"""Random crops for training: scale, rotation, flips, intensity, blur, noise, channel drop."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

if TYPE_CHECKING:
    from .dataset import Example

IGNORE = -1
"""Label of pixels outside the picture: they take part in no loss."""


@dataclass(frozen=True)
class Crop:
    """A picture (3, c, c) float32 and labels (c, c) int64, ``IGNORE`` outside the picture."""

    image: Tensor
    labels: Tensor
    complete: bool


def draw_scale(
    example: Example, crop: int, low: float, high: float, random: np.random.Generator
) -> float:
    """Draw how much to enlarge a picture: its median diameter becomes log-uniform in low..high.

    Enlarged at most 3 times, and never shrunk so far that the crop is mostly outside.
    """
    if example.diameter <= 0:
        return float(np.exp(random.uniform(math.log(0.5), math.log(1.5))))
    wanted = float(np.exp(random.uniform(math.log(low), math.log(high))))
    smallest = 0.75 * crop / min(example.labels.shape)
    return float(np.clip(wanted / example.diameter, smallest, 3.0))


def draw_crop(
    example: Example, crop: int, low: float, high: float, random: np.random.Generator
) -> Crop:
    """Cut a random crop of side ``crop`` out of an example, geometry and intensity augmented."""
    scale = draw_scale(example, crop, low, high, random)
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
    # grid_sample wants (x, y) in -1..1 over the picture's outer edges.
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
    return Crop(
        _intensity(image, example.grey, random),
        torch.from_numpy(labels.astype(np.int64)),
        example.complete,
    )


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
    if draw < 0.3:
        return image.mean(0, keepdim=True).expand(3, -1, -1)
    if draw < 0.4:
        keep = int(random.integers(3))
        return image[keep : keep + 1].expand(3, -1, -1)
    if draw < 0.5:
        return image[torch.from_numpy(random.permutation(3))]
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
    """Gaussian blur of a picture (C, H, W)."""
    radius = max(1, math.ceil(3 * sigma))
    x = torch.arange(-radius, radius + 1, dtype=torch.float32)
    kernel = torch.exp(-x.square() / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    out = F.pad(image[:, None], (radius, radius, radius, radius), mode="reflect")
    out = F.conv2d(out, kernel[None, None, :, None])
    return F.conv2d(out, kernel[None, None, None, :])[:, 0]
