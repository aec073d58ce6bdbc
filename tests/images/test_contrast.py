"""What a frame's range depends on, and when there is nothing to see."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from napari_kindred.images.contrast import contrast_of, limits, square_step, squares_of
from napari_kindred.images.stack import ImageStack

SIDE = 256
Y, X = np.mgrid[:SIDE, :SIDE]


def field(count: int, seed: int = 0, side: int = 512) -> np.ndarray:
    """A field of identical discs of 2000 above a background of 200."""
    rng, signal, centres = np.random.default_rng(7), np.zeros((side, side)), []
    while len(centres) < 40:
        new = rng.integers(30, side - 30, 2)
        if all(np.hypot(*(new - old)) > 45 for old in centres):
            centres.append(new)
    yy, xx = np.mgrid[:side, :side]
    for y, x in centres[:count]:
        signal[(yy - y) ** 2 + (xx - x) ** 2 <= 121] = 2000
    noise = np.random.default_rng(seed).normal(200, 20, (side, side))
    return gaussian_filter(signal, 1) + noise


def range_of(image: np.ndarray) -> tuple[float, float]:
    pixels = image.astype(np.float32)[..., None]
    return limits(squares_of(pixels, square_step(pixels.size)))


def test_the_range_does_not_depend_on_how_many_objects_share_the_frame() -> None:
    spans = [np.subtract(*range_of(field(count))[::-1]) for count in (40, 20, 10, 5, 2, 1)]
    assert max(spans) / min(spans) < 1.02
    dark = [np.subtract(*range_of(4000 - field(count))[::-1]) for count in (40, 5, 1)]
    assert max(dark) / min(dark) < 1.02


def test_hot_pixels_do_not_make_the_range() -> None:
    image = field(40)
    low, high = range_of(image)
    image[np.random.default_rng(1).random(image.shape) < 0.005] = 60000
    assert np.allclose(range_of(image), (low, high), rtol=0.05)


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=quality)
    return np.array(Image.open(file))


@pytest.mark.parametrize("quality", [60, 80, 90])
@pytest.mark.parametrize("vignette", [0, 20])
@pytest.mark.parametrize("seed", range(3))
def test_an_empty_slide_stored_as_jpeg_is_empty(seed: int, vignette: int, quality: int) -> None:
    noise = np.random.default_rng(seed).normal(0, 2, (SIDE, SIDE, 3))
    light = vignette * ((Y - 128) ** 2 + (X - 128) ** 2) / 128**2
    frame = ImageStack.open(jpeg(245 - light[..., None] + noise, quality)).read()
    assert frame.empty
    assert "hardly any contrast" in frame.note


@pytest.mark.parametrize("low", [100, 30])
def test_cells_of_few_grey_levels_and_drawings_are_not_empty(low: int) -> None:
    cells = (Y // 16 + X // 16) % 3 == 0
    image = jpeg(low + 15 * cells + np.random.default_rng(0).normal(0, 1, cells.shape), 80)
    assert not ImageStack.open(image).read().empty
    mask = cells.astype(np.uint8)
    assert not ImageStack.open(mask).read().empty
    assert not ImageStack.open(np.random.default_rng(0).poisson(2, (64, 64))).read().empty


@pytest.mark.parametrize("blur", [8, 25])
def test_haze_and_dust_are_faint_and_cells_are_not(blur: int) -> None:
    rng = np.random.default_rng(0)
    smooth = gaussian_filter(rng.normal(0, 1, (SIDE, SIDE)), blur)
    haze = smooth / smooth.std() * 22 + 500 + rng.normal(0, 30, (SIDE, SIDE))
    assert contrast_of(haze.astype(np.float32)[..., None]).faint
    for count in (40, 1):
        assert not contrast_of(field(count).astype(np.float32)[..., None]).faint


def test_looking_through_a_frame_finds_what_reading_it_finds() -> None:
    for image in (field(3).astype(np.uint16), jpeg(np.full((SIDE, SIDE), 240) + X % 3, 60)):
        frames = ImageStack.open(image)
        whole, stats = frames.read(), frames.frame_stats()
        assert (whole.empty, whole.faint) == (stats.empty, stats.faint)
        assert (stats.low, stats.high) == range_of(image)
