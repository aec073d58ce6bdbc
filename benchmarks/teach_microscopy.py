"""Teaches the vocabulary that is shipped, ``microscopy``, and measures it on other pictures.

    python benchmarks/teach_microscopy.py DATA_DIR            # measures, writes the shipped file
    python benchmarks/teach_microscopy.py DATA_DIR --out FILE.json --file FILE.kindred

``DATA_DIR`` holds ``dsb2018``, ``usiigaci_phase`` and ``bccd_boxes`` as for the other benchmarks.
Taught by what their licences allow: pictures of split ``train``, and blood smears with boxes.
Measured on pictures of split ``val`` and on smears that were not taught with: the share of the true
cells that have a mask, and of them the share that gets the right name among all of the
vocabulary's, with and without the threshold.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from classes_data import BLOOD, KIND_NAMES, cells, smears
from classes_usam import TAUGHT, propose, type_scores
from meanshift import hardware
from tables import ROOT, keep

from napari_kindred.classes.proposals.masks import Masks
from napari_kindred.classes.vocabulary.examples import Example
from napari_kindred.classes.vocabulary.teach import teach_classes
from napari_kindred.classes.vocabulary.vocabulary import Vocabulary
from napari_kindred.models.feature_cache import FeatureCache

if TYPE_CHECKING:
    from napari_kindred.classes.vocabulary.mil import Bag

NAME = "teach_microscopy"

FILE = ROOT / "src" / "napari_kindred" / "models" / "weights_data" / "microscopy.kindred"

MOST = {"fluorescence": 40, "histology": 28, "brightfield": 9, "phase contrast": 6}
"""Pictures of each kind that are taught with, and at most so many that are measured on."""

SYNONYMS = {
    "fluorescent nucleus": ("nucleus", "cell nucleus", "DAPI", "Hoechst", "fluorescence nucleus"),
    "stained nucleus": ("nucleus", "cell nucleus", "histology nucleus", "hematoxylin", "H&E"),
    "brightfield nucleus": ("nucleus", "cell nucleus", "bright field nucleus"),
    "phase contrast cell": ("cell", "cell in phase contrast", "phase cell", "cultured cell"),
    "red blood cell": ("blood cell", "cell", "red cell", "erythrocyte", "RBC"),
    "white blood cell": ("blood cell", "cell", "white cell", "leukocyte", "leucocyte", "WBC"),
    "platelet": ("thrombocyte",),
}

COLOURS = {
    "fluorescent nucleus": "#4c9be8",
    "stained nucleus": "#8e5bd6",
    "brightfield nucleus": "#5ec8c0",
    "phase contrast cell": "#f0a830",
    "red blood cell": "#e0483e",
    "white blood cell": "#f2f2f2",
    "platelet": "#7bc043",
}

SHIPPED_MASKS = 480
"""Masks that are kept with the file, so that it stays below 1 MB."""

SAME = 0.5
"""IoU from which a mask is a true cell's."""


def examples(data: Path) -> list[Example]:
    """Return what is taught with."""
    found = [
        Example(
            sample.image,
            labels=(sample.labels > 0).astype(np.uint8),
            label_names={1: KIND_NAMES[kind]},
            complete=True,
            source=f"{kind} {sample.name[:12]}",
        )
        for kind, samples in cells(data, "train", MOST).items()
        for sample in samples
    ]
    return found + [
        Example(sample.image, boxes=sample.boxes, source=sample.name)
        for sample in smears(data)[:TAUGHT]
    ]


def teach(data: Path, cache: FeatureCache, seed: int) -> Vocabulary:
    """Teach all classes at once, and give them synonyms and colours."""
    vocabulary = teach_classes(
        examples(data),
        proposals="entities",
        kept=60,
        steps=300,
        distillation=0.15,  # of no effect where all is marked, but written into the file
        seed=seed,
        cache=cache,
    )
    vocabulary = vocabulary.with_entries(
        [
            dataclasses.replace(entry, synonyms=SYNONYMS[entry.name], colour=COLOURS[entry.name])
            for entry in vocabulary.entries
        ]
    )
    return dataclasses.replace(
        vocabulary,
        bags=thinned(vocabulary.bags, SHIPPED_MASKS, seed),
        origin="dsb2018 (CC0) and usiigaci_phase (MIT), pictures for training; "
        f"bccd_boxes (MIT), the first {TAUGHT} smears",
    )


