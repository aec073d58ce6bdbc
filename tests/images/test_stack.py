from __future__ import annotations

import warnings

import dask.array as da
import numpy as np
import pytest
import zarr

from napari_kindred.core.errors import InputError
from napari_kindred.images import intensity
from napari_kindred.images.ranges import intensity_range
from napari_kindred.images.stack import (
    ImageStack,
    guess_axes,
    normalise,
    normalise_to,
)

RANDOM = np.random.default_rng(0)


def picture(*shape: int, dtype: str = "uint16") -> np.ndarray:
    return RANDOM.integers(1, 200, shape).astype(dtype)


# -- guessing ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "dtype", "axes"),
    [
        ((64, 80), "uint16", "YX"),
        ((64, 80, 3), "uint8", "YXS"),
        ((64, 80, 4), "uint8", "YXS"),
        ((64, 80, 3), "float32", "YXS"),
        ((10, 64, 80), "uint16", "TYX"),
        ((1, 64, 80), "uint16", "TYX"),
        ((10, 64, 80, 3), "uint8", "TYXS"),
        ((10, 12, 64, 80), "uint16", "TZYX"),
    ],
)
def test_clear_shapes_are_guessed(shape: tuple[int, ...], dtype: str, axes: str) -> None:
    guess = guess_axes(shape, dtype)
    assert (guess.axes, guess.safe) == (axes, True)
    assert guess.why


@pytest.mark.parametrize(
    ("shape", "hint"),
    [
        ((3, 64, 80), "CYX"),
        ((10, 2, 64, 80), "TCYX"),
        ((2, 10, 64, 80), "CTYX"),
        ((2, 3, 64, 80), "TCYX"),
        ((5, 2, 6, 64, 80), "TCZYX"),
        ((64, 80, 2), "YXC"),
    ],
)
def test_a_guess_that_could_leave_out_channels_or_frames_is_refused_with_a_proposal(
    shape: tuple[int, ...], hint: str
) -> None:
    guess = guess_axes(shape, "uint16")
    assert (guess.axes, guess.safe) == (hint, False)
    with pytest.raises(InputError, match=hint):
        ImageStack.open(np.zeros(shape, "uint16"))


def test_metadata_decides_before_the_shape_does() -> None:
    assert guess_axes((3, 64, 80), "uint16", metadata_axes="tyx").axes == "TYX"
    assert ImageStack.open(picture(3, 64, 80), metadata_axes="ZYX").leading_axes == "Z"


def test_metadata_that_does_not_fit_is_passed_over() -> None:
    assert guess_axes((10, 64, 80), "uint16", metadata_axes="YX").axes == "TYX"


def test_a_layer_that_is_known_not_to_be_rgb_is_not_guessed_as_rgb() -> None:
    assert guess_axes((64, 80, 3), "uint8", rgb=False).axes == "YXC"
    assert guess_axes((64, 80, 3), "uint8", rgb=True).axes == "YXS"


def test_the_guess_is_told() -> None:
    assert "TYX" in ImageStack.open(picture(10, 64, 80)).notes[0]
    assert ImageStack.open(picture(10, 64, 80), axes="TYX").notes == ()
    assert "Channel 0 of 3" in ImageStack.open(picture(3, 64, 80), axes="CYX").notes[0]
    assert ImageStack.open(picture(3, 64, 80), axes="CYX", channel=1).notes == ()


