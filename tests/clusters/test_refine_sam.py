"""A mask decoder, prompted with each piece of a label, draws the outlines."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.draw import disk

from napari_kindred.clusters.refine import refine_none
from napari_kindred.clusters.refine_sam import POINTS, DecoderOutlines, spread_tokens
from napari_kindred.encoders.encode import DecoderWindow


class Painter:
    """Decodes points into all the pixels of a known picture that have one of their colours."""

    def __init__(self, picture, confidence=1.0):
        self.picture, self.confidence = torch.from_numpy(picture), confidence
        self.prompts = []

    def decode(self, values, points, shape):
        assert tuple(self.picture.shape) == shape
        self.prompts.append(points.numpy())
        rows, columns = points.round().long().T
        colour = self.picture[rows, columns].mode().values
        logits = torch.where(self.picture == colour, self.confidence, -1.0)
        # The answer is only one of the three candidates, as with an ambiguous prompt.
        nothing = torch.full_like(logits, -5.0)
        return torch.stack([nothing, logits, nothing])


class Greedy:
    """Claims everything; the more, the further right the prompt is."""

    def decode(self, values, points, shape):
        return (1 + points[:, 1].mean()).expand(3, *shape)


def tilted_halves(height, width):
    y, x = np.mgrid[:height, :width]
    return (x + 0.4 * y > 0.7 * width).astype(np.int64)


def majority(picture, step):
    h, w = picture.shape[0] // step, picture.shape[1] // step
    return (picture.reshape(h, step, w, step).mean((1, 3)) > 0.5).astype(int)


def refined(labels, decoder, shape, step, valid=None, paper=False):
    """Labels of pixels, of a frame that is one window; and what is said about the decoder."""
    everything = slice(0, shape[0]), slice(0, shape[1])
    window = DecoderWindow((slice(None), slice(None)), shape, everything)
    outlines = DecoderOutlines(decoder, [window], paper)
    filled = labels if valid is None else np.where(valid, labels, labels[valid][0])
    before = refine_none(filled, step, shape)
    embeddings = np.zeros((1, 8, 8, 4), np.float16)
    return outlines.refine(labels, valid, embeddings, before, step), outlines.note


@pytest.mark.parametrize("paper", [False, True])
def test_outlines_are_the_decoder_s(paper):
    picture = tilted_halves(64, 96)
    labels = majority(picture, 16)
    found, note = refined(labels, Painter(picture), (64, 96), (16, 16), paper=paper)
    np.testing.assert_array_equal(found, picture)
    assert note == ""


def test_pixels_that_no_mask_claims_keep_their_label():
    picture = tilted_halves(64, 64)
    labels = majority(picture, 16)
    found, _ = refined(labels, Painter(picture, confidence=-0.1), (64, 64), (16, 16))
    np.testing.assert_array_equal(found, np.repeat(np.repeat(labels, 16, 0), 16, 1))


def test_of_overlapping_masks_the_surer_one_wins():
    labels = np.array([[2, 2, 0, 0]])
    found, _ = refined(labels, Greedy(), (8, 32), (8, 8), paper=True)
    assert (found == 0).all()


def test_pieces_of_a_label_are_prompts_of_their_own_but_one_in_the_paper():
    picture = np.zeros((96, 96), int)
    for row, column in ((20, 20), (20, 70), (70, 40)):
        picture[disk((row, column), 14)] = 1
    labels = majority(picture, 8)
    pieces, whole = Painter(picture), Painter(picture)
    refined(labels, pieces, (96, 96), (8, 8))
    refined(labels, whole, (96, 96), (8, 8), paper=True)
    on_a_disk = [points for points in pieces.prompts if picture[tuple(points[0].astype(int))]]
    assert len(on_a_disk) == 3
    assert all(np.ptp(points, axis=0).max() < 28 for points in on_a_disk)
    assert len(whole.prompts) == 2


def test_masks_that_do_not_fit_are_left_out_and_said_but_the_paper_takes_them():
    labels = np.zeros((8, 8), int)
    labels[1:3, 1:3], labels[5:7, 5:7] = 1, 2
    found, note = refined(labels, Greedy(), (64, 64), (8, 8))
    np.testing.assert_array_equal(found, np.repeat(np.repeat(labels, 8, 0), 8, 1))
    assert "Only 1 of 3 masks" in note
    assert "left out" in note
    found, note = refined(labels, Greedy(), (64, 64), (8, 8), paper=True)
    assert (found == 2).all()
    assert "all were taken" in note


def test_each_window_is_asked_for_its_own_part_of_the_frame():
    picture = tilted_halves(32, 64)
    labels = majority(picture, 8)

    class Corner:
        """Knows the picture of a window by the first value of its embedding."""

        def decode(self, values, points, shape):
            left = int(values[0, 0, 0])
            here = np.pad(picture, ((0, 0), (0, 16)), mode="edge")[:, left : left + shape[1]]
            return Painter(here).decode(values, points, shape)

    windows = [
        DecoderWindow((slice(0, 4), slice(0, 5)), (32, 40), (slice(0, 32), slice(0, 32))),
        DecoderWindow((slice(0, 4), slice(3, 8)), (32, 40), (slice(0, 32), slice(32, 64))),
    ]
    embeddings = np.zeros((2, 8, 8, 4), np.float16)
    embeddings[1] = 24
    outlines = DecoderOutlines(Corner(), windows)
    before = refine_none(labels, (8, 8), (32, 64))
    found = outlines.refine(labels, None, embeddings, before, (8, 8))
    np.testing.assert_array_equal(found, picture)
    assert (before != picture).any()


def test_tokens_in_padding_are_no_points():
    picture = tilted_halves(40, 64)
    labels = np.full((4, 4), 7)
    labels[:2] = majority(picture[:32], 16)
    valid = np.zeros((4, 4), bool)
    valid[:2] = True
    shy = Painter(picture, confidence=-0.1)
    refined(labels, shy, (40, 64), (16, 16), valid=valid)
    assert max(points[:, 0].max() for points in shy.prompts) < 32


def test_points_are_the_centres_of_tokens_in_pixels_of_the_frame():
    labels = np.array([[0, 1], [1, 1]])
    painter = Painter(np.zeros((5, 9)))
    refined(labels, painter, (5, 9), (2.5, 4.5))
    np.testing.assert_allclose(painter.prompts[0], [[0.75, 1.75]])
    assert {tuple(point) for point in painter.prompts[1]} <= {
        (0.75, 6.25),
        (3.25, 1.75),
        (3.25, 6.25),
    }


def test_many_tokens_are_stood_for_by_few_that_reach_everywhere():
    mask = np.ones((64, 64), bool)
    chosen = spread_tokens(mask)
    assert len(chosen) == POINTS
    grid = np.argwhere(mask)
    nearest = np.sqrt(((grid[:, None] - chosen[None]) ** 2).sum(-1)).min(1)
    assert nearest.max() < 64 / np.sqrt(POINTS) * 1.3  # a square grid's would be 0.71 spacings
    np.testing.assert_array_equal(chosen, spread_tokens(mask))


def test_tokens_on_outlines_stand_for_small_parts_only():
    mask = np.zeros((20, 20), bool)
    mask[2:9, 2:9] = True
    mask[15, 15] = True
    chosen = {tuple(token) for token in spread_tokens(mask)}
    assert (15, 15) in chosen
    assert chosen - {(15, 15)} == {(y, x) for y in range(3, 8) for x in range(3, 8)}
