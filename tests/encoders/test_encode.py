"""Frames of any size become tokens, in tiles or as a whole, without padding and without seams."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_kindred.core.errors import InputError, KindredError, OptionError
from napari_kindred.core.events import Notice, Progress, finish
from napari_kindred.encoders.base import Tokens, fitted_shape, projected
from napari_kindred.encoders.encode import iter_encode
from napari_kindred.encoders.registry import open_encoder


@pytest.fixture(scope="module")
def kindred():
    return open_encoder("kindred", stride=4, device="cpu")


def blobs(height, width, channels=1, seed=0):
    """Round bright things on a dark, slightly noisy ground."""
    rng = np.random.default_rng(seed)
    picture = 0.1 + 0.02 * rng.standard_normal((height, width, channels))
    y, x = np.mgrid[:height, :width]
    for _ in range(height * width // 900):
        cy, cx, radius = rng.uniform(0, height), rng.uniform(0, width), rng.uniform(4, 9)
        picture[(y - cy) ** 2 + (x - cx) ** 2 < radius**2] += 0.6
    return picture.astype(np.float32)


class Places:
    """An encoder whose tokens are the mean colour of their pixels; zero-pads to its input."""

    decoder = None
    dimension = 3
    licence = sha256 = ""
    name = "places"

    def __init__(self, stride=16, input_size=None, memory=None):
        self.stride, self.input_size, self.memory = stride, input_size, memory
        self.seen = []

    def encode(self, batch, components=None):
        self.seen.append(tuple(batch.shape[-2:]))
        if self.memory and batch.shape[-1] * batch.shape[-2] > self.memory:
            raise MemoryError
        valid = batch.new_ones(1, 1, *batch.shape[-2:])
        if self.input_size:
            size = fitted_shape(batch.shape[-2:], self.input_size)
            batch = torch.nn.functional.interpolate(batch, size=size, mode="bilinear")
            valid = batch.new_ones(1, 1, *size)
            down, right = (self.input_size - side for side in size)
        else:
            down, right = (-side % self.stride for side in batch.shape[-2:])
        padded = [torch.nn.functional.pad(x, (0, right, 0, down)) for x in (batch, valid)]
        values, valid = (torch.nn.functional.avg_pool2d(x, self.stride) for x in padded)
        values = (values / valid.clamp_min(1e-6)).permute(0, 2, 3, 1)
        return Tokens(projected(values, components), valid[0, 0] > 0)


def ramp(height, width):
    """A picture whose first two channels are the pixel's own y and x."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return np.stack([y, x, np.ones_like(y)], -1)


def assert_tokens_know_their_places(tokens, tolerance):
    y, x = np.mgrid[: tokens.values.shape[0], : tokens.values.shape[1]]
    step_y, step_x = tokens.step
    inside = (slice(None, -1), slice(None, -1))  # the last ones may lie half beyond the edge
    expected_y, expected_x = (y + 0.5) * step_y - 0.5, (x + 0.5) * step_x - 0.5
    np.testing.assert_allclose(tokens.values[..., 0][inside], expected_y[inside], atol=tolerance)
    np.testing.assert_allclose(tokens.values[..., 1][inside], expected_x[inside], atol=tolerance)


@pytest.mark.parametrize("shape", [(300, 500), (512, 512), (97, 700), (40, 33)])
@pytest.mark.parametrize("input_size", [None, 128, 256])
@pytest.mark.parametrize("large", ["tiles", "resize"])
def test_a_token_s_place_in_the_frame_is_known_however_it_was_encoded(shape, input_size, large):
    encoder = Places(16, input_size)
    tokens = finish(iter_encode(encoder, ramp(*shape), large=large, tile=448))
    np.testing.assert_allclose(tokens.values[..., 2], 1, atol=1e-5)  # nothing of the padding
    assert tokens.valid.all()
    assert tokens.valid.shape == tokens.values.shape[:2]
    assert_tokens_know_their_places(tokens, 0.6 * max(1.0, *tokens.step) / 8)
    for length, count, step in zip(shape, tokens.valid.shape, tokens.step, strict=True):
        assert (count - 1) * step < length <= count * step + 1e-3


