"""Choose the threshold and the minimum score of ``napari-kindred entities`` on held-out images.

    python benchmarks/entities_settings.py DATA_DIR [--weights NAME_OR_FILE] [--limit N]

The images are those of ``entities_accuracy.py`` that may be used for choosing: split ``val`` of
sets that weights are trained on.  Each goes through the network once, at its automatic scale; its
maps are then cut at every threshold, and objects left out at every minimum score.  A setting's
value is the mean of AP50 and mSA over the kinds of images, each kind pooled, so that no kind
counts for its number of images.  Kept in ``benchmarks/results``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from entities_accuracy import held_out
from meanshift import hardware
from tables import keep

from napari_kindred import EntityConfig
from napari_kindred.core.events import finish
from napari_kindred.entities.checkpoint import load_network
from napari_kindred.entities.resampling import GridMapping, scaled_shape
from napari_kindred.entities.scoring import ObjectFilter
from napari_kindred.entities.segment import (
    chosen_scale,
    instances_of,
    iter_dense_bounded,
    resize_to,
)
from napari_kindred.images.intensity import normalise
from napari_kindred.images.stack import read_image
from napari_kindred.results.metrics import THRESHOLDS, instance_counts

NAME = "entities_settings"

CUTS = (0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65)
SCORES = (0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5)

MEASURE_ONLY = ("livecell sample", "neurons fluocells", "yeast", "cellphe track")
"""Beginnings of the names of kinds that nothing is chosen on."""


def counts_of(network, image: Path, truth: Path) -> np.ndarray:
    """Return counts (cuts, scores, IoUs, 3) of true, false and missed objects of one image."""
    pixels = np.asarray(read_image(image).data)
    pixels = normalise((pixels if pixels.ndim == 3 else pixels[..., None])[..., :3].astype("f4"))
    labels = np.asarray(read_image(truth).data)
    config = EntityConfig()
    scale = chosen_scale(network, pixels, config)
    shape = labels.shape
    dense = finish(
        iter_dense_bounded(network, resize_to(pixels, scaled_shape(shape, scale)), config.tile)
    )
    mapping = GridMapping.whole(shape, scale, network.config.output_stride)
    counts = np.zeros((len(CUTS), len(SCORES), len(THRESHOLDS), 3))
    for i, cut in enumerate(CUTS):
        found = instances_of(network, dense, mapping, EntityConfig(threshold=cut))
        for j, score in enumerate(SCORES):
            chosen = EntityConfig(threshold=cut, min_score=score)
            mask, _ = ObjectFilter(network.scoring, scale, chosen).finish(found)
            counts[i, j] = np.array(instance_counts(labels, mask, THRESHOLDS))[:, :3]
    return counts


def markdown(result: dict) -> str:
    """Return the table of values, and the best setting in bold."""
    values, best = np.array(result["values"]), result["best"]
    lines = [
        "| threshold | " + " | ".join(f"score {score:g}" for score in SCORES) + " |",
        "|---|" + "---|" * len(SCORES),
    ]
    for cut, row in zip(CUTS, values, strict=True):
        cells = [
            f"**{value:.4f}**" if [cut, score] == best else f"{value:.4f}"
            for score, value in zip(SCORES, row, strict=True)
        ]
        lines.append(f"| {cut:g} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", f"{result['images']} images. {result['hardware']}."])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, metavar="DATA_DIR")
    parser.add_argument("--weights", default=EntityConfig().weights, metavar="NAME_OR_FILE")
    parser.add_argument("--limit", type=int, help="so many images of each kind")
    parser.add_argument("--out", type=Path, help="another JSON file; the pages stay as they are")
    given = parser.parse_args()
    network, info = load_network(given.weights)
    kinds = {
        kind: pairs[: given.limit]
        for kind, pairs in held_out(given.data).items()
        if not kind.startswith(MEASURE_ONLY)
    }
    values = []
    for kind, pairs in kinds.items():
        true, false, missed = np.moveaxis(sum(counts_of(network, *pair) for pair in pairs), -1, 0)
        precision = true / np.maximum(true + false + missed, 1)
        values.append((precision[..., 0] + precision.mean(-1)) / 2)
        print(kind, len(pairs), values[-1].max().round(4), flush=True)
    mean = np.mean(values, 0)
    i, j = np.unravel_index(mean.argmax(), mean.shape)
    result = {
        "weights": {"name": str(info["name"]).rpartition("/")[2], "sha256": info["sha256"]},
        "hardware": hardware(),
        "images": sum(map(len, kinds.values())),
        "values": mean.round(5).tolist(),
        "best": [CUTS[i], SCORES[j]],
    }
    print(f"best: threshold {CUTS[i]:g}, minimum score {SCORES[j]:g}")
    keep(NAME, result, {NAME: markdown(result)}, given.out)


if __name__ == "__main__":
    main()
