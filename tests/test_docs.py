"""Pages: examples run, commands parse, links and files exist, the site builds."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import napari_kindred
from napari_kindred.cli.main import make_parser
from napari_kindred.images.samples import open_sample
from test_architecture import ORDER

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "benchmarks" / "README.md",
    *sorted((ROOT / "src" / "napari_kindred" / "models" / "weights_data").glob("*.md")),
]

PEERS = ("laptrack", "napari_animation", "ultrack")
"""What single examples need, and users may not have."""


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


def peers(code: str) -> set[str]:
    """Return the peers that an example imports."""
    return {peer for peer in PEERS if re.search(rf"^(?:from|import) {peer}\b", code, re.M)}


def with_peers() -> Iterator[Any]:
    """Every page with examples, once for each peer that some of its examples need."""
    for page in filter(lambda page: fenced(page, "python"), PAGES):
        needed = set().union(*(peers(code) for code in fenced(page, "python")))
        for peer in sorted(needed) or [""]:
            # Ultrack leaves its temporary folders to Python's end, which warns of it.
            left = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
            marks = left if peer == "ultrack" else ()
            yield pytest.param(page, peer, marks=marks, id=f"{name_of(page)} {peer}".strip())


@pytest.fixture
def names(request: pytest.FixtureRequest, page: Path, peer: str) -> dict[str, Any]:
    """What an example finds when it starts; in napari's console there is a viewer."""
    if peer:
        pytest.importorskip(peer)
    code = "".join(fenced(page, "python"))
    if "viewer" not in code:
        return {}
    components = pytest.importorskip("napari.components")
    films = "napari_animation" in code  # these need a window that draws
    viewer = request.getfixturevalue("make_napari_viewer")() if films else components.ViewerModel()
    viewer.add_image(open_sample("nuclei").data[:2], name="nuclei")
    return {"viewer": viewer}


@pytest.mark.slow
@pytest.mark.parametrize(("page", "peer"), with_peers())
def test_python_examples_run(
    page: Path, peer: str, names: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for code in fenced(page, "python"):  # one after the other, as a reader would paste them
        if peers(code) <= {peer}:
            exec(compile(code, name_of(page), "exec"), names)  # noqa: S102


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "peer"), [(ROOT / "docs" / "tracking.md", "laptrack")], ids=["laptrack"]
)
def test_tracks_of_the_example_follow_the_nuclei(page: Path, names: dict[str, Any]) -> None:
    for code in fenced(page, "python"):
        if peers(code) <= {"laptrack"} and "export" not in code:
            exec(compile(code, name_of(page), "exec"), names)  # noqa: S102
    truth = np.asarray(open_sample("nuclei").truth[:3])
    for tracked in (names["result"].labels, names["tracked"]):
        followed = right = 0
        for before, after in pairwise(range(3)):
            for nucleus in np.intersect1d(truth[before], truth[after])[1:]:
                first = np.bincount(tracked[before][truth[before] == nucleus]).argmax()
                then = np.bincount(tracked[after][truth[after] == nucleus]).argmax()
                followed += 1
                right += first == then > 0
        assert followed > 50
        assert right > 0.9 * followed


@pytest.mark.slow
def test_the_notebook_runs_from_top_to_bottom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cells = json.loads((ROOT / "docs" / "notebook.ipynb").read_text("utf-8"))["cells"]
    names: dict[str, Any] = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), "notebook", "exec"), names)  # noqa: S102
    assert names["again"].table.equals(names["entities"].table)


@pytest.mark.parametrize(
    ("page", "command"),
    [pytest.param(p, c, id=f"{name_of(p)}: {c}") for p in PAGES for c in commands(p)],
)
def test_commands_are_ones_that_the_program_knows(page: Path, command: str) -> None:
    make_parser().parse_args(shlex.split(command)[1:])


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_extras_that_a_page_installs_exist(page: Path) -> None:
    text = page.read_text("utf-8")
    found = re.findall(r"pip install (?:-e )?[\"']?(?:\.|napari-kindred)\[([\w,]+)\]", text)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"][
        "optional-dependencies"
    ]
    assert {name for names in found for name in names.split(",")} <= set(extras)


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


def test_tables_are_those_that_were_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    monkeypatch.setattr(sys, "argv", ["tables.py", "--check"])
    assert importlib.import_module("tables").main() == 0, capsys.readouterr().out


def test_the_picture_of_the_house_shows_every_part_in_the_order_of_imports() -> None:
    package = ROOT / "src" / "napari_kindred"
    there = [
        part
        for part in ORDER
        if (package / f"{part}.py").exists() or (package / part / "__init__.py").exists()
    ]
    picture = next(block for block in fenced(ROOT / "README.md", "") if "napari_kindred/" in block)
    assert re.findall(r"^  (\w+)/? ", picture, re.M) == there


def test_files_that_the_page_for_contributors_names_exist() -> None:
    page = (ROOT / "docs" / "contributing.md").read_text("utf-8")
    named = set(re.findall(r"`(\w+(?:/\w+)*\.py)`", page))
    places = (ROOT, ROOT / "src" / "napari_kindred")
    assert not [file for file in named if not any((place / file).exists() for place in places)]
    assert len(named) > 15


def sentences() -> Iterator[str]:
    """Every text in the sources; what is put in when it is shown is an ellipsis."""
    for path in (ROOT / "src" / "napari_kindred").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = (p.value if isinstance(p, ast.Constant) else "…" for p in node.values)
                yield "".join(map(str, parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def test_sentences_of_the_troubleshooting_page_are_shown_somewhere() -> None:
    page = (ROOT / "docs" / "troubleshooting.md").read_text("utf-8")
    shown = list(sentences())
    quoted = re.findall(r"“([^”]+)”", page)
    patterns = {
        quote: re.compile(".*?".join(map(re.escape, re.split(r"\s*…\s*", quote))), re.DOTALL)
        for quote in quoted
    }
    assert len(patterns) == len(quoted), "a sentence is explained twice"
    unknown = [q for q, pattern in patterns.items() if not any(map(pattern.search, shown))]
    assert not unknown


def test_the_reference_shows_every_public_name() -> None:
    page = (ROOT / "docs" / "api.md").read_text("utf-8")
    shown = set(re.findall(r"^::: napari_kindred\.(\w+)$", page, re.M))
    assert shown == set(napari_kindred.__all__) - {"__version__"}


@pytest.mark.skipif(importlib.util.find_spec("mkdocs") is None, reason="needs the extra docs")
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    settings = ROOT / "docs" / "website" / "mkdocs.yml"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", settings, "-d", tmp_path]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    )
    assert done.returncode == 0, done.stderr
    for card in ("kindred-entities", "kindred-sam", "microscopy"):
        assert f"Model card: {card}" in (tmp_path / "models" / f"{card}.html").read_text("utf-8")
    reference = (tmp_path / "api.html").read_text("utf-8")
    assert "Raises" in reference
    assert ":func:" not in reference
    house = (tmp_path / "contributing.html").read_text("utf-8")
    parts = re.findall(r"<td><code>(\w+)</code></td>", house)
    assert parts == ORDER
