"""Samples for napari's File ▸ Open Sample."""

from __future__ import annotations

from functools import partial
from typing import Any

from ..images.samples import SAMPLES, open_sample

LayerData = tuple[Any, dict[str, Any], str]


def layers_of(name: str) -> list[LayerData]:
    """Return a sample's image and its hidden ground truth as napari layers."""
    sample = open_sample(name)
    letters = sample.axes.replace("S", "")
    place: dict[str, Any] = {"axis_labels": tuple(letters.lower())}
    if sample.scale is not None:
        place |= {"scale": sample.scale, "units": sample.units}
    about = {"about": SAMPLES[name].about}
    image = {"name": name, "metadata": about, "rgb": "S" in sample.axes, **place}
    layers: list[LayerData] = [(sample.data, image, "image")]
    if sample.truth is not None:
        truth = {"name": f"{name} truth", "metadata": about, "visible": False, **place}
        layers.insert(0, (sample.truth, truth, "labels"))
    return layers


# napari's manifest names a function per sample.
nuclei = partial(layers_of, "nuclei")
phase = partial(layers_of, "phase")
stack = partial(layers_of, "stack")
ihc = partial(layers_of, "ihc")
cell = partial(layers_of, "cell")
