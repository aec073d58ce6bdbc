"""Masks kept as cut-outs do what whole pictures would."""

from __future__ import annotations

import numpy as np
import pytest

from cutting import from_dense
from napari_kindred.classes.proposals.masks import Masks
from napari_kindred.core.errors import InputError

SHAPE = (20, 31)


@pytest.fixture
def dense() -> np.ndarray:
    """Six masks that overlap, one of them empty and one apart from most."""
    random = np.random.default_rng(0)
    masks = random.random((6, *SHAPE)) > 0.6
    masks[2] = False
    masks[3, :, 5:] = False
    masks[4, :, :12] = False
    return masks


def test_masks_come_out_as_they_went_in(dense: np.ndarray) -> None:
    masks = from_dense(dense)
    assert len(masks) == 6
    for number, mask in enumerate(dense):
        np.testing.assert_array_equal(masks.dense(number), mask)
    np.testing.assert_array_equal(masks.areas, dense.sum((1, 2)))


def test_labels_become_masks_in_the_order_of_their_ids() -> None:
    labels = np.zeros(SHAPE, np.uint16)
    labels[10:, 20:] = 3
    labels[2:5, 1:4] = 900
    for values in (labels, labels.astype(np.int64) * 10**12):
        masks = Masks.from_labels(values)
        np.testing.assert_array_equal(masks.boxes, [[10, 20, 20, 31], [2, 1, 5, 4]])
        np.testing.assert_array_equal(masks.dense(1), labels == 900)
    full = np.full((3, 4), 10**6)
    full[0] = 10**6 + 5
    np.testing.assert_array_equal(Masks.from_labels(full).areas, [8, 4])


def test_a_picture_without_labels_has_no_masks() -> None:
    masks = Masks.from_labels(np.zeros(SHAPE, np.int32))
    assert len(masks) == 0
    assert masks.overlaps().shape == (0, 0)
    assert masks.contain([[1, 1]]).shape == (0, 1)
    assert not masks.paint([]).any()


@pytest.mark.parametrize(
    "labels", [np.zeros(SHAPE, float), np.zeros((2, *SHAPE), int), np.full(SHAPE, -1)]
)
def test_what_is_no_label_picture_is_refused(labels: np.ndarray) -> None:
    with pytest.raises(InputError, match="Labels must"):
        Masks.from_labels(labels)


def test_shared_pixels_are_those_of_whole_pictures(dense: np.ndarray) -> None:
    masks = from_dense(dense)
    expected = np.einsum("nyx,myx->nm", dense.astype(int), dense.astype(int))
    np.testing.assert_array_equal(masks.overlaps(), expected)
    np.testing.assert_array_equal(masks.overlaps(masks.take([3, 0])), expected[:, [3, 0]])


def test_ious_are_those_of_whole_pictures(dense: np.ndarray) -> None:
    ious = from_dense(dense).ious()
    for i, j in ((0, 1), (3, 4), (5, 5), (2, 2)):
        union = (dense[i] | dense[j]).sum()
        expected = (dense[i] & dense[j]).sum() / union if union else 0.0
        assert ious[i, j] == pytest.approx(expected)


def test_many_masks_are_compared_in_groups_with_the_same_outcome() -> None:
    rows, columns = np.mgrid[:60, :60]
    labels = rows // 3 * 20 + columns // 3 + 1  # 400 squares, more than one group
    moved = np.roll(labels, 1, axis=0)
    shared = Masks.from_labels(labels).overlaps(Masks.from_labels(moved))
    assert shared.sum() == labels.size
    assert shared[0, 0] == 6  # two of three rows stay
    assert shared[20, 0] == 3
    assert np.count_nonzero(shared) == 800


def test_boxes_overlap_as_rectangles_do() -> None:
    boxes = np.array([[0, 0, 4, 4], [2, 2, 6, 6]], np.int32)
    masks = Masks((10, 10), boxes, (np.eye(4, dtype=bool), np.ones((4, 4), bool)))
    np.testing.assert_allclose(masks.box_ious(), [[1, 4 / 28], [4 / 28, 1]])
    assert masks.overlaps()[0, 1] == 2  # the diagonal's last two


def test_points_lie_on_the_masks_that_hold_their_nearest_pixel(dense: np.ndarray) -> None:
    places = np.argwhere(np.ones(SHAPE))
    masks = from_dense(dense)
    found = masks.contain(places + 0.4)
    np.testing.assert_array_equal(found.reshape(6, *SHAPE), dense)
    assert not masks.contain([[-3, 2], [99, 2], [5, -0.6]]).any()


def test_later_masks_are_painted_over_earlier_ones() -> None:
    dense = np.zeros((2, 4, 4), bool)
    dense[0, :3, :3], dense[1, 2:, 2:] = True, True
    masks = from_dense(dense)
    assert masks.paint([7, 8])[2, 2] == 8
    assert masks.paint([7, 8], [1, 0])[2, 2] == 7
    assert set(np.unique(masks.paint([7, 8], [1]))) == {0, 8}


def test_some_are_taken_by_number_or_by_choice(dense: np.ndarray) -> None:
    masks = from_dense(dense)
    chosen = np.array([True, False, False, True, False, False])
    for some in (masks.take(chosen), masks.take([0, 3])):
        assert len(some) == 2
        np.testing.assert_array_equal(some.dense(1), dense[3])


def test_masks_survive_as_arrays_an_eighth_in_size(dense: np.ndarray) -> None:
    masks = from_dense(dense)
    arrays = masks.arrays()
    again = Masks.from_arrays(arrays)
    assert again.shape == SHAPE
    for number, mask in enumerate(dense):
        np.testing.assert_array_equal(again.dense(number), mask)
    assert len(arrays["mask_bits"]) <= sum(crop.size for crop in masks.crops) / 8 + 6


def test_boxes_bits_and_images_that_do_not_fit_are_refused(dense: np.ndarray) -> None:
    masks = from_dense(dense)
    arrays = masks.arrays()
    with pytest.raises(InputError, match="bits"):
        Masks.from_arrays({**arrays, "mask_bits": arrays["mask_bits"][:-1]})
    with pytest.raises(InputError, match="within the image"):
        Masks((4, 4), np.array([[2, 2, 6, 6]], np.int32), (np.ones((4, 4), bool),))
    with pytest.raises(InputError, match="one image"):
        masks.overlaps(from_dense(dense[:, :-1]))
