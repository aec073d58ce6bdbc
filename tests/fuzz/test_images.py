"""Whatever is given as an image is read as finite numbers, or refused."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from fuzz.made import Recipe, cases, of_interest, recipes
from napari_kindred.images.axes import AXES, guess_axes
from napari_kindred.images.ranges import intensity_range
from napari_kindred.images.stack import ImageStack, normalise


@cases(3)
@given(recipes(), st.one_of(st.none(), st.integers(-1, 4), st.text(max_size=2)))
# ValueError: cannot convert float NaN to integer
@example(Recipe((2, 2), "YX", "u1", "unknown chunks"), None)
# RuntimeWarning: overflow encountered in cast
@example(Recipe((2, 2), "YX", "longdouble", "plain", "extreme"), None)
def test_frames_are_finite_numbers_or_refused(recipe: Recipe, channel: Any) -> None:
    image, before = recipe.image(), recipe.array()
    frames = of_interest(lambda: ImageStack.open(image, recipe.axes, channel))
    if frames is None:
        return
    assert len(frames) == int(np.prod(frames.leading_shape))
    for index in frames.indices():
        raw = of_interest(lambda index=index: frames.read(index))
        assert raw is not None
        assert raw.pixels.shape == (*frames.plane_shape, 3 if frames.rgb else 1)
        assert raw.pixels.dtype == np.float32
        assert np.isfinite(raw.pixels).all()
        normal = normalise(raw.pixels)
        assert normal.min() >= 0
        assert normal.max() <= 1.5
        known = frames.frame_stats(index)
        region = frames.read_region(index, slice(0, 2), slice(1, 2), known)
        np.testing.assert_array_equal(region.pixels, raw.pixels[:2, 1:2])
    if len(frames):
        low, high = intensity_range(frames)
        assert np.isfinite([low, high]).all()
        assert low <= high
    assert frames.signature() == frames.signature()
    if isinstance(image, np.ndarray) and recipe.container != "backwards":
        np.testing.assert_array_equal(np.asarray(image), before)


@cases(2)
@given(
    st.lists(st.integers(-1, 70), max_size=7).map(tuple),
    st.sampled_from(["uint8", "uint16", "float32", "bool"]),
    st.one_of(st.none(), st.text("TCZYXSQ tyx", max_size=6), st.text(max_size=3)),
    st.one_of(st.none(), st.booleans()),
)
def test_axes_are_guessed_for_any_shape_or_refused(
    shape: tuple[int, ...], dtype: str, metadata: str | None, rgb: bool | None
) -> None:
    guess = of_interest(lambda: guess_axes(shape, dtype, metadata_axes=metadata, rgb=rgb))
    if guess is None:
        return
    assert guess.why
    assert guess.axes == "" or len(guess.axes) == len(shape)
    assert set(guess.axes) <= set(AXES)
    assert len(set(guess.axes)) == len(guess.axes)
    assert guess.axes or not guess.safe
