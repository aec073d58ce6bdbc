"""Synthetic images of objects that freely licensed data show too rarely.

A layout of objects (blobs, rods or a tissue-like tessellation) is drawn first, then rendered as a
microscope would show it: fluorescence, phase contrast with halos, DIC shading, quantitative phase
or brightfield. Every image depends on a random generator alone, so a run can be repeated.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree
from torch.nn import functional as F

from ..images.contrast import normalise

Floats = NDArray[np.float32]
Labels = NDArray[np.int32]


class Synthetic(NamedTuple):
    """An image (3, c, c) float32, labels (c, c) int32, and whether its channels are alike."""

    image: Floats
    labels: Labels
    grey: bool


def draw_synthetic(kind: str, side: int, random: np.random.Generator) -> Synthetic:
    """Draw an image of a kind of :data:`KINDS`."""
    layout, renders, colour = KINDS[kind]
    labels = layout(side, random)
    if colour and random.random() < 0.6:
        image = two_channels(labels, random)
        return Synthetic(normalise(image.transpose(1, 2, 0)).transpose(2, 0, 1), labels, grey=False)
    render = renders[int(random.integers(len(renders)))]
    plane = normalise(render(labels, random)[..., None])[..., 0]
    return Synthetic(np.repeat(plane[None], 3, 0), labels, grey=True)


# -- layouts ------------------------------------------------------------------------------------


def blobs(side: int, random: np.random.Generator) -> Labels:
    """Draw rounded objects of widely varying size, some of them touching."""
    typical = float(np.exp(random.uniform(np.log(7), np.log(45))))
    spread = random.uniform(0.05, 0.6)
    dense = random.uniform(0.15, 1.1)
    count = int(np.clip(dense * side**2 / (np.pi / 4 * typical**2), 2, 400))
    labels = np.zeros((side, side), np.int32)
    irregular = random.uniform(0.0, 0.14)
    for number in range(1, count + 1):
        radius = typical / 2 * float(np.exp(random.normal(0, spread)))
        axes = radius * np.exp(np.array([1, -1]) * random.uniform(0, 0.35))
        _place(labels, number, _Blob(axes, irregular, random), random, overlap=0.12)
    return labels


def rods(side: int, random: np.random.Generator) -> Labels:
    """Draw rods and filaments, loose or in a colony."""
    if random.random() < 0.5:
        return colony(side, random)
    width = float(np.exp(random.uniform(np.log(4.5), np.log(16))))
    slender = float(np.exp(random.uniform(np.log(1.3), np.log(9))))
    bend = random.uniform(0, 0.5) if random.random() < 0.5 else 0.05
    dense = random.uniform(0.2, 1.6)
    count = int(np.clip(dense * side**2 / (width**2 * slender), 3, 500))
    field = _noise(side, side / random.uniform(1.0, 4.0), random) * random.uniform(0.3, 2.0)
    base = random.uniform(0, np.pi)
    labels = np.zeros((side, side), np.int32)
    for number in range(1, count + 1):
        length = width * max(1.0, slender * float(np.exp(random.normal(0, 0.35))))
        shape = _Rod(length, width * float(np.exp(random.normal(0, 0.06))), bend, random)
        _place(labels, number, shape, random, overlap=0.05, turn=base + field)
    return labels


def colony(side: int, random: np.random.Generator) -> Labels:
    """Draw rods side by side in bent rows, touching, with an outline of the whole colony."""
    width = float(np.exp(random.uniform(np.log(5), np.log(18))))
    length = width * float(np.exp(random.uniform(np.log(1.2), np.log(6))))
    angle = random.uniform(0, np.pi)
    axis = np.arange(side, dtype=np.float32)
    rows, columns = np.meshgrid(axis, axis, indexing="ij")
    warp = min(random.uniform(0.0, 1.2) * width, 8.0)
    along = rows * np.cos(angle) + columns * np.sin(angle) + warp * _noise(side, 60, random)
    across = columns * np.cos(angle) - rows * np.sin(angle) + warp * _noise(side, 60, random)
    row = np.floor(across / width).astype(int)
    row -= row.min()
    count = int(row.max()) + 1
    lengths = length * np.exp(random.normal(0, 0.2, count))
    shifted = along + random.uniform(0, 1e3, count)[row]
    number = np.floor(shifted / lengths[row]).astype(int)
    half = lengths[row] / 2
    from_middle = shifted - (number + 0.5) * lengths[row]
    off_axis = across - (np.floor(across / width) + 0.5) * width
    slack = random.uniform(0.0, 0.25)
    radius = width / 2 * (1 - slack)
    end = np.maximum(half - width / 2, 0)
    inside = np.hypot(np.maximum(np.abs(from_middle) - end, 0), off_axis) <= radius
    outline = _noise(side, side / random.uniform(1, 4), random) > random.choice([-9.0, -0.6, 0.2])
    _, labels = np.unique(row * 100_000 + number, return_inverse=True)
    labels = np.where(inside, labels.reshape(inside.shape) + 1, 0)
    whole = np.bincount(labels.ravel())
    keep = np.bincount(labels[outline], minlength=len(whole)) > 0.5 * whole
    keep &= random.random(len(keep)) > random.choice([0.0, 0.1, 0.3])
    return _whole(np.where(keep[labels], labels, 0).astype(np.int32), 0.3 * width**2)


def tissue(side: int, random: np.random.Generator) -> Labels:
    """Draw cells that tile the plane, rounded to spindle-shaped, with gaps and bare patches."""
    typical = float(np.exp(random.uniform(np.log(10), np.log(60))))
    count = max(4, int(1.6 * (side + 2 * typical) ** 2 / typical**2))
    seeds = random.uniform(-typical, side + typical, (count, 2))
    seeds = _relaxed(seeds, typical, random)
    stretch = np.exp(random.normal(0, 1, len(seeds)) * random.uniform(0.05, 0.6))
    angle = random.uniform(0, np.pi) + random.normal(0, 1, len(seeds)) * random.uniform(0.1, 1.5)
    size = np.exp(random.normal(0, random.uniform(0.05, 0.35), len(seeds)))
    warp = random.uniform(0.0, 0.2) * typical
    axis = np.arange(side, dtype=np.float64)
    places = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1)
    places[..., 0] += warp * _noise(side, typical / 1.5, random)
    places[..., 1] += warp * _noise(side, typical / 1.5, random)
    flat = places.reshape(-1, 2)
    near = min(4, len(seeds))
    _, index = cKDTree(seeds).query(flat, k=near)
    delta = flat[:, None] - seeds[index]
    cosine, sine = np.cos(angle[index]), np.sin(angle[index])
    along = (delta[..., 0] * cosine + delta[..., 1] * sine) / stretch[index]
    across = (-delta[..., 0] * sine + delta[..., 1] * cosine) * stretch[index]
    distance = np.hypot(along, across) / size[index]
    order = np.sort(distance, 1)
    owner = index[np.arange(len(flat)), distance.argmin(1)]
    gap = random.uniform(0, 3.0) if random.random() < 0.7 else random.uniform(3.0, typical / 3)
    reach = random.uniform(0.55, 1.3) * typical
    free = (order[:, 1] - order[:, 0] < gap) | (order[:, 0] > reach)
    missing = random.random(len(seeds)) < random.choice([0.0, 0.05, 0.3])
    labels = np.where(free | missing[owner], 0, owner + 1).reshape(side, side).astype(np.int32)
    return _whole(labels, smallest=0.03 * typical**2)


def _relaxed(
    seeds: NDArray[np.float64], typical: float, random: np.random.Generator
) -> NDArray[np.float64]:
    """Drop seeds that lie too close to an earlier one, so that cells are of similar size."""
    least = random.uniform(0.45, 0.85) * typical
    pairs = cKDTree(seeds).query_pairs(least, output_type="ndarray")
    keep = np.ones(len(seeds), bool)
    for first, second in sorted(map(tuple, np.sort(pairs, 1))):
        if keep[first]:
            keep[second] = False
    return seeds[keep] if keep.sum() >= 3 else seeds


def _whole(labels: Labels, smallest: float) -> Labels:
    """Keep each object's connected pieces as objects of their own, without the smallest ones."""
    pieces = np.zeros_like(labels)
    count = 0
    for number, window in enumerate(ndimage.find_objects(labels), 1):
        if window is None:
            continue
        parts, found = ndimage.label(labels[window] == number)
        areas = np.bincount(parts.ravel())
        for part in range(1, found + 1):
            if areas[part] >= smallest:
                count += 1
                pieces[window][parts == part] = count
    return pieces


