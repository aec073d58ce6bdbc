"""U-SAM: how well classes that were taught by examples are found on other pictures.

    python benchmarks/classes_usam.py DATA_DIR [--sam FILE]       # all parts
    python benchmarks/classes_usam.py DATA_DIR --part white       # one of white, types, student

``DATA_DIR`` holds

* ``wbc_blood``: one stained white cell per picture with pixel classes (part *white*: mIoU of
  nucleus and cytoplasm, by what is proposed and by how it was taught);
* ``bccd_boxes``: blood smears with boxes of three types of cells (part *types*: taught by the
  boxes of the first 28 pictures, measured on the 12 others).

Part *student* compares multiple-instance learning alone with uncertainty distillation, where only
the names of what lies in a tile are told: tiles of both sets, several seeds.

Proposals are kept in the package's cache of features, so that a second run takes seconds.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from classes_data import BLOOD, WHITE_CELL, Sample, marked, matched, smears, white_cells
from meanshift import hardware
from tables import keep, measured_before

from napari_kindred.classes.config import ClassesConfig, TeachConfig
from napari_kindred.classes.open import iter_open_classifier
from napari_kindred.classes.predict import segment_classes
from napari_kindred.classes.proposals.base import Proposals, iter_propose
from napari_kindred.classes.proposals.open import open_proposer
from napari_kindred.classes.vocabulary.examples import Example
from napari_kindred.classes.vocabulary.mil import NOTHING, UNKNOWN, Bag
from napari_kindred.classes.vocabulary.teach import teach_classes
from napari_kindred.classes.vocabulary.train_head import train_head
from napari_kindred.core.errors import KindredError
from napari_kindred.core.events import finish
from napari_kindred.images.stack import ImageStack, normalise
from napari_kindred.models.feature_cache import FeatureCache
from napari_kindred.results.metrics import mean_iou

if TYPE_CHECKING:
    from napari_kindred.classes.proposals.masks import Masks
    from napari_kindred.classes.vocabulary.vocabulary import Vocabulary

NAME = "classes_usam"

EXAMPLES = 20
"""Pictures of wbc_blood that are taught with."""

TAUGHT = 28
"""Pictures of bccd_boxes that are taught with."""

HOW = {"names": "names of pictures", "1": "1 point per class", "3": "3 points per class",
       "labels": "all pixels"}  # fmt: skip

TILES = {"white": 3, "types": 4}
"""Tiles along each side of a picture, for the comparison of teacher and student."""

PRESENT = 0.05
"""A tile holds a pixel class that covers at least so much of it."""


# -- white: pixel classes -----------------------------------------------------------------------


def splits(samples: list[Sample]) -> dict[str, tuple[list[Sample], list[Sample]]]:
    """Return what is taught with and what is measured on.

    The first pictures all come from one laboratory and most others from another one, with another
    stain, at more than twice the magnification; every third picture takes from both.
    """
    third = samples[::3][:EXAMPLES]
    return {
        f"the first {EXAMPLES}": (samples[:EXAMPLES], samples[EXAMPLES:]),
        "every third": (third, [s for s in samples if s not in third]),
    }


def white(data: Path, kinds: dict[str, str], cache: FeatureCache) -> list[dict[str, Any]]:
    """Teach nucleus and cytoplasm in every way, and measure mIoU."""
    rows = []
    for split, (taught, others) in splits(white_cells(data)).items():
        for kind, encoder in kinds.items():
            for how in HOW:
                row = {"split": split, "proposals": kind, "how": HOW[how]}
                random = np.random.default_rng(0)
                examples = [marked(sample, how, WHITE_CELL, random) for sample in taught]
                try:
                    vocabulary = teach_classes(
                        examples, proposals=kind, encoder=encoder, folds=0, cache=cache
                    )
                except KindredError as error:
                    row["refused"] = str(error)
                else:
                    row |= pixel_scores(vocabulary, others, cache)
                rows.append(row)
                print(row, flush=True)
    return rows


def pixel_scores(
    vocabulary: Vocabulary, samples: list[Sample], cache: FeatureCache
) -> dict[str, float]:
    """Measure nucleus and cytoplasm, over all pictures and those of each laboratory."""
    names = list(WHITE_CELL.values())
    classifier = finish(
        iter_open_classifier(names, vocabulary, config=ClassesConfig(), cache=cache)
    )
    pairs = {
        sample.name: (
            sample.labels,
            np.asarray(
                segment_classes(sample.image, names, classifier=classifier, cache=cache).labels
            ),
        )
        for sample in samples
    }
    mean, each = mean_iou(pairs.values())
    row = {"mIoU": round(mean, 4), **{WHITE_CELL[k]: round(v, 4) for k, v in each.items() if k}}
    for group in ("d1", "d2"):
        part = [pair for name, pair in pairs.items() if name.startswith(group)]
        row[f"mIoU {group}"] = round(mean_iou(part)[0], 4)
    return row


# -- types: cells in boxes ----------------------------------------------------------------------


def types(data: Path, kinds: dict[str, str], cache: FeatureCache) -> list[dict[str, Any]]:
    """Teach the types of blood cells by boxes, and name the cells of other pictures."""
    samples = smears(data)
    taught = [Example(s.image, boxes=s.boxes, source=s.name) for s in samples[:TAUGHT]]
    rows = []
    for kind, encoder in kinds.items():
        vocabulary = teach_classes(taught, proposals=kind, encoder=encoder, cache=cache)
        for name, row in type_scores(vocabulary, samples[TAUGHT:], cache).items():
            rows.append({"proposals": kind, "class": name, **row})
            print(rows[-1], flush=True)
    return rows


def type_scores(
    vocabulary: Vocabulary, samples: list[Sample], cache: FeatureCache
) -> dict[str, dict[str, float]]:
    """Count, of the cells in boxes, those with a mask, and those of them with the right name."""
    names = list(BLOOD.values())
    classifier = finish(
        iter_open_classifier(names, vocabulary, config=ClassesConfig(), cache=cache)
    )
    counts = {name: {"cells": 0, "found": 0, "right": 0, "best": 0} for name in names}
    given = dict.fromkeys(names, 0)
    for sample in samples:
        proposals = propose(sample, classifier.proposer, cache)  # type: ignore[attr-defined]
        scores = vocabulary.scores(proposals.embeddings, names)
        for name, boxes in sample.boxes.items():
            place = matched(proposals.masks.boxes, boxes)
            there = place[place >= 0]
            best = scores[there].argmax(1) if len(there) else there
            sure = scores[there].max(1, initial=0) >= vocabulary.entries[0].threshold
            row = counts[name]
            row["cells"] += len(boxes)
            row["found"] += len(there)
            row["best"] += int((best == names.index(name)).sum())
            row["right"] += int(((best == names.index(name)) & sure).sum())
            for number in best[sure].tolist():
                given[names[number]] += 1
    counts["all"] = {
        key: sum(row[key] for row in counts.values()) for key in ("cells", "found", "right", "best")
    }
    given["all"] = sum(given.values())
    return {
        name: {
            "cells": row["cells"],
            "found": row["found"],
            "accuracy": round(row["best"] / max(row["found"], 1), 4),
            "recall": round(row["right"] / max(row["found"], 1), 4),
            "precision": round(row["right"] / max(given[name], 1), 4),
        }
        for name, row in counts.items()
    }


def propose(sample: Sample, proposer: Any, cache: FeatureCache) -> Proposals:
    """Find a picture's proposals as teaching does."""
    frames = ImageStack.open(sample.image)
    pixels = normalise(frames.read(next(frames.indices())).pixels)
    return finish(iter_propose(proposer, pixels, cache))


