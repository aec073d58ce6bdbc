"""The command ``rerun``: a result computed once more, from what it says of itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import InputError, OutputError, WeightsError
from ..images.readers import is_there, split_path
from ..images.remote import is_url
from ..results.atomic import plain
from ..results.recipe import recipe_of
from ..results.storage import PROVENANCE, read_about
from .tasks import hashes_of

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping


def rerun(given: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Repeat what made a result, with the same weights, into another one."""
    facts = _provenance(given.result)
    recipe = recipe_of(facts)
    out = given.out or _next_to(given.result)
    commands = recipe.commands(given.image, out)
    if given.image is None and recipe.file is not None:
        _check_there(recipe.file.path)
    parsed = [parser.parse_args(words[1:]) for words in commands]
    last = parsed[-1]
    last.overwrite = given.overwrite
    if len(parsed) == 1:  # else its model is not made before
        check_weights(facts, recipe.method.command.make_task(last))
    return next(filter(None, (int(one.command(one)) for one in parsed)), 0)


def check_weights(facts: Mapping[str, Any], task: Any) -> None:
    """Refuse weights that are not those of the result."""
    found = {**plain(task.weights()), "files": hashes_of(task.arguments())}
    for name, value in found.items():
        if facts.get(name, value) != value:
            raise WeightsError(
                f"The {name} at hand are not those of the result ({_hashes(value)} instead of "
                f"{_hashes(facts[name])}); put the same files there."
            )


def _hashes(value: Any) -> str:
    """Return names and the begin of hashes, as they are shown in a sentence."""
    entries = value.items() if isinstance(value, dict) else ()
    return ", ".join(f"{name} {str(item)[:12]}" for name, item in entries) or "none"


def _provenance(path: Path) -> dict[str, Any]:
    """Return the provenance of a result, of a folder of results, or of one of them."""
    for folder in (path, path.parent):
        log = folder / PROVENANCE
        if log.is_file() and not path.with_suffix(".json").is_file():
            return _from_log(log, None if folder == path else path.stem)
    return read_about(path)


def _from_log(log: Path, image: str | None) -> dict[str, Any]:
    """Return the provenance of an image of a folder, or of all of them."""
    try:
        content = json.loads(log.read_text("utf-8"))
        images = content["images"]
        facts = {**content, **(images[image] if image else next(iter(images.values())))}
        if image is None:
            facts["file"]["path"] = str(Path(facts["file"]["path"]).parent)
    except (OSError, ValueError, LookupError, TypeError, StopIteration) as error:
        raise OutputError(
            f"{str(log)!r} does not say how these results came about; make them again."
        ) from error
    return facts


def _check_there(path: str) -> None:
    if not is_url(path) and not is_there(split_path(path)[0]):
        raise InputError(f"The image {path!r} is gone; name it: rerun RESULT IMAGE.")


def _next_to(result: Path) -> Path:
    """Return a free name next to a result."""
    end = next((end for end in (".ome.zarr", ".ome.tif") if result.name.endswith(end)), None)
    end = end or result.suffix
    stem = result.name.removesuffix(end)
    number, free = 2, result.with_name(f"{stem} again{end}")
    while free.exists():
        free, number = result.with_name(f"{stem} again {number}{end}"), number + 1
    return free
