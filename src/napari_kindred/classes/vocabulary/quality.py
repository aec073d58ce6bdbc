"""How well classes are told apart on images that were left out of the training."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ...core.errors import InputError
from ...core.events import Progress
from ..config import CONFIDENCE
from .mil import NOTHING, Bag, Head, bag_scores

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from numpy.typing import NDArray

    from ..config import TeachConfig
    from ..pixelwise.head import PixelHead
    from ..proposals.base import ProposerSpec

    Learn = Callable[..., Generator[Progress, None, Head | PixelHead]]
    """Trains a head on ``bags`` of a number of ``classes`` with a ``config``."""

SHARPER = 2.0
"""Power of a pixel's probabilities that makes them as sure as they are right: those of trees and of
a head on few marks are too careful."""


def iter_quality(
    bags: Sequence[Bag], names: Sequence[str], config: TeachConfig, spec: ProposerSpec, learn: Learn
) -> Generator[Progress, None, dict[str, Any]]:
    """Cross-validate: leave images out in turns, train a teacher on the others, and score those.

    A single image is left out in parts.  Marks that no instance has count as errors.
    """
    turns = min(config.folds, len(bags))
    if turns < 2:
        return {}
    quick = replace(config, distillation=0.0)
    threshold = own_threshold(config, spec)
    order = np.random.default_rng(config.seed).permutation(len(bags))
    correct, annotated, predicted = (np.zeros(len(names) + 1, np.int64) for _ in range(3))
    named = [0, 0]
    size = len(names) + 1
    confused = np.zeros((size, size))
    for turn in range(turns):
        yield Progress(turn, turns, "measuring on examples left out")
        left_out = set(order[turn::turns].tolist())
        rest = [bag for i, bag in enumerate(bags) if i not in left_out]
        try:
            head = yield from learn(bags=rest, classes=len(names), config=quick)
        except InputError:  # nothing to train on remains
            continue
        trained = _trained_classes(rest, len(names))
        for number in left_out:
            hits, truth, predictions = _masks(head, bags[number], threshold, trained)
            correct, annotated, predicted = (
                correct + hits,
                annotated + truth,
                predicted + predictions,
            )
            if spec.kind == "pixels":
                confused += _confusion(head, bags[number], threshold)
            count = _image(head, bags[number], config.share, trained)
            named = [old + new for old, new in zip(named, count, strict=True)]
    pictures = len({bag.source for bag in bags})
    quality: dict[str, Any] = {"pictures": pictures, "turns": turns}
    if pictures < turns:
        quality["parts"] = len(bags)
    if annotated.sum():
        quality["masks"] = round(float(correct.sum() / annotated.sum()), 4)
        quality["classes"] = {
            name: {
                "recall": round(float(correct[i] / max(annotated[i], 1)), 4),
                "precision": round(float(correct[i] / max(predicted[i], 1)), 4),
                "count": int(annotated[i]),
            }
            for i, name in enumerate(names)
        }
    if spec.kind == "pixels" and annotated.sum():
        found = estimated_iou(confused)
        quality["iou"] = round(float(found[:-1][annotated[:-1] > 0].mean()), 4)
    if named[1]:
        quality["named"] = round(named[0] / named[1], 4)
    return quality if len(quality) > 2 else {}


def _predicted(
    head: Head | PixelHead, vectors: NDArray[np.floating], threshold: float
) -> NDArray[np.intp]:
    """Return the class of each vector (N, D), the number of classes for none of them."""
    probabilities = head.probabilities(vectors)
    most, none = probabilities.max(1, initial=0), 1 - probabilities.sum(1)
    sure = (most >= threshold) & (most >= none)
    found: NDArray[np.intp] = np.where(sure, probabilities.argmax(1), probabilities.shape[1])
    return found


def _confusion(head: Head | PixelHead, bag: Bag, threshold: float) -> NDArray[np.float64]:
    """Return how many of an image's pixels are of a class (rows) and predicted as another.

    None of the classes is last.  Marks are where it is easy, and not as frequent as what they are
    on, so pixels that nobody chose are counted, by what the head itself believes them to be.  If
    all pixels are marked, their marks tell.  Marks that were lost are found nowhere.
    """
    size = head.classes + 1
    marked = bag.instances >= NOTHING
    looked = marked if marked.all() else ~marked
    vectors = bag.embeddings[looked]
    if marked.all():
        truth = np.where(bag.instances >= 0, bag.instances, head.classes)
        beliefs = np.eye(size)[truth]
    else:
        found = head.probabilities(vectors).astype(np.float64)
        beliefs = np.column_stack([found, np.maximum(1 - found.sum(1), 0)]) ** SHARPER
        beliefs /= beliefs.sum(1, keepdims=True)
    confused = np.zeros((size, size))
    np.add.at(confused.T, _predicted(head, vectors, threshold), beliefs)
    lost = bag.lost_marks(head.classes)
    counts = np.bincount(bag.instances[bag.instances >= 0], minlength=head.classes) + lost
    missed = np.append(lost / np.maximum(counts, 1), 0)[:, None]
    confused[:, -1:] += (confused * missed).sum(1, keepdims=True)
    return np.asarray((confused - confused * missed) * bag.area / max(len(vectors), 1))


def estimated_iou(confused: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the IoU of each class (K,) of pixels (K, K) by true (rows) and predicted class."""
    both = confused.diagonal()
    union = confused.sum(0) + confused.sum(1) - both
    shared: NDArray[np.float64] = np.divide(both, union, out=np.zeros(len(both)), where=union > 0)
    return shared


def own_threshold(config: TeachConfig, spec: ProposerSpec) -> float:
    """Return the confidence that a class needs: the given one, or the usual of this kind."""
    if config.threshold != "auto":
        return config.threshold
    # A pixel that is not sure is still most probably something.
    return 0.0 if spec.kind == "pixels" else CONFIDENCE


def _trained_classes(bags: Sequence[Bag], classes: int) -> NDArray[np.bool_]:
    """Return which classes occur in bags, (C,)."""
    found = np.zeros(classes, bool)
    for bag in bags:
        found[bag.instances[bag.instances >= 0]] = True
        if bag.present is not None:
            found |= bag.present
    return found


def _masks(
    head: Head | PixelHead, bag: Bag, threshold: float, trained: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Count a bag's annotated masks by class, none last: correct, annotated, predicted."""
    classes = len(trained)
    marked = bag.instances >= NOTHING
    # A class that occurs in no other image cannot be predicted.
    marked[marked] &= np.append(trained, True)[bag.instances[marked]]
    truth = np.where(bag.instances[marked] >= 0, bag.instances[marked], classes)
    predicted_class = _predicted(head, bag.embeddings[marked], threshold)
    size = classes + 1
    lost = np.append(bag.lost_marks(classes) * trained, 0)
    return (
        np.bincount(truth[truth == predicted_class], minlength=size),
        np.bincount(truth, minlength=size) + lost,
        np.bincount(predicted_class, minlength=size),
    )


@torch.no_grad()
def _image(
    head: Head | PixelHead, bag: Bag, share: int, trained: NDArray[np.bool_]
) -> tuple[int, int]:
    """Return whether a bag's strongest class is among its names, as (correct, of)."""
    if bag.present is None or not isinstance(head, Head):
        return 0, 0
    if not (bag.present & trained).any() or head.classes < 2:
        return 0, 0
    logits = head(torch.from_numpy(np.asarray(bag.embeddings, np.float32)))[:, : head.classes]
    strongest = int(bag_scores(logits, [len(bag)], share)[0].argmax())
    return int(bag.present[strongest]), 1
