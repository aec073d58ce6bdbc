"""Measures of balls against the formulas of the ball."""

from __future__ import annotations

import numpy as np
import pytest

from napari_kindred.entities.volumes.measure import measure_volume
from napari_kindred.entities.volumes.modes import cut


def ball(radius: float, spacing=(1.0, 1.0, 1.0), centre=(20.0, 22.0, 24.0), side=48.0):
    shape = tuple(int(side / step) for step in spacing)
    grid = [np.arange(n) * step for n, step in zip(shape, spacing, strict=True)]
    away = sum(
        (axis - c) ** 2 for axis, c in zip(np.meshgrid(*grid, indexing="ij"), centre, strict=True)
    )
    return (away <= radius**2).astype(np.int32)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (2.0, 1.0, 1.0), (4.0, 1.0, 1.0)])
def test_a_ball_has_the_surface_volume_and_centre_of_a_ball(spacing) -> None:
    labels = ball(14.0, spacing)
    row = measure_volume(labels, cut(labels.shape, 64), spacing=spacing).iloc[0]
    assert row["volume"] * spacing[0] == pytest.approx(4 / 3 * np.pi * 14**3, rel=0.03)
    assert row["surface"] == pytest.approx(4 * np.pi * 14**2, rel=0.05)
    assert row["centroid_z"] * spacing[0] == pytest.approx(20, abs=0.5)
    assert row["centroid_y"] == pytest.approx(22, abs=0.1)
    assert row["centroid_x"] == pytest.approx(24, abs=0.1)


def test_blocks_measure_the_same_as_the_whole() -> None:
    labels = ball(12.0) + 2 * np.roll(ball(6.0), 18, axis=2)
    labels[labels > 2] = 0
    grey = np.random.default_rng(0).random(labels.shape, np.float32)
    scores = np.array([0.5, 0.7], np.float32)
    whole = measure_volume(labels, cut(labels.shape, 64), lambda b: grey[b], scores)
    parts = measure_volume(labels, cut(labels.shape, 13), lambda b: grey[b], scores)
    assert len(whole) == 2
    np.testing.assert_allclose(whole, parts)
    inside = grey[labels == 2]
    assert whole["mean_intensity"][1] == pytest.approx(inside.mean())