# -- reading ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["bool", "uint8", "uint16", "int32", "float32", "float64"])
@pytest.mark.parametrize(
    ("axes", "shape", "frames"),
    [
        ("YX", (20, 30), 1),
        ("CYX", (3, 20, 30), 1),
        ("TYX", (4, 20, 30), 4),
        ("TCYX", (4, 3, 20, 30), 4),
        ("ZYX", (5, 20, 30), 5),
        ("TZYX", (2, 3, 20, 30), 6),
        ("TCZYX", (2, 2, 3, 20, 30), 6),
        ("YXS", (20, 30, 3), 1),
        ("TYXS", (2, 20, 30, 4), 2),
    ],
)
def test_every_kind_of_stack_is_read_frame_by_frame(
    axes: str, shape: tuple[int, ...], frames: int, dtype: str
) -> None:
    stack = picture(*shape, dtype=dtype)
    opened = ImageStack.open(stack, axes=axes)
    read = [opened.read(index).pixels for index in opened.indices()]
    assert len(read) == len(opened) == frames
    assert opened.output_shape == (*opened.leading_shape, 20, 30)
    assert {(frame.dtype.name, frame.shape[:2]) for frame in read} == {("float32", (20, 30))}
    assert {frame.shape[2] for frame in read} == {3 if "S" in axes else 1}
    if "C" in axes:
        stack = stack.take(0, axis=axes.index("C"))
    if "S" in axes:
        stack = stack[..., :3]
    np.testing.assert_array_equal(
        np.concatenate([f.ravel() for f in read]), stack.ravel().astype("float32")
    )


def test_only_the_frame_that_is_read_is_computed() -> None:
    computed = []

    def load(block_info: dict) -> np.ndarray:
        computed.append(block_info[None]["chunk-location"])
        return np.arange(30 * 40, dtype="uint16").reshape(1, 30, 40)

    movie = da.map_blocks(load, chunks=((1,) * 50, (30,), (40,)), dtype="uint16", meta=np.empty(0))
    frames = ImageStack.open(movie)
    assert computed == []
    assert len(frames) == 50
    frames.read((7,))
    assert computed == [(7, 0, 0)]


def test_zarr_is_read_without_loading_it(tmp_path) -> None:
    stack = picture(6, 20, 30)
    array = zarr.create_array(tmp_path / "a.zarr", data=stack, chunks=(1, 20, 30))
    frames = ImageStack.open(array)
    np.testing.assert_array_equal(frames.read((5,)).pixels[..., 0], stack[5])


def test_the_channel_named_is_the_channel_read() -> None:
    stack = picture(4, 3, 20, 30)
    frames = ImageStack.open(stack, axes="TCYX", channel=2)
    assert frames.channel == 2
    np.testing.assert_array_equal(frames.read((1,)).pixels[..., 0], stack[1, 2])
    colour = picture(20, 30, 3, dtype="uint8")
    green = ImageStack.open(colour, axes="YXS", channel=1)
    assert not green.rgb
    np.testing.assert_array_equal(green.read().pixels[..., 0], colour[..., 1])


@pytest.mark.parametrize("channel", [-1, 3, True, 1.0])
def test_a_wrong_channel_is_refused_naming_the_right_ones(channel: object) -> None:
    with pytest.raises(InputError, match="0 to 2"):
        ImageStack.open(picture(3, 20, 30), axes="CYX", channel=channel)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="only 0"):
        ImageStack.open(picture(20, 30), channel=channel)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("axes", "complaint"),
    [
        ("TYXX", "4 axes"),
        ("QYX", "'Q'"),
        ("YYX", "twice"),
        ("TZX", "lack"),
        ("TXY", "transpose"),
        ("YXT", "transpose"),
        ("CYS", "lack"),
        ("SYX", "last axis"),
    ],
)
def test_axes_that_cannot_be_are_refused(axes: str, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        ImageStack.open(picture(5, 20, 30), axes=axes)


# -- what users bring -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image", "complaint"),
    [
        (np.zeros((0, 20)), "empty"),
        (np.zeros((5, 0, 20)), "empty"),
        (np.zeros((20, 1)), "too small"),
        (np.zeros((4, 3, 2, 20, 30)), "give them"),
        (np.zeros(30), "2 to 5 axes"),
        (np.zeros((20, 30), complex), "np.abs"),
        (np.full((20, 30), "a"), "numbers"),
        (np.zeros((20, 30), "datetime64[s]"), "numbers"),
        ("picture.tif", "read_image"),
        (None, "numbers"),
    ],
)
def test_what_is_no_image_is_refused_in_one_sentence(image: object, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint) as caught:
        ImageStack.open(image)
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)


