"""Prompts for training: things of a crop, a point or a rough box on each, and corrections.

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
"""Things of which a crop shows fewer pixels than this are not asked for."""

JITTER = 0.1
"""Deviation of a box's edges from their places, as a share of its side …"""

MOST_JITTER = 20.0
"""… and at most so many pixels."""


@dataclass(frozen=True)
class PromptBatch:
    """Prompts of a crop and their right answers.

    Attributes
    ----------
    prompts : Prompts
        Points on things, points on background (right after them), boxes around things.
    targets : Tensor, (N, h, w) float32
        Share of each mask pixel that the thing covers, 0 … 1; all zero for background.
    valid : Tensor, (h, w) float32
        Share of each mask pixel that lies on the picture.
    empty : Tensor, (N,) bool
        Prompts on background.
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
    """Draw prompts for a crop.

    ``labels`` (H, W) int64.
    """
    truth = labels.cpu().numpy()
    background = np.flatnonzero(truth == 0) if complete and count > 1 else np.empty(0, int)
    probe = len(background) > truth.size // 50
    points: list[tuple[int, int]] = []
    clicked, rough, framed = [], [], []
    for number in _things(truth, count - int(probe), random):
        mask = truth == number
        places = np.argwhere(mask)
        if random.random() < boxes:
            rough.append(_box(places, random))
            framed.append(mask)
        else:
            y, x = places[random.integers(len(places))]
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
    seen = (labels != IGNORE).float()
    return PromptBatch(
        Prompts(
            torch.tensor(points, dtype=torch.float32, device=device).reshape(-1, 2),
            torch.tensor(rough, dtype=torch.float32, device=device).reshape(-1, 4),
        ),
        F.adaptive_avg_pool2d(full, side),
        F.adaptive_avg_pool2d(seen[None], side)[0],
        ~full.flatten(1).any(1),
    )


def _things(truth: np.ndarray, count: int, random: np.random.Generator) -> list[int]:
    """Choose at most ``count`` labels of which enough is seen."""
    numbers, areas = np.unique(truth[truth > 0], return_counts=True)
    numbers = numbers[areas >= SMALLEST]
    return [int(n) for n in random.permutation(numbers)[:count]]


def _box(places: np.ndarray, random: np.random.Generator) -> tuple[float, ...]:
    """Return a rough box (x0, y0, x1, y1) around pixels (n, 2) of (y, x)."""
    (top, left), (bottom, right) = places.min(0), places.max(0) + 1
    sides = np.array([right - left, bottom - top] * 2, float)
    shift = random.normal(0, JITTER, 4) * sides
    limit = np.minimum(MOST_JITTER, 0.4 * sides)  # the corners never change places
    return tuple(np.array([left, top, right, bottom]) + np.clip(shift, -limit, limit))


def draw_corrections(
    logits: Tensor,
    quality: Tensor,
    prompt_batch: PromptBatch,
    side: int,
    random: np.random.Generator,
) -> Correction:
    """Put a point where each answer is wrong, or on the thing where it is right.

    ``logits`` (N, 4, h, w), ``quality`` (N, 4).
    """
    choice = torch.where(prompt_batch.single, 0, quality[:, 1:].argmax(1) + 1)
    masks = logits.detach()[torch.arange(len(logits), device=logits.device), choice]
    truth = prompt_batch.targets > 0.5
    wrong = ((masks > 0) != truth) & (prompt_batch.valid > 0.5)
    step = side / masks.shape[-1]
    places, inside = [], []
    for error, thing in zip(wrong.cpu().numpy(), truth.cpu().numpy(), strict=True):
        pixels = np.flatnonzero(error if error.any() else thing)
        pixel = int(random.choice(pixels)) if len(pixels) else 0
        y, x = divmod(pixel, masks.shape[-1])
        places.append(((x + 0.5) * step - 0.5, (y + 0.5) * step - 0.5))
        inside.append(bool(thing[y, x]))
    return Correction(
        torch.tensor(places, dtype=torch.float32, device=logits.device),
        torch.tensor(inside, device=logits.device),
        masks,
    )
