"""The house rules: imports go one way, and the core needs neither napari nor Qt."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import napari_kindred

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(napari_kindred.__file__).parent

# Each folder may import those before it; the last two know nothing of each other.
# ``methods`` imports none of them before a part of a method is asked for.
ORDER = [
    "methods",
    "core",
    "images",
    "compute",
    "results",
    "linking",
    "models",
    "entities",
    "encoders",
    "clusters",
    "classes",
    "load",
    "cli",
    "_napari",
]

GUI = {"napari", "qtpy", "PyQt6", "PyQt5", "PySide6", "magicgui", "superqt", "vispy"}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    """The dotted name of a file inside the package; of a folder's ``__init__``, the folder's."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


NAMES = {name_of(path) for path in modules()}


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Every name a file imports, absolute, wherever in the file it does so, types included."""
    place = ("napari_kindred", *path.relative_to(PACKAGE).with_suffix("").parts)
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(place[: len(place) - node.level]) + "." if node.level else ""
            base = (base + (node.module or "")).rstrip(".")
            for alias in node.names:
                yield f"{base}.{alias.name}", node.lineno


def edges() -> set[tuple[str, str]]:
    """Which file of the package imports which; ``__init__`` and ``__main__`` are left out."""
    found = set()
    for path in modules():
        for name, _ in imports(path):
            inside = name.removeprefix("napari_kindred.")
            target = inside if inside in NAMES else inside.rpartition(".")[0]
            public = name_of(path) in ("__init__", "__main__")
            if name != inside and target in NAMES and not public:
                found.add((name_of(path), target))
    return found


def test_every_file_is_in_a_folder_of_the_house() -> None:
    assert {name.split(".")[0] for name in NAMES} == {*ORDER, "__init__", "__main__", "_version"}


def test_folders_import_one_way() -> None:
    wrong = []
    for here, there in edges():
        me, other = here.split(".")[0], there.split(".")[0]
        strangers = {me, other} == {"cli", "_napari"}
        if other in ORDER and (strangers or ORDER.index(other) > ORDER.index(me)):
            wrong.append(f"{here} -> {there}")
    assert sorted(set(wrong)) == []


def test_only_those_who_serve_every_method_know_the_list_of_methods() -> None:
    readers = {here.split(".")[0] for here, there in edges() if there == "methods"}
    assert readers == {"results", "load", "cli", "_napari"}


def test_no_files_import_each_other_in_a_circle() -> None:
    left = edges()
    while ends := {there for _, there in left} - {here for here, _ in left}:
        left = {edge for edge in left if edge[1] not in ends}
    while starts := {here for here, _ in left} - {there for _, there in left}:
        left = {edge for edge in left if edge[0] not in starts}
    assert sorted(f"{here} -> {there}" for here, there in left) == []


def test_only_the_napari_part_imports_napari_or_qt() -> None:
    wrong = [
        f"{path.relative_to(PACKAGE)}:{line} imports {name}"
        for path in modules()
        if not name_of(path).startswith("_napari")
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
    statement = "import napari_kindred, napari_kindred.methods; dir(napari_kindred)"
    statement += "; napari_kindred.EntityConfig()"
    assert not loaded_after(statement) & {*GUI, "torch", "skimage", "pandas"}


def test_the_command_line_tells_its_help_without_large_libraries() -> None:
    """Each of them takes longer to load than all the rest."""
    large = {*GUI, "torch", "timm", "pandas", "scipy", "skimage", "zarr"}
    assert not loaded_after("import napari_kindred.cli.main as m; m.make_parser()") & large


def test_the_core_runs_without_napari_and_qt() -> None:
    core = [
        ".".join(("napari_kindred", *path.relative_to(PACKAGE).with_suffix("").parts))
        for path in modules()
        if not name_of(path).startswith("_napari")
        and path.name not in ("__init__.py", "__main__.py")
    ]
    assert not loaded_after(f"import {', '.join(core)}") & GUI


@pytest.mark.parametrize("name", napari_kindred.__all__)
def test_every_public_name_is_there_when_asked_for(name: str) -> None:
    assert getattr(napari_kindred, name) is not None


def test_only_public_names_are_listed() -> None:
    assert dir(napari_kindred) == sorted(napari_kindred.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_thing"):
        _ = napari_kindred.no_such_thing


def test_the_widget_of_entities_loads_no_torch() -> None:
    """It takes seconds, in which the window would stand still; jobs load it beside the window."""
    statement = "import napari_kindred._napari.entities.widget"
    assert not loaded_after(statement) & {"torch", "timm"}
