"""Frames kept on disk for the second pass, so that memory does not grow with the movie."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING, Any

import numpy as np

from .spill import full

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Spool:
    """Equal arrays, one per frame, in a temporary file; half precision.

    Read and written in pieces, never mapped: mapped pages would count as memory.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="napari-kindred-")  # noqa: SIM115
        self._shape: tuple[int, ...] = ()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def append(self, values: NDArray[np.floating[Any]]) -> None:
        """Write the next frame.

        Raises
        ------
        OutputError
            When the disk is full.
        """
        self._shape = values.shape
        try:
            self._file.seek(0, 2)
            self._file.write(values.astype(np.float16, copy=False).tobytes())
        except OSError as error:
            raise full(error) from error
        self._count += 1

    def __getitem__(self, number: int) -> NDArray[np.float32]:
        """Read a frame back, in single precision."""
        if not 0 <= number < self._count:
            raise IndexError(number)
        size = int(np.prod(self._shape)) * 2
        self._file.seek(number * size)
        values = np.frombuffer(self._file.read(size), np.float16)
        return values.reshape(self._shape).astype(np.float32)

    def close(self) -> None:
        """Delete the file."""
        self._file.close()
