"""Choose the constant of volumes: what is added to the mean logit of the three views.

    python benchmarks/volumes_settings.py [--seeds N]

The volumes are simulated, of other seeds than those of ``volumes.py``: slices 1, 2 and 5 pixels
apart, sparse, dense and touching.  A value is the mean over them of the mSA in 3-D with the shipped
weights; the objects' volume as a multiple of the true one stands beside.
"""

from __future__ import annotations

import argparse

import numpy as np
from simulated_volumes import Simulation
from volumes import DENSITIES, SHAPE

import napari_kindred as nk
from napari_kindred.entities.checkpoint import load_network
from napari_kindred.entities.volumes import views
from napari_kindred.results.metrics import average_precision

FIRST = 901
"""First seed."""

VALUES = (-0.3, 0.0, 0.2, 0.4, 0.7, 1.33)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=1, help="volumes of each kind")
    given = parser.parse_args()
    network = load_network("kindred-entities")
    scores: dict[float, list[tuple[float, float, float]]] = {value: [] for value in VALUES}
    for thickness in (1, 2, 5):
        for filled, touching in DENSITIES.values():
            for seed in range(FIRST, FIRST + given.seeds):
                image, truth = Simulation(SHAPE, thickness, filled, touching).make(seed)
                for value in VALUES:
                    views.CLOSER = value
                    result = nk.segment_entities(
                        image, model=network, axes="ZYX", link="3-D", spacing=(thickness, 1, 1)
                    )
                    labels = np.asarray(result.labels)
                    score = average_precision([(truth, labels)])
                    volume = float((labels > 0).sum() / (truth > 0).sum())
                    scores[value].append((score["AP50"], score["mSA"], volume))
    for value, found in scores.items():
        ap50, msa, volume = np.mean(found, 0)
        print(f"{value:5.2f}: AP50 {ap50:.3f}, mSA {msa:.3f}, volume {volume:.2f}")
    print("best:", max(scores, key=lambda value: np.mean(scores[value], 0)[1]))


if __name__ == "__main__":
    main()
