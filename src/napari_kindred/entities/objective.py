"""Total loss of one crop (paper eq. 9): every term of ``losses`` applied to its features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from ..models.augment import IGNORE
from . import losses
from .projective import (
    OFFSET_UNIT,
    SIZE_UNIT,
    WIDTH_PER_DIAMETER,
    background_split,
    means_by_id,
    positional_cosines,
    target_lines,
    unit,
)

if TYPE_CHECKING:
    from .config import LossWeights
    from .network import DenseMaps

NEIGHBOURS = 12
"""Largest number of entities in the pairwise terms of a crop: those nearest to a random one."""

SAMPLES = 3000
"""Largest number of background pixels in the repulsion loss."""

CLOSE = 3
"""Largest distance, in pixels, to two entities between which a pixel counts more."""

CLOSE_WEIGHT = 3.0
"""Weight of such pixels in the background's loss."""

LOVASZ = 0.3
"""Weight of the Lovasz term of a foreground branch."""

DISTANCE = 0.2
"""Weight of the L1 loss of its distance to the edge."""


@dataclass(frozen=True)
class Targets:
    """Targets of the network for a crop's labels, at its output stride."""

    ids: Tensor
    """0 … N - 1 in entities without their eroded ring, else BACKGROUND or RING; (h, w) int64."""
    centres: Tensor
    """Centroids (y, x) in crop pixels, (N, 2)."""
    diameters: Tensor
    """Equivalent diameters in crop pixels, (N,)."""


RING = -2
BACKGROUND = -1


def make_targets(labels: Tensor, stride: int) -> Targets:
    """Targets from labels (H, W) int64 with ``IGNORE`` outside the image.

    The ring is what a 3x3 erosion removes; an entity that would vanish keeps its pixels.
    """
    values, ids = torch.unique(labels, return_inverse=True)
    low = int((values <= 0).sum())
    count = len(values) - low
    ids = ids - low  # entities 0 … count - 1, background and outside negative
    ids = torch.where(labels == IGNORE, RING, torch.where(labels == 0, BACKGROUND, ids))
    ring = (ids >= 0) & (highest_within(ids, 1) != -highest_within(-ids, 1))
    inside = ids >= 0
    flat = ids[inside]
    area = torch.bincount(flat, minlength=count)
    place = torch.nonzero(inside).float()
    centres = means_by_id(place, flat, count)
    eroded = torch.where(ring, RING, ids)[::stride, ::stride]
    plain = ids[::stride, ::stride]
    left = torch.bincount(eroded[eroded >= 0], minlength=count)
    vanished = torch.cat([left == 0, left.new_zeros(2).bool()])  # ids -1, -2 wrap
    eroded = torch.where(vanished[plain], plain, eroded)
    return Targets(eroded, centres, 2 * (area / torch.pi).sqrt())


def grid_places(height: int, width: int, stride: int, device: torch.device | str) -> Tensor:
    """Places (h, w, 2) of output pixels in input pixels: a 2x2 block's middle at stride 2."""
    shift = (stride - 1) / 2
    y = torch.arange(height, device=device, dtype=torch.float32) * stride + shift
    x = torch.arange(width, device=device, dtype=torch.float32) * stride + shift
    return torch.stack(torch.meshgrid(y, x, indexing="ij"), -1)


def crop_loss(
    maps: DenseMaps,
    labels: Tensor,
    complete: bool,
    weights: LossWeights,
    stride: int,
    random: np.random.Generator,
) -> dict[str, Tensor]:
    """Weighted loss terms of one crop; ``labels`` (H, W) int64."""
    targets = make_targets(labels, stride)
    terms: dict[str, Tensor] = {}
    full = F.interpolate(
        maps.background[None], size=labels.shape, mode="bilinear", align_corners=False
    )[0, 0]
    annotated = (labels != IGNORE) if complete else (labels > 0)
    weight = annotated.to(full)
    if maps.distance is not None:
        weight = torch.where(between_close(labels), CLOSE_WEIGHT, 1.0) * weight
    background = losses.background_error(full.flatten(), (labels <= 0).flatten(), weight.flatten())
    terms["background"] = weights.background * background
    if maps.distance is not None:
        terms.update(_branch_terms(maps, labels, annotated, stride))
        # The branch learns from its own losses only.
        maps = maps._replace(background=maps.background.detach())
    entity = targets.ids >= 0
    count = len(targets.centres)
    if count == 0 or not bool(entity.any()):
        return terms
    features = _Features(maps, targets, stride)
    own = targets.ids[entity]
    if maps.offset is not None and maps.size is not None:
        error = (features.votes[entity] - targets.centres[own]).abs() / OFFSET_UNIT
        terms["offset"] = weights.offset * error.mean()
        wanted = torch.log2(targets.diameters / SIZE_UNIT)
        terms["size"] = weights.size * (maps.size[0][entity] - wanted[own]).abs().mean()
    if maps.content is not None:
        raw = maps.content.permute(1, 2, 0)[targets.ids > RING]
        terms["norm"] = weights.norm * losses.norm_regularisation(raw)
    present = torch.bincount(own, minlength=count) > 0  # the stride may step over the smallest
    chosen = _neighbourhood(targets.centres, present, random)
    terms.update(_line_terms(features, targets, chosen, weights, complete, random))
    return terms


