"""Corrections of labels: what is split, merged and filled, by areas that are known."""

from __future__ import annotations

from itertools import count
from typing import Any

import numpy as np
import pytest

from napari_kindred.core.errors import InputError
from napari_kindred.entities.edits import fill_outline, merge_along, split_along, split_between


@pytest.fixture
def labels() -> np.ndarray:
    """A bar of 10 x 40 pixels, two touching squares, and a dumbbell of two squares."""
    plane = np.zeros((60, 60), np.int32)
    plane[5:15, 5:45] = 1
    plane[20:30, 5:15], plane[20:30, 15:25] = 2, 3
    plane[40:50, 5:15] = plane[44:46, 15:20] = plane[40:50, 20:32] = 4
    return plane


def areas(plane: np.ndarray) -> dict[int, int]:
    return {int(one): int((plane == one).sum()) for one in np.unique(plane) if one}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ([(0, 20), (18, 20)], {1: 25 * 10, 9: 15 * 10}),
        ([(3, 20), (11, 20)], {1: 25 * 10, 9: 15 * 10}),  # ends inside: is drawn on
        ([(0, 15), (18, 15), (18, 35), (0, 35)], {1: 20 * 10, 9: 10 * 10, 10: 10 * 10}),
        ([(25, 0), (25, 30)], {2: 6 * 10, 9: 4 * 10, 3: 6 * 10, 10: 4 * 10}),
    ],
    ids=["across", "ends inside", "twice", "two objects"],
)
def test_a_line_splits_what_it_crosses_and_the_largest_piece_keeps_the_id(
    labels: np.ndarray, path: Any, expected: dict[int, int]
) -> None:
    result = areas(split_along(labels, path, count(9)))
    before = areas(labels)
    for one, area in expected.items():  # which piece gets the line's own pixels is open
        assert abs(result[one] - area) <= 10
    assert sum(result.values()) == sum(before.values())
    assert set(result) - set(before) == {one for one in expected if one >= 9}


def test_a_line_that_only_ends_in_an_object_does_not_split_it(labels: np.ndarray) -> None:
    result = areas(split_along(labels, [(12, 10), (19, 10), (31, 10)], count(9)))
    assert result[1] == 400
    assert result[9] == 40


def test_two_clicks_split_at_the_neck(labels: np.ndarray) -> None:
    result = split_between(labels, (45, 10), (45, 26), 9)
    assert (result[40:50, 5:15] == 4).all()
    assert (result[40:50, 20:32] == 9).all()
    assert ((result > 0) == (labels > 0)).all()


def test_a_stroke_merges_all_it_touches_into_the_largest(labels: np.ndarray) -> None:
    assert areas(merge_along(labels, [(10, 20), (25, 20), (25, 8)])) == {1: 600, 4: 230}


def test_an_outline_is_filled_where_nothing_is(labels: np.ndarray) -> None:
    result = fill_outline(labels, [(15, 50), (15, 54), (25, 54), (25, 50)], 9)
    assert areas(result)[9] == 11 * 5
    result = fill_outline(labels, [(0, 0), (0, 59), (16, 59), (16, 0)], 9)
    assert areas(result)[1] == 400


@pytest.mark.parametrize(
    "edit",
    [
        lambda plane: split_along(plane, [(33, 0), (33, 59)], count(9)),
        lambda plane: split_between(plane, (10, 10), (25, 10), 9),
        lambda plane: merge_along(plane, [(10, 10), (10, 30)]),
        lambda plane: fill_outline(plane, [(6, 6), (6, 9), (9, 9)], 9),
        lambda plane: fill_outline(plane, [(6, 6)], 9),
    ],
)
def test_what_does_nothing_is_said_in_one_sentence(labels: np.ndarray, edit: Any) -> None:
    with pytest.raises(InputError, match=r"^[A-Z][^.]+\.$"):
        edit(labels)
