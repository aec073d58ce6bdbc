"""Scored masks become things of one class each."""

from __future__ import annotations

import numpy as np
import pytest

from cutting import from_dense
from napari_kindred.classes.proposals.masks import Masks
from napari_kindred.classes.resolve import best_of, resolve_map, resolve_masks

SHAPE = (24, 30)


def block(y0: int, x0: int, y1: int, x1: int) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[y0:y1, x0:x1] = True
    return mask


def masks_of(*parts: np.ndarray) -> Masks:
    return from_dense(np.stack(parts))


def scores_of(*rows: tuple[float, ...]) -> np.ndarray:
    return np.array(rows, np.float32)


HALF = np.array([0.5, 0.5], np.float32)


def test_masks_take_their_most_probable_class_and_unsure_ones_are_background() -> None:
    masks = masks_of(block(0, 0, 6, 6), block(8, 8, 14, 14), block(16, 16, 20, 20))
    found = resolve_masks(
        masks, scores_of((0.9, 0.1), (0.2, 0.8), (0.4, 0.3)), np.ones(3, np.float32), HALF
    )
    wanted = np.where(masks.dense(0), 1, np.where(masks.dense(1), 2, 0))
    np.testing.assert_array_equal(found.labels, wanted)
    np.testing.assert_array_equal(found.classes, [1, 2])
    np.testing.assert_allclose(found.scores, [0.9, 0.8])


def test_each_class_may_have_a_threshold_of_its_own() -> None:
    masks = masks_of(block(0, 0, 6, 6), block(8, 8, 14, 14))
    scores, sure = scores_of((0.6, 0.4), (0.4, 0.6)), np.ones(2, np.float32)
    found = resolve_masks(masks, scores, sure, np.array([0.7, 0.5], np.float32))
    assert set(np.unique(found.labels)) == {0, 2}


def test_what_is_just_below_the_threshold_is_background() -> None:
    masks = masks_of(block(0, 0, 6, 6), block(8, 8, 14, 14))
    scores, sure = scores_of((0.69, 0.31), (0.71, 0.29)), np.ones(2, np.float32)
    found = resolve_masks(masks, scores, sure, np.array([0.7, 0.7], np.float32))
    np.testing.assert_array_equal(found.labels > 0, masks.dense(1))


def test_masks_that_share_no_pixel_are_two_whatever_their_boxes() -> None:
    """A ring and the disc that nearly fills it: their boxes are nearly the same."""
    disc = block(1, 1, 19, 19)
    ring = block(0, 0, 20, 20) & ~disc
    scores, sure = scores_of((0.9, 0.1), (0.8, 0.2)), np.ones(2, np.float32)
    assert masks_of(ring, disc).box_ious()[0, 1] > 0.7
    assert len(resolve_masks(masks_of(ring, disc), scores, sure, HALF).classes) == 2


def test_of_two_outlines_of_one_thing_the_better_stays() -> None:
    """9 × 10 of 10 × 10 pixels are shared: the same thing, seen twice."""
    masks = masks_of(block(0, 0, 10, 10), block(1, 0, 10, 10))
    scores = scores_of((0.9, 0.1), (0.9, 0.1))
    for better in (0, 1):
        quality = np.array([0.6, 0.6], np.float32)
        quality[better] = 0.9
        found = resolve_masks(masks, scores, quality, HALF)
        np.testing.assert_array_equal(found.labels > 0, masks.dense(better))
        assert len(found.classes) == 1


def test_a_ring_is_not_the_disc_within_it_unless_their_boxes_are_the_same() -> None:
    outer, inner = block(0, 0, 12, 12), block(3, 3, 9, 9)
    masks = masks_of(outer, inner)
    scores, sure = scores_of((0.9, 0.1), (0.1, 0.9)), np.ones(2, np.float32)
    found = resolve_masks(masks, scores, sure, HALF)
    np.testing.assert_array_equal(found.labels, outer + inner.astype(int))
    # A cross in the same box shares less than half of the union, yet its box is the same.
    cross = block(4, 0, 8, 12) | block(0, 4, 12, 8)
    crossed = masks_of(outer & ~block(5, 5, 7, 7), cross)
    assert crossed.ious()[0, 1] < 0.6
    assert len(resolve_masks(crossed, scores, sure, HALF, nms_mask=0.6).classes) == 1
    assert len(resolve_masks(crossed, scores, sure, HALF, nms_mask=0.6, nms_box=1.0).classes) == 2


