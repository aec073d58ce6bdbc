"""Labels of tokens become labels of pixels, with outlines where the frame has edges."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from scipy import ndimage

from napari_kindred.clusters import refine
from napari_kindred.clusters.refine import refine_edges, refine_none


def disc(height, width, radius, centre=None):
    y, x = np.mgrid[:height, :width]
    cy, cx = centre or (height / 2 + 1.3, width / 2 - 0.7)
    return (y - cy) ** 2 + (x - cx) ** 2 < radius**2


def coarse(mask, step):
    """Memberships (h, w, 2) of tokens: the part of each that is outside and inside the mask."""
    padded = np.pad(mask, [(0, -side % step) for side in mask.shape], mode="edge")
    h, w = padded.shape[0] // step, padded.shape[1] // step
    inside = padded.reshape(h, step, w, step).mean((1, 3), dtype=np.float32)
    return np.stack([1 - inside, inside], -1)


def random_membership(h, w, count, seed=0):
    return np.random.default_rng(seed).dirichlet(np.ones(count), (h, w)).astype(np.float32)


def interpolated(soft, step, shape):
    """Memberships (H, W, K) of pixels, computed in double precision by scipy."""
    rows, columns = (
        (np.arange(length) + 0.5) / size - 0.5 for length, size in zip(shape, step, strict=True)
    )
    grid = np.meshgrid(rows, columns, indexing="ij")
    planes = np.moveaxis(soft.astype(np.float64), -1, 0)
    fine = [ndimage.map_coordinates(plane, grid, order=1, mode="nearest") for plane in planes]
    return np.stack(fine, -1)


def iou(one, other):
    return (one & other).sum() / (one | other).sum()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("step", [4, 8, 16])
def test_outlines_follow_the_frame_better_than_tokens_can(channels, step):
    truth = disc(150, 203, 50)
    colours = np.array([[0.5, 0.2, 0.3], [0.2, 0.6, 0.3]], np.float32)[:, :channels]
    noise = 0.03 * np.random.default_rng(1).standard_normal((*truth.shape, channels))
    pixels = (colours[truth.astype(int)] + noise).astype(np.float32)
    # A token knows which side most of it is on, not how much of it.
    soft = coarse(truth, step).round()
    found = refine_edges(soft, pixels, (step, step)) == 1
    blocky = refine_none(soft.argmax(-1), (step, step), truth.shape) == 1
    smooth = interpolated(soft, (step, step), truth.shape).argmax(-1) == 1
    assert iou(found, truth) > max(iou(blocky, truth), iou(smooth, truth)) + 0.005
    assert iou(found, truth) > 0.98


def test_colours_of_one_brightness_are_told_apart():
    truth = disc(120, 120, 40)
    pixels = np.where(truth[..., None], [0.6, 0.3, 0.3], [0.3, 0.6, 0.3]).astype(np.float32)
    soft = coarse(truth, 8)
    by_colour = refine_edges(soft, pixels, (8, 8)) == 1
    by_brightness = refine_edges(soft, pixels.mean(-1, keepdims=True), (8, 8)) == 1
    assert iou(by_colour, truth) > 0.99 > iou(by_brightness, truth)


@pytest.mark.parametrize("step", [(4.0, 4.0), (3.7, 5.2), (1.0, 1.0), (0.6, 0.8), (16.0, 9.5)])
def test_memberships_are_interpolated_at_the_places_where_tokens_are(step):
    soft = random_membership(8, 11, 4)
    shape = (round(8 * step[0]), round(11 * step[1]))
    planes = torch.from_numpy(soft.transpose(2, 0, 1).copy())
    fine = refine._stretch(planes, 0, (0, shape[0]), step, shape[1]).numpy()
    np.testing.assert_allclose(fine.transpose(1, 2, 0), interpolated(soft, step, shape), atol=2e-5)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_frame_without_contrast_is_labelled_by_interpolation_alone(channels):
    soft = random_membership(9, 12, 5)
    pixels = np.full((33, 46, channels), 0.3, np.float32)
    expected = interpolated(soft, (4, 4), (33, 46)).argmax(-1)
    np.testing.assert_array_equal(refine_edges(soft, pixels, (4, 4)), expected)


@pytest.mark.parametrize("step", [(1.0, 1.0), (2.5, 3.3), (0.7, 0.7), (40.0, 40.0)])
@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (31, 44)])
def test_frames_of_any_size_are_labelled_whatever_the_step(shape, step):
    grid = [int(np.ceil(length / size)) for length, size in zip(shape, step, strict=True)]
    pixels = np.random.default_rng(0).random((*shape, 3), dtype=np.float32)
    soft = np.zeros((*grid, 3), np.float32)
    soft[..., 2] = 1
    found = refine_edges(soft, pixels, step)
    assert found.shape == shape
    assert (found == 2).all()


def test_what_is_not_a_number_spoils_nothing_elsewhere():
    truth = disc(80, 80, 25)
    pixels = (0.2 + 0.5 * truth[..., None]).astype(np.float32)
    soft = coarse(truth, 4)
    whole = refine_edges(soft, pixels, (4, 4))
    pixels[2, 3], soft[1, 1] = np.nan, np.nan
    pixels[5, 3] = np.inf
    broken = refine_edges(soft, pixels, (4, 4))
    # Beyond the windows of 5 x 5 tokens that touch the broken ones, averaged once more.
    np.testing.assert_array_equal(broken[28:, 28:], whole[28:, 28:])
    assert set(np.unique(broken)) <= {0, 1}


@pytest.mark.parametrize("step", [(4.0, 4.0), (3.3, 2.7)])
def test_labels_do_not_depend_on_the_bands_worked_on(monkeypatch, step):
    soft = random_membership(31, 37, 4)
    shape = (round(31 * step[0]), round(37 * step[1]))
    pixels = np.random.default_rng(2).random((*shape, 3), dtype=np.float32)
    at_once = refine_edges(soft, pixels, step)
    monkeypatch.setattr(refine, "BAND", 7 * shape[1])
    assert (refine_edges(soft, pixels, step) != at_once).mean() < 1e-3


def test_clusters_that_are_nowhere_near_change_nothing():
    truth = disc(100, 100, 30)
    pixels = (0.2 + 0.5 * truth[..., None]).astype(np.float32)
    two = coarse(truth, 4)
    many = np.zeros((25, 25, 64), np.float32)
    many[..., [17, 40]] = two
    expected = np.array([17, 40])[refine_edges(two, pixels, (4, 4))]
    np.testing.assert_array_equal(refine_edges(many, pixels, (4, 4)), expected)


def test_memory_does_not_grow_with_pixels_times_clusters():
    resource = pytest.importorskip("resource")  # not on Windows
    unit = 1 if sys.platform == "darwin" else 1024

    def most_bytes_so_far():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit

    soft = random_membership(64, 64, 48)
    pixels = np.random.default_rng(0).random((1024, 1024, 1), dtype=np.float32)
    refine_edges(soft[:2, :2], pixels[:32, :32], (16, 16))  # whatever is loaded once
    before = most_bytes_so_far()
    refine_edges(soft, pixels, (16, 16))
    stack = 1024 * 1024 * 48 * 4
    assert most_bytes_so_far() - before < stack / 2


def test_nearest_labels_are_those_of_the_token_a_pixel_lies_in():
    labels = np.array([[3, 1], [0, 2]])
    expected = np.repeat(np.repeat(labels, 3, 0), 3, 1)[:5, :6]
    np.testing.assert_array_equal(refine_none(labels, (3, 3), (5, 6)), expected)
