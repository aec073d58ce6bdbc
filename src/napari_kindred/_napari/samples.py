"""Samples for napari's File ▸ Open Sample."""

from __future__ import annotations

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


def nuclei() -> list[LayerData]:
    """Open the fluorescence movie of dividing nuclei."""
    return layers_of("nuclei")


def phase() -> list[LayerData]:
    """Open the phase-contrast movie of crawling cells."""
    return layers_of("phase")


def ihc() -> list[LayerData]:
    """Open the stained tissue section."""
    return layers_of("ihc")


def cell() -> list[LayerData]:
    """Open the quantitative phase image of one cell."""
    return layers_of("cell")
