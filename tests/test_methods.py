"""The list of methods is whole, and the only one."""

from __future__ import annotations

import ast
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import pytest

import napari_kindred
from napari_kindred.cli.main import make_parser
from napari_kindred.methods import METHODS, method_of
from napari_kindred.results.segmentation import Segmentation

PACKAGE = Path(napari_kindred.__file__).parent


@pytest.mark.parametrize("method", METHODS.values(), ids=lambda method: method.name)
def test_every_part_of_a_method_is_there(method: Any) -> None:
    assert is_dataclass(method.config)
    assert {"axes", "channel", "device"} <= set(method.config.__dataclass_fields__)
    assert issubclass(method.result, Segmentation)
    assert {method.function, f"iter_{method.function}"} <= set(napari_kindred.__all__)
    assert getattr(napari_kindred, f"iter_{method.function}") is method.iterator
    assert method_of({"method": method.name}) is method


def test_every_method_has_a_command() -> None:
    for name in METHODS:
        needed = ["--names", "cell"] if name == "classes" else []
        given = make_parser().parse_args([name, "a.tif", "--out", "b.tif", *needed])
        assert given.command is METHODS[name].command.run


def test_no_file_compares_the_name_of_a_method() -> None:
    found = []
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Compare):
                sides = [node.left, *node.comparators]
                words = {side.value for side in sides if isinstance(side, ast.Constant)}
                if words & METHODS.keys() and "method" in ast.unparse(node):
                    found.append(f"{path.relative_to(PACKAGE)}:{node.lineno}")
    assert found == []
