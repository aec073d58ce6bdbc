"""Frames wait on disk, and nothing of them stays there."""

from __future__ import annotations

import errno
import os
import tempfile
from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_kindred.core.errors import OutputError
from napari_kindred.results.spill import SpillFile

if TYPE_CHECKING:
    from pathlib import Path


def frame(number: int) -> np.ndarray:
    return np.random.default_rng(number).standard_normal((6, 7, 5)).astype(np.float32)


def test_what_is_written_is_what_is_read_in_any_order_and_between_writes() -> None:
    spill = SpillFile()
    for number in range(5):
        spill.append(frame(number))
        for back in (number, 0):
            read = spill[back]
            assert (read.dtype, read.shape) == (np.float32, (6, 7, 5))
            # Half precision has eleven bits.
            np.testing.assert_allclose(read, frame(back), rtol=2.0**-11, atol=1e-7)
    assert len(spill) == 5
    spill.close()


def test_frames_take_two_bytes_per_value_on_disk_and_no_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    spill = SpillFile()
    for number in range(3):
        spill.append(frame(number))
    spill._file.flush()
    assert os.fstat(spill._file.fileno()).st_size == 3 * 6 * 7 * 5 * 2
    spill.close()
    assert spill._file.closed
    assert not list(tmp_path.iterdir())
    spill.close()  # a second time does no harm


def test_a_full_disk_is_said_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    spill = SpillFile()

    class Full:
        def seek(self, *_: int) -> None: ...

        def write(self, _: bytes) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    with spill._file:
        monkeypatch.setattr(spill, "_file", Full())
        with pytest.raises(OutputError, match=r"No space left on device.*TMPDIR"):
            spill.append(frame(0))
    assert len(spill) == 0
