"""The command ``learn``: fine-tune weights on corrected images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import InputError
from ..core.events import finish
from ..entities.learning.config import LearnConfig
from .flags import add_flags, config_of
from .progress_bar import Bar

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence


def add_learn(commands: Any) -> None:
    """Add the command."""
    command = commands.add_parser(
        "learn",
        help="teach the weights of entities by a few corrected images, in minutes",
        description="Fine-tune weights on folders of images/ and labels/ of the same names. A "
        "folder checked/ may hold masks of the same names: only where they are not 0 was "
        "corrected. A part of the objects is held back, and measured before and after.",
    )
    command.add_argument("data", type=Path, nargs="+", help="data folders")
    command.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="for the weights, .safetensors"
    )
    command.add_argument(
        "--weights", default="kindred-entities", help="what to begin with [kindred-entities]"
    )
    command.add_argument("--name", default="", help="what to call the weights")
    command.add_argument("--overwrite", action="store_true", help="replace a file that is there")
    add_flags(command, LearnConfig)
    command.set_defaults(command=learn)


def learn(given: argparse.Namespace) -> int:
    """Learn from corrected images, and write weights."""
    config = config_of(given, LearnConfig)
    from ..entities.learning.fine_tune import iter_fine_tune
    from ..results.atomic import refuse_existing

    refuse_existing(given.out, given.overwrite)
    images, labels, checked = zip(*read_corrections(given.data), strict=True)
    with Bar() as bar:
        job = iter_fine_tune(
            list(images),
            list(labels),
            list(checked),
            given.weights,
            name=given.name,
            out=given.out,
            config=config,
        )
        learnt = finish(job, bar.report)
    print(learnt.summary())
    print(f"Weights: {learnt.weights}")
    return 0


def read_corrections(folders: Sequence[Path]) -> Iterator[tuple[Any, Any, Any]]:
    """Read the images of data folders, their labels, and what of them is checked.

    InputError if a folder or a label image is missing.
    """
    from ..images.label_files import read_labels
    from ..images.readers import read_image
    from ..models.data_folder import files_by_stem

    for folder in folders:
        for part in ("images", "labels"):
            if not (folder / part).is_dir():
                raise InputError(f"Corrections need a folder {part}/ inside {str(folder)!r}.")
        labels = files_by_stem(folder / "labels")
        masks = files_by_stem(folder / "checked") if (folder / "checked").is_dir() else {}
        found = [(name, path) for name, path in files_by_stem(folder / "images").items()]
        for name, path in found:
            if name not in labels:
                raise InputError(f"{folder.name}/labels has no label image named {name}.")
            mask = read_labels(masks[name]) > 0 if name in masks else None
            yield read_image(path), read_labels(labels[name]), mask
        if not found:
            raise InputError(f"There is no image in {str(folder / 'images')!r}.")
