"""Results of single frames, on disk if they are many, so that memory does not grow."""

from __future__ import annotations

import tempfile
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.errors import OutputError, reason_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = dict[str, NDArray[Any]]


def full(error: Exception) -> OutputError:
    """Return what tells that a temporary file could not be written."""
    return OutputError(
        f"The folder for temporary files is full ({reason_of(error)}); make room in it, or let "
        "TMPDIR name another."
    )


IN_MEMORY = 1 << 28
"""Bytes kept in memory; frames beyond them go to a temporary folder."""


class SpillStore:
    """Arrays by number, in memory as long as they are few, then in files.

    The files are deleted together with the store.

    Parameters
    ----------
    in_memory : int, optional
        Bytes; :data:`IN_MEMORY` when left out.
    """

    def __init__(self, in_memory: int | None = None) -> None:
        self._room = IN_MEMORY if in_memory is None else in_memory
        self._here: dict[int, Arrays] = {}
        self._files: set[int] = set()
        self._folder: Path | None = None

    def __len__(self) -> int:
        return len(self._here) + len(self._files)

    def put(self, number: int, arrays: Arrays) -> None:
        """Keep a frame's arrays; each number once.

        Raises
        ------
        OutputError
            When the disk is full.
        """
        size = sum(array.nbytes for array in arrays.values())
        if size <= self._room:
            self._room -= size
            self._here[number] = arrays
            return
        from safetensors import SafetensorError
        from safetensors.numpy import save_file

        try:
            save_file(arrays, self._file(number))
        except (OSError, SafetensorError) as error:
            raise full(error) from error
        self._files.add(number)

    def _file(self, number: int) -> Path:
        if self._folder is None:
            folder = tempfile.TemporaryDirectory(
                prefix="napari-kindred-", ignore_cleanup_errors=True
            )
            weakref.finalize(self, folder.cleanup)
            self._folder = Path(folder.name)
        return self._folder / f"{number}.safetensors"

    def get(self, number: int) -> Arrays:
        """Return a frame's arrays."""
        if number in self._here:
            return self._here[number]
        from safetensors.numpy import load_file

        return dict(load_file(self._file(number)))


class SpillFile:
    """Equal arrays, one per frame, in a temporary file.

    Read and written in pieces, never mapped: mapped pages would count as memory.

    Parameters
    ----------
    dtype : dtype
        In which they are written; half precision is read back in single precision.
    """

    def __init__(self, dtype: Any = np.float16) -> None:
        self._dtype = np.dtype(dtype)
        self._file = tempfile.TemporaryFile(prefix="napari-kindred-")  # noqa: SIM115
        weakref.finalize(self, self._file.close)  # of a run that nobody closed, too
        self._shape: tuple[int, ...] = ()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def append(self, values: NDArray[Any]) -> None:
        """Write the next frame.

        Raises
        ------
        OutputError
            When the disk is full.
        """
        self._shape = values.shape
        try:
            self._file.seek(0, 2)
            self._file.write(values.astype(self._dtype, copy=False).tobytes())
        except OSError as error:
            raise full(error) from error
        self._count += 1

    def __getitem__(self, number: int) -> NDArray[Any]:
        """Read a frame back."""
        if not 0 <= number < self._count:
            raise IndexError(number)
        size = int(np.prod(self._shape)) * self._dtype.itemsize
        self._file.seek(number * size)
        values = np.frombuffer(self._file.read(size), self._dtype).reshape(self._shape)
        return values.astype(np.float32) if self._dtype == np.float16 else values

    def close(self) -> None:
        """Delete the file."""
        self._file.close()
