"""Random crops: labels go where the picture goes, and nothing is learnt from outside it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from napari_kindred.models import augment
from napari_kindred.models.augment import IGNORE, draw_crop, draw_scale, paste
from napari_kindred.models.training_data import Example


def example(labels, picture=None, diameter=20.0, grey=True, complete=True, levels=1):
    """An example whose picture, unless given, is its labels."""
    picture = np.asarray(labels if picture is None else picture, np.float32)
    plane = picture if picture.ndim == 3 else np.broadcast_to(picture, (3, *picture.shape))
    pyramid = [np.ascontiguousarray(plane)]
    for _ in range(levels - 1):
        last = pyramid[-1]
        side = last.shape[1] // 2, last.shape[2] // 2
        pyramid.append(last.reshape(3, side[0], 2, side[1], 2).mean((2, 4)))
    return Example("drawn", "group", pyramid, labels.astype(np.int32), diameter, complete, grey)


def draw(one, seed, crop=64, low=20.0, high=20.0):
    return draw_crop(one, crop, low, high, np.random.default_rng(seed))


@pytest.fixture
def geometry_only(monkeypatch):
    monkeypatch.setattr(augment, "_intensity", lambda image, grey, random: image)


@pytest.mark.parametrize("grey", [True, False])
@pytest.mark.parametrize("shape", [(128, 96), (20, 30), (7, 300)])
def test_a_crop_has_its_side_whatever_the_picture_s_size(shape, grey):
    labels = np.zeros(shape, int)
    labels[2:6, 2:6] = 3
    for seed in range(5):
        crop = draw(example(labels, grey=grey, diameter=4.5, complete=grey), seed)
        assert crop.complete is grey
        assert crop.image.shape == (3, 64, 64)
        assert crop.image.dtype == torch.float32
        assert crop.labels.shape == (64, 64)
        assert crop.labels.dtype == torch.int64
        assert set(crop.labels.unique().tolist()) <= {IGNORE, 0, 3}
        assert crop.image.isfinite().all()
        assert -0.2 <= crop.image.min() <= crop.image.max() <= 1.5


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize(("target", "levels"), [(60.0, 1), (20.0, 1), (8.0, 2)])
def test_labels_stay_on_their_pixels_of_the_picture(geometry_only, axis, target, levels):
    """The picture's intensity is its row (or column) and so is the label, plus one."""
    ramp = np.indices((256, 320))[axis]
    one = example(ramp + 1, ramp, levels=levels)
    inner, angles = 0, set()
    for seed in range(20):
        crop = draw(one, seed, low=target, high=target)
        # Away from the picture's edge, which has nothing to interpolate with beyond it.
        known = (crop.labels > 2) & (crop.labels < ramp.max())
        error = (crop.image[0] - (crop.labels - 1))[known]
        assert error.abs().max() < 0.51, "further than the rounding of a place to a pixel"
        inner += int(known.sum())
        slope = crop.image[0][1:, 32].diff().mean(), crop.image[0][32, 1:].diff().mean()
        angles.add(tuple(np.sign(np.round(slope, 2))))
    assert inner > 20 * 64 * 64 / 3
    assert len(angles) >= 4, "pictures were neither turned nor flipped"


def test_outside_the_picture_there_is_the_ignore_label_and_inside_there_is_none(geometry_only):
    """A picture smaller than the crop; where it is, its pixels say: it counts up from 1."""
    labels = np.arange(1, 24 * 24 + 1).reshape(24, 24)
    outside = 0
    for seed in range(10):
        crop = draw(example(labels, diameter=20), seed)
        # The smallest scale lets the picture fill three quarters of the crop's side; turns and
        # stretches keep its area.
        filled = float((crop.labels != IGNORE).float().mean())
        assert filled == pytest.approx(0.75**2, abs=0.02)
        assert (crop.labels[crop.labels != IGNORE] > 0).all()
        outside += int((crop.labels == IGNORE).sum())
    assert outside > 0


