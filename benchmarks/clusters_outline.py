"""Choose what outlines objects in clusters, and which are none, on held-out images.

    python benchmarks/clusters_outline.py DATA_DIR [--limit N] [--out FILE]

The images are those of ``entities_settings.py``, split ``val`` of sets that weights are trained on;
no movie on which clusters are measured is among them.  Each goes through the shipped network once,
at its own scale as clusters do; its objects are then outlined at every probability.  *IoU*: pixels
in objects against pixels in annotated ones.  *In one*: mean share of an annotated object that is in
objects, or that is in none, whichever is larger.  Both are means over the kinds of images; chosen
is the lowest probability whose IoU is within :data:`NEAR` of the best.

Then, objects whose probability of being one is below a share of the median of their image count as
background: how many of those that are annotated, by more than half of their pixels, does that
leave out, and how many of the others?
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from entities_accuracy import held_out
from entities_settings import MEASURE_ONLY
from tables import RESULTS

from napari_kindred.clusters import foreground as finder
from napari_kindred.clusters.foreground import shipped_network
from napari_kindred.core.events import finish
from napari_kindred.entities.resampling import GridMapping
from napari_kindred.entities.segment import iter_dense_bounded, resize, to_maps
from napari_kindred.images.stack import normalise, read_image

NEAR = 0.005

DOUBTS = (0.2, 0.33, 0.5, 0.6, 0.7)

CUTS = (0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6)


def shares(truth: np.ndarray, inside: np.ndarray) -> list[float]:
    """Share of each annotated object that is inside, or outside if that is more."""
    area = np.bincount(truth.ravel())
    covered = np.bincount(truth[inside], minlength=len(area))
    share = covered[1:][area[1:] > 0] / area[1:][area[1:] > 0]
    return np.maximum(share, 1 - share).tolist()


def left_out(truth: np.ndarray, labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Count right objects and others, then those that each share leaves out, (2, 1 + shares)."""
    inside = np.bincount(labels[truth > 0], minlength=len(scores) + 1)[1:]
    right = inside > np.bincount(labels.ravel(), minlength=len(scores) + 1)[1:] / 2
    middle = np.median(scores) if len(scores) else 0
    counts = [[sum(right), sum(~right)]]
    counts += [[(right & (scores < d * middle)).sum(), (~right & (scores < d * middle)).sum()]
               for d in DOUBTS]  # fmt: skip
    return np.array(counts).T


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, metavar="DATA_DIR")
    parser.add_argument("--limit", type=int, help="at most so many images of each kind")
    parser.add_argument("--out", type=Path, default=RESULTS / "clusters_outline.json")
    given = parser.parse_args()
    found, _ = shipped_network("cpu")
    measured, doubted = {}, np.zeros((2, 1 + len(DOUBTS)), int)
    for kind, pairs in held_out(given.data).items():
        if kind.startswith(MEASURE_ONLY):
            continue
        counts, inside_one = np.zeros((2, len(CUTS))), [[] for _ in CUTS]
        for image, labels in pairs[: given.limit]:
            pixels = np.asarray(read_image(image).data)
            pixels = normalise(
                (pixels if pixels.ndim == 3 else pixels[..., None])[..., :3].astype("f4")
            )
            truth = np.asarray(read_image(labels).data)
            maps = finish(iter_dense_bounded(found.network, resize(pixels, 1.0), 1024))
            foreground = to_maps(maps, GridMapping.whole(truth.shape, 1.0, found.stride)).foreground
            objects = finder._filtered(found, maps, truth.shape, finder.UNLIKELY)
            doubted += left_out(truth, *objects)
            for number, cut in enumerate(CUTS):
                inside = foreground >= cut
                both, either = (inside & (truth > 0)).sum(), (inside | (truth > 0)).sum()
                counts[:, number] += both, either
                inside_one[number] += shares(truth, inside)
        measured[kind] = {
            "iou": (counts[0] / np.maximum(counts[1], 1)).round(4).tolist(),
            "in_one": [round(float(np.mean(one)), 4) for one in inside_one],
        }
        print(kind, measured[kind], flush=True)
    means = {
        key: np.mean([one[key] for one in measured.values()], 0).round(4).tolist()
        for key in ("iou", "in_one")
    }
    best = next(c for c, v in zip(CUTS, means["iou"], strict=True) if v > max(means["iou"]) - NEAR)
    result = {
        "cuts": CUTS,
        "best": best,
        "means": means,
        "kinds": measured,
        "doubts": DOUBTS,
        "left_out": {"right": doubted[0].tolist(), "others": doubted[1].tolist()},
    }
    given.out.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    print("cuts", CUTS, means, "best", best, "doubts", DOUBTS, result["left_out"])


if __name__ == "__main__":
    main()
