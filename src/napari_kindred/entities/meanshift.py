"""Mean-shift clustering on the real projective sphere, for any feature map.

A feature is a line through the origin, given by one of its two unit vectors: ``f`` and ``-f`` are
the same.  Two lines are near when ``|cos|`` of their angle is large.  The kernel is flat: a line
sees what lies within an angle (45° in section 4 of the paper on bottom-up class-agnostic
segmentation) and moves to the mean of what it sees, each vector first turned towards it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from scipy.sparse import coo_array
from skimage import measure

from ..core.errors import InputError, OptionError

if TYPE_CHECKING:
    from numpy.typing import NDArray

HALF_RIGHT = 0.5**0.5
"""``|cos|`` of 45 degrees, the kernel of the paper."""

_CANDIDATES = 384  # seeds looked at in a round, of which those in distinct dense places start
_STEPS = 100  # a flat kernel over finitely many points settles long before
_CHUNK = 1 << 22  # entries of a similarity matrix held at once


def mean_shift(
    features: NDArray[Any] | torch.Tensor,
    *,
    weights: NDArray[Any] | torch.Tensor | None = None,
    similarity: float = HALF_RIGHT,
    max_modes: int = 1024,
    min_weight: float = 0.0,
    sample: int = 8192,
    assign_all: bool = True,
    seed: int = 0,
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Cluster lines by mean-shift with a flat kernel.

    Modes are sought from the densest places that no mode has claimed yet, until every point has
    been claimed.  Of modes that see each other the one with more weight stays.  Beyond ``sample``
    points the search looks at a random part of them, then at a part of what is still unclaimed,
    and so on, so that small clusters are found in large maps too.

    Parameters
    ----------
    features : ndarray or tensor of float, shape (N, D)
        Unit vectors; the sign of each is of no consequence.
    weights : ndarray or tensor of float, shape (N,), optional
        How much each point counts, at least 0.  Points of weight 0 move nothing and are labelled.
    similarity : float
        Least ``|cos|`` at which two lines see each other, in (0, 1).
    max_modes : int
        Search ends when this many modes have been found.
    min_weight : float
        Modes that see less weight than this (points, when there are no weights) are dropped.
    sample : int
        Most points looked at in one search.
    assign_all : bool
        Whether points that no mode sees go to the nearest one; otherwise they are labelled -1.
    seed : int
        Seed of the random choices; the same input gives the same result.

    Returns
    -------
    labels : ndarray of int32, shape (N,)
        Index of each point's mode, or -1.
    modes : ndarray of float32, shape (K, D)
        Unit vectors, the largest component positive, by decreasing weight seen.

    Raises
    ------
    InputError
        For features that are not (N, D) or not finite, or weights that do not fit them.
    OptionError
        For a similarity outside (0, 1), or counts below 1.
    """
    _check_options(similarity, max_modes, sample)
    points, mass = _tensors(features, weights)
    labels = np.full(len(points), -1, np.int32)
    if not bool((mass > 0).any()):
        return labels, np.zeros((0, points.shape[1]), np.float32)
    rng = np.random.default_rng(seed)
    modes = _search(points, mass, similarity, max_modes, sample, rng)
    modes = _distinct(points, mass, modes, similarity, min_weight)
    if len(modes):
        nearest, best = _nearest(points, modes)
        if not assign_all:
            nearest[best < similarity] = -1
        labels[:] = nearest.cpu().numpy()
    return labels, modes.cpu().numpy()


def _check_options(similarity: float, max_modes: int, sample: int) -> None:
    if not 0 < similarity < 1:
        raise OptionError(f"similarity={similarity!r} must lie between 0 and 1.")
    if max_modes < 1 or sample < 1:
        raise OptionError(f"max_modes={max_modes} and sample={sample} must be at least 1.")


