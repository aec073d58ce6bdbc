"""The command ``entities``: every cell or nucleus its own label."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..methods import ENTITIES
from .flags import config_of
from .report import check_source, print_failures, print_outcome, process

if TYPE_CHECKING:
    import argparse

    from .batch import Outcome
    from .tasks import Task

ABOUT = "give every cell or nucleus its own label"
MORE = (
    "A movie is segmented frame by frame and linked, a stack of slices in 3-D; of a folder, every "
    "image is taken by itself."
)


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add what the command takes beside the options."""


def make_task(given: argparse.Namespace) -> Task[Any]:
    """Check what is given, and return the task."""
    config = config_of(given, ENTITIES.config)
    check_source(given.input)
    from .tasks import EntityTask

    return EntityTask(config, given.scheduler)


def run(given: argparse.Namespace) -> int:
    """Segment a file or folder."""
    outcome = process(given, make_task(given))
    print_entities(outcome)
    return print_failures(outcome)


def print_entities(outcome: Outcome) -> None:
    """Print how many entities were found."""
    from ..results.tables import counted
    from .tasks import DIVISIONS

    found, _ = outcome.object_counts.get(ENTITIES.plural, (0, 0))
    divisions, _ = outcome.object_counts.get(DIVISIONS, (0, 0))
    linked = [counted(divisions, "division")] if "link" in outcome.provenance else []
    print_outcome(outcome, f"{found} {ENTITIES.plural}", linked)
