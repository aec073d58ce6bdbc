"""The command ``clusters``: the same kind of object, the same label, in every frame."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..methods import CLUSTERS
from .flags import config_of
from .progress_bar import Bar
from .report import check_there, time_of

if TYPE_CHECKING:
    from .movies import ClusterTask

ABOUT = "give objects of the same kind the same label in every frame of a movie"
MORE = "A folder is one movie, its images taken in the order of their names."


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add what the command takes beside the options."""
    command.add_argument(
        "--model",
        type=Path,
        metavar="FILE",
        help="label the frames by this saved model instead of clustering them",
    )
    command.add_argument(
        "--save-model", type=Path, metavar="FILE", help="save the model, NAME.safetensors"
    )
    command.add_argument(
        "--levels",
        type=numbers,
        default=(),
        metavar="N,N,…",
        help="write labels at these numbers of clusters as well, NAME.levelN",
    )
    command.add_argument(
        "--at-level",
        type=int,
        metavar="N",
        help="write labels at this number of clusters instead of that of the clustering",
    )
    command.add_argument(
        "--hide",
        type=numbers,
        default=(),
        metavar="LABEL,…",
        help="make these clusters background; labels as they are at the level that is written",
    )


def numbers(text: str) -> tuple[int, ...]:
    """Read whole numbers separated by commas."""
    try:
        return tuple(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} must be whole numbers separated by commas, for example 2,6."
        ) from None


def make_task(given: argparse.Namespace) -> ClusterTask:
    """Check what is given, and return the task."""
    config = config_of(given, CLUSTERS.config)
    for path in filter(None, (given.input, given.model)):
        check_there(path)
    from .movies import ClusterTask

    return ClusterTask(config, given.model, given.scheduler)


def run(given: argparse.Namespace) -> int:
    """Cluster a movie."""
    from . import movies

    task = make_task(given)
    with Bar() as bar:
        outcome = movies.cluster_file(
            given.input,
            given.out,
            task.config,
            bar.report,
            overwrite=given.overwrite,
            model=task.model,
            save_model=given.save_model,
            levels=given.levels,
            at_level=given.at_level,
            hide=given.hide,
            scheduler=task.scheduler,
        )
    found = f"{outcome.clusters} {CLUSTERS.plural} in {outcome.frames} frames"
    print(f"{outcome.out}: {found}, {time_of(outcome)}")
    for path in outcome.more:
        print(f"  {path}")
    return 0
