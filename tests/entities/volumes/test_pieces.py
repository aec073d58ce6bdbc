"""From maps of which the truth is known to objects, whatever the blocks."""

from __future__ import annotations

import numpy as np
import pytest

from napari_kindred.core.events import finish
from napari_kindred.entities.config import EntityConfig
from napari_kindred.entities.scoring import ObjectFilter
from napari_kindred.entities.volumes.grid import VolumeGrid
from napari_kindred.entities.volumes.modes import cut, iter_modes
from napari_kindred.entities.volumes.pieces import PieceStitcher

BALLS = [(20, 24, 20, 12), (20, 24, 45, 12), (44, 40, 30, 10), (30, 60, 60, 14), (60, 20, 50, 11)]
SHAPE = (76, 80, 80)


def truth_at(grid: np.ndarray) -> np.ndarray:
    """Label touching balls at places (3, ...); between two, the nearer centre counts."""
    labels, best = np.zeros(grid.shape[1:], np.int32), np.full(grid.shape[1:], np.inf)
    for number, (*centre, radius) in enumerate(BALLS, start=1):
        away = np.sqrt(sum((axis - c) ** 2 for axis, c in zip(grid, centre, strict=True)))
        mine = (away <= radius) & (away < best)
        labels[mine], best[mine] = number, away[mine]
    return labels


def maps_of(grid: VolumeGrid) -> np.ndarray:
    """Sums of three views that see everything as it is, in cells of two voxels."""
    cells = np.indices(grid.cells) * 2 + 0.5
    sums = np.zeros((5, *grid.cells), np.float32)
    label = truth_at(cells)
    edge = [
        np.sqrt(sum((axis - c) ** 2 for axis, c in zip(cells, centre, strict=True))) - radius
        for *centre, radius in BALLS
    ]
    sums[0] = np.clip(60 * np.min(edge, axis=0), -200, 200)
    for number, (*centre, radius) in enumerate(BALLS, start=1):
        mine = label == number
        away = [c - axis[mine] for axis, c in zip(cells, centre, strict=True)]
        for axis in range(3):
            sums[1 + axis][mine] = 2 * away[axis] / 2  # two views, cells of two voxels
        squares = sum(np.square(one) for one in away)
        sums[4][mine] = 3 * radius**2 - squares  # of diameters in cells: (2 r / 2)^2
    return sums


def objects(side: int, spacing=(1.0, 1.0, 1.0)) -> np.ndarray:
    grid = VolumeGrid.of(SHAPE, spacing, 1.0, 2)
    maps = maps_of(grid)
    labels = np.zeros(SHAPE, np.int32)
    modes = finish(iter_modes(maps, 0.6, side))
    stitcher = PieceStitcher(grid, maps, modes, 0.6, labels)
    for block in cut(SHAPE, side):
        stitcher.add(block)
    ids, scores = stitcher.finish(ObjectFilter(None, 1.0, EntityConfig()), 12)
    assert len(scores) == ids.max()
    return ids[labels]


def test_touching_balls_are_found_each_by_itself() -> None:
    truth, found = truth_at(np.indices(SHAPE)), objects(100)
    assert found.max() == len(BALLS)
    for number in range(1, len(BALLS) + 1):
        inside = found[truth == number]
        mine = np.bincount(inside[inside > 0]).argmax()
        both = ((truth == number) & (found == mine)).sum()
        assert both / ((truth == number) | (found == mine)).sum() > 0.9


@pytest.mark.parametrize("side", [17, 30, 45])
def test_objects_are_the_same_however_the_volume_is_cut(side) -> None:
    np.testing.assert_array_equal(objects(side), objects(100))
