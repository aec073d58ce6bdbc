"""Print the shape of the house: lines per folder, floors of imports, circles of files.

    python .ci/house.py [REPOSITORY]

A floor is a step of the longest chain of imports between rooms (a folder or a lone module at the
package's root). A circle is a set of files that import each other, type hints included.
"""

from __future__ import annotations

import ast
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

PACKAGE = "napari_kindred"


def imported(path: Path, source: Path) -> Iterator[Path]:
    """Yield the package's files that a file imports, wherever in it and for whatever reason."""
    here = (PACKAGE, *path.relative_to(source).parts)
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level] if node.level else ()
            module = (*base, *(node.module.split(".") if node.module else ()))
            names = [(*module, alias.name) for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [tuple(alias.name.split(".")) for alias in node.names]
        else:
            continue
        for name in names:
            if name[0] == PACKAGE:
                yield from _file(name[1:], source)


def _file(name: tuple[str, ...], source: Path) -> Iterator[Path]:
    """Yield the file of a module, or of the module that holds a name."""
    for parts in (name, name[:-1]):
        module = source.joinpath(*parts)
        for file in (module.with_suffix(".py"), module / "__init__.py"):
            if parts and file.exists():
                yield file
                return


def circles(arrows: dict[Path, set[Path]]) -> list[set[Path]]:
    """Return the strongly connected sets of more than one file."""
    reach = {file: _reached(file, arrows) for file in arrows}
    found: list[set[Path]] = []
    for file in arrows:
        circle = {other for other in reach[file] if file in reach.get(other, ())}
        if len(circle) > 1 and circle not in found:
            found.append(circle)
    return found


def _reached(file: Path, arrows: dict[Path, set[Path]]) -> set[Path]:
    seen: set[Path] = set()
    waiting = [file]
    while waiting:
        for other in arrows.get(waiting.pop(), ()):
            if other not in seen:
                seen.add(other)
                waiting.append(other)
    return seen


def floors(rooms: dict[str, set[str]]) -> int:
    """Return the number of floors: rooms on the longest chain, circles counted once."""
    known: dict[str, int] = {}

    def height(room: str, above: frozenset[str]) -> int:
        if room not in known:
            below = [height(r, above | {room}) for r in rooms[room] if r not in above | {room}]
            known[room] = 1 + max(below, default=0)
        return known[room]

    return max(height(room, frozenset()) for room in sorted(rooms))


def main(repository: Path) -> None:
    """Print the report of a checkout."""
    source = repository / "src" / PACKAGE
    files = sorted(source.rglob("*.py"))
    lines: Counter[str] = Counter()
    arrows: dict[Path, set[Path]] = {}
    rooms: dict[str, set[str]] = defaultdict(set)
    for file in files:
        room = file.relative_to(source).parts[0].removesuffix(".py")
        lines[room] += len(file.read_text("utf-8").splitlines())
        arrows[file] = {other for other in imported(file, source) if other != file}
        rooms[room] |= {other.relative_to(source).parts[0].removesuffix(".py")
                        for other in arrows[file]} - {room, "__init__"}  # fmt: skip
    tests = sum(len(f.read_text("utf-8").splitlines()) for f in repository.glob("tests/**/*.py"))
    for room in sorted(rooms):
        print(f"{room:16} {lines[room]:6} lines, imports {', '.join(sorted(rooms[room])) or '-'}")
    print(f"{len(rooms)} rooms, {len(files)} files, {sum(lines.values())} lines; {tests} of tests")
    rooms.pop("__init__", None)
    print(f"{floors(rooms)} floors of rooms, {sum(map(len, rooms.values()))} arrows")
    found = circles(arrows)
    print(f"{len(found)} circles of files")
    for circle in found:
        print("  " + ", ".join(sorted(str(file.relative_to(source)) for file in circle)))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
