"""Classes of an image's pixels, from the annotations on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..names import key
from ..vocabulary.annotations import in_ellipse
from ..vocabulary.examples import is_background, numbers
from ..vocabulary.mil import NOTHING, UNKNOWN, UNMARKED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from ..vocabulary.examples import Example


AROUND = 256
"""Pixels around all marks of an image in which unmarked ones are looked at."""


@dataclass(frozen=True, eq=False)
class MarkedPixels:
    """Pixels that annotations speak of.

    ``places`` (N, 2) with their ``codes`` (N,) as :attr:`.Bag.instances`; ``lost`` (C,) counts the
    marks of each class that name no pixel, because others name theirs another class.
    """

    places: NDArray[np.intp]
    codes: NDArray[np.int16]
    lost: NDArray[np.int16]


def mark_pixels(
    example: Example,
    shape: tuple[int, int],
    classes: Mapping[str, int],
    most: int,
    random: np.random.Generator,
) -> MarkedPixels:
    """Collect an example's pixels, of each class at most ``most`` chosen at random.

    As many unmarked ones near the marks show how frequent classes are.  If everything is labelled,
    as many are chosen in all, so that frequent classes stay frequent.
    """
    plane = np.full(shape, UNMARKED, np.int16)
    disputed = np.zeros(shape, bool)
    marks: list[tuple[int, NDArray[np.intp]]] = []

    def say(name: str, where: NDArray[np.intp]) -> None:
        code = NOTHING if is_background(name) else classes[key(name)]
        before = plane.ravel()[where]
        disputed.ravel()[where] |= (before != UNMARKED) & (before != code)
        plane.ravel()[where] = code
        marks.append((code, where))

    for name, points in example.points.items():
        at = np.floor(numbers(points, 2, name, example.source) + 0.5).astype(np.intp)
        for y, x in at.clip(0, np.array(shape) - 1):
            say(name, np.array([y * shape[1] + x]))
    for name, boxes in example.boxes.items():
        for box in numbers(boxes, 4, name, example.source):
            say(name, np.flatnonzero(in_ellipse(box, shape)))
    if example.labels is not None:
        labels = np.asarray(example.labels).ravel()
        for number, name in example.label_names.items():
            say(name, np.flatnonzero(labels == number))
    plane[disputed] = UNKNOWN
    flat = plane.ravel()
    known = np.argwhere(plane != UNMARKED)
    if len(known):
        far = np.ones(shape, bool)
        (y0, x0), (y1, x1) = known.min(0), known.max(0)
        far[max(0, y0 - AROUND) : y1 + AROUND, max(0, x0 - AROUND) : x1 + AROUND] = False
        plane[far] = UNKNOWN
    lost = np.zeros(len(classes), np.int16)
    for code, where in marks:
        if code >= 0 and len(where) and not (flat[where] == code).any():
            lost[code] += 1
    if example.complete:
        flat[flat == UNMARKED] = NOTHING
    chosen = _chosen(flat, len(classes), most, example.complete, random)
    return MarkedPixels(np.stack(np.divmod(chosen, shape[1]), 1), flat[chosen], lost)


def _chosen(
    codes: NDArray[np.int16],
    classes: int,
    most: int,
    complete: bool,
    random: np.random.Generator,
) -> NDArray[np.intp]:
    """Choose pixels at random, sorted; unmarked ones as if they were a class."""
    if complete:
        known = np.flatnonzero(codes != UNKNOWN)
        count = min(len(known), most * (classes + 1))
        return np.sort(random.choice(known, count, replace=False))
    parts = []
    for code in (*range(classes), NOTHING, UNMARKED):
        places = np.flatnonzero(codes == code)
        parts.append(random.choice(places, min(most, len(places)), replace=False))
    return np.sort(np.concatenate(parts))
