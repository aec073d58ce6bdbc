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


_NO_MEMORY = ("out of memory", "not enough memory", "can't allocate memory", "unable to allocate")

LONGEST = 120
"""Characters of a foreign error's text that are shown."""


def reason_of(error: BaseException) -> str:
    """Return why something failed, in a few words on one line, to be put into a sentence."""
    try:
        text = " ".join(str(getattr(error, "strerror", None) or error).split())
    except Exception:  # noqa: BLE001 - an error's own text may fail in any way
        text = ""
    return text[:LONGEST].rstrip(". ") or type(error).__name__


def says_no_memory(error: BaseException) -> bool:
    """Tell whether an exception means that there was not enough memory, of whatever device."""
    text = reason_of(error).lower()
    kind = isinstance(error, RuntimeError) and any(words in text for words in _NO_MEMORY)
    return isinstance(error, MemoryError) or kind


def as_sentence(error: BaseException, advice: str, details: str) -> KindredError:
    """Turn any exception into one sentence for the user.

    Parameters
    ----------
    error : BaseException
    advice : str
        What to do where there is not enough memory.
    details : str
        What to do about any other error; both are the end of a sentence.
    """
    if isinstance(error, KindredError):
        return error
    if says_no_memory(error):
        kindred = KindredError(f"There is not enough memory; {advice}.")
    else:
        reason, kind = reason_of(error), type(error).__name__
        told = kind if reason == kind else f"{kind}: {reason}"
        kindred = KindredError(f"The job stopped with {told}; {details}.")
    kindred.__cause__ = error
    return kindred
