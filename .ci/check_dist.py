"""Fail where a built wheel or source distribution lacks what users need.

    python -m build && python .ci/check_dist.py dist [vX.Y.Z]

Weights, model cards, manifest and samples are no Python, so that an installation without them is
built without a word, and fails only at the user's.
"""

from __future__ import annotations

import sys
import tarfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
PACKAGE = "napari_kindred"


def needed() -> set[str]:
    """Return the files below the package that an installation has, sources included."""
    source, samples = ROOT / "src" / PACKAGE, ROOT / "sample_data"
    files = {path.relative_to(source) for path in source.rglob("*") if path.is_file()}
    files |= {"sample_data" / path.relative_to(samples) for path in samples.rglob("*.*")}
    return {path.as_posix() for path in files if "__pycache__" not in path.parts}


def faults(folder: Path, tag: str | None = None) -> Iterator[str]:
    """Yield a sentence for everything that is wrong with the distributions in a folder."""
    wheels, sources = sorted(folder.glob("*.whl")), sorted(folder.glob("*.tar.gz"))
    if (len(wheels), len(sources)) != (1, 1):
        yield f"{folder} holds {len(wheels)} wheels and {len(sources)} sources, not one of each."
        return
    version = wheels[0].name.split("-")[1]
    if tag is not None and tag != f"v{version}":
        yield f"The tag is {tag}, but the version is {version}."
    with zipfile.ZipFile(wheels[0]) as wheel:
        inside = set(wheel.namelist())
        points = wheel.read(f"{PACKAGE}-{version}.dist-info/entry_points.txt").decode()
    for name in sorted(needed()):
        if f"{PACKAGE}/{name}" not in inside:
            yield f"The wheel lacks {name}."
    if f"{PACKAGE}:napari.yaml" not in points:
        yield "The wheel does not tell napari of its manifest."
    with tarfile.open(sources[0]) as source:
        linked = [member.name for member in source if member.issym() or member.islnk()]
        inside = {member.name.partition("/")[2] for member in source}
    for name in ("LICENSE", "README.md", "pyproject.toml", f"src/{PACKAGE}/napari.yaml"):
        if name not in inside:
            yield f"The source distribution lacks {name}."
    for name in linked:
        yield f"The source distribution holds the link {name}, which Windows may not follow."


if __name__ == "__main__":
    found = list(faults(Path(sys.argv[1]), *sys.argv[2:3]))
    for sentence in found:
        print(sentence)
    sys.exit(bool(found))
