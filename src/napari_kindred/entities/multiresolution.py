"""Merge segmentations of one picture at several resolutions (paper section 4.1).

At a low resolution a network sees whole objects with blunt edges, at a high one sharp edges but
only parts of what is large.  The merged map begins with the coarsest segmentation and takes from
each finer one what agrees with it.  For every finer cluster:

*replace*: it overlaps one segment with an IoU of at least ``replace_iou``, so it is the same
segment with a sharper edge and takes its place;
*subdivide*: it lies inside one segment (a share of at least ``containment``), together with other
such clusters that between them explain the segment (at least ``parts`` of them, covering at least
``explained`` of it), so they are the objects which the coarse view had run together;
*add*: it lies where the map holds nothing (a share of at least ``containment``);
*leave out*: anything else contradicts the coarser view, which has seen more of the surroundings.

The paper subdivides by containment alone.  In microscopy this would cut large cells to pieces: a
nucleolus, a granule or a fold found at the high resolution is contained in its cell, and is no
cell.  Hence the two further conditions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage
from skimage import measure

from ..core.errors import InputError, OptionError
from ..results.metrics import contingency

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class MergeRule:
    """When a finer cluster is taken over.

    Attributes
    ----------
    replace_iou : float
        Least IoU, in (0.5, 1], at which a cluster is the segment itself, seen more sharply.
    containment : float
        Least share of a cluster, in (0.5, 1], inside a segment to be part of it, or outside all
        segments to be new.
    parts : int
        Fewest parts that subdivide a segment, at least 2.
    explained : float
        Least share of the segment, in [0, 1], that its parts cover together.
    part_share : float
        Parts smaller than this share of the segment are not counted as parts, so that two specks
        do not make a division.
    """

    replace_iou: float = 0.8
    containment: float = 0.9
    parts: int = 2
    explained: float = 0.6
    part_share: float = 0.02

    def __post_init__(self) -> None:
        # Above one half a cluster has at most one segment that it equals or lies in.
        for name in ("replace_iou", "containment"):
            if not 0.5 < getattr(self, name) <= 1:
                raise OptionError(f"{name}={getattr(self, name)!r} must be above 0.5 and up to 1.")
        for name in ("explained", "part_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise OptionError(f"{name}={getattr(self, name)!r} must lie in 0 to 1.")
        if self.parts < 2:
            raise OptionError(f"parts={self.parts!r} must be at least 2.")


def merge_resolutions(
    coarse_to_fine: Sequence[NDArray[Any]], rule: MergeRule | None = None
) -> NDArray[np.int32]:
    """Merge label maps from the coarsest to the finest.

    Returns (Y, X) int32.
    """
    maps = [np.asarray(labels) for labels in coarse_to_fine]
    if not maps:
        raise InputError("There is no label map to merge; give at least one.")
    for labels in maps:
        if labels.shape != maps[0].shape or labels.ndim != 2:
            raise InputError(
                f"Label maps must be planes of one shape, not {maps[0].shape} and {labels.shape}."
            )
        if labels.dtype.kind not in "iub" or labels.min(initial=0) < 0:
            raise InputError("Labels must be whole numbers of at least 0.")
    merged = _consecutive(maps[0])
    for finer in maps[1:]:
        merged = _merge(merged, _consecutive(finer), rule or MergeRule())
    return merged


def _consecutive(labels: NDArray[Any]) -> NDArray[np.int32]:
    """Renumber labels to 1 … n in their order, 0 staying 0."""
    if labels.max(initial=0) > labels.size:
        # Too far apart to count: sort instead.
        labels = np.unique(np.append(labels, 0), return_inverse=True)[1][:-1].reshape(labels.shape)
    labels = labels.astype(np.intp)
    present = np.bincount(labels.ravel(), minlength=1) > 0
    present[0] = False
    numbers: NDArray[np.int32] = np.where(present, np.cumsum(present), 0).astype(np.int32)
    return np.asarray(numbers[labels])


@dataclass(frozen=True, slots=True)
class _Meeting:
    """Where clusters 0 … m of a finer map lie in segments 0 … n of a coarser one."""

    home: NDArray[np.int64]  # per cluster, the segment with which it overlaps most; 0 is nothing
    overlap: NDArray[np.int64]  # per cluster, pixels in its home
    area: NDArray[np.int64]  # per cluster
    area_home: NDArray[np.int64]  # per segment

    @classmethod
    def of(cls, coarse: NDArray[np.int32], fine: NDArray[np.int32]) -> _Meeting:
        segment, cluster, pixels = contingency(coarse, fine)
        home = np.zeros(int(fine.max(initial=0)) + 1, np.int64)
        overlap = np.zeros_like(home)
        order = np.argsort(pixels, kind="stable")
        # Of equal indices the last assignment, that of the largest overlap, stays.
        home[cluster[order]], overlap[cluster[order]] = segment[order], pixels[order]
        return cls(home, overlap, np.bincount(fine.ravel()), np.bincount(coarse.ravel()))


def _merge(
    coarse: NDArray[np.int32], fine: NDArray[np.int32], rule: MergeRule
) -> NDArray[np.int32]:
    """Take over from ``fine``, both numbered 1 … n, what agrees with ``coarse``."""
    if not fine.any():
        return coarse
    meeting = _Meeting.of(coarse, fine)
    segments, clusters = len(meeting.area_home) - 1, len(meeting.area) - 1
    replaced, divided, taken = _decide(meeting, rule)
    kept = np.where(replaced | divided, 0, np.arange(segments + 1))
    # A cluster that replaces keeps the number of its segment; parts and new ones get their own.
    same = taken & replaced[meeting.home]
    number = np.where(taken, np.arange(clusters + 1) + segments, 0)
    number[same] = meeting.home[same]
    merged = kept[coarse]
    merged = np.where(merged > 0, merged, number[fine])
    rest = _whole_rests(np.where((merged == 0) & divided[coarse], coarse, 0), meeting, taken)
    return _consecutive(np.where(rest > 0, rest + segments + clusters, merged))


def _decide(
    meeting: _Meeting, rule: MergeRule
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Say which segments are replaced, which are divided, and which clusters are taken over."""
    home, overlap, area = meeting.home, meeting.overlap, meeting.area
    area_home = meeting.area_home
    real = np.arange(len(area)) > 0
    in_segment = real & (home > 0)
    same = in_segment & (overlap >= rule.replace_iou * (area + area_home[home] - overlap))
    replaced = np.zeros(len(area_home), bool)
    replaced[home[same]] = True
    inside = real & (overlap >= rule.containment * area)
    part = inside & in_segment & ~replaced[home] & (overlap >= rule.part_share * area_home[home])
    parts = np.bincount(home[part], minlength=len(area_home))
    covered = np.bincount(home[part], weights=overlap[part], minlength=len(area_home))
    divided = (parts >= rule.parts) & (covered >= rule.explained * area_home)
    taken = same | (part & divided[home]) | (inside & (home == 0))
    return replaced, divided, taken