def test_tiles_of_a_fixed_input_are_at_full_resolution_and_fill_it():
    encoder = Places(16, 256)
    tokens = finish(iter_encode(encoder, ramp(300, 700), large="tiles"))
    assert tokens.step == (16, 16)
    assert {side for shape in encoder.seen for side in shape} == {256}


def test_a_frame_that_fits_is_never_cut():
    for encoder in (Places(16, 256), Places(16, None)):
        finish(iter_encode(encoder, ramp(200, 256), large="tiles", tile=256))
        assert encoder.seen == [(200, 256)]


@pytest.mark.parametrize(("shape", "channels"), [((700, 530), 1), ((417, 801), 3)])
def test_tiled_equals_untiled_for_the_shipped_network(kindred, shape, channels):
    frame = blobs(*shape, channels)
    whole = finish(iter_encode(kindred, frame, tile=2048))
    tiled = finish(iter_encode(kindred, frame, tile=448))
    assert whole.values.shape == tiled.values.shape == (*(-(-s // 4) for s in shape), 224)
    deviation = np.linalg.norm(whole.values - tiled.values, axis=-1)
    contrast = np.linalg.norm(whole.values - whole.values.mean((0, 1)), axis=-1)
    assert np.median(deviation) < 0.05 * np.median(contrast)
    assert np.quantile(deviation, 0.99) < 0.25 * np.median(contrast)


@pytest.mark.parametrize("tile", [2048, 448])
@pytest.mark.parametrize("name", ["kindred", "places", "decoder"])
def test_frames_projected_on_the_way_are_those_projected_afterwards(kindred, name, tile):
    encoder = kindred if name == "kindred" else Places(16, 256 if name == "decoder" else None)
    if name == "decoder":
        encoder.decoder = object()
    wanted = name == "decoder"
    frame = blobs(500, 530)
    components = np.random.default_rng(0).standard_normal((4, encoder.dimension), np.float32)
    for large in ("resize", "tiles"):
        options = {"tile": tile, "large": large, "embedding": wanted}
        expected = finish(iter_encode(encoder, frame, **options))
        found = finish(iter_encode(encoder, frame, components=components, **options))
        by_hand = np.tensordot(expected.values.astype(float), components.astype(float), (2, 1))
        np.testing.assert_allclose(found.values, by_hand, rtol=1e-3, atol=1e-4)
        np.testing.assert_array_equal(found.valid, expected.valid)
        assert found.step == expected.step
        if wanted:
            np.testing.assert_array_equal(found.embedding, expected.embedding)


def test_one_channel_is_the_same_as_three_equal_ones(kindred):
    frame = blobs(64, 70)
    one = finish(iter_encode(kindred, frame))
    three = finish(iter_encode(kindred, np.repeat(frame, 3, axis=2)))
    np.testing.assert_allclose(one.values, three.values, rtol=1e-4, atol=1e-5)


def test_progress_counts_the_tiles():
    events = list(iter_encode(Places(16, 128), ramp(300, 128)))
    assert all(isinstance(event, Progress) for event in events)
    assert [event.done for event in events] == list(range(1, len(events) + 1))
    assert events[-1].done == events[-1].total > 1


def test_smaller_tiles_are_taken_when_memory_is_not_enough_and_the_user_is_told():
    encoder = Places(16, None, memory=700 * 700)
    events = list(iter_encode(encoder, ramp(1500, 1500), tile=1024))
    assert any(isinstance(e, Notice) and "tiles of 512" in e.text for e in events)
    tokens = finish(iter_encode(encoder, ramp(1500, 1500), tile=1024))
    assert_tokens_know_their_places(tokens, 0.01)


def test_a_lack_of_memory_that_tiles_cannot_mend_is_one_sentence():
    with pytest.raises(KindredError, match="Memory is not enough"):
        finish(iter_encode(Places(16, None, memory=9), ramp(600, 600), tile=512))


@pytest.mark.parametrize("shape", [(5, 5), (5, 5, 2), (0, 5, 1)])
def test_what_is_no_frame_is_refused(shape):
    with pytest.raises(InputError, match="frame must be"):
        finish(iter_encode(Places(), np.zeros(shape, np.float32)))


def test_an_unknown_way_with_large_frames_is_refused():
    with pytest.raises(OptionError, match="'tiles' or 'resize'"):
        finish(iter_encode(Places(), ramp(9, 9), large="crop"))
