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
from napari_kindred.entities.checkpoint import load_network
from napari_kindred.entities.validate import CUTS, SCORES, SettingCounts
from napari_kindred.images.stack import normalise, read_image

NAME = "entities_settings"

MEASURE_ONLY = ("livecell sample", "neurons fluocells", "yeast", "cellphe track")
"""Beginnings of the names of kinds that nothing is chosen on."""


def markdown(result: dict) -> str:
    """Return the table of values, and the best setting in bold."""
    values, best = result["values"], result["best"]
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
    counts = SettingCounts()
    for kind, pairs in kinds.items():
        for image, truth in pairs:
            pixels = np.asarray(read_image(image).data)
            pixels = normalise(
                (pixels if pixels.ndim == 3 else pixels[..., None])[..., :3].astype("f4")
            )
            counts.add(network, kind, pixels, np.asarray(read_image(truth).data))
        print(kind, len(pairs), flush=True)
    settings = counts.best()
    result = {
        "weights": {"name": str(info["name"]).rpartition("/")[2], "sha256": info["sha256"]},
        "hardware": hardware(),
        "images": sum(map(len, kinds.values())),
        "values": settings.values.round(5).tolist(),
        "best": [settings.threshold, settings.min_score],
        "accuracy": settings.accuracy,
    }
    print(f"best: threshold {settings.threshold:g}, minimum score {settings.min_score:g}")
    keep(NAME, result, {NAME: markdown(result)}, given.out)


if __name__ == "__main__":
    main()
