"""Three views of a volume, by a network whose answer is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from napari_kindred.core.events import finish
from napari_kindred.entities.config import EntityConfig, NetworkConfig
from napari_kindred.entities.network import DenseMaps
from napari_kindred.entities.projective import SIZE_UNIT
from napari_kindred.entities.volumes.grid import VolumeGrid
from napari_kindred.entities.volumes.views import CHANNELS, CellMaps, iter_views


class Mirror(torch.nn.Module):
    """Says that the logit is the brightness, that centres lie at (+4, +6), and of diameter 48."""

    def __init__(self) -> None:
        super().__init__()
        self.config = NetworkConfig()
        self.nothing = torch.nn.Parameter(torch.zeros(1))

    def forward(self, image: torch.Tensor) -> DenseMaps:
        grey = F.avg_pool2d(image.mean(1, keepdim=True), 2)
        offset = torch.ones_like(grey) * torch.tensor([4.0, 6.0])[:, None, None]
        return DenseMaps(grey, offset, torch.ones_like(grey), None)


@dataclass
class Pixels:
    values: np.ndarray

    def __getitem__(self, block):
        return self.values[block][..., None]


def seen(values: np.ndarray, spacing, scale=1.0) -> tuple[np.ndarray, VolumeGrid]:
    grid = VolumeGrid.of(values.shape, spacing, scale, 2)
    maps = np.zeros((CHANNELS, *grid.cells), np.float32)
    finish(iter_views(Mirror(), Pixels(values), grid, EntityConfig(), maps))
    return maps, grid


@pytest.mark.parametrize(
    ("spacing", "scale"), [((1, 1, 1), 1.0), ((3, 1, 1), 1.0), ((5, 1, 1), 0.5), ((1, 1, 1), 1.6)]
)
def test_each_axis_is_seen_by_two_views_and_the_logit_by_three(spacing, scale) -> None:
    maps, grid = seen(np.full((12, 30, 40), 0.5, np.float32), spacing, scale)
    np.testing.assert_allclose(maps[0], 1.5, atol=1e-5)
    np.testing.assert_allclose(maps[1], (4 + 4) / 2, atol=1e-5)  # z is down in XZ and in YZ
    np.testing.assert_allclose(maps[2], (4 + 6) / 2, atol=1e-5)  # y is down in XY, across in YZ
    np.testing.assert_allclose(maps[3], (6 + 6) / 2, atol=1e-5)  # x is across in XY and in XZ
    np.testing.assert_allclose(maps[4], 3 * (2 * SIZE_UNIT / 2) ** 2, rtol=1e-5)
    assert grid.cells == maps.shape[1:]


def test_a_ramp_along_each_axis_is_where_it_was() -> None:
    for axis in range(3):
        ramp = np.moveaxis(np.linspace(0, 1, 24, dtype=np.float32) * np.ones((16, 20, 1)), 2, axis)
        maps, grid = seen(np.ascontiguousarray(ramp, np.float32), (2, 1, 1))
        whole = tuple(slice(0, n) for n in ramp.shape)
        back = grid.enlarged(maps[:1], whole)[0] / 3
        inner = tuple(slice(4, -4) for _ in range(3))
        np.testing.assert_allclose(back[inner], ramp[inner], atol=0.02)


def test_the_diameter_of_a_ball_follows_from_its_three_discs() -> None:
    place = np.array([2.0, -3.0, 1.5])  # way to the centre of a ball of diameter 20
    discs = sum(20**2 - 4 * place**2)
    sums = np.array([0, *(2 * place), discs], np.float32)[:, None]
    width = CellMaps.of(sums).width
    assert width[0] == pytest.approx(0.35 * 20, rel=1e-5)
