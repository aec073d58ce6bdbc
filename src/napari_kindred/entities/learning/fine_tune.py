"""Learning from corrections: given weights, fine-tuned on a few corrected objects."""

from __future__ import annotations

import dataclasses
import datetime
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from ..._version import __version__
from ...compute.device import select
from ...core.errors import OptionError
from ...core.events import Event, Metrics, Progress, finish
from ...core.options import must_be, shown, with_options
from ...models.download import file_sha256
from ...models.trainer import ready_to_train
from ...models.training_data import data_hash
from ...models.weights import resolve
from ...results.atomic import check_folder
from ..checkpoint import load_network, save_weights
from ..train import FOUND
from ..validate import iter_score_examples
from .config import LearnConfig
from .control import control_set
from .corrections import as_list, iter_corrections
from .files import CARD, FineTuned, free_file, title_of
from .tuner import Tuner, value_of

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from ...models.training_data import Example
    from ..network import EntityNetwork
    from .corrections import Corrections

BLENDS = (0.0, 0.25, 0.5)
"""Shares of the old weights that ``blend="auto"`` compares."""

FORGIVEN = 0.02
"""What the control set may lose without counting against a blend."""

Result = TypeVar("Result")

Scores = dict[str, dict[str, float]]


def iter_fine_tune(
    images: Any,
    labels: Any,
    checked: Any = None,
    weights: str | os.PathLike[str] = "kindred-entities",
    *,
    axes: str | None = None,
    channel: Any = None,
    name: str = "",
    out: str | os.PathLike[str] | None = None,
    config: LearnConfig | None = None,
    **options: Any,
) -> Generator[Event, None, FineTuned]:
    """Learn from corrections, yielding events; see :func:`fine_tune`.

    Yields :class:`.Progress`, :class:`.Notice` and :class:`.Metrics`: the ``loss``, and the
    scores of the objects held back.  Closed before its end, it leaves nothing behind.
    """
    config = with_options(LearnConfig, config, options)
    if not isinstance(weights, str | os.PathLike):
        raise OptionError(f"weights={shown(weights)} is neither a name nor the path of a file.")
    must_be("name", name, str)
    start, weights = time.perf_counter(), os.fspath(weights)
    triples = as_list(images, labels, checked)
    if out is not None:
        check_folder(Path(out).absolute().parent)
    yield Progress(0, 1, "loading the weights")
    network, info = load_network(weights, select(config.device), for_training=True)
    with ready_to_train():
        random = np.random.default_rng(config.seed)
        shape = dataclasses.asdict(network.config)
        reading = iter_corrections(triples, axes, channel, weights, shape, config.held_back, random)
        corrections = yield from _part_of(reading, 0.0, 0.05)
        measure = Measure(corrections.held)
        before = yield from _part_of(measure.iter(network), 0.05, 0.15)
        yield Metrics(0, 0.0, before["held_back"])
        tuner = Tuner(
            network, corrections.train, corrections.held, config, value_of(before["held_back"])
        )
        yield from _part_of(tuner.iter_learn(), 0.15, 0.85)
        choosing = _iter_choose(tuner, measure, config, before)
        blend, best, after = yield from _part_of(choosing, 0.85, 1.0)
    better = value_of(after["held_back"]) > value_of(before["held_back"])
    kept = better or config.keep == "always"
    card = {
        **_facts(name, weights, corrections, config),
        "blend": blend,
        "steps": tuner.step,
        "minutes": round((time.perf_counter() - start) / 60, 2),
        "device": str(tuner.device),
        "scores": {key: {"before": before[key], "after": after[key]} for key in before},
        "earlier": _earlier(info),
    }
    if not kept:
        return FineTuned(weights, False, card)
    path = free_file(card["name"]) if out is None else Path(out).absolute()
    check_folder(path.parent)
    facts = {key: info[key] for key in info.keys() - FOUND}
    save_weights(best, path, {**facts, CARD: card})
    return FineTuned(str(path), True, card)


class Measure:
    """Scores of a network on the objects held back and on the control set."""

    def __init__(self, held: Sequence[Example]) -> None:
        self._sets = {"held_back": held, "control": control_set()}

    def iter(self, network: EntityNetwork) -> Generator[Event, None, Scores]:
        """Return AP50 and mSA of each of the two."""
        total, done = sum(map(len, self._sets.values())), 0
        found: Scores = {}
        for name, examples in self._sets.items():
            job = iter_score_examples(network.eval(), examples)
            end = done + len(examples)
            scores = yield from _part_of(job, done / total, end / total)
            done = end
            found[name] = {key: round(scores[key], 4) for key in ("AP50", "mSA")}
        return found


