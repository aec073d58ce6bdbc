"""Command line flags made from a config dataclass, one per field, and back again."""

from __future__ import annotations

import argparse
import dataclasses
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from ..core.options import flag_of, visible

if TYPE_CHECKING:
    from collections.abc import Callable

Config = TypeVar("Config")


def add_flags(parser: argparse.ArgumentParser, config: type) -> None:
    """Give a parser one flag per field; those not given leave the config's default."""
    group = parser.add_argument_group("options")
    for item in visible(config):
        more: dict[str, Any] = {"help": _help(item), "default": argparse.SUPPRESS}
        if item.type == "bool":
            more["action"] = argparse.BooleanOptionalAction
        else:
            more["type"] = _parser(str(item.type))
            more["metavar"] = _metavar(item)
        group.add_argument(flag_of(item.name), dest=item.name, **more)


def config_of(given: argparse.Namespace, config: type[Config]) -> Config:
    """Make the config that the flags ask for."""
    names = {item.name for item in dataclasses.fields(config)}  # type: ignore[arg-type]
    return config(**{name: value for name, value in vars(given).items() if name in names})


def _help(item: dataclasses.Field[Any]) -> str:
    text = str(item.metadata["help"])
    if "choices" in item.metadata:
        text = f"{text} One of: {', '.join(map(str, item.metadata['choices']))}."
    if item.default is not None:
        text = f"{text} [{item.default}]"
    return text.replace("%", "%%")


def _metavar(item: dataclasses.Field[Any]) -> str:
    kind = str(item.type)
    if kind.startswith("str"):
        return "TEXT"
    return "N" if "int" in kind else "NUMBER" if "float" in kind else "TEXT"


def _parser(kind: str) -> Callable[[str], Any]:
    if kind in ("int", "int | None"):
        return int
    number = int if kind.startswith("int") else float if kind.startswith("float") else str
    return partial(_number_or_word, number)


def _number_or_word(number: Callable[[str], Any], text: str) -> Any:
    """Read a number; words such as ``auto`` are left to the config to judge."""
    try:
        return number(text)
    except ValueError:
        return text
