"""Errors shown to users: one sentence each, naming the fix."""

from __future__ import annotations


class KindredError(Exception):
    """Base of every error this package raises on purpose; its text is one sentence for the user."""


class InputError(KindredError):
    """The image, its axes or its channel cannot be used as given."""


class OptionError(KindredError):
    """An option has a value that it cannot take."""


class WeightsError(KindredError):
    """Weights are missing, damaged or made for something else."""


class OutputError(KindredError):
    """The result cannot be written or read where asked."""


LONGEST = 120
"""Characters of a foreign error's text that are shown."""


def reason_of(error: BaseException) -> str:
    """Return why something failed, in a few words on one line, to be put into a sentence."""
    try:
        text = " ".join(str(getattr(error, "strerror", None) or error).split())
    except Exception:  # noqa: BLE001 - an error's own text may fail in any way
        text = ""
    return text[:LONGEST].rstrip(". ") or type(error).__name__
