"""Tables inside a zarr group, one array per column."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    import zarr


def write_columns(root: zarr.Group, table: pd.DataFrame, name: str = "table") -> None:
    """Write a table as one array per column; text becomes codes into a list of its values."""
    group = root.create_group(name, overwrite=True)
    group.attrs["columns"] = [str(name) for name in table.columns]
    for name in table.columns:
        column = table[name]
        values, more = column.to_numpy(), {}
        if values.dtype.kind not in "buif":
            values, categories = pd.factorize(column)
            more = {"categories": [str(value) for value in categories]}
        array = group.create_array(
            str(name), shape=values.shape, chunks=(max(1, min(len(values), 1 << 16)),),
            dtype=values.dtype,
        )  # fmt: skip
        if len(values):
            array[:] = values
        array.attrs.update(more)


def read_columns(root: zarr.Group, name: str = "table") -> pd.DataFrame:
    """Read a table that :func:`write_columns` wrote."""
    group: Any = root[name]
    return pd.DataFrame({name: _read_column(group[name]) for name in group.attrs["columns"]})


def _read_column(array: Any) -> Any:
    values = array[:]
    if "categories" not in array.attrs:
        return values
    names = np.array([*array.attrs["categories"], None], dtype=object)
    return names[values]  # the code of a missing value is -1, the last entry