def _iter_choose(
    tuner: Tuner, measure: Measure, config: LearnConfig, before: Scores
) -> Generator[Event, None, tuple[float, EntityNetwork, Scores]]:
    """Choose how much of the old weights to mix in, by the scores."""
    blends = BLENDS if config.blend == "auto" else (float(config.blend),)
    found = []
    for number, blend in enumerate(blends):
        network = tuner.mixed(tuner.best_tensors, blend)
        part = number / len(blends), (number + 1) / len(blends)
        scores = yield from _part_of(measure.iter(network), *part)
        found.append((worth(before, scores), blend, network, scores))
    _, blend, network, scores = max(found, key=lambda one: one[:2])
    return blend, network, scores


def worth(before: Scores, after: Scores) -> float:
    """Return the score of the objects held back, less what is forgotten."""
    forgotten = value_of(before["control"]) - value_of(after["control"])
    return value_of(after["held_back"]) - max(0.0, forgotten - FORGIVEN)


def _facts(
    name: str, weights: str, corrections: Corrections, config: LearnConfig
) -> dict[str, Any]:
    """Return what is known of a learning before it begins."""
    objects = corrections.objects + corrections.held_objects
    today = datetime.datetime.now().astimezone().date().isoformat()
    return {
        "name": name.strip() or f"{title_of(weights)}, {objects} corrections, {today}",
        "start": title_of(weights),
        "start_sha256": file_sha256(resolve(weights)),
        "date": today,
        "frames": corrections.frames,
        "objects": corrections.objects,
        "held_back": corrections.held_objects,
        "data_sha256": data_hash([*corrections.train, *corrections.held]),
        "layers": config.layers,
        "learning_rate": config.learning_rate,
        "seed": config.seed,
        "version": __version__,
    }


def _earlier(info: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the cards of weights that were learnt from corrections before, the last one first."""
    card = info.get(CARD)
    if not card:
        return []
    return [{key: card[key] for key in card if key != "earlier"}, *card.get("earlier", [])]


def _part_of(
    job: Generator[Any, None, Result], low: float, high: float
) -> Generator[Any, None, Result]:
    """Count the progress of a part as that of the whole, from a share of it to another."""
    while True:
        try:
            event = next(job)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
        if isinstance(event, Progress):
            share = low + (high - low) * event.done / max(event.total, 1e-9)
            event = Progress(share, 1, event.what)
        yield event


def fine_tune(
    images: Any,
    labels: Any,
    checked: Any = None,
    weights: str | os.PathLike[str] = "kindred-entities",
    *,
    axes: str | None = None,
    channel: Any = None,
    name: str = "",
    out: str | os.PathLike[str] | None = None,
    config: LearnConfig | None = None,
    **options: Any,
) -> FineTuned:
    """Teach weights of :func:`napari_kindred.segment_entities` by a few corrected objects.

    A part of the checked objects is not learnt from: on them, and on a small control set of images
    that the shipped weights know, the weights are measured before and after. What was learnt is
    kept if the objects held back are found better than before.

    Parameters
    ----------
    images : array-like, or list of array-like
        An image or stack as :func:`napari_kindred.segment_entities` takes it, or several.
    labels : array-like of int, or list of them
        Of each image, in the shape of its time, slice and plane axes: a number per object, 0 is
        background.
    checked : optional
        What of an image counts, or a list of that for each: None is all frames that have labels;
        whole numbers are frames, a row of numbers each if there are several axes of frames; a mask
        (bool, of the shape of the labels or of a plane) is a region; so is a dict from frames, a
        tuple of numbers each, to masks of a plane.  Inside, what has no label is background;
        nothing outside counts. An object counts if most of it is inside.
    weights : str or path
        What to begin with: shipped weights, a file written by ``train entities``, or what this
        function returned, which is then gone on with.
    axes, channel : optional
        As in :func:`napari_kindred.segment_entities`.
    name : str
        What to call the result; made of the numbers and the date when left out.
    out : path, optional
        File to write, ``.safetensors``; in the user's folder of weights when left out.
    config : LearnConfig, optional
        All options at once.
    **options
        Single fields of :class:`~napari_kindred.entities.learning.config.LearnConfig`.

    Returns
    -------
    FineTuned
        ``segment_entities(image, weights=…)`` takes it; ``card`` has the scores before and after.

    Raises
    ------
    InputError
        When images, labels and what is checked do not fit, or too few objects are checked.
    OptionError, OutputError, WeightsError

    Examples
    --------
    >>> import napari_kindred as nk
    >>> learnt = nk.fine_tune(image, corrected)  # doctest: +SKIP
    >>> print(learnt)  # doctest: +SKIP
    >>> nk.segment_entities(other, weights=learnt)  # doctest: +SKIP
    """
    return finish(
        iter_fine_tune(
            images,
            labels,
            checked,
            weights,
            axes=axes,
            channel=channel,
            name=name,
            out=out,
            config=config,
            **options,
        )
    )
