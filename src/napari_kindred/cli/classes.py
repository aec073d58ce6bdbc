"""The command ``classes``: the pixels and objects of the classes that are named."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..methods import CLASSES
from .flags import config_of
from .report import check_source, print_failures, print_outcome, process

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from .batch import Outcome
    from .class_tasks import ClassTask

ABOUT = "find the pixels and objects of the classes that you name"
MORE = "A stack is segmented frame by frame; of a folder, every image is taken by itself."


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add what the command takes beside the options."""
    command.add_argument(
        "--names",
        required=True,
        metavar="NAME,NAME,…",
        help="the classes; the first becomes label 1, and so on",
    )
    classifier = command.add_mutually_exclusive_group()
    classifier.add_argument(
        "--vocabulary", help="defines the classes: a .kindred file, or a shipped one [microscopy]"
    )
    classifier.add_argument(
        "--examples", type=Path, metavar="FOLDER", help="or: examples to learn them from now"
    )
    classifier.add_argument(
        "--clip",
        metavar="MODEL",
        help="or: what CLIP takes them for, MODEL/TAG of open_clip or a trained file",
    )


def make_task(given: argparse.Namespace) -> ClassTask:
    """Check what is given, and return the task."""
    config = config_of(given, CLASSES.config)
    check_source(given.input)
    from .class_tasks import ClassTask

    return ClassTask(
        config, given.names, given.vocabulary, given.examples, given.clip, given.scheduler
    )


def run(given: argparse.Namespace) -> int:
    """Find classes by name in a file or folder."""
    task = make_task(given)
    outcome = process(given, task)
    _print_classes(outcome, task.names)
    return print_failures(outcome)


def _print_classes(outcome: Outcome, names: Sequence[str]) -> None:
    print_outcome(outcome, count_of(names))
    # Regions that touch are one: their number says nothing of cells.
    whole = outcome.provenance.get("proposer", {}).get("kind") in ("entities", "sam")
    for name in names if outcome.done else ():
        count, area = outcome.object_counts.get(name, (0, 0))
        counted = f"{count} found, " if whole else ""
        print(f"  {name}: {counted}{area / max(outcome.pixels, 1):.1%} of the pixels")


def count_of(names: Sequence[str]) -> str:
    """Return the number of classes, in words."""
    return f"{len(names)} {CLASSES.noun if len(names) == 1 else CLASSES.plural}"
