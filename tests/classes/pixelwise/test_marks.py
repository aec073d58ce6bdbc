"""Marks become pixels with classes."""

from __future__ import annotations

import numpy as np
import pytest

from napari_kindred.classes.pixelwise.marks import mark_pixels
from napari_kindred.classes.vocabulary.examples import Example
from napari_kindred.classes.vocabulary.mil import NOTHING, UNKNOWN, UNMARKED

CLASSES = {"red": 0, "white": 1}
SHAPE = (20, 30)


def marked(example: Example, most: int = 10**6) -> tuple[np.ndarray, np.ndarray]:
    """The codes of all pixels, UNKNOWN where none was collected, and the lost marks."""
    found = mark_pixels(example, SHAPE, CLASSES, most, np.random.default_rng(0))
    plane = np.full(SHAPE, UNKNOWN)
    plane[tuple(found.places.T)] = found.codes
    return plane, found.lost


def test_points_strokes_and_boxes_mean_the_pixels_below_them() -> None:
    strokes = np.zeros(SHAPE, int)
    strokes[5, 2:6], strokes[9, 9] = 3, 7
    example = Example(
        None,
        points={"red": [(0, 0), (1.6, 2.4)]},
        boxes={"white": [(10, 10, 16, 20)]},
        labels=strokes,
        label_names={3: "white", 7: "background"},
    )
    plane, lost = marked(example)
    assert [tuple(p) for p in np.argwhere(plane == 0)] == [(0, 0), (2, 2)]
    assert (plane[5, 2:6] == 1).all()
    assert plane[9, 9] == NOTHING
    # An ellipse of half axes 3 and 5 has an area of 15 pi.
    assert (plane[10:16, 10:20] == 1).sum() == pytest.approx(15 * np.pi, rel=0.05)
    assert not lost.any()


def test_a_pixel_of_two_classes_is_left_out_and_its_marks_are_lost() -> None:
    for order in (("red", "white"), ("white", "red")):
        points = {"red": [(3, 3)], "white": [(3, 3), (4, 4)]}
        plane, lost = marked(Example(None, points={name: points[name] for name in order}))
        assert plane[3, 3] == UNKNOWN
        assert plane[4, 4] == 1
        assert lost.tolist() == [1, 1]


def test_of_each_class_so_many_are_chosen_and_of_whole_images_as_they_are() -> None:
    labels = np.ones(SHAPE, int)
    labels[:2] = 2
    names = {1: "red", 2: "white"}
    plane, _ = marked(Example(None, labels=labels, label_names=names), most=50)
    assert [(plane == code).sum() for code in (0, 1)] == [50, 50]
    plane, _ = marked(Example(None, labels=labels, label_names=names, complete=True), most=100)
    assert [(plane == code).sum() for code in (0, 1)] == pytest.approx([270, 30], abs=15)
    labels[:] = 0
    labels[0, 0] = 1
    rest = {"labels": labels, "label_names": names}
    assert (marked(Example(None, **rest))[0] == UNMARKED).sum() == 599
    assert (marked(Example(None, **rest, complete=True))[0] == NOTHING).sum() == 599