def disc(side=96, radius=10):
    rows, columns = np.mgrid[:side, :side] - side / 2
    return (rows**2 + columns**2 <= radius**2).astype(int)


@pytest.mark.parametrize("target", [12.0, 20.0, 28.0])
def test_entities_are_scaled_to_the_wanted_diameter(target):
    """Rotations, flips and stretches keep the area."""
    whole = []
    for seed in range(60):
        labels = draw(example(disc(), diameter=20), seed, low=target, high=target).labels
        edge = torch.cat([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
        if not (edge > 0).any() and (labels > 0).any():
            whole.append(int((labels > 0).sum()))
    assert len(whole) >= 5
    wanted = max(target, 20 * 0.75 * 64 / 96)  # never shrunk to less than 3/4 of the crop
    assert np.mean(whole) == pytest.approx(math.pi / 4 * wanted**2, rel=0.05)


def test_scales_spread_evenly_in_octaves_between_the_bounds():
    random = np.random.default_rng(0)
    one = example(disc(400), diameter=20)
    scales = [draw_scale(one, 64, 10, 40, random) for _ in range(2000)]
    octaves = np.log2(scales)
    assert octaves.min() >= -1
    assert octaves.max() <= 1
    np.testing.assert_allclose(np.quantile(octaves, [0.25, 0.5, 0.75]), [-0.5, 0, 0.5], atol=0.06)


def test_an_image_without_entities_is_scaled_a_little_and_small_ones_five_times_at_most():
    random = np.random.default_rng(0)
    one = example(disc() * 0, diameter=0)
    scales = [draw_scale(one, 64, 10, 40, random) for _ in range(200)]
    assert 0.5 <= min(scales) < 0.7
    assert 1.3 < max(scales) <= 1.5
    assert draw_scale(example(disc(), diameter=2), 64, 40, 40, random) == 5, "at most"


def test_crops_are_mostly_laid_on_entities():
    """One disc covers a hundredth of the picture; by chance few crops would see it."""
    one = example(disc(600, radius=40), diameter=80)
    crops = [draw(one, seed, low=80, high=80) for seed in range(200)]
    seen = np.mean([bool((crop.labels > 0).any()) for crop in crops])
    by_chance = (64 + 80) ** 2 / 600**2
    assert seen > 1.5 * by_chance


@pytest.mark.parametrize("grey", [True, False])
def test_the_same_seed_draws_the_same_crop_and_another_one_another(grey):
    one = example(disc(), disc() * 0.5, grey=grey)
    for seed in range(8):
        first, again, other = draw(one, seed), draw(one, seed), draw(one, seed + 100)
        assert torch.equal(first.image, again.image)
        assert torch.equal(first.labels, again.labels)
        assert not torch.equal(first.image, other.image)


def test_drawing_leaves_the_example_as_it_was():
    one = example(disc(), disc() * 0.5, grey=False)
    before = one.pyramid[0].copy(), one.labels.copy()
    for seed in range(10):
        draw(one, seed)
    np.testing.assert_array_equal(one.pyramid[0], before[0])
    np.testing.assert_array_equal(one.labels, before[1])


def test_grey_pictures_stay_grey_and_colours_may_change():
    rng = np.random.default_rng(0)
    colour = rng.random((3, 96, 96))
    spreads = {"grey": [], "colour": []}
    for seed in range(30):
        grey = draw(example(disc(), colour[0]), seed).image
        rgb = draw(example(disc(), colour, grey=False), seed).image
        spreads["grey"].append(float((grey.amax(0) - grey.amin(0)).max()))
        spreads["colour"].append(float((rgb.amax(0) - rgb.amin(0)).median()))
    assert max(spreads["grey"]) < 1e-6
    noiseless = [s for s in spreads["colour"] if s < 1e-6]
    assert 0 < len(noiseless) < 20, "some colour pictures, but not most, become grey"


@pytest.mark.parametrize("sigma", [0.5, 1.6])
def test_blur_is_the_gaussian_s(sigma):
    from scipy.ndimage import gaussian_filter

    image = np.random.default_rng(0).random((3, 40, 50)).astype(np.float32)
    expected = gaussian_filter(image, (0, sigma, sigma), mode="mirror", truncate=3.5)
    found = augment.blur(torch.from_numpy(image), sigma).numpy()
    np.testing.assert_allclose(found, expected, atol=5e-3)


def scene(background, entities, shape=(40, 40)):
    """A picture of grey squares (row, column, side, value) on grey, and its labels."""
    image, labels = torch.full((3, *shape), float(background)), np.zeros(shape, np.int32)
    for number, (row, column, side, value) in enumerate(entities, start=1):
        image[:, row : row + side, column : column + side] = value
        labels[row : row + side, column : column + side] = number
    return image, labels


def test_a_pasted_entity_brings_its_pixels_and_its_label_and_stands_out_as_it_did():
    """What is 0.5 brighter than its background is so on the other one as well."""
    first, second = scene(0.1, [(2, 2, 8, 0.9)]), scene(0.4, [(20, 20, 9, 0.9)])
    image, labels = paste(*first, *second, np.random.default_rng(0))
    assert sorted(np.unique(labels)) == [0, 1, 3]
    np.testing.assert_array_equal(labels == 3, second[1] == 1)
    np.testing.assert_array_equal(labels == 1, first[1] == 1)
    assert image[0, 24, 24] == pytest.approx(0.6, abs=1e-4)
    assert image[0, 4, 4] == pytest.approx(0.9)
    assert image[0, 30, 5] == pytest.approx(0.1)
    assert 0.1 < image[0, 20, 24] < 0.6, "edges are blended"


@pytest.mark.parametrize(("row", "left"), [(12, 1), (5, IGNORE)])
def test_an_entity_of_which_little_is_left_takes_part_in_no_loss(row, left):
    first, second = scene(0.1, [(2, 10, 12, 0.9)]), scene(0.1, [(row, 8, 16, 0.5)])
    _, labels = paste(*first, *second, np.random.default_rng(0))
    assert set(labels[2:row, 10:22].ravel()) == {left}
    assert (labels == 3).sum() == 16 * 16


def test_what_the_crop_cuts_is_not_pasted_nor_anything_outside_the_picture():
    first, second = scene(0.1, []), scene(0.1, [(0, 5, 8, 0.9), (20, 20, 8, 0.9)])
    first[1][:, :24] = IGNORE
    _, labels = paste(*first, *second, np.random.default_rng(0))
    assert (labels[:, :24] == IGNORE).all()
    np.testing.assert_array_equal(labels[:, 24:] > 0, (second[1] == 2)[:, 24:])


def test_nothing_is_pasted_where_there_is_nothing_to_paste_or_no_place():
    full, empty = scene(0.1, [(0, 0, 40, 0.5)]), scene(0.1, [])
    some = scene(0.1, [(20, 20, 8, 0.9)])
    for first, second in ((some, empty), (full, some), (some, full)):
        image, labels = paste(*first, *second, np.random.default_rng(0))
        assert image is first[0]
        assert labels is first[1]


def test_entities_of_a_partner_come_into_crops_of_an_empty_picture(geometry_only):
    """Four discs of it, at the size at which the picture itself is seen."""
    row = np.concatenate([disc(40, 6), 2 * disc(40, 6)], 1)
    partner = example(np.concatenate([row, np.where(row, row + 2, 0)]), diameter=12)
    empty = example(np.zeros((96, 96), int), diameter=12)
    areas = []
    for seed in range(40):
        crop = draw_crop(empty, 64, 12.0, 12.0, np.random.default_rng(seed), partner)
        areas += np.bincount(crop.labels[crop.labels > 0])[1:].tolist()
    areas = [area for area in areas if area]
    assert len(areas) > 40
    assert np.median(areas) == pytest.approx((disc(40, 6) > 0).sum(), rel=0.3)