def _whole_rests(
    rest: NDArray[np.int64], meeting: _Meeting, taken: NDArray[np.bool_]
) -> NDArray[np.int32]:
    """Keep of a divided segment's rest the pieces that may be objects, 1 … n.

    What the parts leave over is either the gaps between them or an object that was found only at
    the coarse resolution.  It is an object when a disc fits into it that is half as wide as the
    segment's smallest part; gaps are narrower.
    """
    instances: NDArray[np.int32] = measure.label(rest, background=0, connectivity=1).astype(
        np.int32
    )
    if not instances.any():
        return instances
    smallest = np.full(len(meeting.area_home), np.inf)
    np.minimum.at(smallest, meeting.home[taken], meeting.area[taken])
    # Padded, so that the picture's edge bounds a piece like any other; less half a pixel, from
    # the centre of the pixel outside to its edge.
    depth = ndimage.distance_transform_edt(np.pad(instances > 0, 1))[1:-1, 1:-1] - 0.5
    radius = np.zeros(int(instances.max()) + 1)
    np.maximum.at(radius, instances.ravel(), depth.ravel())
    owner = np.zeros(len(radius), np.int64)
    owner[instances.ravel()] = rest.ravel()
    keep = radius >= 0.5 * np.sqrt(smallest[owner] / np.pi)
    keep[0] = False
    return np.where(keep, np.cumsum(keep), 0).astype(np.int32)[instances]
