"""The parts that every result has, and the scope of its label ids."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

if TYPE_CHECKING:
    import pandas as pd

IdScope = Literal["frame", "stack", "track", "class"]
"""Scope within which an id of a label means the same."""

ID_SCOPES: tuple[IdScope, ...] = get_args(IdScope)
"""See :class:`.Segmentation`."""


KEY = "napari-kindred"
"""Name of the attribute that holds what OME-Zarr has no place for."""


class Result(Protocol):
    """Labels with table and provenance, as storage and tables need them."""

    @property
    def labels(self) -> Any:
        """Integer labels, numpy, zarr or dask."""

    @property
    def table(self) -> pd.DataFrame:
        """One row per label."""

    @property
    def provenance(self) -> dict[str, Any]:
        """How the result came about."""

    @property
    def axes(self) -> str:
        """Axes of the labels."""

    @property
    def scale(self) -> tuple[float, ...] | None:
        """Size of a step along each axis."""

    @property
    def units(self) -> tuple[str, ...] | None:
        """Unit of each axis."""

    @property
    def translate(self) -> tuple[float, ...] | None:
        """Position of the first pixel along each axis."""

    @property
    def ids(self) -> IdScope:
        """Scope of the label ids."""

    def objects(self) -> tuple[Any, pd.DataFrame]:
        """Return the labels of what is exported, and a table with a row per label."""

    def further_tables(self) -> dict[str, pd.DataFrame]:
        """Return tables other than that per label, by what they have a row for."""