# -- student: teacher against student -----------------------------------------------------------


def tiles(proposals: Proposals, truth: list[np.ndarray], side: int) -> list[Bag]:
    """Take a picture apart into tiles, of which only the classes are told.

    Parameters
    ----------
    truth : list of ndarray of bool, shape (side * side,)
        For each class the tiles that hold it.
    """
    height, width = proposals.masks.shape
    centroids = np.array(
        [
            np.argwhere(crop).mean(0) + box[:2]
            for crop, box in zip(proposals.masks.crops, proposals.masks.boxes, strict=True)
        ]
    )
    places = np.minimum((centroids * side / (height, width)).astype(int), side - 1)
    number = places @ (side, 1)
    known = np.ones(len(truth), bool)
    bags = []
    for tile in np.unique(number):
        here = np.flatnonzero(number == tile)
        present = np.array([flags[tile] for flags in truth])
        code = UNKNOWN if present.any() else NOTHING
        codes = np.full(len(here), code, np.int16)
        bags.append(
            Bag(proposals.embeddings[here], codes, present if present.any() else None, known)
        )
    return bags


def pixel_tiles(sample: Sample, side: int) -> list[np.ndarray]:
    """Tell which tiles hold cytoplasm and nucleus."""
    rows = np.array_split(np.arange(sample.labels.shape[0]), side)
    columns = np.array_split(np.arange(sample.labels.shape[1]), side)
    parts = [sample.labels[np.ix_(r, c)] for r in rows for c in columns]
    return [np.array([(part == k).mean() >= PRESENT for part in parts]) for k in WHITE_CELL]


