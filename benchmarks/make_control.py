"""Make two small sets of pieces of images that the shipped weights know, for fine-tuning.

    python benchmarks/make_control.py DATA_DIR

``control.npz`` tells what is forgotten; ``rehearsal.npz``, of other images, is trained on along
with the corrections, so that less is.  ``DATA_DIR`` holds ``dsb2018`` and ``nuclei_bbbc039`` (CC0)
and ``usiigaci_phase`` (MIT).  Of each kind in :data:`KINDS`, images to train on are taken evenly,
and of each the piece with the most objects.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from napari_kindred.models.training_data import load_examples

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_kindred.models.training_data import Example

OUT = Path(__file__).parents[1] / "src" / "napari_kindred" / "entities" / "learning"

KINDS = {
    "dsb2018/fluorescence": 3,
    "dsb2018/histology_purple_background": 2,
    "dsb2018/histology_light_background": 1,
    "dsb2018/brightfield_gray": 1,
    "nuclei_bbbc039": 1,
    "usiigaci_phase": 2,
}
"""Group of images, and how many pieces of it."""

FIELD = 9
"""Side of a piece in median diameters, within ``SIDES``."""

SIDES = (128, 288)

LEAST = 8
"""Smallest number of objects in an image that is taken."""


def piece(example: Example) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
    """Return the piece of an image that has the most objects, and its labels."""
    labels = example.labels
    side = int(np.clip(FIELD * example.diameter, *SIDES))
    height, width = (min(side, length) for length in labels.shape)
    ids = np.unique(labels[labels > 0])
    marks = np.zeros(labels.shape, np.float32)
    for y, x in ndimage.center_of_mass(labels > 0, labels, ids):
        marks[int(y), int(x)] = 1
    cover = ndimage.uniform_filter(marks, (height, width), mode="constant")
    inside = cover[height // 2 : labels.shape[0] - (height - 1) // 2]
    inside = inside[:, width // 2 : labels.shape[1] - (width - 1) // 2]
    top, left = np.unravel_index(int(inside.argmax()), inside.shape)
    place = np.s_[top : top + height, left : left + width]
    pixels = example.pyramid[0].astype(np.float32).transpose(1, 2, 0)[place]
    pixels = pixels[..., :1] if example.grey else pixels
    truth = np.unique(labels[place], return_inverse=True)[1] + (labels[place].min() > 0)
    return np.rint(pixels / 1.5 * 255).astype(np.uint8), truth.astype(np.uint16)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    data: Path = parser.parse_args().data
    sets: dict[str, dict[str, NDArray[Any]]] = {"control": {}, "rehearsal": {}}
    for group, count in KINDS.items():
        found = load_examples([data / group.partition("/")[0]], "train")
        found = [e for e in found if e.group == group and len(np.unique(e.labels)) > LEAST]
        chosen = np.linspace(0, len(found) - 1, count + 2)[1:-1].astype(int)
        others = [number for number in range(len(found)) if number not in chosen]
        again = np.linspace(0, len(others) - 1, count + 2)[1:-1].astype(int)
        numbers = {"control": chosen, "rehearsal": [others[n] for n in again]}
        for name, arrays in sets.items():
            for number in numbers[name]:
                title = f"{group} {found[number].name[:12]}"
                arrays[f"image {title}"], arrays[f"labels {title}"] = piece(found[number])
                print(name, title, arrays[f"image {title}"].shape)
    for name, arrays in sets.items():
        path = OUT / f"{name}.npz"
        np.savez_compressed(path, **arrays)
        print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
