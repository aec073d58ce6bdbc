"""Within what the id of a label stands for the same."""

from __future__ import annotations

from typing import Literal, get_args

IdScope = Literal["frame", "stack", "track", "class"]

ID_SCOPES: tuple[IdScope, ...] = get_args(IdScope)
"""See :class:`.Segmentation`."""
