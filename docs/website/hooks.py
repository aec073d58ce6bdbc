"""What the site has beyond the pages beside it: pages from elsewhere, and the order of imports."""

from __future__ import annotations

import ast
import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
CARDS = "src/napari_kindred/models/weights_data"

ELSEWHERE = {
    "benchmarks/README.md": "benchmarks.md",
    "CHANGELOG.md": "changelog.md",
    **{f"{CARDS}/{card.name}": f"models/{card.name}" for card in (ROOT / CARDS).glob("*.md")},
}
"""Path in the repository, and what the page is called on the site."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not in this folder."""
    for path, uri in ELSEWHERE.items():
        files.append(File.generated(config, uri, content=(ROOT / path).read_text("utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Turn links between places in the repository into links between pages of the site."""
    uri = page.file.src_uri
    place = {site: path for path, site in ELSEWHERE.items()}.get(uri, f"docs/{uri}")

    def moved(link: re.Match[str]) -> str:
        target, anchor = link[1], link[2] or ""
        path = posixpath.normpath(posixpath.join(posixpath.dirname(place), target))
        there = ELSEWHERE.get(path, path.removeprefix("docs/"))
        return f"]({posixpath.relpath(there, posixpath.dirname(uri) or '.')}{anchor})"

    text = re.sub(r"\]\((?![a-z]+:)([^)\s#]+)(#[^)\s]*)?\)", moved, markdown)
    return text.replace("<!-- the house -->", house()) if "<!-- the house -->" in text else text


def on_page_content(html: str, **_: object) -> str:
    """Show the docstrings' references, written for Sphinx, as the names that they lead to."""
    role = r":(?:class|data|func|meth|mod):<code>~?(?:[a-z_]\w*\.|\.)*([\w.]+)</code>"
    return re.sub(role, r"<code>\1</code>", html)


def house() -> str:
    """Return the table of the package's parts, in the order in which they may import each other."""
    rules = ast.parse((ROOT / "tests" / "test_architecture.py").read_text("utf-8"))
    order = next(
        ast.literal_eval(node.value)
        for node in rules.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "ORDER"
    )
    rows = ["| part | what it is for |", "|---|---|"]
    for part in order:
        home = ROOT / "src" / "napari_kindred" / part
        source = home / "__init__.py" if home.is_dir() else home.with_suffix(".py")
        if source.exists():
            about = ast.get_docstring(ast.parse(source.read_text("utf-8"))) or ""
            first = about.partition("\n\n")[0]
            rows.append(f"| `{part}` | {' '.join(first.split())} |")
    return "\n".join(rows)
