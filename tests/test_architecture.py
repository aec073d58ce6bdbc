"""The house rules: imports go one way, and the core needs neither napari nor Qt."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import napari_kindred

PACKAGE = Path(napari_kindred.__file__).parent

# Each may import what stands above it. Modules on one line know nothing of each other.
ORDER = [
    "errors",
    "events",
    "options",
    "config",
    "class_configs",
    "train_configs",
    "flags",
    "native",
    "palette",
    "jumps",
    "preferences",
    "device",
    "aside",
    "downloads",
    "weights",
    "arrays",
    "axes",
    "ome",
    "files",
    "sequences",
    "intensity",
    "planes",
    "images",
    "tiling",
    "metrics",
    "writing",
    "changes",
    "tabulate",
    "columns",
    "label_tiff",
    "storage",
    "shelf",
    "growing",
    "results",
    "features",
    "units",
    "workers",
    "scale",
    "numbering",
    "samples",
    "training",
    "entities",
    "encoders",
    "consistent",
    "classes",
    "tasks",
    "class_tasks",
    "batch",
    "movies",
    "overview",
    "terminal",
    "about",
    "commands",
    "cli",
    "_napari",
]

GUI = {"napari", "qtpy", "PyQt6", "PyQt5", "PySide6", "magicgui", "superqt", "vispy"}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def part_of(path: Path) -> str:
    """The name in ORDER that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Every name a file imports at run time, absolute, wherever in the file it does so."""
    tree = ast.parse(path.read_text("utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for inner in ast.walk(node):
                inner.skipped = True  # type: ignore[attr-defined]
    place = ("napari_kindred", *path.relative_to(PACKAGE).with_suffix("").parts)
    for node in ast.walk(tree):
        if getattr(node, "skipped", False):
            continue
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(place[: len(place) - node.level]) + "." if node.level else ""
            base = (base + (node.module or "")).rstrip(".")
            for alias in node.names:
                yield f"{base}.{alias.name}", node.lineno


def test_every_module_has_its_place() -> None:
    assert {part_of(path) for path in modules()} - {"__init__"} <= set(ORDER)


def test_imports_go_one_way() -> None:
    wrong = []
    for path in modules():
        me = part_of(path)
        if me == "__init__":
            continue
        for name, line in imports(path):
            steps = name.split(".")
            if steps[0] != "napari_kindred" or len(steps) < 2 or steps[1] not in ORDER:
                continue
            if steps[1] != me and ORDER.index(steps[1]) > ORDER.index(me):
                wrong.append(f"{path.relative_to(PACKAGE)}:{line} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_only_the_napari_part_imports_napari_or_qt() -> None:
    wrong = [
        f"{path.relative_to(PACKAGE)}:{line} imports {name}"
        for path in modules()
        if part_of(path) != "_napari"
        for name, line in imports(path)
        if name.split(".")[0] in GUI
    ]
    assert not wrong, "\n".join(wrong)


def loaded_after(statement: str) -> set[str]:
    """Top-level names of the modules a fresh interpreter has loaded after a statement."""
    program = f"{statement}\nimport sys\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_importing_the_package_loads_neither_torch_nor_napari_nor_qt() -> None:
    statement = "import napari_kindred; napari_kindred.EntityConfig(); dir(napari_kindred)"
    assert not loaded_after(statement) & {*GUI, "torch", "skimage", "pandas"}


def test_the_command_line_starts_without_torch() -> None:
    assert not loaded_after("import napari_kindred.cli") & {*GUI, "torch", "timm"}


def test_the_core_runs_without_napari_and_qt() -> None:
    core = [
        ".".join(("napari_kindred", *path.relative_to(PACKAGE).with_suffix("").parts))
        for path in modules()
        if part_of(path) != "_napari" and path.name not in ("__init__.py", "__main__.py")
    ]
    assert not loaded_after(f"import {', '.join(core)}") & GUI


@pytest.mark.parametrize("name", napari_kindred.__all__)
def test_every_public_name_is_there_when_asked_for(name: str) -> None:
    assert getattr(napari_kindred, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_thing"):
        _ = napari_kindred.no_such_thing