def test_nan_and_infinite_pixels_become_background_with_a_note() -> None:
    image = RANDOM.random((20, 30)) + 5
    image[:2] = np.nan
    image[3, 3] = np.inf
    lowest = image[np.isfinite(image)].min()
    frame = ImageStack.open(image).read()
    assert np.isfinite(frame.pixels).all()
    assert frame.pixels[0, 0, 0] == frame.pixels[3, 3, 0] == np.float32(lowest)
    assert "10 % NaN" in frame.note


def test_a_frame_of_nothing_but_nan_is_black_with_a_note_naming_it() -> None:
    movie = RANDOM.random((6, 20, 30))
    movie[4] = np.nan
    frames = ImageStack.open(movie)
    assert not frames.read((4,)).pixels.any()
    assert frames.read((4,)).note.startswith("Frame T=4 has no finite value")
    assert frames.read((3,)).note == ""


def test_a_constant_image_is_told_and_normalised_to_zeros() -> None:
    frame = ImageStack.open(np.full((20, 30), 7, "uint8")).read()
    assert "same value (7)" in frame.note
    assert not normalise(frame.pixels).any()


@pytest.mark.parametrize(
    "factor_and_offset", [(1e300, 0.0), (-1e38, 0.0), (1.0, -500.0), (1.0, 2.0**45)]
)
def test_negative_and_huge_values_keep_the_picture(factor_and_offset: tuple) -> None:
    factor, offset = factor_and_offset
    image = RANDOM.random((40, 50)).round(2) * 100
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        seen = normalise(ImageStack.open(image * factor + offset).read().pixels)
    expected = normalise((image * np.sign(factor)).astype("float32")[..., None])
    np.testing.assert_allclose(seen, expected, atol=1e-3)


def test_a_source_that_fails_is_reported_with_its_frame() -> None:
    def fail(block: np.ndarray) -> np.ndarray:
        raise OSError("the disk is gone")

    movie = da.zeros((6, 20, 30), chunks=(1, 20, 30)).map_blocks(fail, meta=np.empty((0, 0, 0)))
    with pytest.raises(InputError, match=r"Frame T=2 .*the disk is gone"):
        ImageStack.open(movie).read((2,))


# -- intensities ------------------------------------------------------------------------------


def test_normalising_undoes_gain_and_offset() -> None:
    image = RANDOM.gamma(2.0, 30.0, (60, 70, 1)).astype("float32")
    np.testing.assert_allclose(normalise(image * 37 + 1000), normalise(image), atol=1e-3)


def test_normalised_values_lie_between_0_and_1_and_a_half() -> None:
    image = RANDOM.gamma(2.0, 30.0, (60, 70, 1)).astype("float32")
    image[5, 5] = 1e6
    seen = normalise(image)
    assert (seen.min(), seen.max()) == (0.0, 1.5)
    assert 0.95 < np.quantile(seen, 0.998) < 1.05


def test_colours_stay_colours() -> None:
    image = np.zeros((40, 40, 3), "float32")
    image[..., 0] = RANDOM.random((40, 40)) * 200
    assert not normalise(image)[..., 1:].any()


def test_a_few_bright_pixels_on_black_are_still_seen() -> None:
    image = np.zeros((200, 200, 1), "float32")
    image[10:13, 10:13] = 50
    assert normalise(image)[11, 11, 0] == 1.0


# -- intensities of a whole movie ------------------------------------------------------------


