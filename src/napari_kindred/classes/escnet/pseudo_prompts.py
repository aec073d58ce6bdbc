"""Points and masks to prompt a SAM with, made of correlation maps: the paper's figure 3.

For each class by itself: a softmax over the image, a threshold, k-means of the remaining positions,
and for each of the k regions the probability inside it (a pseudo-mask) and its highest position (a
pseudo-point).  All classes of all images are processed at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

REGIONS = 5
"""k of the k-means."""

ABOVE = 1.1
"""Threshold of the probability, relative to the uniform one, 1 / (h w)."""

ROUNDS = 10
"""Rounds of the k-means."""


@dataclass(frozen=True)
class PseudoPrompts:
    """Prompts for C classes of B images, up to k regions each.

    ``points`` (B, C, k, 2) are (x, y) in patches, 0.5 in the middle of the first; ``valid`` (B, C,
    k) is False for the missing ones of fewer regions; ``masks`` (B, C, k, h, w) are the probability
    inside each region, 1 at its point, 0 at the threshold and outside.
    """

    points: Tensor
    valid: Tensor
    masks: Tensor


@torch.no_grad()
def pseudo_prompts(
    correlation: Tensor,
    regions: int = REGIONS,
    above: float = ABOVE,
) -> PseudoPrompts:
    """Make prompts of correlation maps (B, C, h, w), without gradients: positions have none.

    ``regions`` is k, ``above`` the threshold in units of the uniform probability 1 / (h w).  A map
    too flat to rise above the threshold has no region.
    """
    batch, classes, height, width = correlation.shape
    flat = correlation.float().reshape(batch * classes, height * width)
    density = flat.softmax(1) * flat.shape[1]
    foreground = density > above
    positions = _patch_centres(height, width, correlation.device)
    region, valid = cluster(positions, foreground, density, regions)
    inside = torch.where(region[:, None] == _numbers(region, regions), density[:, None], 0.0)
    peak, position = inside.max(2)
    height_above = (inside - above) / (peak - above).clamp_min(1e-6)[..., None]
    masks = torch.where(valid[..., None], height_above.clamp(0, 1), 0.0)
    shape = (batch, classes, regions)
    return PseudoPrompts(
        points=positions[position].reshape(*shape, 2),
        valid=valid.reshape(shape),
        masks=masks.reshape(*shape, height, width),
    )


def cluster(
    positions: Tensor, foreground: Tensor, density: Tensor, count: int
) -> tuple[Tensor, Tensor]:
    """Cluster foreground positions by k-means, M maps at once, deterministically.

    The first centre is the densest position, each further one the foreground position farthest from
    those before.  Positions are (P, 2), foreground and density (M, P).  Returns the region (M, P)
    of each, -1 outside the foreground, and which regions (M, k) hold a position.
    """
    centres, valid = _first_centres(positions, foreground, density, count)
    for _ in range(ROUNDS):
        members = _members(_nearest(positions, centres, valid, foreground), count)
        size = members.sum(2, keepdim=True)
        centres = torch.where(size > 0, members @ positions / size.clamp_min(1), centres)
    region = _nearest(positions, centres, valid, foreground)
    return region, _members(region, count).any(2)


def _first_centres(
    positions: Tensor, foreground: Tensor, density: Tensor, count: int
) -> tuple[Tensor, Tensor]:
    """Choose centres (M, k, 2) far from each other, and which are valid (M, k)."""
    chosen = torch.where(foreground, density, -1.0).argmax(1)
    centres, valid = [positions[chosen]], [foreground.any(1)]
    nearest = (positions - centres[0][:, None]).square().sum(2)
    for _ in range(count - 1):
        distance, chosen = torch.where(foreground, nearest, -1.0).max(1)
        centres.append(positions[chosen])
        valid.append(distance > 0)
        nearest = torch.minimum(nearest, (positions - centres[-1][:, None]).square().sum(2))
    return torch.stack(centres, 1), torch.stack(valid, 1)


def _nearest(positions: Tensor, centres: Tensor, valid: Tensor, foreground: Tensor) -> Tensor:
    """Return the number (M, P) of the nearest centre; -1 outside the foreground."""
    distance = (positions[:, None] - centres[:, None]).square().sum(3)  # (M, P, k)
    distance = torch.where(valid[:, None], distance, torch.inf)
    return torch.where(foreground, distance.argmin(2), -1)


def _members(region: Tensor, count: int) -> Tensor:
    """Return which positions (M, k, P) are in which region, 0 or 1."""
    return (region[:, None] == _numbers(region, count)).float()


def _numbers(region: Tensor, count: int) -> Tensor:
    return torch.arange(count, device=region.device)[:, None]


def _patch_centres(height: int, width: int, device: torch.device) -> Tensor:
    """Return the middles (h w, 2) of all patches, (x, y), row by row."""
    rows, columns = torch.meshgrid(
        torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij"
    )
    return torch.stack([columns, rows], -1).reshape(-1, 2) + 0.5