def between_close(labels: Tensor) -> Tensor:
    """Whether each pixel of labels (H, W) has two entities at most ``CLOSE`` pixels away."""
    highest = highest_within(labels, CLOSE)
    none = torch.iinfo(labels.dtype).min
    lowest = -highest_within(torch.where(labels > 0, -labels, none), CLOSE)
    return (highest > 0) & (highest != lowest)


def highest_within(values: Tensor, reach: int) -> Tensor:
    """Highest of the integers (H, W) at most ``reach`` pixels away along both axes."""
    for axis in (0, 1):
        length = values.shape[axis]
        padding = (reach, reach) if axis else (0, 0, reach, reach)
        padded = F.pad(values, padding, value=torch.iinfo(values.dtype).min)
        values = padded.narrow(axis, 0, length)
        for start in range(1, 2 * reach + 1):
            values = torch.maximum(values, padded.narrow(axis, start, length))
    return values


def edge_distance(labels: Tensor) -> Tensor:
    """Distance (H, W) to an entity's edge over its equivalent radius; borders are no edges."""
    ids = labels.cpu().numpy()
    padded = np.pad(ids, 1, mode="edge")
    rows, columns = ids.shape
    edge = np.zeros(ids.shape, bool)
    for down, right in ((0, 1), (2, 1), (1, 0), (1, 2)):
        other = padded[down : down + rows, right : right + columns]
        edge |= (ids != other) & (other != IGNORE)
    inside = ids > 0
    if not inside.any() or not (edge & inside).any():
        return torch.zeros_like(labels, dtype=torch.float32)
    distance = ndimage.distance_transform_edt(~(edge & inside)) + 1
    area = np.bincount(ids[inside])
    radius = np.sqrt(np.maximum(area, 1) / np.pi)
    relative = np.where(inside, distance / radius[np.where(inside, ids, 0)], 0)
    return torch.from_numpy(relative.clip(0, 1).astype(np.float32)).to(labels.device)


def _branch_terms(
    maps: DenseMaps, labels: Tensor, annotated: Tensor, stride: int
) -> dict[str, Tensor]:
    """Losses of a foreground branch."""
    where = annotated[::stride, ::stride]
    if maps.distance is None or not bool(where.any()):
        return {}
    foreground = (labels > 0)[::stride, ::stride][where]
    distance = edge_distance(labels)[::stride, ::stride][where]
    return {
        "lovasz": LOVASZ * losses.lovasz_hinge(-maps.background[0][where], foreground),
        "distance": DISTANCE * (maps.distance[0][where] - distance).abs().mean(),
    }


def _neighbourhood(centres: Tensor, has_pixels: Tensor, random: np.random.Generator) -> Tensor:
    """Return the indices of the entities nearest to a random one, which are easily confused."""
    present = torch.nonzero(has_pixels)[:, 0]
    places = centres[present]
    pick = int(random.integers(len(present)))
    distance = (places - places[pick]).square().sum(1)
    return present[torch.argsort(distance, stable=True)[:NEIGHBOURS]]