def test_one_range_for_all_frames_is_that_of_all_their_pixels_together() -> None:
    movie = RANDOM.gamma(2.0, 30.0, (8, 40, 50)) * np.arange(1, 9)[:, None, None]
    known = np.percentile(movie, (1.0, 99.8))
    np.testing.assert_allclose(intensity_range(ImageStack.open(movie, "TYX")), known, rtol=1e-5)


def test_a_long_movie_s_range_is_taken_from_frames_spread_over_it() -> None:
    movie = np.zeros((101, 20, 30), np.float32) + np.arange(101)[:, None, None]
    movie += RANDOM.random(movie.shape)
    read = []

    class Source:
        shape, dtype = movie.shape, movie.dtype

        def __getitem__(self, picks: tuple) -> np.ndarray:
            read.append(picks[0])
            return movie[picks]

    low, high = intensity_range(ImageStack.open(Source(), "TYX"), sampled=5)
    assert read == [0, 25, 50, 75, 100]
    assert 0 <= low < 1
    assert 100 < high < 101


def test_the_range_of_large_frames_is_taken_from_a_sample_of_their_pixels(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    movie = RANDOM.normal(100, 10, (4, 300, 300)).astype("float32")
    known = intensity_range(ImageStack.open(movie, "TYX"))
    monkeypatch.setattr(intensity, "SAMPLED", 20_000)
    sampled = intensity_range(ImageStack.open(movie, "TYX"))
    assert sampled != known
    np.testing.assert_allclose(sampled, known, rtol=0.02)


def test_frames_of_one_value_do_not_count_towards_the_range_of_the_others() -> None:
    movie = RANDOM.normal(1000, 10, (6, 40, 50))
    known = intensity_range(ImageStack.open(movie[1:5], "TYX"))
    movie[0], movie[5] = np.nan, 0
    assert intensity_range(ImageStack.open(movie, "TYX")) == known


@pytest.mark.parametrize(
    ("values", "known"), [((7, 7), (7, 7)), ((3, 9), (3, 9)), ((np.nan, np.nan), (0, 0))]
)
def test_frames_of_one_value_each_have_the_range_of_these_values(
    values: tuple, known: tuple
) -> None:
    movie = np.zeros((2, 20, 30)) + np.reshape(values, (2, 1, 1))
    assert intensity_range(ImageStack.open(movie, "TYX")) == known


def test_a_few_bright_pixels_in_a_black_movie_make_the_range() -> None:
    movie = np.zeros((5, 100, 100), "uint8")
    movie[3, 7, 7] = 50
    assert intensity_range(ImageStack.open(movie, "TYX")) == (0, 50)


def test_every_frame_is_mapped_by_the_same_range_and_clipped() -> None:
    frame = np.array([[[0.0], [100]], [[150], [1000]]], np.float32)
    before = frame.copy()
    seen = normalise_to(frame, 100, 200)
    assert seen.dtype == np.float32
    np.testing.assert_allclose(seen[..., 0], [[0, 0], [0.5, 1.5]])
    np.testing.assert_array_equal(frame, before)
    assert not normalise_to(frame, 100, 100).any()


def test_normalising_a_picture_is_mapping_it_by_its_own_range() -> None:
    image = RANDOM.gamma(2.0, 30.0, (60, 70)).astype("float32")
    known = normalise_to(image[..., None], *intensity_range(ImageStack.open(image)))
    np.testing.assert_allclose(normalise(image[..., None]), known, atol=1e-5)


# -- signature --------------------------------------------------------------------------------


def test_the_signature_tells_images_apart_and_stays_the_same_for_the_same_one() -> None:
    movie = picture(5, 20, 30)

    def signature(image: np.ndarray) -> dict:
        frames = ImageStack.open(image)
        for index in frames.indices():
            frames.read(index)
        return frames.signature()

    changed = movie.copy()
    changed[3] += 1
    assert signature(movie) == signature(da.from_array(movie))
    assert signature(movie)["content"] != signature(changed)["content"]
    assert signature(movie)["shape"] == [5, 20, 30]
