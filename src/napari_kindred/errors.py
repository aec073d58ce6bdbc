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