def box_tiles(sample: Sample, shape: tuple[int, int], side: int) -> list[np.ndarray]:
    """Tell which tiles hold the middle of a cell of each type."""
    found = []
    for name in BLOOD.values():
        flags = np.zeros(side * side, bool)
        for y0, x0, y1, x1 in sample.boxes.get(name, []):
            row, column = ((y0 + y1) / 2 * side / shape[0], (x0 + x1) / 2 * side / shape[1])
            flags[min(int(row), side - 1) * side + min(int(column), side - 1)] = True
        found.append(flags)
    return found


def student(data: Path, seeds: int, cache: FeatureCache) -> list[dict[str, Any]]:
    """Compare teacher and student on tiles whose classes alone are told."""
    rows = []
    regions, entities = (open_proposer(kind) for kind in ("regions", "entities"))
    cells = [s for s in white_cells(data) if s.name.startswith("d1")]
    some = [(s, propose(s, regions, cache)) for s in cells]
    side = TILES["white"]
    bags = [b for s, p in some[:EXAMPLES] for b in tiles(p, pixel_tiles(s, side), side)]
    rows += compare("nucleus and cytoplasm, mIoU", bags, 2, seeds,
                    lambda score: pixels_of(some[EXAMPLES:], score))  # fmt: skip
    blood = [(s, propose(s, entities, cache)) for s in smears(data)]
    side = TILES["types"]
    bags = [b for s, p in blood[:TAUGHT] for b in tiles(p, box_tiles(s, p.masks.shape, side), side)]
    rows += compare("types of blood cells, mean F1", bags, 3, seeds,
                    lambda score: types_of(blood[TAUGHT:], score))  # fmt: skip
    return rows


PAPER = 0.15
"""Weight of distillation in the paper."""

Scores = Callable[[np.ndarray], np.ndarray]


def compare(
    what: str, bags: list[Bag], classes: int, seeds: int, measure: Callable[[Scores], float]
) -> list[dict[str, Any]]:
    """Train with and without distillation, seed by seed."""
    rows = []
    for name, weight in (("MIL", 0.0), ("MIL + distillation", PAPER)):
        values = []
        for seed in range(seeds):
            head = train_head(bags, classes, TeachConfig(distillation=weight, seed=seed))
            values.append(round(measure(head.probabilities), 4))
        rows.append({"what": what, "bags": len(bags), "training": name, "values": values})
        print(rows[-1], flush=True)
    return rows


def pixels_of(pictures: list[tuple[Sample, Proposals]], score: Scores) -> float:
    """Measure mIoU of the classes of wbc_blood."""
    numbers, pairs = np.array(list(WHITE_CELL)), []
    for sample, proposals in pictures:
        scores = score(proposals.embeddings)
        sure = scores.max(1) >= TeachConfig().threshold
        painted = proposals.masks.paint(np.where(sure, numbers[scores.argmax(1)], 0))
        pairs.append((sample.labels, painted))
    return mean_iou(pairs)[0]


