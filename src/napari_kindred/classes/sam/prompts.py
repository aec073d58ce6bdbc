"""Prompts for training: objects of a crop, a point or a rough box on each, and corrections.

After Segment Anything, appendix A ("Training algorithm").
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...models.augment import IGNORE
from .model import Correction, Prompts

SMALLEST = 24
"""Smallest visible area in pixels of an object that is prompted for."""

JITTER = 0.1
"""Standard deviation of a box's edges, as a share of its side …"""

MOST_JITTER = 20.0
"""… and the most that they move, in pixels."""


@dataclass(frozen=True)
class PromptBatch:
    """Prompts of a crop and their target masks.

    ``prompts`` are points on objects, a point on background (right after them) and boxes;
    ``targets`` (N, h, w) the share of each mask pixel that the object covers, all zero for
    background; ``valid`` (h, w) the share of each mask pixel that lies on the image; ``empty`` (N,)
    the prompts on background.
    """

    prompts: Prompts
    targets: Tensor
    valid: Tensor
    empty: Tensor

    @property
    def single(self) -> Tensor:
        """(N,) bool: prompts that are unambiguous, which are the boxes."""
        single = torch.zeros_like(self.empty)
        single[len(self.prompts.points) :] = True
        return single


def draw_prompt_batch(
    labels: Tensor,
    complete: bool,
    count: int,
    boxes: float,
    random: np.random.Generator,
    side: int,
) -> PromptBatch | None:
    """Draw at most ``count`` prompts for a crop of labels (H, W); None if there is no object."""
    truth = labels.cpu().numpy()
    background = np.flatnonzero(truth == 0) if complete and count > 1 else np.empty(0, int)
    probe = len(background) > truth.size // 50
    points: list[tuple[int, int]] = []
    clicked, rough, framed = [], [], []
    for number in _objects(truth, count - int(probe), random):
        mask = truth == number
        pixels = np.argwhere(mask)
        if random.random() < boxes:
            rough.append(_box(pixels, random))
            framed.append(mask)
        else:
            y, x = pixels[random.integers(len(pixels))]
            points.append((x, y))
            clicked.append(mask)
    if probe:
        y, x = divmod(int(random.choice(background)), truth.shape[1])
        points.append((x, y))
        clicked.append(np.zeros_like(truth, bool))
    masks = np.array(clicked + framed)
    if not len(masks):
        return None
    device = labels.device
    full = torch.from_numpy(masks).to(device, torch.float32)
    visible = (labels != IGNORE).float()
    return PromptBatch(
        Prompts(
            torch.tensor(points, dtype=torch.float32, device=device).reshape(-1, 2),
            torch.tensor(rough, dtype=torch.float32, device=device).reshape(-1, 4),
        ),
        F.adaptive_avg_pool2d(full, side),
        F.adaptive_avg_pool2d(visible[None], side)[0],
        ~full.flatten(1).any(1),
    )


def _objects(truth: np.ndarray, count: int, random: np.random.Generator) -> list[int]:
    """Choose at most ``count`` labels with enough visible pixels."""
    numbers, areas = np.unique(truth[truth > 0], return_counts=True)
    numbers = numbers[areas >= SMALLEST]
    return [int(n) for n in random.permutation(numbers)[:count]]


def _box(pixels: np.ndarray, random: np.random.Generator) -> tuple[float, ...]:
    """Return a rough box (x0, y0, x1, y1) around pixels (n, 2) of (y, x)."""
    (top, left), (bottom, right) = pixels.min(0), pixels.max(0) + 1
    sides = np.array([right - left, bottom - top] * 2, float)
    shift = random.normal(0, JITTER, 4) * sides
    limit = np.minimum(MOST_JITTER, 0.4 * sides)  # the corners never swap
    return tuple(np.array([left, top, right, bottom]) + np.clip(shift, -limit, limit))


def draw_corrections(
    logits: Tensor,
    quality: Tensor,
    prompt_batch: PromptBatch,
    side: int,
    random: np.random.Generator,
) -> Correction:
    """Place a point where each mask is wrong, or on the object where it is right."""
    choice = torch.where(prompt_batch.single, 0, quality[:, 1:].argmax(1) + 1)
    masks = logits.detach()[torch.arange(len(logits), device=logits.device), choice]
    truth = prompt_batch.targets > 0.5
    wrong = ((masks > 0) != truth) & (prompt_batch.valid > 0.5)
    step = side / masks.shape[-1]
    points, inside = [], []
    for error, target in zip(wrong.cpu().numpy(), truth.cpu().numpy(), strict=True):
        pixels = np.flatnonzero(error if error.any() else target)
        pixel = int(random.choice(pixels)) if len(pixels) else 0
        y, x = divmod(pixel, masks.shape[-1])
        points.append(((x + 0.5) * step - 0.5, (y + 0.5) * step - 0.5))
        inside.append(bool(target[y, x]))
    return Correction(
        torch.tensor(points, dtype=torch.float32, device=logits.device),
        torch.tensor(inside, device=logits.device),
        masks,
    )