def test_the_part_lies_upon_the_whole_whatever_their_order() -> None:
    whole, part = block(0, 0, 20, 20), block(5, 5, 9, 9)
    for order in ((whole, part), (part, whole)):
        scores = scores_of(*((0.9, 0.1) if mask is whole else (0.1, 0.9) for mask in order))
        found = resolve_masks(masks_of(*order), scores, np.ones(2, np.float32), HALF)
        assert found.labels[6, 6] == 2
        assert found.labels[1, 1] == 1


def test_a_thing_that_is_quite_hidden_is_not_counted() -> None:
    """Two halves cover the whole; ids stay without a gap."""
    whole, top, bottom = block(0, 0, 10, 10), block(0, 0, 5, 10), block(5, 0, 10, 10)
    scores = scores_of((0.9, 0.1), (0.1, 0.9), (0.1, 0.9))
    found = resolve_masks(
        masks_of(whole, top, bottom), scores, np.ones(3, np.float32), HALF, nms_mask=0.6
    )
    np.testing.assert_array_equal(found.classes, [2, 2])
    np.testing.assert_array_equal(np.unique(found.entities), [0, 1, 2])


@pytest.mark.parametrize("overlapping", [True, False])
def test_no_masks_are_all_background(overlapping: bool) -> None:
    masks = Masks.from_labels(np.zeros(SHAPE, int))
    found = resolve_masks(
        masks, np.zeros((0, 2), np.float32), np.zeros(0, np.float32), HALF, overlapping=overlapping
    )
    assert not found.labels.any()
    assert not found.entities.any()
    assert len(found.classes) == len(found.scores) == 0


def test_a_map_falls_into_the_connected_parts_of_each_class() -> None:
    best = np.zeros(SHAPE, np.int32)
    best[2:6, 2:6] = 1
    best[2:6, 6:9] = 2  # touches, but is of another class
    best[10:12, 2:4] = 1
    confidence = np.where(best, 0.8, 0).astype(np.float32)
    confidence[10, 2] = 0.6
    confidence[5, 8] = 0.1
    found = resolve_map(best, confidence, HALF)
    assert sorted(found.classes.tolist()) == [1, 1, 2]
    assert found.labels[5, 8] == 0
    lower = found.entities[10, 2]
    np.testing.assert_allclose(found.scores[lower - 1], (0.6 + 3 * 0.8) / 4, rtol=1e-6)
    for number, kind in enumerate(found.classes, start=1):
        assert set(found.labels[found.entities == number]) == {kind}


def test_regions_spread_their_scores_over_their_pixels() -> None:
    masks = masks_of(block(0, 0, 6, 6), block(8, 8, 14, 14))
    best, confidence = best_of(masks, scores_of((0.9, 0.1), (0.2, 0.8)))
    np.testing.assert_array_equal(best, masks.dense(0) + 2 * masks.dense(1))
    np.testing.assert_allclose(confidence, 0.9 * masks.dense(0) + 0.8 * masks.dense(1), rtol=1e-6)
    nothing = Masks.from_labels(np.zeros(SHAPE, int))
    best, confidence = best_of(nothing, np.zeros((0, 2), np.float32))
    assert not best.any()
    assert not confidence.any()


@pytest.mark.parametrize(("extent", "objects"), [(0, 4), (16, 3), (40, 2)])
def test_parts_of_one_object_are_one_if_the_whole_is_no_larger_than_usual(
    extent: float, objects: int
) -> None:
    """Two lobes 3 pixels apart, a cell 4 away from them, and one of another class beside them."""
    dense = np.zeros((4, 40, 40), bool)
    dense[0, 2:8, 2:14] = dense[1, 11:17, 2:14] = dense[2, 21:37, 2:18] = dense[3, 2:8, 16:22] = (
        True
    )
    scores = np.array([[0.8, 0.1], [0.9, 0.0], [0.7, 0.2], [0.0, 0.9]], np.float32)
    found = resolve_masks(
        from_dense(dense), scores, np.ones(4), np.full(2, 0.5), overlapping=False,
        extents=np.array([extent, 0], np.float32),
    )  # fmt: skip
    assert len(found.classes) == objects == found.entities.max()
    assert len(np.unique(found.entities[3, [3, 18]])) == 2, "another class stays apart"
    assert (found.entities[5, 5] == found.entities[14, 5]) == (extent > 0)
    assert found.scores[found.entities[14, 5] - 1] == pytest.approx(0.9)
    assert np.array_equal(found.labels > 0, dense.any(0))