def thinned(bags: tuple[Bag, ...], most: int, seed: int) -> tuple[Bag, ...]:
    """Keep so many masks in all, as many of each class as there are, and of none of them."""
    random = np.random.default_rng(seed)
    codes = np.concatenate([bag.instances for bag in bags])
    kinds = np.unique(codes)
    kept = np.zeros(len(codes), bool)
    left = most
    for number, kind in enumerate(sorted(kinds, key=lambda k: (codes == k).sum())):
        places = np.flatnonzero(codes == kind)
        share = min(len(places), left // (len(kinds) - number))
        kept[random.choice(places, share, replace=False)] = True
        left -= share
    ends = np.cumsum([0, *(len(bag) for bag in bags)])
    parts = [
        bag.take(np.flatnonzero(kept[a:b]))
        for bag, a, b in zip(bags, ends[:-1], ends[1:], strict=True)
    ]
    return tuple(part for part in parts if len(part))


def measure(vocabulary: Vocabulary, data: Path, cache: FeatureCache) -> dict[str, dict[str, float]]:
    """Name the true cells of other pictures that have a mask."""
    proposer = vocabulary.spec.open()
    rows: dict[str, dict[str, float]] = {}
    for kind, samples in cells(data, "val", MOST).items():
        name = KIND_NAMES[kind]
        place = vocabulary.names.index(name)
        counts = np.zeros(4)
        for sample in samples:
            proposals, truth = propose(sample, proposer, cache), Masks.from_labels(sample.labels)
            shared = proposals.masks.ious(truth)
            there = shared.max(1, initial=0) >= SAME
            scores = vocabulary.scores(proposals.embeddings)
            right = scores.argmax(1) == place
            sure = right & (scores.max(1) >= vocabulary.entries[place].threshold)
            counts += [len(truth), there.sum(), (right & there).sum(), (sure & there).sum()]
        rows[name] = _row(len(samples), *counts)
    for name, row in type_scores(vocabulary, smears(data)[TAUGHT:], cache).items():
        if name in BLOOD.values():
            found = row["found"]
            rows[name] = _row(
                len(smears(data)) - TAUGHT, row["cells"], found, row["accuracy"] * found,
                row["recall"] * found,
            )  # fmt: skip
    return rows


def _row(pictures: int, there: float, found: float, right: float, sure: float) -> dict[str, float]:
    return {
        "pictures": pictures,
        "cells": int(there),
        "found": int(found),
        "right": round(right / max(found, 1), 4),
        "sure": round(sure / max(found, 1), 4),
    }


def markdown(result: dict[str, Any]) -> dict[str, str]:
    """Return the tables of scores and of what the file is."""
    rows = ["| class | pictures | cells | with a mask | right name | right name, sure |",
            "|---|---|---|---|---|---|"]  # fmt: skip
    for name, row in result["rows"].items():
        rows.append(
            f"| {name} | {row['pictures']} | {row['cells']} | {row['found']} "
            f"| {row['right']:.3f} | {row['sure']:.3f} |"
        )
    facts = ["| | |", "|---|---|", *(f"| {k} | {v} |" for k, v in result["facts"].items())]
    return {
        "microscopy": "\n".join([*rows, "", result["hardware"] + "."]),
        "microscopy_facts": "\n".join(facts),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, metavar="DATA_DIR")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--file", type=Path, default=FILE, help="where to write the vocabulary")
    parser.add_argument("--out", type=Path, help="another JSON file; pages stay as they are")
    given = parser.parse_args()
    cache = FeatureCache()
    vocabulary = teach(given.data, cache, given.seed)
    vocabulary.save(given.file, overwrite=True)
    vocabulary = Vocabulary.load(given.file)
    head = vocabulary.head
    result = {
        "rows": measure(vocabulary, given.data, cache),
        "facts": {
            "classes": ", ".join(vocabulary.names),
            "file": f"{given.file.stat().st_size / 1e6:.2f} MB",
            "sha256": f"`{vocabulary.sha256}`",
            "encoder": f"{vocabulary.spec.encoder}, sha256 `{vocabulary.spec.sha256}`",
            "head": f"{head.dimension} → {head.hidden} → {head.hidden // 2} → {head.hidden // 4} "
            f"→ {head.outputs}",
            "taught with": f"{vocabulary.quality['pictures']} pictures: {vocabulary.origin}",
            "right on pictures left out in turns": f"{vocabulary.quality['masks']:.3f} of the "
            "marked masks",
            "masks kept in the file": str(sum(len(bag) for bag in vocabulary.bags)),
        },
        "hardware": hardware(),
        "date": time.strftime("%Y-%m-%d"),
    }
    keep(NAME, result, markdown(result), given.out)


if __name__ == "__main__":
    main()
