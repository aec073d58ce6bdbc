"""Labels of slices become objects of a stack."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from napari_kindred.entities.volumes.through_z import StackObjects, ZStitcher, drawn_between


def balls(shape, *places):
    """Label balls given as (z, y, x, radius), 1 … n."""
    grid = np.indices(shape)
    labels = np.zeros(shape, np.int32)
    for number, (*centre, radius) in enumerate(places, start=1):
        away = sum((axis - c) ** 2 for axis, c in zip(grid, centre, strict=True))
        labels[away <= radius**2] = number
    return labels


def slices(labels):
    """Number each slice's connected sections 1 … n, as a segmentation of slices does."""
    return [ndimage.label(plane > 0)[0].astype(np.int32) for plane in labels]


def stitch(planes, grey=None) -> tuple[np.ndarray, StackObjects]:
    stitcher = ZStitcher()
    light = [None] * len(planes) if grey is None else grey
    sections = np.stack(
        [
            stitcher.add(plane, np.ones(plane.max(), np.float32), own)
            for plane, own in zip(planes, light, strict=True)
        ]
    )
    found = stitcher.finish()
    return found.ids[sections], found


def same_objects(first, second) -> bool:
    """Whether two labellings differ in nothing but their ids."""
    pairs = np.unique(np.stack([first.ravel(), second.ravel()]), axis=1)
    return len(pairs[0]) == len(set(pairs[0])) == len(set(pairs[1]))


def test_perfect_slices_of_balls_apart_are_the_connected_components() -> None:
    truth = balls((30, 60, 60), (12, 15, 15, 9), (15, 40, 20, 8), (14, 30, 45, 10), (20, 50, 50, 6))
    found, _ = stitch(slices(truth))
    assert same_objects(found, ndimage.label(truth > 0)[0])


def test_an_object_that_vanishes_for_one_slice_is_healed_and_drawn_in_between() -> None:
    truth = balls((24, 40, 40), (12, 20, 20, 9))
    planes = slices(truth)
    planes[12] = np.zeros_like(planes[12])
    found, objects = stitch(planes)
    assert found.max() == 1
    filling = objects.fillings[0]
    assert filling.slice == 12
    drawn = drawn_between(truth[11] > 0, truth[13] > 0)
    assert np.abs(drawn.sum() - (truth[12] > 0).sum()) < 0.1 * drawn.sum()


def test_two_missing_slices_are_no_gap() -> None:
    planes = slices(balls((24, 40, 40), (12, 20, 20, 9)))
    planes[12], planes[13] = np.zeros_like(planes[12]), np.zeros_like(planes[13])
    assert stitch(planes)[0].max() == 2


def test_balls_on_top_of_each_other_are_cut_at_their_waist() -> None:
    truth = balls((44, 40, 40), (12, 20, 20, 9), (29, 20, 20, 9))
    found, _ = stitch(slices(truth))
    assert found.max() == 2
    for ball in (1, 2):
        mine = found[truth == ball]
        assert np.bincount(mine).max() > 0.95 * len(mine)


def test_the_light_above_and_below_a_bright_object_is_not_part_of_it() -> None:
    planes = slices(balls((24, 40, 40), (12, 20, 20, 9)))
    light = [np.zeros((40, 40), np.float32) for _ in planes]
    for z, plane in enumerate(planes):
        light[z][plane > 0] = 1.0 if 6 <= z <= 18 else 0.3
    found, _ = stitch(planes, light)
    assert np.flatnonzero(found.any((1, 2))).tolist() == list(range(6, 19))


def test_a_part_of_a_section_is_attached_and_a_speck_on_its_own_is_left_out() -> None:
    planes = slices(balls((24, 40, 40), (12, 20, 20, 9)))
    planes[4][19:22, 19:22] = 1  # just above the ball's cap, which begins in slice 3
    planes[15][2:5, 30:35] = planes[15].max() + 1
    found, _ = stitch(planes)
    assert found.max() == 1
    assert not found[15, 2:5, 30:35].any()


def test_objects_of_single_slices_are_kept_if_that_is_what_there_are() -> None:
    planes = [np.zeros((30, 30), np.int32) for _ in range(3)]
    planes[0][2:8, 2:8], planes[2][12:18, 12:18] = 1, 1
    assert stitch(planes)[0].max() == 2


def test_empty_slices_give_no_objects() -> None:
    found, objects = stitch([np.zeros((8, 8), np.int32)] * 5)
    assert not found.any()
    assert not len(objects.scores)
