"""Tables inside a zarr group, one array per column."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .atomic import plain

if TYPE_CHECKING:
    import zarr


_SAFE = re.compile(r"[A-Za-z][\w ()-]*", re.ASCII)

_LARGEST = 1 << 32
"""Bytes that a column is believed to have."""


def write_columns(root: zarr.Group, table: pd.DataFrame, name: str = "table") -> None:
    """Write a table as one array per column; text becomes codes into a list of its values."""
    group = root.create_group(name, overwrite=True)
    group.attrs["columns"] = plain([str(name) for name in table.columns])
    places = [_place_of(str(name), number) for number, name in enumerate(table.columns)]
    group.attrs["arrays"] = places
    for place, name in zip(places, table.columns, strict=True):
        column = table[name]
        values, more = column.to_numpy(), {}
        if values.dtype.kind not in "buif":
            values, categories = pd.factorize(column)
            more = {"categories": plain([str(value) for value in categories])}
        array = group.create_array(
            place, shape=values.shape, chunks=(max(1, min(len(values), 1 << 16)),),
            dtype=values.dtype,
        )  # fmt: skip
        if len(values):
            array[:] = values
        array.attrs.update(more)


def _place_of(name: str, number: int) -> str:
    """Return where a column goes: at its name, unless that is none for a file."""
    return name if _SAFE.fullmatch(name) else f"column {number}"


def read_columns(root: zarr.Group, name: str = "table") -> pd.DataFrame:
    """Read a table that :func:`write_columns` wrote."""
    group: Any = root[name]
    names = group.attrs["columns"]
    places = group.attrs.get("arrays", names)
    columns = (_read_column(group[place]) for place in places)
    return pd.DataFrame(dict(zip(names, columns, strict=True)))


def _read_column(array: Any) -> Any:
    if array.nbytes > _LARGEST:
        raise ValueError(f"a column of {array.nbytes / 2**30:.0f} GB")
    values = array[:]
    if "categories" not in array.attrs:
        return values
    names = np.array([*array.attrs["categories"], None], dtype=object)
    return names[values]  # the code of a missing value is -1, the last entry
