"""The file ``classes.csv``, which names the numbers in labels."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ..core.errors import InputError
from ..models.data_folder import read_rows

if TYPE_CHECKING:
    from pathlib import Path

UNKNOWN = re.compile(r"\b(ignore|void|unlabell?ed)\b", re.IGNORECASE)
"""Names of numbers that say nothing about a pixel."""


def read_class_table(path: Path) -> dict[int, str]:
    """Return the names of numbers, those of unknown pixels included.

    Columns are ``id`` (or ``value``), whole numbers, and ``name``; separated by commas, semicolons
    or tabs.
    """
    if not path.is_file():
        raise InputError(
            f"{path.parent} has no classes.csv; write one with columns id and name, a row for "
            "each class."
        )
    found: dict[int, str] = {}
    for row in read_rows(path):
        try:
            number, name = int(row.get("id") or row["value"]), row["name"]
        except (KeyError, ValueError) as error:
            raise InputError(
                f"{path} must have the columns id, whole numbers, and name; a row such as 1,cell."
            ) from error
        if number in found:
            raise InputError(f"{path} names the number {number} twice; keep one of the rows.")
        found[number] = name
    return found
