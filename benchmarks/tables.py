"""Put measured tables into README.md and docs, between ``<!-- table: NAME -->`` markers.

    python benchmarks/tables.py            # all tables, from benchmarks/results/*.json
    python benchmarks/tables.py --check    # fails when a page shows something else

Each benchmark calls :func:`paste` with its own table when it has run, so no number in a page is
copied by hand.  A table reaches from its marker to the ``<!-- end: NAME -->`` marker.
"""

from __future__ import annotations

import argparse
import importlib
import json
import re
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"


def pages() -> list[Path]:
    """Return the pages that may hold tables."""
    return [
        ROOT / "README.md",
        ROOT / "benchmarks" / "README.md",
        *sorted((ROOT / "docs").glob("*.md")),
    ]


def replaced(text: str, name: str, table: str) -> str:
    """Return a page's text with a table put between its markers; unchanged without them."""
    pattern = re.compile(
        rf"(<!-- table: {re.escape(name)} -->\n).*?(<!-- end: {re.escape(name)} -->)", re.DOTALL
    )
    return pattern.sub(lambda found: f"{found[1]}\n{table.strip()}\n\n{found[2]}", text)


def paste(name: str, table: str, where: Iterable[Path] | None = None) -> list[Path]:
    """Write a table into every page that has its markers; returns the pages that changed."""
    changed = []
    for page in pages() if where is None else where:
        if not page.exists():
            continue
        before = page.read_text("utf-8")
        after = replaced(before, name, table)
        if after != before:
            page.write_text(after, "utf-8")
            changed.append(page)
    return changed


def measured() -> dict[str, str]:
    """Return every table that has been measured, by name, from the results' JSON files."""
    tables: dict[str, str] = {}
    for path in sorted(RESULTS.glob("*.json")):
        module = importlib.import_module(path.stem)
        result = json.loads(path.read_text("utf-8"))
        table = module.markdown(result)
        tables |= table if isinstance(table, dict) else {path.stem: table}
    return tables


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing, say what would")
    given = parser.parse_args()
    stale = []
    for name, table in measured().items():
        if given.check:
            stale += [
                f"{page.relative_to(ROOT)}: table {name} is not what was measured"
                for page in pages()
                if page.exists()
                and replaced(page.read_text("utf-8"), name, table) != page.read_text("utf-8")
            ]
        else:
            for page in paste(name, table):
                print(f"{page.relative_to(ROOT)}: {name}")
    print("\n".join(stale))
    return 1 if stale else 0


if __name__ == "__main__":
    raise SystemExit(main())
