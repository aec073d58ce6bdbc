"""Colours that can be told apart: each as far as it can be from all before it. Free of Qt."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

COUNT = 64
"""Colours before they repeat."""

FIRST = (0.45, 0.48, 0.56)
"""A grey blue for the largest cluster, which mostly is what lies between the things."""

BINS, FILLS = 4, 0.2
"""Steps of red, green and blue in which an image's colours are counted, and the least share."""

APART = 25.0
"""Least distance in CIELAB of a colour from those that it is seen on."""


@cache
def palette() -> tuple[tuple[float, float, float, float], ...]:
    """Return colours for labels from 1 on, red, green, blue and opacity from 0 to 1.

    Taken greedily by their distance in CIELAB, among those neither dark, pale nor glaring, so
    that a few of them differ more than many, and fewer labels show the same colours as more.
    """
    from skimage.color import rgb2lab

    steps = np.linspace(0, 1, 16)
    rgb = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    lab = rgb2lab(rgb)
    lightness, chroma = lab[:, 0], np.hypot(lab[:, 1], lab[:, 2])
    fit = (lightness > 45) & (lightness < 90) & (chroma > 35) & (chroma < 95)
    rgb, lab = rgb[fit], lab[fit]
    chosen = [np.array(FIRST)]
    distance = np.full(len(rgb), np.inf)
    while len(chosen) < COUNT:
        distance = np.minimum(distance, np.linalg.norm(lab - rgb2lab(chosen[-1]), axis=1))
        chosen.append(rgb[distance.argmax()])
    return tuple((*colour.tolist(), 1.0) for colour in chosen)


def hexadecimal(number: int) -> str:
    """Return the colour of the thing with this number, from 0 on, as ``#rrggbb``.

    The grey blue of :func:`palette` is left out.
    """
    colours = palette()[1:]
    return as_hex(colours[number % len(colours)])


def as_hex(colour: Sequence[float]) -> str:
    """Return a colour, red, green and blue from 0 to 1, as ``#rrggbb``."""
    red, green, blue = colour[:3]
    return f"#{round(255 * red):02x}{round(255 * green):02x}{round(255 * blue):02x}"


def from_hex(colour: str) -> tuple[float, float, float]:
    """Return ``#rrggbb`` as red, green and blue from 0 to 1."""
    red, green, blue = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    return red, green, blue


def main_colours(pixels: NDArray[np.floating[Any]]) -> list[tuple[float, float, float]]:
    """Return the colours that each fill a good part of an image, pixels (N, 3) from 0 to 1."""
    if not len(pixels):
        return []
    bins = np.minimum((np.asarray(pixels) * BINS).astype(int), BINS - 1)
    index = np.ravel_multi_index(tuple(bins.T), (BINS,) * 3)
    found = []
    for number, count in zip(*np.unique(index, return_counts=True), strict=True):
        if count >= FILLS * len(index):
            red, green, blue = np.asarray(pixels)[index == number].mean(0).tolist()
            found.append((red, green, blue))
    return found


def stands_out(colour: str, shades: Sequence[Sequence[float]]) -> bool:
    """Tell whether ``#rrggbb`` can be seen on all of these colours."""
    if not shades:
        return True
    from skimage.color import rgb2lab

    away = rgb2lab(np.asarray(shades, float)) - rgb2lab(np.asarray(from_hex(colour)))
    return bool((np.linalg.norm(away, axis=-1) >= APART).all())
