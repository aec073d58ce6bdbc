"""How many objects that a run missed are added by a click, two clicks, or a box.

    python benchmarks/clicks.py DATA_DIR [--weights NAME_OR_FILE] [--most N]

The images are those of five kinds of ``entities_accuracy.py``: nuclei of DSB 2018, cells in phase
contrast (Usiigaci), nuclei in H&E (TNBC), confluent cells (LIVECell) and bacteria.  Each goes
through a run with default options; annotated objects that overlap none of its labels by an IoU
above 0.5 were missed.  Of those, up to N of each kind, drawn at random, are

* clicked at their innermost pixel: the first outline, and the best of the three offered;
* where the first outline is wrong, clicked once more, at the innermost pixel of the largest part
  that is missing (added) or too much (taken away);
* boxed.

Added as in the window, an object counts if its IoU is above 0.5.  Kept in ``benchmarks/results``.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from entities_accuracy import held_out
from meanshift import hardware
from scipy import ndimage
from tables import keep, measured_before

from napari_kindred import EntityConfig, segment_entities
from napari_kindred.core.errors import InputError
from napari_kindred.entities.checkpoint import load_network
from napari_kindred.entities.click import Clicker, Outline
from napari_kindred.entities.edits import add_object
from napari_kindred.entities.regions import Prompt
from napari_kindred.images.stack import normalise, read_image

NAME = "clicks"

KINDS = {
    "fluorescence": "nuclei",
    "histology": "nuclei",
    "brightfield": "nuclei",
    "phase contrast": "Usiigaci",
    "histo tnbc": "TNBC",
    "livecell sample": "LIVECell",
    "bacteria omnipose": "bacteria",
}

WAYS = {
    "one click": "one click",
    "of three": "one click, best of the three outlines offered",
    "two clicks": "two clicks",
    "box": "a box",
}


def missed(truth: np.ndarray, labels: np.ndarray) -> list[int]:
    """Return the ids of annotated objects that no label overlaps by more than half."""
    found = []
    for one in np.unique(truth[truth > 0]).tolist():
        mask = truth == one
        ids, shared = np.unique(labels[mask], return_counts=True)
        union = [
            mask.sum() + (labels == each).sum() - n for each, n in zip(ids, shared, strict=True)
        ]
        if not any(i and n / u > 0.5 for i, n, u in zip(ids, shared, union, strict=True)):
            found.append(one)
    return found


def innermost(mask: np.ndarray) -> tuple[tuple[int, int], float]:
    """Return the pixel of a mask that is furthest from its edge, and how far it is."""
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    return (int(y), int(x)), float(depth.max())


def added(labels: np.ndarray, outline: Outline, point: tuple[int, int] | None) -> np.ndarray:
    """Return the pixels of an object that is added as the window adds it."""
    new = int(labels.max()) + 1
    try:
        return add_object(labels, outline.mask, outline.corner, new, point) == new
    except InputError:
        return np.zeros(labels.shape, bool)


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """IoU of two masks."""
    return float((one & other).sum() / max((one | other).sum(), 1))


def one_object(clicker: Clicker, labels: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    """Return the IoU of each way of adding an object, and the seconds of its first click."""
    point, _ = innermost(mask)
    start = time.perf_counter()
    outlines = clicker(Prompt(inside=(point,)), labels)
    cold = time.perf_counter() - start
    start = time.perf_counter()
    clicker(Prompt(inside=(point,)), labels)
    row = {"cold": cold, "warm": time.perf_counter() - start}
    made = [added(labels, each, point) for each in outlines]
    reached = [overlap(mask, each) for each in made]
    row["one click"] = row["two clicks"] = reached[0] if reached else 0.0
    row["of three"] = max(reached, default=0.0)
    if row["one click"] <= 0.5:
        first = made[0] if made else np.zeros_like(mask)
        lacks, excess = innermost(mask & ~first), innermost(first & ~mask)
        prompt = (
            Prompt((point, lacks[0])) if lacks[1] >= excess[1] else Prompt((point,), (excess[0],))
        )
        outlines = clicker(prompt, labels)
        row["two clicks"] = overlap(mask, added(labels, outlines[0], point)) if outlines else 0.0
    rows, columns = ndimage.find_objects(mask.astype(np.uint8))[0]
    outlines = clicker(Prompt(box=(rows.start, columns.start, rows.stop, columns.stop)))
    row["box"] = overlap(mask, added(labels, outlines[0], None)) if outlines else 0.0
    return row


def markdown(result: dict) -> str:
    """Return the table of shares."""
    lines = [
        "| missed objects with an IoU above 0.5 by | " + " | ".join(result["rows"]) + " |",
        "|---|" + "---|" * len(result["rows"]),
    ]
    for way, said in WAYS.items():
        cells = " | ".join(f"{100 * row[way]:.0f} %" for row in result["rows"].values())
        lines.append(f"| {said} | {cells} |")
    cells = " | ".join(f"{row['missed']} of {row['objects']}" for row in result["rows"].values())
    lines += [f"| missed by the run | {cells} |"]
    cells = " | ".join(str(row["clicked"]) for row in result["rows"].values())
    lines += [f"| of them clicked | {cells} |", ""]
    weights = result["weights"]
    said = (
        f"Weights `{weights['name']}` (sha256 {weights['sha256'][:12]}…). A click takes "
        f"{result['cold over run']:.2f} of the time of a run on 1024 × 1024 pixels, "
        f"{result['warm over run']:.2f} where the mouse rested before. {result['hardware']}."
    )
    return "\n".join([*lines, said])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, metavar="DATA_DIR")
    parser.add_argument("--weights", default=EntityConfig().weights, metavar="NAME_OR_FILE")
    parser.add_argument("--most", type=int, default=60, help="objects of each kind [60]")
    parser.add_argument("--kinds", nargs="+", metavar="KIND", help="only these; others stay")
    parser.add_argument("--out", type=Path, help="another JSON file; the pages stay as they are")
    given = parser.parse_args()
    model = load_network(given.weights)
    found: dict[str, list[tuple[Path, Path]]] = {}
    for kind, pairs in held_out(given.data).items():
        if kind in KINDS and KINDS[kind] in (given.kinds or KINDS.values()):
            found.setdefault(KINDS[kind], []).extend(pairs)
    before = measured_before(NAME, given.out)
    same = before.get("weights", {}).get("sha256") == model[1]["sha256"]
    rows = before["rows"] if same else {}
    times = []
    for kind, pairs in found.items():
        random = np.random.default_rng(0)
        todo, objects, kept = [], 0, []
        for image, truth in pairs:
            pixels, mask = np.asarray(read_image(image).data), np.asarray(read_image(truth).data)
            axes = "YXS" if pixels.ndim == 3 else "YX"
            labels = np.asarray(segment_entities(pixels, axes=axes, model=model).labels)
            objects += len(np.unique(mask[mask > 0]))
            todo += [(len(kept), one) for one in missed(mask, labels)]
            kept.append((pixels, mask, labels))
        drawn = sorted(random.permutation(len(todo))[: given.most].tolist())
        results, last, clicker = [], -1, None
        for number, one in (todo[each] for each in drawn):
            pixels, mask, labels = kept[number]
            if number != last:
                deep = (pixels if pixels.ndim == 3 else pixels[..., None])[..., :3]
                clicker, last = Clicker(model[0], normalise(deep.astype(np.float32))), number
            assert clicker is not None
            results.append(one_object(clicker, labels, mask == one))
        shares = {way: float(np.mean([row[way] > 0.5 for row in results])) for way in WAYS}
        counts = {"missed": len(todo), "objects": objects, "clicked": len(results)}
        rows[kind] = {**{way: round(share, 4) for way, share in shares.items()}, **counts}
        times += [(row["cold"], row["warm"]) for row in results]
        print(kind, rows[kind], flush=True)
    plane = np.random.default_rng(0).random((1024, 1024), np.float32)
    start = time.perf_counter()
    segment_entities(plane, axes="YX", model=model, scale=1.0)
    run = time.perf_counter() - start
    cold, warm = np.median(times, axis=0)
    print(
        f"click {cold:.2f} s, where the mouse rested {warm:.2f} s, 1024 x 1024 pixels {run:.2f} s"
    )
    info = model[1]
    result = {
        "weights": {"name": Path(str(info["name"])).stem, "sha256": info["sha256"]},
        "hardware": hardware(),
        "rows": {kind: rows[kind] for kind in dict.fromkeys(KINDS.values()) if kind in rows},
        "cold over run": round(float(cold / run), 3),
        "warm over run": round(float(warm / run), 3),
    }
    keep(NAME, result, {NAME: markdown(result)}, given.out)


if __name__ == "__main__":
    main()