class _Features:
    """Cosines of a crop's pixels with target lines, for any kind of features."""

    def __init__(self, maps: DenseMaps, targets: Targets, stride: int) -> None:
        height, width = targets.ids.shape
        self.targets = targets
        self.sine, self.cosine = background_split(maps.background[0])
        self.votes = maps.background.new_zeros(height, width, 2)
        self.positional = maps.offset is not None
        self.content = None
        if maps.offset is not None:
            places = grid_places(height, width, stride, maps.offset.device)
            self.votes = places + maps.offset.permute(1, 2, 0)
        if maps.content is not None:
            self.content = unit(maps.content.permute(1, 2, 0))

    def lines(self, entity: Tensor, own: Tensor, chosen: Tensor) -> None:
        """Fix the target lines of the chosen entities."""
        count = len(self.targets.centres)
        self.widths = WIDTH_PER_DIAMETER * self.targets.diameters.clamp_min(4.0)
        self.chosen_widths = self.widths[chosen]
        if self.positional:
            self.centres = means_by_id(self.votes[entity], own, count)[chosen]
        if self.content is not None:
            self.targets_content = target_lines(self.content[entity].detach(), own, count)[chosen]

    def cosines(self, where: Tensor, widths: Tensor | None) -> Tensor:
        """Cosines (P, N) of the pixels ``where`` with the chosen target lines, signed."""
        parts = []
        if self.positional:
            votes = self.votes[where]
            if widths is None:  # background has no width of its own: the target line's is used
                distance2 = (votes[:, None] - self.centres[None]).square().sum(-1)
                parts.append(torch.exp(-distance2 / (2 * self.chosen_widths.square())))
            else:
                parts.append(positional_cosines(votes, widths, self.centres, self.chosen_widths))
        if self.content is not None:
            parts.append(self.content[where] @ self.targets_content.T)
        return self.cosine[where][:, None] * sum(parts) / len(parts)

    def gram(self) -> Tensor:
        """Cosines (N, N) between the chosen target lines."""
        parts = []
        if self.positional:
            parts.append(
                positional_cosines(
                    self.centres, self.chosen_widths, self.centres, self.chosen_widths
                )
            )
        if self.content is not None:
            parts.append(self.targets_content @ self.targets_content.T)
        return torch.stack(parts).mean(0)


def _line_terms(
    features: _Features,
    targets: Targets,
    chosen: Tensor,
    weights: LossWeights,
    complete: bool,
    random: np.random.Generator,
) -> dict[str, Tensor]:
    entity = targets.ids >= 0
    features.lines(entity, targets.ids[entity], chosen)
    gram = features.gram()
    rank = torch.full((len(targets.centres) + 2,), -1, dtype=torch.long, device=chosen.device)
    rank[chosen] = torch.arange(len(chosen), device=chosen.device)
    ids = rank[targets.ids.clamp_min(BACKGROUND)]  # -1 for all but pixels of chosen entities
    inside = ids >= 0
    terms: dict[str, Tensor] = {}
    if not bool(inside.any()):
        return terms
    own = ids[inside]
    widths = features.widths[targets.ids[inside]]
    cosines = features.cosines(inside, widths)
    to_own = cosines.gather(1, own[:, None])[:, 0]
    n = len(chosen)
    if weights.attraction:
        terms["attraction"] = weights.attraction * losses.attraction(to_own, own, n)
    background = _some(torch.nonzero((targets.ids == BACKGROUND).flatten())[:, 0], random)
    if weights.repulsion:
        flat = torch.zeros_like(targets.ids, dtype=torch.bool).flatten()
        flat[background] = True
        away = features.cosines(flat.view_as(targets.ids), None)
        terms["repulsion"] = weights.repulsion * losses.repulsion(
            cosines, own, away, _background_line(features, inside, background, complete)
        )
    if weights.reco:
        terms["reco"] = weights.reco * losses.reco(
            cosines, gram, own, torch.Generator().manual_seed(int(random.integers(2**62)))
        )
    if weights.segment or weights.gradient:
        terms.update(_segment_terms(features, targets, ids, gram, weights))
    return terms


def _background_line(
    features: _Features, inside: Tensor, background: Tensor, complete: bool
) -> Tensor:
    """|cos| of entity pixels with the background's line.

    The fixed line for positional features or annotated background; for content features alone
    the average line of the background's features (paper section 3.3).
    """
    if features.positional or complete:
        return features.sine[inside]
    if features.content is None or not len(background):
        return torch.zeros_like(features.sine[inside])
    flat = features.content.flatten(0, 1)[background].detach()
    line = target_lines(flat, torch.zeros_like(background), 1)[0]
    return features.content[inside] @ line


def _some(indices: Tensor, random: np.random.Generator) -> Tensor:
    if len(indices) <= SAMPLES:
        return indices
    return indices[torch.from_numpy(random.integers(len(indices), size=SAMPLES))]


def _segment_terms(
    features: _Features, targets: Targets, ids: Tensor, gram: Tensor, weights: LossWeights
) -> dict[str, Tensor]:
    everywhere = torch.ones_like(targets.ids, dtype=torch.bool)
    n = len(gram)
    cosines = features.cosines(everywhere, None)
    segments = losses.segment_space(cosines, gram)
    if segments is None:
        return {}
    truth = F.one_hot(ids.flatten() + 1, n + 1)[:, 1:].to(segments)
    valid = (targets.ids != RING).flatten()
    terms = {"segment": weights.segment * losses.segment_error(segments[valid], truth[valid])}
    if weights.gradient:
        shape = (n, *targets.ids.shape)
        terms["gradient"] = weights.gradient * losses.segment_gradient(
            segments.T.reshape(shape), truth.T.reshape(shape), valid=valid.view_as(targets.ids)
        )
    return terms