def types_of(pictures: list[tuple[Sample, Proposals]], score: Scores) -> float:
    """Measure the mean F1 of the types of cells in boxes that have a mask."""
    right, wanted, given = np.zeros(3), np.zeros(3), np.zeros(3)
    for sample, proposals in pictures:
        masks: Masks = proposals.masks
        scores = score(proposals.embeddings)
        for number, name in enumerate(BLOOD.values()):
            place = matched(masks.boxes, sample.boxes.get(name, []))
            for row in scores[place[place >= 0]]:
                wanted[number] += 1
                if row.max() >= TeachConfig().threshold:
                    given[row.argmax()] += 1
                    right[number] += row.argmax() == number
    return float((2 * right / np.maximum(wanted + given, 1)).mean())


# -- tables -------------------------------------------------------------------------------------


def markdown(result: dict[str, Any]) -> dict[str, str]:
    """Return the tables of what was measured."""
    tables = {}
    if "white" in result:
        rows = ["| taught with | proposals | how | mIoU | nucleus | cytoplasm | mIoU of each lab |",
                "|---|---|---|---|---|---|---|"]  # fmt: skip
        for row in result["white"]["rows"]:
            start = f"| {row['split']} | {row['proposals']} | {row['how']} |"
            if "refused" in row:
                rows.append(f"{start} refused | | | |")
                continue
            scores = " | ".join(f"{row[key]:.3f}" for key in ("mIoU", "nucleus", "cytoplasm"))
            rows.append(f"{start} {scores} | {row['mIoU d1']:.3f}, {row['mIoU d2']:.3f} |")
        tables["classes_white"] = "\n".join([*rows, "", result["white"]["hardware"] + "."])
    if "types" in result:
        rows = ["| proposals | class | cells | with a mask | right | recall | precision |",
                "|---|---|---|---|---|---|---|"]  # fmt: skip
        for row in result["types"]["rows"]:
            scores = " | ".join(f"{row[key]:.3f}" for key in ("accuracy", "recall", "precision"))
            rows.append(
                f"| {row['proposals']} | {row['class']} | {row['cells']} | {row['found']} "
                f"| {scores} |"
            )
        tables["classes_types"] = "\n".join([*rows, "", result["types"]["hardware"] + "."])
    if "student" in result:
        rows = [
            "| measured | tiles | training | mean of seeds | each seed |",
            "|---|---|---|---|---|",
        ]
        for row in result["student"]["rows"]:
            each = ", ".join(f"{value:.3f}" for value in row["values"])
            rows.append(
                f"| {row['what']} | {row['bags']} | {row['training']} "
                f"| {np.mean(row['values']):.3f} | {each} |"
            )
        tables["classes_student"] = "\n".join([*rows, "", result["student"]["hardware"] + "."])
    return tables


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, metavar="DATA_DIR")
    parser.add_argument("--part", choices=("white", "types", "student"), action="append")
    parser.add_argument("--sam", metavar="NAME_OR_FILE", help="measure a SAM's proposals as well")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="another JSON file; pages stay as they are")
    given = parser.parse_args()
    kinds = {"entities": "", "regions": ""}
    blobs = {"entities": ""}
    if given.sam:
        kinds["sam"] = blobs["sam"] = given.sam
    cache = FeatureCache()
    parts: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "white": lambda: white(given.data, kinds, cache),
        "types": lambda: types(given.data, blobs, cache),
        "student": lambda: student(given.data, given.seeds, cache),
    }
    for part in given.part or parts:
        rows = parts[part]()
        result = measured_before(NAME, given.out)
        result[part] = {"rows": rows, "hardware": hardware(), "date": time.strftime("%Y-%m-%d")}
        keep(NAME, result, markdown(result), given.out)


if __name__ == "__main__":
    main()
