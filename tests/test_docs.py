"""The pages keep their word: examples run, commands parse, links lead somewhere."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from napari_kindred.cli import make_parser
from napari_kindred.samples import open_sample

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "benchmarks" / "README.md",
    *sorted((ROOT / "src" / "napari_kindred" / "weights_data").glob("*.md")),
]


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def fenced(page: Path, language: str) -> list[str]:
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.M)
    return [code for kind, code in blocks if kind == language]


def anchors(page: Path) -> set[str]:
    """The anchors that a page's headings get."""
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.DOTALL | re.M)
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(page: Path) -> list[str]:
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.DOTALL | re.M)
    return re.findall(r"\]\(([^)\s]+)\)", text)


def commands(page: Path) -> list[str]:
    """The calls of our own program in a page's indented blocks, comments left out."""
    text = re.sub(r"\\\n\s*", "", page.read_text("utf-8"))  # a command over several lines
    lines = re.findall(r"^    (.*napari-kindred .*)$", text, re.M)
    parts = [part.strip() for line in lines for part in line.split("&&")]
    return [
        re.split(r"\s{2,}#", part)[0]
        for part in parts
        if part.startswith("napari-kindred ") and "…" not in part
    ]


@pytest.fixture
def names(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What an example finds when it starts; in napari's console there is a viewer."""
    if "viewer" not in "".join(fenced(request.getfixturevalue("page"), "python")):
        return {}
    components = pytest.importorskip("napari.components")
    viewer = components.ViewerModel()
    viewer.add_image(open_sample("nuclei").data[:1], name="nuclei")
    return {"viewer": viewer}


@pytest.mark.slow
@pytest.mark.parametrize("page", [p for p in PAGES if fenced(p, "python")], ids=name_of)
def test_python_examples_run(
    page: Path, names: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for code in fenced(page, "python"):  # one after the other, as a reader would paste them
        exec(compile(code, name_of(page), "exec"), names)  # noqa: S102


@pytest.mark.parametrize(
    ("page", "command"),
    [pytest.param(p, c, id=f"{name_of(p)}: {c}") for p in PAGES for c in commands(p)],
)
def test_commands_are_ones_that_the_program_knows(page: Path, command: str) -> None:
    make_parser().parse_args(shlex.split(command)[1:])


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_local_links_and_images_exist(page: Path) -> None:
    broken = []
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert not broken


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_scripts_that_a_page_names_exist(page: Path) -> None:
    scripts = re.findall(r"python ((?:benchmarks|docs)/\w+\.py)", page.read_text("utf-8"))
    assert not [script for script in scripts if not (ROOT / script).exists()]


def test_tables_are_those_that_were_measured() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "tables.py", "--check"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_picture_of_the_house_shows_every_part_in_the_order_of_imports() -> None:
    tree = ast.parse((ROOT / "tests" / "test_architecture.py").read_text("utf-8"))
    order = next(
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "ORDER"
    )
    package = ROOT / "src" / "napari_kindred"
    there = [
        part
        for part in order
        if (package / f"{part}.py").exists() or (package / part / "__init__.py").exists()
    ]
    picture = next(block for block in fenced(ROOT / "README.md", "") if "napari_kindred/" in block)
    assert re.findall(r"^  (\w+)/? ", picture, re.M) == there
