"""Classes of pixels from few marks, next to a random forest of twenty lines, on the same marks.

    python benchmarks/classes_pixels.py DATA_DIR                 # all parts
    python benchmarks/classes_pixels.py DATA_DIR --part 40 --seed 0 --seed 1

Each way is taught by the same pixels and measured on the same images, in one run:

* *ours*: ``teach_classes`` and ``segment_classes`` with default options;
* *forest*: scikit-learn's random forest on scikit-image's ``multiscale_basic_features``;
* *like Convpaint*: a random forest on features of a convolutional network at two scales.  It is a
  stand-in: Convpaint takes VGG16 and CatBoost, whose weights and package were not to be had.

Settings were chosen on the teaching images of ``wbc_blood``, the first two images of
``em_membrane`` and the first half of ``camvid`` (``--choosing`` measures there); the table has the
others.  All are measured on every second row and column, by the mean IoU over classes of the
pixels of all images, background left out where there is one.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from classes_data import WHITE_CELL, Sample, white_cells
from meanshift import hardware
from skimage.draw import line
from skimage.feature import multiscale_basic_features
from sklearn.ensemble import RandomForestClassifier
from tables import keep, measured_before

from napari_kindred.classes.config import ClassesConfig
from napari_kindred.classes.open import iter_open_classifier
from napari_kindred.classes.predict import segment_classes
from napari_kindred.classes.vocabulary.examples import Example
from napari_kindred.classes.vocabulary.teach import teach_classes
from napari_kindred.core.events import finish
from napari_kindred.encoders.encode import iter_encode
from napari_kindred.encoders.registry import open_encoder
from napari_kindred.images.readers import list_images
from napari_kindred.images.stack import ImageStack, normalise
from napari_kindred.results.metrics import mean_iou

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

NAME = "classes_pixels"

STREETS = ("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car",
           "pedestrian", "bicyclist")  # fmt: skip

ALL = 2000
"""Pixels of an image that the other ways learn from if everything is labelled."""

STROKES, REACH = 3, 40
"""Strokes of a class in an image, and their longest extent in pixels."""


@dataclass(frozen=True)
class Marked:
    """An image with its true classes (from 1; 0 is background, 255 counts nowhere), and marks."""

    image: np.ndarray
    truth: np.ndarray
    marks: np.ndarray | None = None
    """As ``truth``, background 254; 0 is unmarked.  None if all of the truth is told."""

    def known(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the marked pixels, flat, and their classes, of which 0 is background."""
        if self.marks is None:
            random = np.random.default_rng(0)
            places = np.flatnonzero(self.truth.ravel() != 255)
            places = random.choice(places, min(ALL, len(places)), replace=False)
            return places, self.truth.ravel()[places]
        places = np.flatnonzero(self.marks)
        codes = self.marks.ravel()[places]
        return places, np.where(codes == 254, 0, codes)

    def example(self, names: dict[int, str], source: str) -> Example:
        """Return it as an example."""
        if self.marks is None:
            return Example(
                self.image, labels=self.truth, label_names=names, complete=True, source=source
            )
        there = {k: v for k, v in {**names, 254: "background"}.items() if (self.marks == k).any()}
        return Example(self.image, labels=self.marks, label_names=there, source=source)


# -- marks ----------------------------------------------------------------------------------