class _Blob:
    """An ellipse whose outline is disturbed by a few random waves."""

    def __init__(
        self, axes: NDArray[np.float64], irregular: float, random: np.random.Generator
    ) -> None:
        self.axes = axes
        self.waves = random.normal(0, irregular, 4) / np.arange(1, 5) ** 0.5
        self.phases = random.uniform(0, 2 * np.pi, 4)
        self.reach = float(axes.max()) * 1.5 + 2

    def inside(self, along: Floats, across: Floats) -> NDArray[np.bool_]:
        y, x = along / self.axes[0], across / self.axes[1]
        angle = np.arctan2(y, x)
        outline = 1 + sum(
            wave * np.cos((k + 2) * angle + phase)
            for k, (wave, phase) in enumerate(zip(self.waves, self.phases, strict=True))
        )
        return np.asarray(np.hypot(y, x) <= outline)


class _Rod:
    """A capsule along a circular arc."""

    def __init__(
        self, length: float, width: float, bend: float, random: np.random.Generator
    ) -> None:
        self.half, self.radius = max(0.0, length - width) / 2, width / 2
        self.curve = float(random.normal(0, bend)) / max(self.half, 1.0)
        self.pinch = float(random.uniform(0, 0.25)) if random.random() < 0.2 else 0.0
        self.reach = self.half + self.radius + 2

    def inside(self, along: Floats, across: Floats) -> NDArray[np.bool_]:
        across = across - 0.5 * self.curve * along**2
        end = np.clip(along, -self.half, self.half)
        radius = self.radius * (1 - self.pinch * np.exp(-((along / self.radius) ** 2)))
        return np.asarray(np.hypot(along - end, across) <= radius)


