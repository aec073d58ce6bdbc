"""Training of pixels: the marked ones of each example become a bag."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ...core.background import iter_in_background
from ...core.events import Event, within_stack
from ..names import key
from ..pixelwise.describer import PixelDescriber
from ..pixelwise.marks import mark_pixels
from ..proposals.open import DEFAULT_ENCODER
from .examples import is_background
from .mil import NOTHING, UNKNOWN, UNMARKED, Bag

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from numpy.typing import NDArray

    from ..config import TeachConfig
    from ..proposals.base import ProposerSpec
    from .examples import Example

PART = 2
"""Parts along each axis of a single image, of which each is left out once to measure on it."""


def iter_pixel_bags(
    images: Sequence[tuple[Example, NDArray[np.float32]]],
    names: Sequence[str],
    config: TeachConfig,
) -> Generator[Event, None, tuple[ProposerSpec, list[Bag]]]:
    """Describe the marked pixels of examples with their pixels (H, W, C)."""
    channels = max(pixels.shape[2] for _, pixels in images)
    opened = partial(
        PixelDescriber.open,
        config.encoder or DEFAULT_ENCODER["pixels"],
        channels=channels,
        device=config.device,
    )
    describer = yield from iter_in_background(opened, "loading the weights")
    describer, scales = yield from _iter_scales(describer, [pixels for _, pixels in images])
    random = np.random.default_rng(config.seed)
    classes = {key(name): number for number, name in enumerate(names)}
    bags: list[Bag] = []
    # Only where nothing else tells one class from the rest, the rest is what is unmarked.
    alone = len(names) == 1 and not any(
        example.complete or any(map(is_background, _marked_names(example))) for example, _ in images
    )
    for number, (example, pixels) in enumerate(images):
        shape = (pixels.shape[0], pixels.shape[1])
        marked = mark_pixels(example, shape, classes, config.kept, random)
        places, codes = marked.places, marked.codes
        if not alone:
            codes = np.where(codes == UNMARKED, UNKNOWN, codes).astype(np.int16)
        job = describer.iter_vectors(pixels, places, scales[number])
        vectors = yield from within_stack(job, number, len(images))
        known = np.ones(len(names), bool)
        area = float(shape[0] * shape[1])
        bag = Bag(vectors, codes, None, known, example.source, marked.lost, area)
        bags += parted(bag, places) if len(images) == 1 else [bag]
    return describer.spec, bags


def _iter_scales(
    describer: PixelDescriber, images: Sequence[NDArray[np.float32]]
) -> Generator[Event, None, tuple[PixelDescriber, list[float]]]:
    """Choose at which scales images are encoded: as they are, unless most are of cells."""
    found = []
    for number, pixels in enumerate(images):
        job = describer.iter_cells(pixels)
        found.append((yield from within_stack(job, number, len(images))))
    if 2 * sum(sure for _, sure in found) > len(found):
        return describer, [scale for scale, _ in found]
    return describer.unscaled(), [1.0] * len(found)


def _marked_names(example: Example) -> tuple[str, ...]:
    return (*example.points, *example.boxes, *example.label_names.values())


def parted(bag: Bag, places: NDArray[np.floating] | NDArray[np.intp]) -> list[Bag]:
    """Split the only image's bag by places (N, 2), so that quality is measured on other parts.

    Parts have as many marked instances; marks that were lost count in the first.
    """
    marked = bag.instances >= NOTHING
    if bag.present is not None or np.count_nonzero(marked) < 2 * PART**2:
        return [bag]
    part = np.zeros(len(bag), np.intp)
    for axis in range(2):
        at = places[:, axis]
        for start in np.unique(part):
            inside = part == start
            middle = np.median(at[inside & marked]) if (inside & marked).any() else 0
            part[inside & (at > middle)] += PART**axis
    bags = [bag.take(np.flatnonzero(part == number)) for number in range(PART**2)]
    none = np.zeros(len(bag.annotated), np.int16)
    return [
        one if number == 0 else replace(one, lost=none)
        for number, one in enumerate(bags)
        if len(one) or number == 0
    ]
