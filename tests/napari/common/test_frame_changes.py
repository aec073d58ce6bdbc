"""Frames in which something appears or vanishes are found, and only as many are read as needed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from napari_kindred._napari.common.shortcuts import differ, ids_of, iter_next_jump
from napari_kindred.core.events import finish


class Lazy:
    """Frames with the given ids, a pixel each; it counts what is read."""

    def __init__(self, *frames: set[int]) -> None:
        self._frames, self.read = frames, list[int]()
        self.shape = (len(frames), 1, 8)

    def __getitem__(self, number: int) -> np.ndarray:
        self.read.append(number)
        frame = np.zeros((1, 8), np.int32)
        frame[0, : len(self._frames[number])] = sorted(self._frames[number])
        return frame


def test_ids_of_a_frame_are_without_background() -> None:
    assert ids_of(np.array([[0, 3, 3], [7, 0, 3]])) == {3, 7}


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        ({1, 2}, {1, 2}, False),
        ({1, 2}, {1, 3}, True),
        ({1, 2}, {1}, True),
        ({1, 2}, {3, 4}, False),  # ids of its own: as many as before
        ({1, 2}, {3, 4, 5}, True),
        (set(), set(), False),
        (set(), {1}, True),
    ],
)
def test_two_frames_differ_where_something_came_or_went(
    before: set[int], now: set[int], expected: bool
) -> None:
    assert differ(before, now) is expected


MOVIE = ({1, 2}, {1, 2}, {1, 2, 3}, {1, 2, 3}, {1, 3}, {1, 3})


@pytest.mark.parametrize(
    ("frame", "step", "expected"),
    [(0, 1, 2), (2, 1, 4), (4, 1, None), (5, 1, None), (5, -1, 4), (4, -1, 2), (2, -1, None),
     (0, -1, None)],
)  # fmt: skip
def test_the_next_change_is_found_in_either_direction(
    frame: int, step: int, expected: int | None
) -> None:
    assert finish(iter_next_jump(Lazy(*MOVIE), frame, step)) == expected


def test_each_frame_is_read_once_and_none_beyond_the_change() -> None:
    movie = Lazy(*MOVIE)
    finish(iter_next_jump(movie, 0))
    assert movie.read == [0, 1, 2]


def test_progress_is_told_frame_by_frame_and_the_search_can_be_left() -> None:
    movie = Lazy(*({1},) * 100)
    job: Any = iter_next_jump(movie, 0)
    assert next(job).frame == 1
    job.close()
    assert movie.read == [0, 1]
