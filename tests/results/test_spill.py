"""Arrays of many frames, in little memory."""

from __future__ import annotations

import errno
import gc
import tempfile
from pathlib import Path

import numpy as np
import pytest

from napari_kindred.core.errors import OutputError
from napari_kindred.results.spill import Shelf


def folders() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob("napari-kindred-*"))


@pytest.mark.parametrize("in_memory", [0, 200, 1 << 20])
def test_what_is_put_comes_back_wherever_it_is_kept(in_memory: int) -> None:
    shelf = Shelf(in_memory)
    frames = [
        {"bits": np.arange(n, dtype=np.uint8), "half": np.ones((n, 2), np.float16)}
        for n in (3, 40, 0)
    ]
    for number, arrays in enumerate(frames):
        shelf.put(number, arrays)
    assert len(shelf) == 3
    for number, arrays in enumerate(frames):
        for name, values in shelf.get(number).items():
            np.testing.assert_array_equal(values, arrays[name])
            assert values.dtype == arrays[name].dtype


def test_files_appear_only_beyond_the_room_in_memory_and_go_with_the_shelf() -> None:
    before = folders()
    shelf = Shelf(100)
    shelf.put(0, {"a": np.zeros(100, np.uint8)})
    assert folders() == before
    shelf.put(1, {"a": np.zeros(1, np.uint8)})
    (made,) = folders() - before
    assert [path.name for path in made.iterdir()] == ["1.safetensors"]
    del shelf
    gc.collect()
    assert folders() == before


def test_a_full_disk_is_said_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("safetensors.numpy.save_file", no_room)
    with pytest.raises(OutputError, match=r"No space left on device.*TMPDIR"):
        Shelf(0).put(0, {"a": np.zeros(1, np.uint8)})
