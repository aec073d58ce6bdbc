"""Points and masks to prompt a SAM with, made from correlation maps: the paper's figure 3.

For each class by itself: a softmax over the picture, a threshold, k-means of the places that
remain, and for each of the k regions the probability inside it (a pseudo-mask) and its highest
place (a pseudo-point).  All classes of all pictures are done at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

REGIONS = 5
"""k of the k-means."""

ABOVE = 1.1
"""Places count whose probability is this many times the even one, 1 / (h w)."""

ROUNDS = 10
"""Rounds of the k-means."""


@dataclass(frozen=True)
class PseudoPrompts:
    """Prompts for C classes of B pictures, up to k regions each.

    Attributes
    ----------
    points : Tensor, (B, C, k, 2) float32
        (x, y) in patches: the middle of the first patch is at 0.5.
    valid : Tensor, (B, C, k) bool
        False where a class has fewer regions; its point and mask mean nothing then.
    masks : Tensor, (B, C, k, h, w) float32
        0..1: probability inside each region, 1 at its point, 0 at the threshold and outside.
    """

    points: Tensor
    valid: Tensor
    masks: Tensor


@torch.no_grad()
def pseudo_prompts(
    correlation: Tensor,
    regions: int = REGIONS,
    above: float = ABOVE,
    sharpness: float = 1.0,
) -> PseudoPrompts:
    """Make prompts of correlation maps (B, C, h, w), without gradients, because places have none.

    ``regions`` is k, ``above`` the threshold in units of the even probability 1 / (h w),
    ``sharpness`` the factor before the softmax.  A map too flat to rise above the threshold has no
    region.
    """
    batch, classes, height, width = correlation.shape
    flat = correlation.float().reshape(batch * classes, height * width)
    density = (sharpness * flat).softmax(1) * flat.shape[1]
    foreground = density > above
    places = _places(height, width, correlation.device)
    region, valid = cluster(places, foreground, density, regions)
    inside = torch.where(region[:, None] == _numbers(region, regions), density[:, None], 0.0)
    peak, place = inside.max(2)
    height_above = (inside - above) / (peak - above).clamp_min(1e-6)[..., None]
    masks = torch.where(valid[..., None], height_above.clamp(0, 1), 0.0)
    shape = (batch, classes, regions)
    return PseudoPrompts(
        points=places[place].reshape(*shape, 2),
        valid=valid.reshape(shape),
        masks=masks.reshape(*shape, height, width),
    )


def cluster(
    places: Tensor, foreground: Tensor, density: Tensor, count: int
) -> tuple[Tensor, Tensor]:
    """Cluster the foreground's places by k-means, M maps at once, deterministically.

    The first centre is the densest place, each further one the foreground's place farthest from
    those before.  Places are (P, 2), foreground and density (M, P).

    Returns
    -------
    region : Tensor, (M, P) int64
        0..k-1 in the foreground, -1 elsewhere.
    valid : Tensor, (M, k) bool
        Regions that hold a place.
    """
    centres, valid = _first_centres(places, foreground, density, count)
    for _ in range(ROUNDS):
        members = _members(_nearest(places, centres, valid, foreground), count)
        size = members.sum(2, keepdim=True)
        centres = torch.where(size > 0, members @ places / size.clamp_min(1), centres)
    region = _nearest(places, centres, valid, foreground)
    return region, _members(region, count).any(2)


def _first_centres(
    places: Tensor, foreground: Tensor, density: Tensor, count: int
) -> tuple[Tensor, Tensor]:
    """Choose centres (M, k, 2) far from each other; valid (M, k) where there was a place left."""
    chosen = torch.where(foreground, density, -1.0).argmax(1)
    centres, valid = [places[chosen]], [foreground.any(1)]
    nearest = (places - centres[0][:, None]).square().sum(2)
    for _ in range(count - 1):
        distance, chosen = torch.where(foreground, nearest, -1.0).max(1)
        centres.append(places[chosen])
        valid.append(distance > 0)
        nearest = torch.minimum(nearest, (places - centres[-1][:, None]).square().sum(2))
    return torch.stack(centres, 1), torch.stack(valid, 1)


def _nearest(places: Tensor, centres: Tensor, valid: Tensor, foreground: Tensor) -> Tensor:
    """Return the number (M, P) of each place's nearest centre; -1 outside the foreground."""
    distance = (places[:, None] - centres[:, None]).square().sum(3)  # (M, P, k)
    distance = torch.where(valid[:, None], distance, torch.inf)
    return torch.where(foreground, distance.argmin(2), -1)


def _members(region: Tensor, count: int) -> Tensor:
    """Return which places (M, k, P) are in which region, 0 or 1."""
    return (region[:, None] == _numbers(region, count)).float()


def _numbers(region: Tensor, count: int) -> Tensor:
    return torch.arange(count, device=region.device)[:, None]


def _places(height: int, width: int, device: torch.device) -> Tensor:
    """Return the middles (h w, 2) of all patches, (x, y), row by row."""
    rows, columns = torch.meshgrid(
        torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij"
    )
    return torch.stack([columns, rows], -1).reshape(-1, 2) + 0.5
