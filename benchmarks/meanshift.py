"""Mean-shift on the projective sphere next to scikit-learn's, on the same feature map.

Run: ``python benchmarks/meanshift.py [--quick] [--out FILE.json]``

The map holds about thirty entities.  Features of one entity are noisy copies of one line, lines of
different entities are orthogonal, and across a border they pass smoothly into each other, as the
output of a network does.  Scikit-learn knows no lines, only vectors, so all features of an entity
get the same sign, and its bandwidth is the Euclidean length of a 45 degree angle on the unit
sphere.  Both run once, one after the other, in this process.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path

import numpy as np
import sklearn
import torch
from scipy.ndimage import gaussian_filter
from sklearn.cluster import MeanShift
from sklearn.metrics import adjusted_rand_score

from napari_kindred.entities.meanshift import mean_shift


def feature_map(side: int, dimensions: int, entities: int, noise: float, seed: int = 0):
    """Draw a map of entities as Voronoi cells.

    Returns
    -------
    features : ndarray of float32, shape (side, side, dimensions)
    entity : ndarray of int, shape (side, side)
    """
    rng = np.random.default_rng(seed)
    centres = rng.uniform(0, side, (entities, 2))
    pixels = np.stack(np.mgrid[:side, :side], -1)
    entity = ((pixels[..., None, :] - centres) ** 2).sum(-1).argmin(-1)
    lines = np.linalg.qr(rng.normal(size=(dimensions, entities)))[0].T
    member = np.stack([gaussian_filter((entity == i) * 1.0, 1.0) for i in range(entities)], -1)
    features = member @ lines
    features /= np.linalg.norm(features, axis=-1, keepdims=True)
    # `noise` is the length of a random vector added to the unit feature: 0.6 is 31 degrees.
    features += rng.normal(size=features.shape) * noise / np.sqrt(dimensions)
    features /= np.linalg.norm(features, axis=-1, keepdims=True)
    return features.astype(np.float32), entity


def hardware() -> str:
    """Processor, threads and versions in one line."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        model = next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), model)
    return (
        f"{model}, {os.cpu_count()} cores, {torch.get_num_threads()} torch thread(s), "
        f"torch {torch.__version__}, scikit-learn {sklearn.__version__}"
    )


def timed(work):
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


def compare(side: int, dimensions: int = 128, entities: int = 30, noise: float = 0.6) -> dict:
    """Cluster the same map both ways."""
    features, entity = feature_map(side, dimensions, entities, noise)
    points = features.reshape(-1, dimensions)
    mean_shift(points[:1000])  # first calls into torch load libraries
    (ours, _), our_seconds = timed(lambda: mean_shift(points))
    bandwidth = float(np.sqrt(2 - 2 * np.cos(np.pi / 4)))
    theirs, their_seconds = timed(lambda: MeanShift(bandwidth=bandwidth).fit_predict(points))
    return {
        "map": f"{side}x{side}x{dimensions}, {entities} entities, noise {noise}",
        "hardware": hardware(),
        "kindred": {
            "seconds": round(our_seconds, 3),
            "clusters": int(ours.max()) + 1,
            "ari_truth": round(adjusted_rand_score(entity.ravel(), ours), 4),
        },
        "sklearn": {
            "seconds": round(their_seconds, 3),
            "clusters": int(theirs.max()) + 1,
            "ari_truth": round(adjusted_rand_score(entity.ravel(), theirs), 4),
        },
        "ari_between": round(adjusted_rand_score(theirs, ours), 4),
        "ratio": round(their_seconds / our_seconds, 1),
    }


def markdown(result: dict) -> str:
    rows = [
        f"Feature map {result['map']}. {result['hardware']}.",
        "",
        "| mean-shift | seconds | clusters | ARI with the drawn entities |",
        "|---|---|---|---|",
    ]
    for name in ("kindred", "sklearn"):
        own = result[name]
        rows.append(f"| {name} | {own['seconds']} | {own['clusters']} | {own['ari_truth']} |")
    rows += ["", f"ARI between the two {result['ari_between']}; ratio {result['ratio']}x."]
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a 40x40 map, to try things out")
    parser.add_argument("--out", type=Path, help="write the numbers to this JSON file")
    options = parser.parse_args()
    result = compare(40, entities=10) if options.quick else compare(128)
    print(markdown(result))
    print()
    print(json.dumps(result))
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
