"""Mean-shift clustering on the real projective sphere, for any feature map.

A feature is a line through the origin, given by one of its two unit vectors: ``f`` and ``-f`` are
the same.  Two lines are near when ``|cos|`` of their angle is large.  The kernel is flat: a line
moves to the mean of the lines within an angle (45° in section 4 of the paper on bottom-up
class-agnostic segmentation), each vector first turned towards it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from skimage import measure

if TYPE_CHECKING:
    from numpy.typing import NDArray

HALF_RIGHT = 0.5**0.5
"""``|cos|`` of 45 degrees, the kernel of the paper."""

_CANDIDATES = 384  # seeds considered in a round; those in distinct dense places start
_STEPS = 100  # a flat kernel over finitely many points settles long before
_CHUNK = 1 << 22  # entries of a similarity matrix held at once


def mean_shift(
    features: NDArray[Any] | torch.Tensor,
    *,
    similarity: float = HALF_RIGHT,
    max_modes: int = 1024,
    sample: int = 8192,
    seed: int = 0,
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Cluster lines by mean-shift with a flat kernel.

    Modes are sought from the densest places that no mode has claimed yet, until every point is
    claimed.  Of modes within the kernel of each other the one with more points stays.  Beyond
    ``sample`` points the search uses a random part of them, then a part of those still unclaimed,
    and so on, so that small clusters are found in large maps too.

    ``features`` (N, D) are unit vectors of any sign; ``similarity`` is the least ``|cos|`` in the
    kernel.  Returns the mode of each point, (N,), and the modes, (K, D), those with most points
    first, the largest component of each positive.
    """
    points = torch.as_tensor(features).detach().to(torch.float32)
    mass = torch.ones(len(points), device=points.device)
    if not len(points):
        return np.zeros(0, np.int32), np.zeros((0, points.shape[1]), np.float32)
    rng = np.random.default_rng(seed)
    modes = _search(points, mass, similarity, max_modes, sample, rng)
    modes = _distinct(points, mass, modes, similarity)
    return _nearest(points, modes)[0].cpu().numpy().astype(np.int32), modes.cpu().numpy()


@dataclass(frozen=True, slots=True)
class _Crowd:
    """Points that stand for all points: ``mass`` makes up for those left out."""

    points: torch.Tensor
    mass: torch.Tensor

    @classmethod
    def of(
        cls, points: torch.Tensor, mass: torch.Tensor, free: torch.Tensor, index: torch.Tensor
    ) -> _Crowd:
        """Gather ``index``; the free and the others each stand for all of their group."""
        own, group = mass[index].clone(), free[index]
        for members, everybody in ((group, free), (~group, ~free)):
            if bool(members.any()):
                own[members] *= mass[everybody].sum() / own[members].sum().clamp(min=1e-12)
        return cls(points[index], own)

    def see(self, lines: torch.Tensor, similarity: float) -> torch.Tensor:
        """Weight of each point in the kernel of each line, (points, lines), signed."""
        cos = self.points @ lines.T
        return torch.where(cos.abs() >= similarity, cos.sign(), 0) * self.mass[:, None]

    def strength(self, lines: torch.Tensor, similarity: float) -> torch.Tensor:
        """Weight in the kernel of each line."""
        return self.see(lines, similarity).abs().sum(0)


def _search(
    points: torch.Tensor,
    mass: torch.Tensor,
    similarity: float,
    max_modes: int,
    sample: int,
    rng: np.random.Generator,
) -> torch.Tensor:
    """Search crowd after crowd until the unclaimed lead nowhere new."""
    found = points.new_zeros((0, points.shape[1]))
    unclaimed = mass > 0
    while len(found) < max_modes and bool(unclaimed.any()):
        index = _draw(mass, unclaimed, sample, rng)
        crowd = _Crowd.of(points, mass, unclaimed, index)
        modes = _search_crowd(crowd, unclaimed[index], similarity, max_modes - len(found), rng)
        new = (modes @ found.T).abs().amax(1) < similarity if len(found) else None
        found = torch.cat([found, modes])
        if len(points) <= sample or (new is not None and not bool(new.any())):
            break
        unclaimed[index] = False
        unclaimed &= _nearest(points, modes)[1] < similarity
    return found if len(points) <= sample else _polish(points, mass, found, similarity, sample, rng)


def _polish(
    points: torch.Tensor,
    mass: torch.Tensor,
    modes: torch.Tensor,
    similarity: float,
    sample: int,
    rng: np.random.Generator,
) -> torch.Tensor:
    """Climb on in a larger crowd, because a mode of few points may be the foot of another."""
    index = _some(torch.nonzero(mass > 0)[:, 0], 8 * sample, rng)
    return _climb(_Crowd(points[index], mass[index]), modes, similarity, still=1e-3)


