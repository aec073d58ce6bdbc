"""Specks and haze: they change the image beside the objects, never the labels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from napari_kindred.models.augment import draw_crop, draw_synthetic_crop
from napari_kindred.models.debris import SPECK_RADIUS, add_debris, haze, specks
from napari_kindred.models.training_data import Example

ROWS, COLUMNS = np.mgrid[:96, :96]
DISC = ((ROWS - 40) ** 2 + (COLUMNS - 50) ** 2 <= 15**2).astype(np.int32)
IMAGE = torch.from_numpy(np.repeat(0.1 + 0.5 * DISC[None].astype(np.float32), 3, 0))


def test_specks_are_much_smaller_than_the_objects_and_lie_beside_them():
    diameter = 30.0
    for seed in range(20):
        plane = np.abs(specks(DISC, diameter, np.random.default_rng(seed)))
        strong = plane > 0.6 * plane.max()
        pieces, count = ndimage.label(strong)
        areas = np.bincount(pieces.ravel())[1:]
        assert count >= 1
        # A Gaussian is above 60 % of its top within about its radius; several may touch.
        assert np.median(areas) <= np.pi * (2.5 * SPECK_RADIUS[1] * diameter) ** 2
        row, column = np.unravel_index(plane.argmax(), plane.shape)
        assert DISC[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2].min() == 0


def test_haze_is_the_objects_light_shifted_and_blurred():
    contrast = IMAGE.numpy() - 0.1
    added = haze(contrast, DISC, 30.0, np.random.default_rng(0))
    assert added.shape == contrast.shape
    assert 0 < added.max() < contrast.max()
    steepest = np.abs(np.diff(added, axis=1)).max()
    assert steepest < 0.2 * added.max(), "haze has no edges"
    assert 0.1 < added.sum() / contrast.sum() < 1.5, "light is neither made nor lost"


def test_the_same_seed_draws_the_same_debris_and_the_image_given_is_left_alone():
    before = IMAGE.clone()
    first, again = (add_debris(IMAGE, DISC, np.random.default_rng(3)) for _ in range(2))
    other = add_debris(IMAGE, DISC, np.random.default_rng(4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(IMAGE, before)
    assert first.dtype == torch.float32


@pytest.mark.parametrize("labels", [np.zeros((64, 64), np.int32), np.ones((64, 64), np.int32)])
def test_a_crop_without_objects_or_without_background_is_no_obstacle(labels):
    image = torch.full((3, 64, 64), 0.2)
    for seed in range(8):
        drawn = add_debris(image, labels, np.random.default_rng(seed))
        assert drawn.shape == image.shape
        assert torch.isfinite(drawn).all()


def test_crops_have_debris_where_it_is_asked_for_and_the_same_labels_either_way():
    pyramid = [np.ascontiguousarray(IMAGE.numpy())]
    example = Example("drawn", "group", pyramid, DISC, 30.0, complete=True, grey=True)
    plain, dirty = (
        draw_crop(example, 64, 20.0, 20.0, np.random.default_rng(5), debris=debris)
        for debris in (False, True)
    )
    assert torch.equal(plain.labels, dirty.labels)
    assert not torch.equal(plain.image, dirty.image)
    plain, dirty = (
        draw_synthetic_crop("nuclei", 64, np.random.default_rng(5), debris)
        for debris in (False, True)
    )
    assert torch.equal(plain.labels, dirty.labels)
    assert not torch.equal(plain.image, dirty.image)
