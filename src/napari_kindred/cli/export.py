"""The command ``export``: results as files of other programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.errors import OptionError, OutputError
from ..load import load_segmentation
from ..results.exports import Format, export, format_of
from ..results.storage import PROVENANCE

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from ..results.segmentation import Segmentation


def run(given: argparse.Namespace) -> int:
    """Export a result, or all results of a folder."""
    chosen = format_of(given.out, given.to)
    options = {
        "image": given.image,
        "properties": given.properties and [name.strip() for name in given.properties.split(",")],
    }
    paths = list(_results_in(given.result))
    in_folder = paths != [given.result]
    if in_folder and given.image is not None:
        raise OptionError("An image belongs to one result; leave --image out for a folder.")
    for out, group in _plan(paths, given.out, chosen, in_folder):
        results = [(_stem(path), load_segmentation(path)) for path in group]
        export(results, out, chosen.name, given.overwrite, **options)
        print(f"{out}: {_found(results)}")
    return 0


def _plan(
    paths: list[Path], out: Path, chosen: Format, in_folder: bool
) -> Iterator[tuple[Path, list[Path]]]:
    """Yield each file that is written, and the results that go into it."""
    if not in_folder or chosen.joins:
        is_folder = out.is_dir() or not out.suffix
        yield (out / f"{_stem(paths[0])}{chosen.suffix}" if is_folder else out), paths
        return
    if out.suffix:
        raise OutputError(
            f"There are {len(paths)} results, each of which becomes a file; name a folder for them "
            f"instead of {out.name!r}."
        )
    for path in paths:
        yield out / f"{_stem(path)}{chosen.suffix}", [path]


def _results_in(path: Path) -> Iterator[Path]:
    """Yield the results of a folder in the order of their names, or the one that is named."""
    if not path.is_dir() or path.suffix.lower() == ".zarr":
        yield path
        return
    log = path / PROVENANCE
    if log.is_file():
        try:
            names = json.loads(log.read_text("utf-8"))["images"]
        except (ValueError, LookupError, TypeError) as error:
            raise OutputError(f"{str(log)!r} is damaged; name the files one by one.") from error
        found = [path / f"{name}.tif" for name in sorted(names)]
    else:
        files = (file for file in sorted(path.iterdir()) if not file.name.startswith("."))
        found = [file for file in files if _is_result(file)]
    if not found:
        raise OutputError(f"There is no result in {str(path)!r}; check the path.")
    yield from found


def _is_result(file: Path) -> bool:
    name = file.name.lower()
    beside = file.with_name(f"{_stem(file)}.json")
    return name.endswith(".ome.zarr") or (name.endswith((".tif", ".tiff")) and beside.is_file())


def _stem(path: Path) -> str:
    return path.name.rsplit(".", 1)[0].removesuffix(".ome")


def _found(results: list[tuple[str, Segmentation]]) -> str:
    count = sum(len(result.objects()[1]) for _, result in results)
    images = f" of {len(results)} images" if len(results) > 1 else ""
    return f"{count} {'row' if count == 1 else 'rows'}{images}"
