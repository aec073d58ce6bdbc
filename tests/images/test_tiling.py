"""Tiles cover the plane, sit on the network's grid, and leave no seam behind."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from napari_kindred.core.errors import InputError, OptionError
from napari_kindred.images.tiling import Stitcher, stitch, tiles


@st.composite
def cuttings(draw):
    """A plane, and a way to cut it that leaves room between the halos."""
    multiple = draw(st.sampled_from([1, 4, 16]))
    halo, blend = draw(st.integers(0, 20)), draw(st.integers(0, 12))
    units = 2 * -(-(halo + blend) // multiple) + draw(st.integers(1, 12))
    tile = units * multiple + draw(st.integers(0, multiple - 1))
    side = st.integers(1, min(230, 5 * tile))  # more tiles along an axis would tell nothing new
    shape = draw(st.tuples(side, side))
    return shape, tile, halo, multiple, blend


@given(cuttings())
@settings(max_examples=150, deadline=None)
def test_weights_add_up_to_one_in_every_pixel(cutting):
    shape, tile, halo, multiple, blend = cutting
    total = np.zeros(shape)
    for part in tiles(shape, tile, halo, multiple=multiple, blend=blend):
        total[part.inner] += part.weights[0][:, None] * part.weights[1]
    np.testing.assert_allclose(total, 1, atol=1e-6)


@given(cuttings())
@settings(max_examples=150, deadline=None)
def test_every_tile_is_on_the_grid_small_enough_and_sees_its_halo(cutting):
    shape, tile, halo, multiple, blend = cutting
    for part in tiles(shape, tile, halo, multiple=multiple, blend=blend):
        for axis, length in enumerate(shape):
            outer, inner = part.outer[axis], part.inner[axis]
            assert outer.start % multiple == 0
            assert outer.stop % multiple == 0 or outer.stop == length
            assert outer.stop - outer.start <= tile
            assert outer.start == 0 or inner.start - outer.start >= halo
            assert outer.stop == length or outer.stop - inner.stop >= halo


@given(cuttings())
@settings(max_examples=60, deadline=None)
def test_a_plane_cut_and_put_together_again_is_the_same(cutting):
    shape, tile, halo, multiple, blend = cutting
    image = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)
    parts = tiles(shape, tile, halo, multiple=multiple, blend=blend)
    again = stitch(((part, image[:, *part.outer]) for part in parts), 2, shape)
    if blend:
        np.testing.assert_allclose(again, image, atol=1e-5)
    else:
        np.testing.assert_array_equal(again, image)


@given(cuttings())
@settings(max_examples=60, deadline=None)
def test_a_filter_narrower_than_the_halo_does_not_notice_the_tiles(cutting):
    shape, tile, halo, multiple, blend = cutting
    image = np.random.default_rng(0).normal(size=shape)

    def blur(plane):
        return gaussian_filter(plane, sigma=max(halo, 1) / 3, radius=halo, mode="nearest")

    parts = tiles(shape, tile, halo, multiple=multiple, blend=blend)
    tiled = stitch(((part, blur(image[part.outer])[None]) for part in parts), 1, shape)[0]
    np.testing.assert_allclose(tiled, blur(image), atol=1e-5)


def test_a_filter_on_a_coarse_grid_does_not_notice_the_tiles():
    """Mean over 8x8 cells, painted back: right only when each tile begins on the same grid."""
    image = np.random.default_rng(0).normal(size=(200, 312))

    def coarse(plane):
        rows, columns = plane.shape[0] // 8, plane.shape[1] // 8
        cells = plane.reshape(rows, 8, columns, 8).mean((1, 3))
        return np.repeat(np.repeat(cells, 8, 0), 8, 1)

    parts = tiles(image.shape, 96, 8, multiple=8, blend=4)
    assert len(parts) > 4
    tiled = stitch(((part, coarse(image[part.outer])[None]) for part in parts), 1, image.shape)
    np.testing.assert_allclose(tiled[0], coarse(image), atol=1e-6)


def test_a_small_plane_is_one_tile_of_its_own_size():
    (only,) = tiles((30, 40), 128, 48, multiple=32)
    assert only.shape == (30, 40)
    assert only.inner == only.outer == only.local == (slice(0, 30), slice(0, 40))


def test_a_plane_a_little_larger_than_a_tile_is_cut_in_even_halves():
    """Two tiles of 1024 for 1100 columns would do nearly twice the work."""
    parts = tiles((64, 1100), 1024, 64, multiple=32)
    assert [part.shape[1] for part in parts] == [640, 620]


def test_padding_of_a_network_at_the_bottom_and_right_is_ignored():
    image = np.arange(50 * 70, dtype=np.float32).reshape(1, 50, 70)
    parts = tiles((50, 70), 32, 4, multiple=8)

    def padded(part):
        tile = image[:, *part.outer]
        more = [(0, 0), (0, -tile.shape[1] % 8), (0, -tile.shape[2] % 8)]
        return np.pad(tile, more, constant_values=-1)

    again = stitch(((part, padded(part)) for part in parts), 1, (50, 70))
    np.testing.assert_array_equal(again, image)


def test_blending_passes_linearly_from_one_tile_to_the_next():
    left, right = tiles((8, 100), 64, 8, blend=4)
    plane = stitch(
        ((part, np.full((1, *part.shape), i)) for i, part in enumerate((left, right))), 1, (8, 100)
    )
    steps = plane[0, 0][(plane[0, 0] > 0) & (plane[0, 0] < 1)]
    np.testing.assert_allclose(np.diff(steps), 1 / 8, atol=1e-6)
    assert len(steps) == 8


def test_the_plane_may_live_in_a_memory_map(tmp_path):
    image = np.random.default_rng(0).normal(size=(3, 90, 90)).astype(np.float32)
    out = np.memmap(tmp_path / "plane", np.float32, "w+", shape=image.shape)
    stitcher = Stitcher(3, (90, 90), out=out)
    for part in tiles((90, 90), 48, 4, blend=4):
        stitcher.add(part, image[:, *part.outer])
    np.testing.assert_allclose(out, image, atol=1e-5)


def test_a_tile_without_room_between_its_halos_says_what_would_do():
    with pytest.raises(OptionError, match="at least 160"):
        tiles((500, 500), 128, 64, multiple=32)


def test_an_empty_plane_is_refused():
    with pytest.raises(InputError, match="no pixels"):
        tiles((0, 10), 64, 4)


def test_results_that_do_not_fit_their_tile_are_refused():
    (part,) = tiles((20, 20), 64, 4)
    stitcher = Stitcher(2, (20, 20))
    with pytest.raises(InputError, match="must be"):
        stitcher.add(part, np.zeros((1, 20, 20)))
    with pytest.raises(InputError, match="cover"):
        stitcher.add(part, np.zeros((2, 20, 19)))
    with pytest.raises(InputError, match="must be"):
        Stitcher(2, (20, 20), out=np.zeros((2, 20, 21)))
