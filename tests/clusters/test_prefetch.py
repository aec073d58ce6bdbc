"""The next frame is read while one is worked on, by one thread, and nothing is read for nobody."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from napari_kindred.clusters.prefetch import Reader
from napari_kindred.core.errors import InputError
from napari_kindred.images.stack import ImageStack


class Source:
    """A movie that notes which frames are read, and by how many threads; frame 3 is damaged."""

    shape, dtype = (6, 8, 8), np.dtype(np.uint8)

    def __init__(self) -> None:
        self.read: list[int] = []
        self.threads: set[int] = set()

    def __getitem__(self, picks: Any) -> np.ndarray:
        number = int(picks[0])
        self.read.append(number)
        self.threads.add(threading.get_ident())
        if number == 3:
            raise OSError("damaged")
        return np.full(self.shape[1:], 10 * number, np.uint8) + np.arange(8, dtype=np.uint8)


@pytest.fixture
def source() -> Source:
    return Source()


def test_frames_are_those_that_were_asked_for_and_each_is_read_once(source: Source) -> None:
    reader = Reader(ImageStack.open(source, "TYX"))
    reader.range = (0.0, 100.0)
    for number, following in ((0, 1), (1, 2), (2, 4), (4, 5), (5, 6)):
        frame = reader.read(number, following)
        assert frame.grey[0, 0] == 10 * number
        assert frame.pixels[0, 0, 0] == pytest.approx(number / 10)
    reader.close()
    assert source.read == [0, 1, 2, 4, 5]
    assert len(source.threads) == 1
    assert threading.get_ident() not in source.threads


def test_a_frame_that_cannot_be_read_is_no_error_before_its_turn(source: Source) -> None:
    reader = Reader(ImageStack.open(source, "TYX"))
    assert reader.read(2, 3).grey[0, 0] == 20
    with pytest.raises(InputError, match="damaged"):
        reader.read(3, 4)
    assert reader.read(5).grey[0, 0] == 50, "frame 4, read ahead, is left"
    reader.close()


def test_its_thread_ends_with_it(source: Source) -> None:
    before = set(threading.enumerate())
    reader = Reader(ImageStack.open(source, "TYX"))
    reader.read(0, 1)
    assert set(threading.enumerate()) > before
    reader.close()
    assert set(threading.enumerate()) <= before