def points(truth: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
    """Mark random pixels of each class, background included."""
    marks = np.zeros(truth.shape, np.uint8)
    for number in np.unique(truth[truth != 255]).tolist():
        places = np.flatnonzero(truth.ravel() == number)
        chosen = random.choice(places, min(count, len(places)), replace=False)
        marks.ravel()[chosen] = number or 254
    return marks


def strokes(truth: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Mark straight strokes of each class, as long as they stay in it."""
    marks = np.zeros(truth.shape, np.uint8)
    for number in np.unique(truth[truth != 255]).tolist():
        places = np.argwhere(truth == number)
        for _ in range(STROKES):
            start = places[random.integers(len(places))]
            stop = np.clip(start + random.integers(-REACH, REACH + 1, 2), 0,
                           np.array(truth.shape) - 1)  # fmt: skip
            y, x = line(*start.tolist(), *stop.tolist())
            outside = np.flatnonzero(truth[y, x] != number)
            end = outside[0] if len(outside) else len(y)
            marks[y[:end], x[:end]] = number or 254
    return marks


# -- ways -----------------------------------------------------------------------------------

Maps = list[np.ndarray]


def ours(taught: Sequence[Marked], others: Sequence[Marked], names: dict[int, str]) -> Any:
    """Return what was taught: a function that classifies the other images, and more facts."""
    vocabulary = teach_classes([m.example(names, str(i)) for i, m in enumerate(taught)])
    words = list(names.values())
    classifier = finish(iter_open_classifier(words, vocabulary, config=ClassesConfig()))
    numbers = np.array([0, *names])

    def classify() -> Maps:
        return [
            numbers[np.asarray(segment_classes(m.image, words, classifier=classifier).labels)]
            for m in others
        ]

    return classify, {"kind": vocabulary.spec.kind, "own": vocabulary.quality}


def by_forest(describe: Callable[[Marked], np.ndarray]) -> Any:
    """Return a way of a random forest on features (Y, X, F) of an image."""

    def way(taught: Sequence[Marked], others: Sequence[Marked], _names: dict[int, str]) -> Any:
        vectors, codes = [], []
        for one in taught:
            places, numbers = one.known()
            vectors.append(describe(one).reshape(one.truth.size, -1)[places])
            codes.append(numbers)
        forest = RandomForestClassifier(100, random_state=0)
        forest.fit(np.concatenate(vectors), np.concatenate(codes))

        def classify() -> Maps:
            found = []
            for one in others:
                values = every_second(describe, one)
                plane = forest.predict(values.reshape(-1, values.shape[2]))
                whole = np.zeros(one.truth.shape, np.uint8)
                whole[1::2, 1::2] = plane.reshape(values.shape[:2])
                found.append(whole)
            return found

        return classify, {}

    return way


_described: dict[tuple[str, int], np.ndarray] = {}


def every_second(describe: Callable[[Marked], np.ndarray], one: Marked) -> np.ndarray:
    """Return the features of every second row and column, computed once for all seeds."""
    key = describe.__name__, id(one.image)
    if key not in _described:
        _described[key] = describe(one)[1::2, 1::2].astype(np.float16)
    return _described[key]


def basic(one: Marked) -> np.ndarray:
    """Return scikit-image's filters of an image."""
    axis = -1 if one.image.ndim == 3 else None
    return multiscale_basic_features(one.image, channel_axis=axis, sigma_min=0.5, sigma_max=16)


@cache
def network() -> Any:
    """Return the network of the stand-in for Convpaint."""
    return open_encoder("efficientnet", stride=2)


def convolved(one: Marked) -> np.ndarray:
    """Return a network's features of an image at two scales, each pixel's nearest."""
    frames = ImageStack.open(one.image)
    pixels = normalise(frames.read(next(frames.indices())).pixels)
    parts = []
    for factor in (1, 2):
        values = finish(iter_encode(network(), np.ascontiguousarray(pixels[::factor, ::factor])))
        rows, columns = (
            np.minimum(np.arange(size) // (2 * factor), cells - 1)
            for size, cells in zip(one.truth.shape, values.values.shape[:2], strict=True)
        )
        parts.append(values.values[rows[:, None], columns])
    return np.concatenate(parts, 2)


WAYS = {"ours": ours, "forest": by_forest(basic), "like Convpaint": by_forest(convolved)}


def compare(
    taught: Sequence[Marked], others: Sequence[Marked], names: dict[int, str]
) -> dict[str, dict[str, Any]]:
    """Teach every way, and measure it on the others."""
    rows = {}
    for word, way in WAYS.items():
        start = time.process_time()
        classify, facts = way(taught, others, names)
        middle = time.process_time()
        maps = classify()
        pixels = sum(m.truth.size for m in others)
        pairs = [
            (m.truth[1::2, 1::2], one[1::2, 1::2]) for m, one in zip(others, maps, strict=True)
        ]
        rows[word] = {
            "mIoU": round(mean_iou(pairs)[0], 4),
            "teaching seconds": round(middle - start, 2),
            "seconds per megapixel": round((time.process_time() - middle) / pixels * 1e6, 2),
            **facts,
        }
        print(word, rows[word], flush=True)
    return rows


# -- parts ----------------------------------------------------------------------------------


def blood(data: Path, how: str, choosing: bool, seeds: Sequence[int]) -> list[dict[str, Any]]:
    """Nucleus and cytoplasm: every third image teaches, or of these every second."""
    samples = white_cells(data)
    taught = samples[::3][::2] if choosing else samples[::3]
    others = [s for s in (samples[::3] if choosing else samples) if s not in taught]
    measured = [Marked(s.image, s.labels) for s in others]
    rows = []
    for seed in seeds[:1] if how == "all" else seeds:
        random = np.random.default_rng(seed)
        marked = [
            Marked(s.image, s.labels, None if how == "all" else points(s.labels, int(how), random))
            for s in taught
        ]
        found = compare(marked, measured, WHITE_CELL)
        rows.append({"set": "blood", "how": how, "seed": seed, "ways": found})
    return rows


def by_strokes(
    name: str,
    samples: list[Sample],
    taught: int,
    names: dict[int, str],
    shift: int,
    seeds: Sequence[int],
) -> list[dict[str, Any]]:
    """Strokes on the first images teach, the others are measured."""
    rows = []
    images = [(s.image, s.labels.astype(int) + shift) for s in samples]
    shown = np.unique([t for _, t in images[:taught]])
    names = {number: name for number, name in names.items() if number in shown}
    known = [*names]
    images = [(i, np.where(np.isin(t, known), t, 255).astype(np.uint8)) for i, t in images]
    for seed in seeds:
        random = np.random.default_rng(seed)
        marked = [Marked(i, t, strokes(t, random)) for i, t in images[:taught]]
        others = [Marked(i, t) for i, t in images[taught:]]
        found = compare(marked, others, names)
        rows.append({"set": name, "how": "strokes", "seed": seed, "ways": found})
    return rows


def folder(data: Path) -> list[Sample]:
    """List the images of a folder with their labels."""
    truths = {path.stem: path for path in list_images(data / "labels")}
    return [Sample(p.stem, p, truths[p.stem]) for p in list_images(data / "images")]


def membrane(data: Path, choosing: bool, seeds: Sequence[int]) -> list[dict[str, Any]]:
    """Cells and membranes: one image teaches."""
    samples = folder(data / "em_membrane")
    part = samples[:2] if choosing else samples[2:]
    low = int(part[0].labels.min())
    return by_strokes("membrane", part, 1, {1: "cell", 2: "membrane"}, 1 - low, seeds)


def streets(data: Path, choosing: bool, seeds: Sequence[int]) -> list[dict[str, Any]]:
    """Streets: three images teach."""
    samples = folder(data / "camvid")
    part = samples[:7] if choosing else samples[7:]
    names = dict(enumerate(STREETS, start=1))
    return by_strokes("streets", part, 3, names, 1, seeds)


# -- the table --------------------------------------------------------------------------------

TITLES = {
    ("blood", "4"): "white cells, 4 points per class",
    ("blood", "40"): "white cells, 40 points per class",
    ("blood", "all"): "white cells, all pixels",
    ("membrane", "strokes"): "cells and membranes, 3 strokes per class in one image",
    ("streets", "strokes"): "streets, 11 classes, 3 strokes each in 3 images",
}


def markdown(result: dict[str, Any]) -> str:
    """Return the table."""
    head = ["taught with", *(f"{way}: mIoU" for way in WAYS), "own estimate",
            "seconds to teach", "seconds per megapixel"]  # fmt: skip
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    rows = sorted(result["rows"], key=lambda row: row["seed"])
    for (name, how), title in TITLES.items():
        some = [row["ways"] for row in rows if (row["set"], row["how"]) == (name, how)]
        if not some:
            continue
        cells = [title]
        for way in WAYS:
            values = [one[way]["mIoU"] for one in some]
            spread = f" [{min(values):.3f}, {max(values):.3f}]" if len(values) > 1 else ""
            cells.append(f"{np.mean(values):.3f}{spread}")
        ious = [one["ours"]["own"]["iou"] for one in some if "iou" in one["ours"]["own"]]
        cells.append(f"{np.mean(ious):.3f}" if ious else "")
        cells += [
            " / ".join(f"{some[0][way][column]:.1f}" for way in WAYS)
            for column in ("teaching seconds", "seconds per megapixel")
        ]
        lines.append("| " + " | ".join(cells) + " |")
    machine = result["hardware"]
    note = (
        "Mean over seeds of the marks [smallest, largest]; seconds of one core for the first of "
        "them, in the order of the ways. The own estimate is the mean IoU that the vocabulary says "
        "of itself, from pixels without marks in images left out. *Like Convpaint* is a stand-in: "
        "EfficientNet-Lite0 "
        f"for VGG16, a random forest for CatBoost. {machine}."
    )
    return "\n".join([*lines, "", note])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, metavar="DATA_DIR")
    parts: dict[str, Callable[..., list[dict[str, Any]]]] = {
        how: partial(blood, how=how) for how in ("4", "40", "all")
    }
    parts |= {"membrane": membrane, "streets": streets}
    parser.add_argument("--part", choices=parts, action="append", help="points per class, or a set")
    parser.add_argument("--seed", type=int, action="append", help="of the marks [0, 1 and 2]")
    parser.add_argument("--choosing", action="store_true", help="measure where settings are chosen")
    parser.add_argument("--out", type=Path, help="another JSON file; pages stay as they are")
    given = parser.parse_args()
    if given.choosing and given.out is None:
        parser.error("--choosing needs --out")
    for part in given.part or parts:
        rows = parts[part](given.data, choosing=given.choosing, seeds=given.seed or [0, 1, 2])
        known = {_key(row): row for row in measured_before(NAME, given.out).get("rows", [])}
        known |= {_key(row): row for row in rows}
        result = {"rows": [known[key] for key in sorted(known)], "hardware": hardware(),
                  "date": time.strftime("%Y-%m-%d")}  # fmt: skip
        keep(NAME, result, markdown(result), given.out)


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["set"], row["how"], row["seed"]


if __name__ == "__main__":
    main()
