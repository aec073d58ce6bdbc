"""What differs between two results, next to a slow count by hand."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest

from napari_kindred.core.errors import InputError
from napari_kindred.core.events import finish
from napari_kindred.results.compare import CHANGED, ONLY_A, ONLY_B, compare, iter_compare, outlines
from napari_kindred.results.metrics import match, overlaps


def drawn(*boxes: tuple[int, int, int, int, int]) -> np.ndarray:
    """Labels (30, 40) of boxes: id, top, left, height and width."""
    labels = np.zeros((30, 40), np.int32)
    for number, top, left, height, width in boxes:
        labels[top : top + height, left : left + width] = number
    return labels


BEFORE = drawn((1, 2, 2, 8, 8), (2, 2, 20, 8, 8), (3, 16, 2, 8, 8))
AFTER = drawn((7, 2, 2, 8, 8), (5, 2, 22, 8, 8), (9, 16, 30, 8, 8))
"""The first is the same under another id, the second moved, the third went, a fourth came."""


def test_things_are_matched_by_overlap_whatever_their_ids() -> None:
    changes = compare(BEFORE, AFTER)
    rows = changes.table.set_index("kind")
    assert changes.unchanged == 1
    assert rows.loc[CHANGED, ["id_a", "id_b", "area_a", "area_b"]].tolist() == [2, 5, 64, 64]
    assert rows.loc[CHANGED, "iou"] == pytest.approx(48 / 80)
    assert rows.loc[CHANGED, ["y", "x"]].tolist() == [5.5, 25.5]
    assert rows.loc[ONLY_A, ["id_a", "id_b", "iou", "y", "x"]].tolist() == [3, 0, 0, 19.5, 5.5]
    assert rows.loc[ONLY_B, ["id_a", "id_b", "area_a", "area_b"]].tolist() == [0, 9, 0, 64]
    assert "1 unchanged, 1 changed, 1 only in 'old', 1 only in 'new'." in changes.sentence(
        "old", "new"
    )


def test_the_thresholds_say_what_is_the_same_and_what_is_another_thing() -> None:
    assert compare(BEFORE, AFTER, same=0.6).count(CHANGED) == 0
    assert compare(BEFORE, AFTER, same=0.6).unchanged == 2
    strict = compare(BEFORE, AFTER, alike=0.7)
    assert (strict.count(CHANGED), strict.count(ONLY_A), strict.count(ONLY_B)) == (0, 2, 2)


def test_equal_results_differ_in_nothing() -> None:
    changes = compare(np.stack([BEFORE, AFTER]), np.stack([BEFORE, AFTER]))
    assert changes.table.empty
    assert changes.changed_frames() == []
    assert changes.sentence() == "No difference: all 6 things are the same in both."


def test_of_a_split_one_half_is_the_changed_thing_and_the_other_is_new() -> None:
    whole, halves = drawn((1, 5, 5, 10, 20)), drawn((1, 5, 5, 10, 13), (2, 5, 18, 10, 7))
    rows = compare(whole, halves).table
    assert rows[["kind", "id_b"]].to_numpy().tolist() == [[CHANGED, 1], [ONLY_B, 2]]


def test_the_matching_is_the_best_of_all() -> None:
    """By trying all permutations, on pictures where many pairs compete."""
    random = np.random.default_rng(0)
    for _ in range(20):
        one, other = (np.kron(random.integers(0, 5, (6, 6)), np.ones((3, 2), int)) for _ in "ab")
        found = overlaps(one, other)
        table = {
            pair: iou
            for *pair, iou in zip(found.first, found.second, found.iou, strict=True)
            for pair in [tuple(pair)]
        }
        best = max(
            (sum(pair in good for pair in pairs), sum(good.get(pair, 0.0) for pair in pairs))
            for good in [{pair: iou for pair, iou in table.items() if iou >= 0.1}]
            for pairs in (tuple(zip(range(1, 5), order, strict=True)) for order in
                          permutations(range(1, 5)))
        )  # fmt: skip
        places = match(found, 0.1)
        assert len(set(found.first[places])) == len(set(found.second[places])) == len(places)
        assert (len(places), found.iou[places].sum()) == pytest.approx(best)


class ImageStack:
    """A stack that says when two of its frames are in memory, and reads nothing else."""

    def __init__(self, frames: list[np.ndarray]) -> None:
        self._frames = frames
        self.shape = (len(frames), *frames[0].shape)
        self.read: list[int] = []

    def __getitem__(self, index: Any) -> np.ndarray:
        (number,) = index
        self.read.append(number)
        return self._frames[number]


def test_stacks_are_read_frame_by_frame_and_told_of() -> None:
    one, other = ImageStack([BEFORE, BEFORE, AFTER]), ImageStack([BEFORE, AFTER, BEFORE])
    job = iter_compare(one, other)
    told = [next(job).frame for _ in range(2)]
    assert told == [0, 1]
    assert one.read == [0]
    changes = finish(job)
    assert one.read == other.read == [0, 1, 2]
    assert changes.changed_frames() == [1, 2]
    assert changes.table["frame"].tolist() == [1, 1, 1, 2, 2, 2]
    assert "In 2 of 3 frames" in changes.sentence()


def test_outlines_run_along_the_inside_of_what_differs() -> None:
    picture = outlines(BEFORE, AFTER, compare(BEFORE, AFTER).table)
    assert np.bincount(picture.ravel()).tolist()[1:] == [28, 28, 28]  # 4 x 8 - 4 each
    assert (picture[2, 22:30] == 1).all()
    assert (picture[16, 2:10] == 2).all()
    assert (picture[16, 30:38] == 3).all()
    assert not picture[3:9, 23:29].any()
    assert not picture[2:10, 2:10].any()


def test_outlines_part_things_that_touch() -> None:
    touching = drawn((1, 5, 5, 6, 6), (2, 5, 11, 6, 6))
    picture = outlines(np.zeros_like(touching), touching, compare(touching * 0, touching).table)
    assert (picture[5:11, 10:12] == 3).all()


@pytest.mark.parametrize(
    ("first", "second", "sentence"),
    [
        (np.zeros((3, 4, 5), int), np.zeros((4, 5), int), "different shapes"),
        (np.zeros((4, 5)), np.ones((4, 5)), "whole numbers"),
    ],
)
def test_what_cannot_be_compared_is_said(
    first: np.ndarray, second: np.ndarray, sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        compare(first, second)