def _tensors(
    features: NDArray[Any] | torch.Tensor, weights: NDArray[Any] | torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    points = torch.as_tensor(features).detach().to(torch.float32)
    if points.ndim != 2:
        raise InputError(f"Features must be (points, dimensions), not {tuple(points.shape)}.")
    if not bool(torch.isfinite(points).all()):
        raise InputError("Features must be finite; some are NaN or infinite.")
    if weights is None:
        return points, torch.ones(len(points), device=points.device)
    mass = torch.as_tensor(weights).detach().to(points)
    if mass.shape != points.shape[:1] or not bool((mass >= 0).all()):
        raise InputError(f"Weights must be {len(points)} numbers of at least 0.")
    return points, mass


@dataclass(frozen=True, slots=True)
class _Crowd:
    """Points that stand for all points: ``mass`` makes up for the weight of those left out."""

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
        """Weight with which each line sees each point, (points, lines), signed towards the line."""
        cos = self.points @ lines.T
        return torch.where(cos.abs() >= similarity, cos.sign(), 0) * self.mass[:, None]

    def strength(self, lines: torch.Tensor, similarity: float) -> torch.Tensor:
        """Weight seen by each line."""
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
    """Climb on in a larger crowd: what looked like a mode among few may be the foot of another."""
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
    """Choose free points in dense places that do not see each other; returns their indices."""
    members = _some(torch.nonzero(free)[:, 0], _CANDIDATES, rng)
    lines = crowd.points[members]
    return members[_keep_apart(lines, crowd.strength(lines, similarity), similarity)]


def _climb(
    crowd: _Crowd, lines: torch.Tensor, similarity: float, still: float = 1e-6
) -> torch.Tensor:
    """Move every line to the mean of what it sees until none moves further than ``still``."""
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
    """Order lines by strength and leave out those that a stronger one sees; returns indices."""
    order = torch.argsort(strength, descending=True, stable=True)
    ordered = lines[order]
    near = ((ordered @ ordered.T).abs() >= similarity).cpu().numpy()
    kept = np.ones(len(near), bool)
    for i in range(len(near)):
        if kept[i]:
            kept[i + 1 :] &= ~near[i, i + 1 :]
    return order[torch.from_numpy(kept).to(order.device)]


def _distinct(
    points: torch.Tensor,
    mass: torch.Tensor,
    modes: torch.Tensor,
    similarity: float,
    min_weight: float,
) -> torch.Tensor:
    """Modes that do not see each other, by decreasing weight seen, signs settled."""
    strength = mass.new_zeros(len(modes))
    step = max(1, _CHUNK // max(1, len(modes)))
    for i in range(0, len(points), step):
        part = _Crowd(points[i : i + step], mass[i : i + step])
        strength += part.strength(modes, similarity)
    kept = _keep_apart(modes, strength, similarity)
    modes = modes[kept[(strength[kept] >= min_weight) & (strength[kept] > 0)]]
    largest = torch.take_along_dim(modes, modes.abs().argmax(1, keepdim=True), 1)
    return modes * torch.where(largest < 0, -1, 1)


def _nearest(points: torch.Tensor, modes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Index of, and ``|cos|`` to, the mode nearest to each point."""
    step = max(1, _CHUNK // max(1, len(modes)))
    best = [(points[i : i + step] @ modes.T).abs().max(1) for i in range(0, len(points), step)]
    return torch.cat([b.indices for b in best]), torch.cat([b.values for b in best])


def segment_features(
    features: NDArray[Any] | torch.Tensor,
    *,
    background: NDArray[np.bool_] | None = None,
    min_area: int = 12,
    small: Literal["drop", "absorb"] = "absorb",
    **options: Any,
) -> NDArray[np.int32]:
    """Segment a feature map: mean-shift, then every connected piece of a cluster by itself.

    ``background`` (H, W) bool; returns (H, W) int32.
    """
    shape = tuple(features.shape[:2])
    if features.ndim != 3:
        raise InputError(f"A feature map must be (H, W, D), not {tuple(features.shape)}.")
    inside = np.ones(shape, bool) if background is None else ~np.asarray(background, bool)
    if inside.shape != shape:
        raise InputError(f"The background has shape {inside.shape}; it must be {shape}.")
    chosen = features[inside if isinstance(features, np.ndarray) else torch.from_numpy(inside)]
    clusters = np.zeros(shape, np.int32)
    clusters[inside] = mean_shift(chosen, **options)[0] + 1
    return split_clusters(clusters, min_area=min_area, small=small)


def split_clusters(
    clusters: NDArray[Any], *, min_area: int = 12, small: Literal["drop", "absorb"] = "absorb"
) -> NDArray[np.int32]:
    """Make every connected piece of every cluster a label of its own.

    Pieces touch along pixel edges, not corners.

    ``clusters`` (H, W) int; returns (H, W) int32.
    """
    instances: NDArray[np.int32] = measure.label(
        np.asarray(clusters), background=0, connectivity=1
    ).astype(np.int32)
    large = np.bincount(instances.ravel()) >= min_area
    large[0] = False
    if small == "absorb":
        instances = _absorb(instances, large)
    numbers = np.where(large, np.cumsum(large), 0).astype(np.int32)
    return numbers[instances]


def _absorb(instances: NDArray[np.int32], large: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Give each small piece to the large one with the longest common border, outside in."""
    host = np.arange(len(large))
    pairs = np.concatenate(
        [
            np.stack([instances[:, :-1].ravel(), instances[:, 1:].ravel()]),
            np.stack([instances[:-1].ravel(), instances[1:].ravel()]),
        ],
        axis=1,
    )
    pairs = pairs[:, (pairs[0] != pairs[1]) & (pairs.min(0) > 0)]
    pairs = np.concatenate([pairs, pairs[::-1]], axis=1)
    while True:
        own, other = host[pairs[0]], host[pairs[1]]
        open_ = ~large[own] & large[other]
        if not open_.any():
            return np.asarray(host.astype(np.int32)[instances])
        border = coo_array(
            (np.ones(int(open_.sum()), np.int64), (own[open_], other[open_])), 2 * (len(large),)
        ).tocsr()
        rows = np.flatnonzero(np.diff(border.indptr))
        host[rows] = border.argmax(axis=1)[rows]
