"""Accuracy of a promptable model: IoU of its mask for one click in the middle of an object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from ...compute.device import inference
from ...core.events import Progress
from .model import Prompts, predict_masks
from .prompts import SMALLEST

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from numpy.typing import NDArray

    from ...models.training_data import Example

MOST = 16
"""Largest number of objects of an image that are clicked on."""

CHUNK = 8
"""Number of clicks that are decoded at once."""

DIAMETERS = (12.0, 90.0)
"""Images whose median diameter lies between these are used at full size …"""

WANTED = 30.0
"""… and others are scaled to this one, in pixels."""


def iter_one_click(
    sam: Any, examples: Sequence[Example]
) -> Generator[Progress, None, dict[str, float]]:
    """Click once on the middle of objects and score the masks' IoU.

    Each image is cut to the middle part that fits the input.  Of the three candidate masks the one
    of best predicted quality is scored.
    """
    scored: dict[str, list[NDArray[np.float64]]] = {}
    for number, example in enumerate(examples):
        yield Progress(number, len(examples), "validating, image")
        image, labels = middle(example, sam.image_encoder.img_size)
        scores = score_image(sam, image, labels)
        if len(scores):
            scored.setdefault(example.group, []).append(scores)
    if not scored:
        return {"one_click": 0.0, "best_of_three": 0.0}
    means = {group: np.concatenate(rows).mean(0) for group, rows in sorted(scored.items())}
    chosen, best = np.mean(list(means.values()), axis=0)
    groups = {f"one_click {group}": float(mean[0]) for group, mean in means.items()}
    return {"one_click": float(chosen), "best_of_three": float(best), **groups}


def middle(example: Example, side: int) -> tuple[Tensor, NDArray[np.int32]]:
    """Cut out an image's middle, (3, h, w) 0 … 1 and labels (h, w), of at most ``side``."""
    in_range = DIAMETERS[0] <= example.diameter <= DIAMETERS[1] or not example.diameter
    scale = 1.0 if in_range else WANTED / example.diameter
    window = [slice(0, length) for length in example.labels.shape]
    for axis, length in enumerate(example.labels.shape):
        wanted = min(length, int(side / scale))
        start = (length - wanted) // 2
        window[axis] = slice(start, start + wanted)
    labels = example.labels[tuple(window)]
    image = torch.from_numpy(example.pyramid[0][:, window[0], window[1]].astype(np.float32))
    if scale != 1:
        size = [max(1, min(side, round(length * scale))) for length in labels.shape]
        image = F.interpolate(image[None], size, mode="bilinear", antialias=True)[0]
        rows, columns = (
            np.minimum((np.arange(n) + 0.5) * length / n, length - 1).astype(int)
            for n, length in zip(size, labels.shape, strict=True)
        )
        labels = labels[np.ix_(rows, columns)]
    return image.clamp(0, 1), labels


def clicks(labels: NDArray[np.int32]) -> dict[int, tuple[int, int]]:
    """Return the innermost pixel (x, y) of each object, of at most :data:`MOST`, evenly chosen."""
    numbers, areas = np.unique(labels[labels > 0], return_counts=True)
    numbers = numbers[areas >= SMALLEST]
    if len(numbers) > MOST:
        numbers = numbers[np.linspace(0, len(numbers) - 1, MOST).astype(int)]
    points_of = {}
    for number in numbers:
        depth = ndimage.distance_transform_edt(np.pad(labels == number, 1))[1:-1, 1:-1]
        y, x = np.unravel_index(int(depth.argmax()), depth.shape)
        points_of[int(number)] = (int(x), int(y))
    return points_of


def score_image(sam: Any, image: Tensor, labels: NDArray[np.int32]) -> NDArray[np.float64]:
    """IoU of the chosen candidate, and of the best one, for each object: (n, 2)."""
    points_of = clicks(labels)
    side, device = sam.image_encoder.img_size, sam.device
    height, width = labels.shape
    rows = []
    with inference():
        embedding = sam.image_encoder(sam.preprocess(image.to(device)[None] * 255))
        numbers = list(points_of)
        for start in range(0, len(numbers), CHUNK):
            some = numbers[start : start + CHUNK]
            points = torch.tensor([points_of[n] for n in some], dtype=torch.float32, device=device)
            logits, quality = predict_masks(sam, embedding, Prompts(points, points.new_zeros(0, 4)))
            full = F.interpolate(logits[:, 1:], (side, side), mode="bilinear")
            masks = (full[..., :height, :width] > 0).cpu().numpy()
            choices = quality[:, 1:].argmax(1).cpu().numpy()
            for mask, choice, number in zip(masks, choices, some, strict=True):
                truth = labels == number
                overlap = (mask & truth).sum((1, 2)) / (mask | truth).sum((1, 2))
                rows.append((overlap[choice], overlap.max()))
    return np.array(rows).reshape(-1, 2)
