"""Several channels are looked at together, each as it would be by itself."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

from napari_kindred.core.errors import InputError, OptionError
from napari_kindred.entities.config import EntityConfig
from napari_kindred.images.channels import as_option
from napari_kindred.images.ranges import intensity_range
from napari_kindred.images.stack import ImageStack, normalise


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (None, None), (" ", None), (2, 2), (np.uint8(2), 2), ("2", 2), ([2], 2), ((0, 2), "0+2"),
        ("2+0", "2+0"), ("0, 2,1", "0+2+1"), (np.array([1, 0]), "1+0"), (range(3), "0+1+2"),
    ],
)  # fmt: skip
def test_a_config_keeps_channels_as_a_number_or_as_text(given: Any, kept: Any) -> None:
    assert as_option(given) == kept
    assert EntityConfig(channel=given).channel == kept


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ("0+1+2+3", "at most 3"), ([0, 0], "channel 0 twice"), ("red", "0\\+2 for example"),
        (-1, "counted from 0"), (True, "counted from 0"), ([], "counted from 0"),
        ("0+", "counted from 0"), ([0, "x"], "counted from 0"), (1.0, "counted from 0"),
        ({0: 1}, "counted from 0"), ([[0, 1], [2]], "counted from 0"),
    ],
)  # fmt: skip
def test_a_wrong_channel_is_one_sentence(wrong: Any, complaint: str) -> None:
    with pytest.raises(OptionError, match=complaint):
        EntityConfig(channel=wrong)
    with pytest.raises(InputError, match="its channels are 0 to 3"):
        ImageStack.open(np.zeros((4, 20, 30), np.uint8), "CYX", wrong)


def planes(*shape: int) -> np.ndarray:
    """Noise whose channels, along the first axis, have ranges of their own."""
    pixels = np.random.default_rng(len(shape)).random(shape) ** 2
    gain = np.array([60000, 90, 700, 5]).reshape(-1, *(1,) * (len(shape) - 1))
    return (pixels * gain + gain // 3).astype(np.uint16)


@pytest.mark.parametrize("axes", ["CYX", "YXC", "YCX", "TCYX", "CTYX", "TYXC", "ZCYX", "CTZYX"])
@pytest.mark.parametrize("chosen", [(0, 2), (3, 1, 0)])
def test_each_channel_is_normalised_on_its_own_whatever_the_axes(
    axes: str, chosen: tuple[int, ...]
) -> None:
    sizes = {"C": 4, "T": 2, "Z": 3, "Y": 40, "X": 50}
    order = "C" + axes.replace("C", "")
    whole = planes(*(sizes[letter] for letter in order))
    frames = ImageStack.open(np.moveaxis(whole, 0, axes.index("C")), axes, list(chosen))
    index = next(iter(frames.indices()))
    raw = frames.read(index)
    expected = [whole[number][index].astype(np.float32) for number in chosen]
    np.testing.assert_array_equal(raw.pixels, np.stack(expected, -1))
    alone = [normalise(plane[..., None])[..., 0] for plane in expected]
    alone += [np.zeros((40, 50), np.float32)] * (3 - len(alone))  # two channels: the third is empty
    np.testing.assert_allclose(raw.normalised(), np.stack(alone, -1), atol=1e-6)
    stats, place = frames.frame_stats(index), (slice(5, 20), slice(30, 50))
    region = frames.read_region(index, *place, stats).pixels
    np.testing.assert_allclose(stats.normalised(region), raw.normalised()[place], atol=1e-6)
    assert stats.digest == raw.digest
    frames.average()
    mean = np.mean(alone[: len(chosen)], axis=0)
    np.testing.assert_allclose(frames.read(index).normalised()[..., 0], mean, atol=1e-6)
    seen = frames.frame_stats(index).normalised(region)[..., 0]
    np.testing.assert_allclose(seen, mean[place], atol=1e-6)
    assert frames.signature()["channel"] == "+".join(map(str, chosen))


def test_samples_of_colour_may_be_channels_too() -> None:
    colour = np.moveaxis(planes(4, 30, 40)[:3] >> 8, 0, -1).astype(np.uint8)
    frames = ImageStack.open(colour, "YXS", "2+0")
    np.testing.assert_array_equal(frames.read().pixels, colour[..., [2, 0]])
    assert "Channels 2 (blue) and 0 (red)" in frames.notes[-1]
    assert not frames.rgb


def test_what_is_wrong_with_one_channel_leaves_the_others_as_they_are() -> None:
    picture = planes(4, 30, 40).astype(np.float32)
    picture[1, 3:5] = np.nan
    picture[2] = 7
    raw = ImageStack.open(picture, "CYX", "0+1+2").read()
    assert raw.note == (
        f"Channel 1 of the image has 6.7 % NaN or infinite values, taken as "
        f"{np.nanmin(picture[1]):g}. Channel 2 of the image has the same value (7) everywhere, "
        "so there is nothing to see."
    )
    assert not raw.empty
    assert not raw.normalised()[..., 2].any()
    np.testing.assert_allclose(
        raw.normalised()[..., 0], normalise(picture[0, ..., None])[..., 0], atol=1e-6
    )
    assert raw.pixels[3:5, :, 1].max() == np.nanmin(picture[1])
    assert ImageStack.open(np.ones((2, 30, 40)), "CYX", "0+1").read().empty


def test_the_range_of_a_movie_is_that_of_each_channel() -> None:
    movie = np.moveaxis(planes(4, 5, 40, 50), 0, 1)
    low, high = intensity_range(ImageStack.open(movie, "TCYX", "3+0"))
    for place, number in enumerate((3, 0)):
        alone = intensity_range(ImageStack.open(movie, "TCYX", number))
        assert (low[place], high[place]) == pytest.approx(alone)  # type: ignore[index]


def test_a_pickled_image_reads_the_same(tmp_path: Any) -> None:
    np.save(tmp_path / "image.npy", planes(4, 30, 40))
    mapped = np.load(tmp_path / "image.npy", mmap_mode="r")
    frames = ImageStack.open(mapped, "CYX", "3+0")
    sent = pickle.dumps(frames)
    assert len(sent) < 10_000
    again = pickle.loads(sent)  # noqa: S301
    np.testing.assert_array_equal(again.read().pixels, frames.read().pixels)
