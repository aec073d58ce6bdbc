"""Options, of which every config is made, and what can be done with them all.

A config is a frozen dataclass whose fields were made with :func:`option`. Each field carries in its
``metadata`` what a form needs: ``label`` (a few words), ``help`` (one sentence in the user's words)
and, where they apply, ``minimum``, ``maximum``, ``step``, ``choices`` and ``advanced`` (folded away
by default).
"""

from __future__ import annotations

import dataclasses
from dataclasses import field
from typing import Any

from .errors import OptionError


def option(default: Any, label: str, help: str, **more: Any) -> Any:
    """Declare a config field with what a form and a command line need to show it."""
    return field(default=default, metadata={"label": label, "help": help, **more})


def inherited(config: type, name: str, default: Any) -> Any:
    """Declare a field of a parent's again, with another default and all else as it was."""
    known = {item.name: item for item in dataclasses.fields(config)}
    return field(default=default, metadata=known[name].metadata)


def check(config: Any) -> None:
    """Check every field of a config against its declared range.

    Raises
    ------
    OptionError
        Naming the option, its value and what it may be.
    """
    for item in dataclasses.fields(config):
        value, meta = getattr(config, item.name), item.metadata
        if (value is None and "None" in item.type) or (value == "auto" and "auto" in item.type):
            continue
        if item.type in ("int", "int | None", "int | Literal['auto']") and (
            isinstance(value, bool) or not isinstance(value, int)
        ):
            word = " or 'auto'" if "auto" in str(item.type) else ""
            raise OptionError(f"{item.name}={value!r} must be a whole number{word}.")
        numeric = "minimum" in meta or "maximum" in meta
        if numeric and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise OptionError(f"{item.name}={value!r} must be a number.")
        if "minimum" in meta and not value >= meta["minimum"]:
            raise OptionError(f"{item.name}={value!r} must be at least {meta['minimum']}.")
        if "maximum" in meta and not value <= meta["maximum"]:
            raise OptionError(f"{item.name}={value!r} must be at most {meta['maximum']}.")
        if "choices" in meta and value not in meta["choices"]:
            raise OptionError(
                f"{item.name}={value!r} must be one of {', '.join(map(str, meta['choices']))}."
            )


def changed(config: Any) -> dict[str, Any]:
    """Return the fields that differ from their defaults, for replaying a call."""
    return {
        item.name: getattr(config, item.name)
        for item in dataclasses.fields(config)
        if getattr(config, item.name) != item.default
    }


def with_options(config: Any, options: dict[str, Any]) -> Any:
    """Return ``config`` with ``options`` replaced.

    Raises
    ------
    OptionError
        For a name that is no option, listing those that are.
    """
    names = [item.name for item in dataclasses.fields(config)]
    unknown = sorted(set(options) - set(names))
    if unknown:
        raise OptionError(f"Unknown option {unknown[0]!r}; the options are {', '.join(names)}.")
    return dataclasses.replace(config, **options)
