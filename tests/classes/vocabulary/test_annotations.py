"""Annotations find the masks that they belong to, and leave others open."""

from __future__ import annotations

import numpy as np
import pytest

from cutting import from_dense
from napari_kindred.classes.proposals.base import Proposals
from napari_kindred.classes.proposals.masks import Masks
from napari_kindred.classes.proposals.open import SPECS
from napari_kindred.classes.vocabulary.annotations import annotate
from napari_kindred.classes.vocabulary.examples import Example
from napari_kindred.classes.vocabulary.mil import NOTHING, UNKNOWN, UNMARKED

CLASSES = {"red": 0, "white": 1}


def proposals(
    masks: Masks, kind: str = "entities", quality: list[float] | None = None
) -> Proposals:
    count = len(masks)
    values = np.ones(count) if quality is None else np.array(quality)
    return Proposals(
        masks,
        np.zeros((count, 2), np.float32),
        values.astype(np.float32),
        np.zeros((count, 2), np.float32),
        SPECS[kind]("kindred", "0"),
    )


@pytest.fixture
def squares() -> Proposals:
    """Four squares of 10 × 10 at the corners of a picture of 40 × 40."""
    labels = np.zeros((40, 40), int)
    for number, (y, x) in enumerate(((2, 2), (2, 28), (28, 2), (28, 28)), start=1):
        labels[y : y + 10, x : x + 10] = number
    return proposals(Masks.from_labels(labels))


def test_a_point_means_the_mask_it_lies_on_and_the_others_are_unmarked(squares: Proposals) -> None:
    example = Example(None, points={"Red": [(5, 5)], "white": [(30, 30), (20, 20)]})
    found = annotate(squares, example, CLASSES)
    assert found.codes.tolist() == [0, UNMARKED, UNMARKED, 1]
    assert (found.found, found.total) == (2, 3)


def test_a_point_on_the_background_says_so_and_then_the_unmarked_is_left_open(
    squares: Proposals,
) -> None:
    example = Example(None, points={"red": [(5, 5)], "background": [(5, 30)]})
    assert annotate(squares, example, CLASSES).codes.tolist() == [0, NOTHING, UNKNOWN, UNKNOWN]
    beside = Example(None, points={"red": [(5, 5)], "background": [(20, 20)]})
    assert annotate(squares, beside, CLASSES).codes.tolist() == [0, UNKNOWN, UNKNOWN, UNKNOWN]


def test_of_masks_over_each_other_a_point_means_the_best_and_leaves_the_others_open() -> None:
    dense = np.zeros((3, 20, 20), bool)
    dense[0, 2:8, 2:8] = dense[1, 2:12, 2:12] = dense[2, 14:, 14:] = True
    sam = proposals(from_dense(dense), "sam", [0.4, 0.9, 0.9])
    example = Example(None, points={"red": [(4, 4)]})
    assert annotate(sam, example, CLASSES).codes.tolist() == [UNKNOWN, 0, UNMARKED]


@pytest.mark.parametrize("order", [("red", "white"), ("white", "red")])
def test_annotations_that_contradict_each_other_are_lost_in_any_order(
    squares: Proposals, order: tuple[str, str]
) -> None:
    """One of red and two of white on the first square, one of white on the last."""
    points = {"red": [(5, 5)], "white": [(6, 6), (7, 7), (30, 30)]}
    found = annotate(squares, Example(None, points={n: points[n] for n in order}), CLASSES)
    assert found.codes.tolist() == [UNKNOWN, UNMARKED, UNMARKED, 1]
    assert found.hits == {0: (0, 1), 1: (1, 3)}


def test_a_box_over_regions_is_found_if_any_of_them_is_undisputed() -> None:
    tiles = np.arange(100).reshape(10, 10).repeat(4, 0).repeat(4, 1) + 1
    regions = proposals(Masks.from_labels(tiles), "regions")
    boxes = {"red": [(8, 8, 28, 28)], "white": [(16, 16, 36, 36)]}
    found = annotate(regions, Example(None, boxes=boxes), CLASSES)
    assert found.hits == {0: (1, 1), 1: (1, 1)}
    same = annotate(regions, Example(None, boxes=dict.fromkeys(boxes, boxes["red"])), CLASSES)
    assert found.codes.reshape(10, 10)[5, 5] == UNKNOWN
    assert same.hits == {0: (0, 1), 1: (0, 1)}


