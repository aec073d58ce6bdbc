"""Options, of which every config is made, and what can be done with them all.

A config is a frozen dataclass whose fields were made with :func:`option`. Each field carries in its
``metadata`` what a form needs: ``label`` (a few words), ``help`` (one sentence in the user's words)
and, if they apply, ``minimum``, ``maximum``, ``step``, ``choices``, ``advanced`` (folded away by
default), ``hidden`` (in Python only) and ``read`` (checks a value and returns how it is kept).
"""

from __future__ import annotations

import dataclasses
import math
import numbers
import os
from dataclasses import field
from typing import Any, TypeVar

from .errors import OptionError

Config = TypeVar("Config")

LARGEST = 2**31 - 1
"""Of numbers whose option sets no other limit; more is beyond some library's integers."""

LONGEST = 60
"""Characters of a wrong value that are shown."""


def option(default: Any, label: str, help: str, **more: Any) -> Any:
    """Declare a config field with what a form and a command line need to show it."""
    return field(default=default, metadata={"label": label, "help": help, **more})


def inherited(config: type, name: str, default: Any) -> Any:
    """Declare a field of a parent's again, with another default and all else as it was."""
    known = {item.name: item for item in dataclasses.fields(config)}
    return field(default=default, metadata=known[name].metadata)


def check(config: Any) -> None:
    """Check every field of a config against its declared type and range.

    Numbers of numpy become Python's, and paths text, so that a config can be written down.

    Raises
    ------
    OptionError
        Naming the option, its value and what it may be.
    """
    for item in dataclasses.fields(config):
        value, kind = getattr(config, item.name), str(item.type)
        if "read" in item.metadata:
            object.__setattr__(config, item.name, item.metadata["read"](value))
            continue
        is_auto = isinstance(value, str) and value == "auto"
        if (value is None and "None" in kind) or (is_auto and "auto" in kind):
            continue
        fault = _fault_in(item, kind, value)
        if fault:
            raise OptionError(f"{item.name}={shown(value)} must be {fault}.")
        if value is not None and type(value) not in (bool, int, float, str):
            object.__setattr__(config, item.name, _python_of(kind, value))


def _python_of(kind: str, value: Any) -> bool | int | float | str:
    """Return a value that is none of Python's own as one."""
    if kind.startswith("int"):
        return int(value)
    if kind.startswith("float"):
        return float(value)
    return bool(value) if kind.startswith("bool") else str(os.fsdecode(value))


def _fault_in(item: dataclasses.Field[Any], kind: str, value: Any) -> str:
    """Return what the value of an option must be, and is not."""
    meta = item.metadata
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    or_word = " or 'auto'" if "auto" in kind else ""
    if kind.startswith("int") and not (number and isinstance(value, numbers.Integral)):
        return f"a whole number{or_word}"
    if kind.startswith("float") and not (number and -math.inf < value < math.inf):
        return f"a number{or_word}"
    if kind.startswith("bool") and type(value).__name__ not in ("bool", "bool_"):
        return "True or False"
    if kind.startswith("str") and not isinstance(value, str | os.PathLike):
        return "text"
    if kind.startswith(("int", "float")):
        low, high = meta.get("minimum"), meta.get("maximum", LARGEST)
        if low is not None and value < low:
            return f"at least {low}"
        if value > high:
            return f"at most {high}"
    if "choices" in meta and not any(_is(value, choice) for choice in meta["choices"]):
        return f"one of {', '.join(map(str, meta['choices']))}"
    return ""


def _is(value: Any, choice: Any) -> bool:
    return isinstance(value, str) == isinstance(choice, str) and bool(value == choice)


def shown(value: Any) -> str:
    """Return a value as it is shown in a sentence, on one line and not too long."""
    text = " ".join(repr(value).split())
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def must_be(name: str, value: Any, kind: type, advice: str = "give one of these") -> None:
    """Refuse an argument that is neither None nor of its kind.

    Raises
    ------
    OptionError
        Naming the argument, its value and what is needed.
    """
    if value is not None and not isinstance(value, kind):
        raise OptionError(f"{name}={shown(value)} is no {kind.__name__}; {advice}.")


def visible(config: Any) -> list[dataclasses.Field[Any]]:
    """Return the fields that forms and command lines show: all but those marked ``hidden``."""
    return [item for item in dataclasses.fields(config) if not item.metadata.get("hidden")]


def changed(config: Any) -> dict[str, Any]:
    """Return the fields that differ from their defaults, for replaying a call."""
    return {
        item.name: getattr(config, item.name)
        for item in dataclasses.fields(config)
        if getattr(config, item.name) != item.default
    }


def with_options(kind: type[Config], config: Config | None, options: dict[str, Any]) -> Config:
    """Return a config with options replaced.

    Parameters
    ----------
    kind : type
        The config's class.
    config : dataclass, optional
        The defaults when left out.
    options : dict
        Values by name.

    Raises
    ------
    OptionError
        For a config of another class, or a name that is no option, listing those that are.
    """
    must_be("config", config, kind)
    known: Any = kind() if config is None else config
    names = [item.name for item in dataclasses.fields(known)]
    unknown = sorted(set(options) - set(names))
    if unknown:
        raise OptionError(f"Unknown option {unknown[0]!r}; the options are {', '.join(names)}.")
    replaced: Config = dataclasses.replace(known, **options)
    return replaced


def flag_of(name: str) -> str:
    """Return the flag of a field."""
    return "--" + name.replace("_", "-")
