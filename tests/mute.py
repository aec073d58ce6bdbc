"""An error of the worst kind."""

from __future__ import annotations


class MuteError(Exception):
    """Cannot even say what it is."""

    def __str__(self) -> str:
        raise ValueError("no words")
