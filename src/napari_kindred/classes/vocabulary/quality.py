"""How well classes are told apart on pictures that were not learnt from."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ...core.errors import InputError
from ...core.events import Progress
from .mil import NOTHING, Bag, Head, bag_scores
from .train_head import iter_train_head

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from numpy.typing import NDArray

    from ..config import TeachConfig


def iter_quality(
    bags: Sequence[Bag], names: Sequence[str], config: TeachConfig
) -> Generator[Progress, None, dict[str, Any]]:
    """Leave pictures out in turns, learn from the others, and see what becomes of those left out.

    Each turn has a teacher only, which takes half as long.
    """
    turns = min(config.folds, len(bags))
    if turns < 2:
        return {}
    quick = replace(config, distillation=0.0)
    order = np.random.default_rng(config.seed).permutation(len(bags))
    right, wanted, given = (np.zeros(len(names) + 1, np.int64) for _ in range(3))
    named = [0, 0]
    for turn in range(turns):
        yield Progress(turn, turns, "measuring on examples left out")
        left = set(order[turn::turns].tolist())
        rest = [bag for i, bag in enumerate(bags) if i not in left]
        try:
            head = yield from iter_train_head(rest, len(names), quick)
        except InputError:  # all that told anything was left out
            continue
        learnt = _learnt(rest, len(names))
        for number in left:
            hits, truth, answers = _masks(head, bags[number], config.threshold, learnt)
            right, wanted, given = right + hits, wanted + truth, given + answers
            count = _picture(head, bags[number], config.share, learnt)
            named = [old + new for old, new in zip(named, count, strict=True)]
    quality: dict[str, Any] = {"pictures": len(bags), "turns": turns}
    if wanted.sum():
        quality["masks"] = round(float(right.sum() / wanted.sum()), 4)
        quality["classes"] = {
            name: {
                "recall": round(float(right[i] / max(wanted[i], 1)), 4),
                "precision": round(float(right[i] / max(given[i], 1)), 4),
                "count": int(wanted[i]),
            }
            for i, name in enumerate(names)
        }
    if named[1]:
        quality["named"] = round(named[0] / named[1], 4)
    return quality if len(quality) > 2 else {}


def _learnt(bags: Sequence[Bag], classes: int) -> NDArray[np.bool_]:
    """Tell which classes occur in bags, (C,)."""
    found = np.zeros(classes, bool)
    for bag in bags:
        found[bag.instances[bag.instances >= 0]] = True
        if bag.present is not None:
            found |= bag.present
    return found


def _masks(
    head: Head, bag: Bag, threshold: float, learnt: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Count a bag's marked masks by class, none last: named right, marked, named."""
    classes = len(learnt)
    marked = (bag.instances >= 0) | (bag.instances == NOTHING)
    # What occurs in no other picture cannot be known.
    marked[marked] &= np.append(learnt, True)[bag.instances[marked]]
    truth = np.where(bag.instances[marked] >= 0, bag.instances[marked], classes)
    chances = head.probabilities(bag.embeddings[marked])
    answer = np.where(chances.max(1, initial=0) >= threshold, chances.argmax(1), classes)
    size = classes + 1
    return (
        np.bincount(truth[truth == answer], minlength=size),
        np.bincount(truth, minlength=size),
        np.bincount(answer, minlength=size),
    )


@torch.no_grad()
def _picture(head: Head, bag: Bag, share: int, learnt: NDArray[np.bool_]) -> tuple[int, int]:
    """Tell whether a bag's strongest class is one of those it was said to hold: (right, of)."""
    if bag.present is None or not (bag.present & learnt).any() or head.classes < 2:
        return 0, 0
    logits = head(torch.from_numpy(np.asarray(bag.embeddings, np.float32)))[:, : head.classes]
    strongest = int(bag_scores(logits, [len(bag)], share)[0].argmax())
    return int(bag.present[strongest]), 1
