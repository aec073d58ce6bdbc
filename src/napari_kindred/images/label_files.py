"""Label images for training: whole numbers, one per object or class."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.errors import InputError
from .readers import read_indices

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LOSSY = (".jpg", ".jpeg")

_MOST = 2**31 - 1


def read_labels(path: str | Path) -> NDArray[np.int32]:
    """Read a label image; of a colour map, the indices are the labels.

    Raises
    ------
    InputError
        If the numbers cannot be labels: of a JPEG, of colours, with fractions, below 0.
    """
    name = Path(path).name
    if name.lower().endswith(_LOSSY):
        raise InputError(
            f"The labels {name!r} are a JPEG, whose compression changes their numbers; save them "
            "as PNG or TIFF."
        )
    file = read_indices(path)
    values = np.asarray(file.data)
    if (file.axes or "").endswith("S"):
        values = values[..., :3]
        if (values != values[..., :1]).any():
            raise InputError(
                f"The labels {name!r} are colours; save one whole number per pixel instead."
            )
        values = values[..., 0]
    while values.ndim > 2 and 1 in (values.shape[0], values.shape[-1]):
        values = values[0] if values.shape[0] == 1 else values[..., 0]
    return as_labels(values, name)


def as_labels(values: NDArray[Any], name: str) -> NDArray[np.int32]:
    """Return numbers as labels: -1 as background, numbers beyond int32 counted anew.

    Raises
    ------
    InputError
        If they have fractions, are not finite, or are below 0 in another way.
    """
    if values.dtype.kind == "f":
        if not np.isfinite(values).all() or (values != np.rint(values)).any():
            raise InputError(
                f"The labels {name!r} are not whole numbers; threshold or round them first."
            )
    elif values.dtype.kind not in "bui":
        raise InputError(f"The labels {name!r} are {values.dtype}; give whole numbers.")
    lowest, highest = (values.min(initial=0), values.max(initial=0))
    if lowest < 0:
        if lowest != -1 or (values == 0).any():
            raise InputError(
                f"The labels {name!r} go down to {int(lowest)}; give the background the number 0 "
                "and objects numbers above."
            )
        values = np.where(values == -1, 0, values)
    if highest <= _MOST:
        return values.astype(np.int32)
    ids, numbers = np.unique(values, return_inverse=True)
    start = 0 if len(ids) and ids[0] == 0 else 1
    return (numbers.reshape(values.shape) + start).astype(np.int32)