def _draw(
    mass: torch.Tensor, unclaimed: torch.Tensor, sample: int, rng: np.random.Generator
) -> torch.Tensor:
    """Draw a crowd: indices of points, about half of them unclaimed when others are claimed."""
    if len(mass) <= sample:
        return torch.arange(len(mass), device=mass.device)
    claimed = ~unclaimed & (mass > 0)
    share = sample if not bool(claimed.any()) else -(-sample // 2)
    few = [
        _some(torch.nonzero(unclaimed)[:, 0], share, rng),
        _some(torch.nonzero(claimed)[:, 0], sample - share, rng),
    ]
    return torch.cat(few)


def _some(members: torch.Tensor, count: int, rng: np.random.Generator) -> torch.Tensor:
    """Choose at most ``count`` members at random, in their order."""
    if len(members) <= count:
        return members
    picks = np.sort(rng.choice(len(members), count, replace=False))
    return members[torch.from_numpy(picks).to(members.device)]


def _search_crowd(
    crowd: _Crowd,
    free: torch.Tensor,
    similarity: float,
    max_modes: int,
    rng: np.random.Generator,
) -> torch.Tensor:
    """Start from free points, in rounds, until each has been claimed or has had its start."""
    found = crowd.points.new_zeros((0, crowd.points.shape[1]))
    free = free.clone()
    while len(found) < max_modes and bool(free.any()):
        seeds = _seeds(crowd, free, similarity, rng)[: max_modes - len(found)]
        free[seeds] = False
        modes = _climb(crowd, crowd.points[seeds], similarity)
        free &= (crowd.points @ modes.T).abs().amax(1) < similarity
        found = torch.cat([found, modes])
        found = found[_keep_apart(found, crowd.strength(found, similarity), similarity)]
    return found


def _seeds(
    crowd: _Crowd, free: torch.Tensor, similarity: float, rng: np.random.Generator
) -> torch.Tensor:
    """Choose free points in dense places, none in the kernel of another; returns their indices."""
    members = _some(torch.nonzero(free)[:, 0], _CANDIDATES, rng)
    lines = crowd.points[members]
    return members[_keep_apart(lines, crowd.strength(lines, similarity), similarity)]


def _climb(
    crowd: _Crowd, lines: torch.Tensor, similarity: float, still: float = 1e-6
) -> torch.Tensor:
    """Move every line to the mean of its kernel until none moves further than ``still``."""
    lines = lines.clone()
    moving = torch.arange(len(lines), device=lines.device)
    for _ in range(_STEPS):
        before = lines[moving]
        mean = crowd.see(before, similarity).T @ crowd.points
        length = mean.norm(dim=1, keepdim=True)
        after = torch.where(length > 0, mean / length, before)
        lines[moving] = after
        moving = moving[(after - before).abs().amax(1) > still]
        if not len(moving):
            break
    return lines


def _keep_apart(lines: torch.Tensor, strength: torch.Tensor, similarity: float) -> torch.Tensor:
    """Order lines by strength without those in the kernel of a stronger one; returns indices."""
    order = torch.argsort(strength, descending=True, stable=True)
    ordered = lines[order]
    near = ((ordered @ ordered.T).abs() >= similarity).cpu().numpy()
    keep = np.ones(len(near), bool)
    for i in range(len(near)):
        if keep[i]:
            keep[i + 1 :] &= ~near[i, i + 1 :]
    return order[torch.from_numpy(keep).to(order.device)]


def _distinct(
    points: torch.Tensor,
    mass: torch.Tensor,
    modes: torch.Tensor,
    similarity: float,
) -> torch.Tensor:
    """Modes that are not in the kernel of each other, by decreasing weight, signs settled."""
    strength = mass.new_zeros(len(modes))
    step = max(1, _CHUNK // max(1, len(modes)))
    for i in range(0, len(points), step):
        part = _Crowd(points[i : i + step], mass[i : i + step])
        strength += part.strength(modes, similarity)
    modes = modes[_keep_apart(modes, strength, similarity)]
    largest = torch.take_along_dim(modes, modes.abs().argmax(1, keepdim=True), 1)
    return modes * torch.where(largest < 0, -1, 1)


def _nearest(points: torch.Tensor, modes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Index of, and ``|cos|`` to, the mode nearest to each point."""
    step = max(1, _CHUNK // max(1, len(modes)))
    best = [(points[i : i + step] @ modes.T).abs().max(1) for i in range(0, len(points), step)]
    return torch.cat([b.indices for b in best]), torch.cat([b.values for b in best])


def segment_features(
    features: torch.Tensor,
    background: NDArray[np.bool_],
) -> NDArray[np.int32]:
    """Segment a feature map (H, W, D): each connected piece of a cluster of lines is a label.

    ``background`` (H, W) bool; returns (H, W) int32.
    """
    inside = ~background
    clusters = np.zeros(inside.shape, np.int32)
    clusters[inside] = mean_shift(features[torch.from_numpy(inside)])[0] + 1
    labels: NDArray[np.int32] = measure.label(clusters, background=0, connectivity=1)
    return labels.astype(np.int32)
