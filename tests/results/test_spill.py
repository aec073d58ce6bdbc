"""Arrays of many frames, in little memory."""

from __future__ import annotations

import errno
import gc
import tempfile
from pathlib import Path

import numpy as np
import pytest

from napari_kindred.core.errors import OutputError
from napari_kindred.results.spill import SpillStore


def folders() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob("napari-kindred-*"))


@pytest.mark.parametrize("in_memory", [0, 200, 1 << 20])
def test_what_is_put_comes_back_wherever_it_is_kept(in_memory: int) -> None:
    store = SpillStore(in_memory)
    frames = [
        {"bits": np.arange(n, dtype=np.uint8), "half": np.ones((n, 2), np.float16)}
        for n in (3, 40, 0)
    ]
    for number, arrays in enumerate(frames):
        store.put(number, arrays)
    assert len(store) == 3
    for number, arrays in enumerate(frames):
        for name, values in store.get(number).items():
            np.testing.assert_array_equal(values, arrays[name])
            assert values.dtype == arrays[name].dtype


def test_files_appear_only_beyond_the_room_in_memory_and_go_with_the_shelf() -> None:
    before = folders()
    store = SpillStore(100)
    store.put(0, {"a": np.zeros(100, np.uint8)})
    assert folders() == before
    store.put(1, {"a": np.zeros(1, np.uint8)})
    (made,) = folders() - before
    assert [path.name for path in made.iterdir()] == ["1.safetensors"]
    del store
    gc.collect()
    assert folders() == before


def test_a_full_disk_is_said_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("safetensors.numpy.save_file", no_room)
    with pytest.raises(OutputError, match=r"No space left on device.*TMPDIR"):
        SpillStore(0).put(0, {"a": np.zeros(1, np.uint8)})