def _place(
    labels: Labels,
    number: int,
    shape: _Blob | _Rod,
    random: np.random.Generator,
    overlap: float,
    turn: Floats | None = None,
) -> None:
    """Draw a shape below the others where they hide little of it; give up after some attempts."""
    side = labels.shape[0]
    for _ in range(3):
        centre = random.uniform(-shape.reach / 2, side + shape.reach / 2, 2)
        at = tuple(np.clip(centre.astype(int), 0, side - 1))
        angle = random.uniform(0, np.pi) if turn is None else turn[at] + random.normal(0, 0.15)
        low = np.maximum(np.floor(centre - shape.reach).astype(int), 0)
        high = np.minimum(np.ceil(centre + shape.reach).astype(int) + 1, side)
        if (high <= low).any():
            continue
        rows = np.arange(low[0], high[0], dtype=np.float32)[:, None] - centre[0]
        columns = np.arange(low[1], high[1], dtype=np.float32)[None] - centre[1]
        cosine, sine = np.cos(angle), np.sin(angle)
        mask = shape.inside(rows * cosine + columns * sine, -rows * sine + columns * cosine)
        window = labels[low[0] : high[0], low[1] : high[1]]
        if not mask.any() or (window[mask] > 0).mean() > overlap:
            continue
        window[mask & (window == 0)] = number
        return


# -- rendering ---------------------------------------------------------------------------------


