"""Choose what outlines objects in clusters, and tells whether there are any.

    python benchmarks/clusters_outline.py DATA_DIR [--limit N] [--out FILE]

The images are those of ``entities_settings.py``, split ``val`` of sets that weights are trained on;
no movie on which clusters are measured is among them.  Each goes through the shipped network once,
at its own scale as clusters do; its objects are then outlined at every probability.  *IoU*: pixels
in objects against pixels in annotated ones.  *In one*: mean share of an annotated object that is in
objects, or that is in none, whichever is larger.  Both are means over the kinds of images; chosen
is the lowest probability whose IoU is within :data:`NEAR` of the best.

*Likely*: mean probability of what looks like an object of being one, the least and the largest of
the images of a kind; also of natural ones, the first and the last frame of each video in
``davis2016``, and two of ``camvid``.  Whether there are objects first is decided by it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from entities_accuracy import held_out
from entities_settings import MEASURE_ONLY
from tables import keep

from napari_kindred.clusters import foreground as finder
from napari_kindred.clusters.foreground import shipped_network
from napari_kindred.core.events import finish
from napari_kindred.entities.resampling import GridMapping
from napari_kindred.entities.segment import iter_dense_bounded, resize, to_maps
from napari_kindred.images.stack import list_images, normalise, read_image

NEAR = 0.005

CUTS = (0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6)


def shares(truth: np.ndarray, inside: np.ndarray) -> list[float]:
    """Share of each annotated object that is inside, or outside if that is more."""
    area = np.bincount(truth.ravel())
    covered = np.bincount(truth[inside], minlength=len(area))
    share = covered[1:][area[1:] > 0] / area[1:][area[1:] > 0]
    return np.maximum(share, 1 - share).tolist()


def probability(found, maps: np.ndarray, shape: tuple[int, int]) -> float:
    """Return the mean probability of what looks like an object, 0 if nothing does."""
    scores = finder.probabilities(found, maps, shape)
    return float(scores.mean()) if len(scores) else 0.0


def natural(data: Path) -> dict[str, list[Path]]:
    """Find natural images in which there are no cells."""
    found = {"natural video": [], "street scenes": []}
    for folder in sorted(data.glob("davis2016/*/images")):
        found["natural video"] += [list_images(folder)[i] for i in (0, -1)]
    if (data / "camvid" / "images").is_dir():
        found["street scenes"] = list_images(data / "camvid" / "images")[:2]
    return found


def markdown(result: dict) -> dict[str, str]:
    """Return the tables of outlines and of images with and without objects."""
    lines = ["| outline at | " + " | ".join(f"{cut:g}" for cut in result["cuts"]) + " |"]
    lines.append("|---" * (len(result["cuts"]) + 1) + "|")
    for name, key in (("IoU", "iou"), ("in one", "in_one")):
        lines.append(f"| {name} | {' | '.join(f'{v:.3f}' for v in result['means'][key])} |")
    rows = ["| images | least | largest |", "|---|---|---|"]
    rows += [f"| {kind} | {a:.2f} | {b:.2f} |" for kind, (a, b) in result["likely"].items()]
    return {"clusters_outline": "\n".join(lines), "clusters_likely": "\n".join(rows)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, metavar="DATA_DIR")
    parser.add_argument("--limit", type=int, help="at most so many images of each kind")
    parser.add_argument("--out", type=Path, help="another JSON file; the pages stay as they are")
    given = parser.parse_args()
    found, _ = shipped_network("cpu")
    likely: dict[str, list[float]] = {}
    measured = {}
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
            likely.setdefault(kind, []).append(probability(found, maps, truth.shape))
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
    for kind, files in natural(given.data).items():
        for file in files:
            pixels = normalise(np.asarray(read_image(file).data)[..., :3].astype("f4"))
            maps = finish(iter_dense_bounded(found.network, resize(pixels, 1.0), 1024))
            likely.setdefault(kind, []).append(probability(found, maps, pixels.shape[:2]))
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
        "likely": {kind: [round(min(one), 3), round(max(one), 3)] for kind, one in likely.items()},
    }
    keep("clusters_outline", result, markdown(result), given.out)


if __name__ == "__main__":
    main()
