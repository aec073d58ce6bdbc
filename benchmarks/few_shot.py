"""What a few corrected images teach the shipped weights, and what is forgotten over it.

    python benchmarks/few_shot.py DATA_DIR [SET …] [--ways full,head] [--numbers 1,3,10]

``DATA_DIR`` holds the sets in :data:`SETS`, as in ``entities_accuracy.py``.  The defaults of
fine-tuning were chosen on those in :data:`CHOSEN_ON`; the others only tell how good they are.  Of
the first images of a set those with the most objects teach; of the last ones, the middle, of at
most ``SIDE`` pixels, is segmented before and after.  A set that may only be measured on teaches
nothing that is shipped.

Rows: ``full`` (all layers), ``decoder``, ``last block``, ``head``; each as learnt and with the
share of old weights that fine-tuning chooses by itself.  Seconds are those of one processor core.
Measured in parts: what is measured now replaces what was, the rest stays.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from meanshift import hardware
from tables import keep, measured_before

from napari_kindred.core.events import finish
from napari_kindred.entities.checkpoint import load_network
from napari_kindred.entities.learning.config import LearnConfig
from napari_kindred.entities.learning.corrections import iter_corrections
from napari_kindred.entities.learning.fine_tune import BLENDS, Measure, worth
from napari_kindred.entities.learning.tuner import Tuner, value_of
from napari_kindred.entities.validate import iter_score_examples
from napari_kindred.images.contrast import normalise
from napari_kindred.images.label_files import read_labels
from napari_kindred.images.readers import read_image
from napari_kindred.models.data_folder import files_by_stem, pixels_of
from napari_kindred.models.download import file_sha256
from napari_kindred.models.trainer import ready_to_train
from napari_kindred.models.training_data import example_of
from napari_kindred.models.weights import resolve

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_kindred.models.training_data import Example

NAME = "few_shot"

SETS: dict[str, tuple[int, int]] = {
    "histo_tnbc": (10, 4),
    "bacteria_trpl": (10, 4),
    "cellphe_ptychography": (10, 3),
    "usiigaci_phase_more": (10, 3),
    "qpi_dic_pc_vicar": (3, 3),
    "bacteria_omnipose": (1, 2),
    "livecell_sample": (1, 2),
    "yeast_phase": (3, 3),
    "neurons_fluocells": (3, 4),
    "ctc_phc_psc_02": (3, 3),
}
"""Images that may teach, and images that are segmented."""

CHOSEN_ON = ("histo_tnbc",)

SIDE = 400

LOW = 0.7
"""AP50 below which the shipped weights do not master a set."""

WAYS = {"full": "all", "decoder": "decoder", "last block": "last block", "head": "head"}

Pair = tuple[Any, Any]


def middle(values: NDArray[Any], side: int = SIDE) -> NDArray[Any]:
    """Return the middle of an image (Y, X, …)."""
    top, left = ((max(0, length - side) // 2) for length in values.shape[:2])
    return values[top : top + side, left : left + side]


def pairs_of(folder: Path, number: int) -> tuple[list[Pair], list[Pair]]:
    """Return images and labels that teach, and those that are segmented."""
    images, labels = files_by_stem(folder / "images"), files_by_stem(folder / "labels")
    names = sorted(images.keys() & labels.keys())
    teach, test = SETS[folder.name]
    pool, rest = names[: len(names) * 3 // 5], names[len(names) * 3 // 5 :]
    pool = [pool[i] for i in np.linspace(0, len(pool) - 1, min(teach, len(pool))).astype(int)]
    objects = {name: len(np.unique(read_labels(labels[name]))) for name in pool}
    pool = sorted(pool, key=lambda name: -objects[name])[:number]
    rest = [rest[i] for i in np.linspace(0, len(rest) - 1, min(test, len(rest))).astype(int)]
    found = []
    for some in (pool, rest):
        read = []
        for name in some:
            truth = read_labels(labels[name])
            pixels, _ = pixels_of(read_image(images[name]), truth.shape, name)
            whole = some is pool
            read.append((pixels, truth) if whole else (middle(pixels), middle(truth)))
        found.append(read)
    return found[0], found[1]


def as_example(pair: Pair) -> Example:
    pixels, truth = pair
    plane = normalise(pixels if pixels.ndim == 3 else pixels[..., None])
    return example_of("", plane, truth, group="test")


def measure(data: Path, weights: str, way: str, number: int) -> dict[str, Any]:
    """Fine-tune on a number of images of a set, and segment others."""
    network, _ = load_network(weights, for_training=True)
    teach, test = pairs_of(data, number)
    config = LearnConfig(minutes=60.0, layers=WAYS[way], device="cpu")  # type: ignore[arg-type]
    axes = "YXS" if teach[0][0].ndim == 3 else "YX"
    triples = [(pixels, truth, None) for pixels, truth in teach]
    shape, random = dataclasses.asdict(network.config), np.random.default_rng(config.seed)
    with ready_to_train():
        reading = iter_corrections(triples, axes, None, weights, shape, config.held_back, random)
        corrections = finish(reading)
        examples = [as_example(pair) for pair in test]
        watch = Measure(corrections.held)
        start = time.process_time()
        before = finish(watch.iter(network))
        seconds = time.process_time() - start
        tested = finish(iter_score_examples(network, examples))
        start = time.process_time()
        value = value_of(before["held_back"])
        tuner = Tuner(network, corrections.train, corrections.held, config, value)
        finish(tuner.iter_learn())
        seconds += time.process_time() - start
        rows = []
        for blend in BLENDS:
            mixed = tuner.mixed(tuner.best_tensors, blend)
            start = time.process_time()
            after = finish(watch.iter(mixed))
            seconds += time.process_time() - start
            scores = finish(iter_score_examples(mixed, examples))
            rows.append(
                {"blend": blend, "worth": worth(before, after), **after, "test": two(scores)}
            )
    return {
        "objects": corrections.objects + corrections.held_objects,
        "test_images": len(test),
        "steps": tuner.step,
        "seconds": round(seconds, 1),
        "before": {**before, "test": two(tested)},
        "after": rows,
    }


def two(scores: dict[str, float]) -> dict[str, float]:
    return {key: round(scores[key], 4) for key in ("AP50", "mSA")}


def kept(found: dict[str, Any], blended: bool = True) -> dict[str, Any]:
    """Return the scores of what fine-tuning keeps; ``before`` if nothing is better."""
    rows = found["after"] if blended else found["after"][:1]
    best = max(rows, key=lambda row: (row["worth"], row["blend"]))
    better = value_of(best["held_back"]) > value_of(found["before"]["held_back"])
    return best if better else found["before"]


def gain(found: dict[str, Any], blended: bool = True, on: str = "test") -> float:
    """Return the change of AP50."""
    return float(kept(found, blended)[on]["AP50"] - found["before"][on]["AP50"])


def markdown(result: dict[str, Any]) -> dict[str, str]:
    """Return two tables: what the defaults reach, and the ways next to each other."""
    found = result["sets"]
    rows = [
        "| set | images | objects | AP50 | after | mSA | after | control set | seconds |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name in (name for name in SETS if name in found):
        mark = "" if name in CHOSEN_ON else " \\*"
        for number, one in sorted(
            found[name].get("full", {}).items(), key=lambda item: int(item[0])
        ):
            now, start = kept(one), one["before"]
            rows.append(
                f"| {name.replace('_', ' ')}{mark} | {number} | "
                f"{one['objects']} | {start['test']['AP50']:.2f} | "
                f"{now['test']['AP50']:.2f} | {start['test']['mSA']:.2f} | "
                f"{now['test']['mSA']:.2f} | {gain(one, on='control'):+.3f} | "
                f"{one['seconds']:.0f} |"
            )
    once = [sets["full"]["1"] for sets in found.values() if "1" in sets.get("full", {})]
    low = [one for one in once if one["before"]["test"]["AP50"] < LOW]
    changes = [float(np.median([gain(one, on=on) for one in low])) for on in ("test", "control")]
    rows.append(
        f"| median of the {len(low)} that begin below {LOW} | 1 | | | {changes[0]:+.2f} | | | "
        f"{changes[1]:+.3f} | |"
    )
    ways = ["| trained | sets | gain as learnt | control set | gain, blended | control set |"]
    ways.append("|---|---|---|---|---|---|")
    for way in WAYS:
        ones = [sets[way]["1"] for sets in found.values() if "1" in sets.get(way, {})]
        if ones:
            cells = [
                f"{np.median([gain(one, blended, on) for one in ones]):+.3f}"
                for blended in (False, True)
                for on in ("test", "control")
            ]
            ways.append(f"| {way} | {len(ones)} | {' | '.join(cells)} |")
    return {NAME: "\n".join(rows), f"{NAME}_ways": "\n".join(ways)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("sets", nargs="*", default=list(SETS))
    parser.add_argument("--ways", default="full")
    parser.add_argument("--numbers", default="1")
    parser.add_argument("--weights", default="kindred-entities")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.manual_seed(0)
    result = measured_before(NAME, given.out)
    sets = result.get("sets", {})
    for name in given.sets:
        for way in given.ways.split(","):
            for number in map(int, given.numbers.split(",")):
                if number > SETS[name][0]:
                    continue
                one = measure(given.data / name, given.weights, way, number)
                sets.setdefault(name, {}).setdefault(way, {})[str(number)] = one
                print(name, way, number, one["before"], flush=True)
                for row in one["after"]:
                    print("  ", one["steps"], one["seconds"], row, flush=True)
    path = resolve(given.weights)
    result = {
        "weights": {"name": path.stem, "sha256": file_sha256(path)},
        "hardware": hardware(),
        "date": time.strftime("%Y-%m-%d"),
        "sets": sets,
    }
    keep(NAME, result, markdown(result), given.out)


if __name__ == "__main__":
    main()