def test_a_box_means_the_mask_that_fits_it(squares: Proposals) -> None:
    """Half as large again fits (IoU 10/15); one that is off by half overlaps, and is left open."""
    boxes = {"red": [(2, 2, 12, 17)], "white": [(7, 33, 17, 43)]}
    found = annotate(squares, Example(None, boxes=boxes), CLASSES)
    assert found.codes.tolist() == [0, UNKNOWN, UNMARKED, UNMARKED]
    assert (found.found, found.total) == (1, 2)


def test_of_the_masks_within_a_loose_box_the_largest_is_meant() -> None:
    """A box of 20 × 20 around a nucleus of 10 × 10 and a grain of 3 × 3."""
    labels = np.zeros((40, 40), int)
    labels[8:18, 8:18] = 1
    labels[5:8, 20:23] = 2
    found = annotate(
        proposals(Masks.from_labels(labels)),
        Example(None, boxes={"white": [(4, 4, 24, 24)], "red": [(19, 19, 39, 39)]}),
        CLASSES,
    )
    assert found.codes.tolist() == [1, UNKNOWN]
    assert (found.found, found.total) == (1, 2)


def test_where_all_is_marked_the_rest_is_background(squares: Proposals) -> None:
    boxes = {"red": [(2, 2, 12, 12)], "white": [(7, 33, 17, 43)]}
    found = annotate(squares, Example(None, boxes=boxes, complete=True), CLASSES)
    assert found.codes.tolist() == [0, UNKNOWN, NOTHING, NOTHING]


def test_a_box_means_the_regions_in_the_ellipse_inside_it() -> None:
    """Of tiles of 4 × 4 under a box of 20 × 20, those at its corners are not meant."""
    tiles = np.arange(100).reshape(10, 10).repeat(4, 0).repeat(4, 1) + 1
    regions = proposals(Masks.from_labels(tiles), "regions")
    found = annotate(regions, Example(None, boxes={"red": [(8, 8, 28, 28)]}), CLASSES)
    codes = found.codes.reshape(10, 10)
    assert (codes[3:6, 3:6] == 0).all()
    for corner in ((2, 2), (2, 6), (6, 2), (6, 6)):
        assert codes[corner] != 0
    assert (codes[8:] == UNMARKED).all()
    assert (found.found, found.total) == (1, 1)


@pytest.mark.parametrize(
    ("complete", "codes"),
    [(False, [0, 0, 1, UNMARKED]), (True, [0, NOTHING, UNKNOWN, NOTHING])],
    ids=["any label counts in a sketch", "most of a mask must be labelled if all is"],
)
def test_labels_annotate_masks(squares: Proposals, complete: bool, codes: list[int]) -> None:
    """Number 3 on all of the first square and 1 row of the second; 4 on half of the third."""
    labels = np.zeros((40, 40), np.uint8)
    labels[2:12, 2:12] = labels[2, 28:38] = 3
    labels[28:33, 2:12] = 4
    example = Example(None, labels=labels, label_names={3: "red", 4: "white"}, complete=complete)
    assert annotate(squares, example, CLASSES).codes.tolist() == codes


def test_a_label_without_a_name_is_no_label(squares: Proposals) -> None:
    labels = np.full((40, 40), 9)
    example = Example(None, labels=labels, label_names={3: "red"})
    assert (annotate(squares, example, CLASSES).codes == UNMARKED).all()


def test_names_alone_tell_nothing_of_single_masks_unless_all_is_background(
    squares: Proposals,
) -> None:
    named, empty = (Example(None, names=(name,)) for name in ("red", "Background"))
    assert (annotate(squares, named, CLASSES).codes == UNKNOWN).all()
    assert (annotate(squares, empty, CLASSES).codes == NOTHING).all()


def test_a_picture_without_masks_has_marks_on_nothing() -> None:
    none = proposals(Masks((9, 9), np.zeros((0, 4), np.int32), ()))
    marks = {"points": {"red": [(1, 1)]}, "boxes": {"red": [(1, 1, 3, 3)]}}
    labels = np.ones((9, 9), int)
    found = annotate(none, Example(None, labels=labels, label_names={1: "red"}, **marks), CLASSES)
    assert (len(found.codes), found.found, found.total) == (0, 0, 3)