def _noise(side: int, scale: float, random: np.random.Generator) -> Floats:
    """Smooth noise of mean 0 and deviation 1, whose hills are about ``scale`` pixels wide."""
    coarse = max(3, min(side, round(side / max(scale, 1.0)) + 2))
    grid = random.standard_normal((coarse, coarse)).astype(np.float32)
    plane = F.interpolate(
        torch.from_numpy(grid)[None, None], size=(side, side), mode="bilinear", align_corners=True
    )[0, 0].numpy()
    return np.asarray((plane - plane.mean()) / max(float(plane.std()), 1e-6), np.float32)


def _texture(side: int, random: np.random.Generator) -> Floats:
    """Noise of several scales at once: granules, folds, unevenness."""
    total = np.zeros((side, side), np.float32)
    for scale in (2, 5, 12):
        total += random.uniform(0, 1) * _noise(side, scale, random)
    return total / max(float(total.std()), 1e-6)


def _height(labels: Labels, power: float) -> tuple[Floats, Floats]:
    """Thickness of each object, 0 … 1 at its thickest, and the distance to its edge in pixels."""
    border = np.zeros(labels.shape, bool)
    border[1:] |= labels[1:] != labels[:-1]
    border[:-1] |= labels[1:] != labels[:-1]
    border[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    border[:, :-1] |= labels[:, 1:] != labels[:, :-1]
    distance = ndimage.distance_transform_edt(~border).astype(np.float32) + 0.5
    distance[labels == 0] = 0
    count = int(labels.max())
    top = np.ones(count + 1, np.float32)
    if count:
        top[1:] = np.maximum(ndimage.maximum(distance, labels, np.arange(1, count + 1)), 0.5)
    return (distance / top[labels]) ** power, distance


def _per_object(labels: Labels, spread: float, random: np.random.Generator) -> Floats:
    """Give each object a factor of its own, log-normal around 1."""
    factors = np.exp(random.normal(0, spread, int(labels.max()) + 1)).astype(np.float32)
    return factors[labels]


def _camera(plane: Floats, random: np.random.Generator) -> Floats:
    """Point spread, shot noise and read noise."""
    plane = ndimage.gaussian_filter(plane, random.uniform(0.3, 1.3))
    low, high = float(plane.min()), float(plane.max())
    plane = (plane - low) / max(high - low, 1e-6)
    photons = float(np.exp(random.uniform(np.log(15), np.log(2000))))
    plane = random.poisson(plane * photons + 2).astype(np.float32) / photons
    return plane + random.normal(0, random.uniform(0, 0.02), plane.shape).astype(np.float32)


def fluorescence(labels: Labels, random: np.random.Generator) -> Floats:
    """Bright objects with texture on a haze, some light of objects out of focus among them."""
    side = labels.shape[0]
    height, _ = _height(labels, random.uniform(0.1, 0.6))
    plane = (labels > 0) * height * _per_object(labels, random.uniform(0.1, 0.7), random)
    plane *= 1 + random.uniform(0, 0.35) * _texture(side, random)
    haze = ndimage.gaussian_filter(np.roll(plane, side // 3, 0), random.uniform(5, 15))
    plane = plane + random.uniform(0, 0.6) * haze + 0.05 * _noise(side, side / 2, random)
    return _camera(plane.astype(np.float32), random)


def _phase_map(labels: Labels, random: np.random.Generator) -> Floats:
    """Optical thickness: thicker in the middle, a nucleus with nucleoli, granules."""
    side = labels.shape[0]
    height, distance = _height(labels, random.uniform(0.25, 1.0))
    inner = random.uniform(0.4, 0.75)
    nucleus = (height > inner) & (distance > 3)
    texture = _texture(side, random)
    phase = height * _per_object(labels, random.uniform(0.05, 0.4), random)
    phase = phase + nucleus * random.uniform(-0.3, 0.4)
    phase = phase + nucleus * (texture > 1.6) * random.uniform(0, 0.6)
    phase = phase + (labels > 0) * texture * random.uniform(0.02, 0.3)
    grain = random.uniform(0, 0.05) * _texture(side, random)
    return np.asarray(phase + grain, np.float32)


def phase_contrast(labels: Labels, random: np.random.Generator) -> Floats:
    """Phase contrast: thickness less its surroundings, which gives halos; some edges bright."""
    side = labels.shape[0]
    phase = ndimage.gaussian_filter(_phase_map(labels, random), random.uniform(0.3, 1.2))
    halo = float(np.exp(random.uniform(np.log(2.5), np.log(14))))
    around = ndimage.gaussian_filter(phase, halo)
    sign = -1.0 if random.random() < 0.6 else 1.0
    plane = sign * (phase - random.uniform(0.5, 1.0) * around)
    _, distance = _height(labels, 1.0)
    rim = np.exp(-((distance / random.uniform(0.8, 2.5)) ** 2)) * (labels > 0)
    plane = plane + random.uniform(-0.1, 0.7) * rim * _per_object(labels, 0.5, random)
    plane = plane + random.uniform(0, 0.15) * _noise(side, side / 2, random)
    return _camera(plane.astype(np.float32), random)


def dic(labels: Labels, random: np.random.Generator) -> Floats:
    """Differential interference contrast: the slope of the thickness along one direction."""
    side = labels.shape[0]
    phase = ndimage.gaussian_filter(_phase_map(labels, random), random.uniform(0.6, 2.0))
    rows, columns = np.gradient(phase)
    angle = random.uniform(0, 2 * np.pi)
    plane = np.cos(angle) * rows + np.sin(angle) * columns
    plane = plane / max(float(plane.std()), 1e-6) + random.uniform(0, 0.5) * _noise(
        side, side / 2, random
    )
    return _camera(plane.astype(np.float32), random)


def quantitative_phase(labels: Labels, random: np.random.Generator) -> Floats:
    """Show the thickness itself, bright on dark."""
    return _camera(_phase_map(labels, random), random)


def brightfield(labels: Labels, random: np.random.Generator) -> Floats:
    """Out-of-focus brightfield: the thickness' curvature, and a little absorption."""
    phase = _phase_map(labels, random)
    curved = ndimage.gaussian_laplace(phase, random.uniform(1.0, 3.0))
    sign = -1.0 if random.random() < 0.5 else 1.0
    plane = sign * curved / max(float(curved.std()), 1e-6) - random.uniform(0, 2) * phase
    return _camera(plane.astype(np.float32), random)


def two_channels(labels: Labels, random: np.random.Generator) -> Floats:
    """Return (3, c, c): nucleus and cytoplasm in two channels, in any order, the third empty."""
    height, distance = _height(labels, random.uniform(0.15, 0.6))
    inside = labels > 0
    nucleus = inside & (height > random.uniform(0.5, 0.8)) & (distance > 2)
    side = labels.shape[0]
    first = nucleus * _per_object(labels, 0.3, random) * (1 + 0.2 * _texture(side, random))
    second = inside * height * _per_object(labels, 0.5, random)
    second = second * (1 + random.uniform(0.1, 0.4) * _texture(side, random))
    image = np.zeros((3, side, side), np.float32)
    order = random.permutation(3)
    image[order[0]] = _camera(first.astype(np.float32), random)
    image[order[1]] = _camera(second.astype(np.float32), random)
    return image


Layout = Callable[[int, np.random.Generator], Labels]
Render = Callable[[Labels, np.random.Generator], Floats]

KINDS: dict[str, tuple[Layout, tuple[Render, ...], bool]] = {
    "nuclei": (blobs, (fluorescence,), False),
    "bacteria": (rods, (phase_contrast, phase_contrast, fluorescence, brightfield), False),
    "phase": (tissue, (phase_contrast, phase_contrast, quantitative_phase, brightfield), False),
    "cells": (tissue, (fluorescence,), True),
    "dic": (tissue, (dic,), False),
}
"""Kinds of synthetic images: layout, ways to show it, and whether it comes in two channels."""
