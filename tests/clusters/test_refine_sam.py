"""A mask decoder, prompted with each label's tokens, draws the outlines."""

from __future__ import annotations

import numpy as np
import torch

from napari_kindred.clusters.refine_sam import POINTS, refine_decoder, spread_tokens


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


def tilted_halves(height, width):
    y, x = np.mgrid[:height, :width]
    return (x + 0.4 * y > 0.7 * width).astype(np.int64)


EMBEDDING = np.zeros((8, 8, 4), np.float32)


def majority(picture, step):
    h, w = picture.shape[0] // step, picture.shape[1] // step
    return (picture.reshape(h, step, w, step).mean((1, 3)) > 0.5).astype(int)


def test_outlines_are_the_decoder_s():
    picture = tilted_halves(64, 96)
    labels = majority(picture, 16)
    valid = np.ones(labels.shape, bool)
    found = refine_decoder(labels, valid, EMBEDDING, Painter(picture), (64, 96), (16, 16))
    np.testing.assert_array_equal(found, picture)


def test_pixels_that_no_mask_claims_keep_their_token_s_label():
    picture = tilted_halves(64, 64)
    labels = majority(picture, 16)
    shy = Painter(picture, confidence=-0.1)
    found = refine_decoder(labels, labels >= 0, EMBEDDING, shy, (64, 64), (16, 16))
    np.testing.assert_array_equal(found, np.repeat(np.repeat(labels, 16, 0), 16, 1))


def test_of_overlapping_masks_the_surer_one_wins():
    class Greedy:
        """Claims everything; the more, the further right the prompt is."""

        def decode(self, values, points, shape):
            return points[:, 1].mean().expand(3, *shape)

    labels = np.array([[2, 2, 0, 0]])
    found = refine_decoder(labels, labels >= 0, EMBEDDING, Greedy(), (8, 32), (8, 8))
    assert (found == 0).all()


def test_tokens_in_padding_are_neither_points_nor_labels():
    picture = tilted_halves(40, 64)
    labels = np.full((4, 4), 7)
    labels[:2] = majority(picture[:32], 16)
    valid = np.zeros((4, 4), bool)
    valid[:2] = True
    shy = Painter(picture, confidence=-0.1)
    found = refine_decoder(labels, valid, EMBEDDING, shy, (40, 64), (16, 16))
    assert set(np.unique(found)) == {0, 1}
    np.testing.assert_array_equal(found[32:], np.repeat(labels[1:2], 16, 1).repeat(8, 0))
    assert max(points[:, 0].max() for points in shy.prompts) < 32


def test_points_are_the_centres_of_tokens_in_pixels_of_the_frame():
    labels = np.array([[0, 1], [1, 1]])
    painter = Painter(np.zeros((5, 9)))
    refine_decoder(labels, labels >= 0, EMBEDDING, painter, (5, 9), (2.5, 4.5))
    np.testing.assert_allclose(painter.prompts[0], [[0.75, 1.75]])
    assert {tuple(point) for point in painter.prompts[1]} <= {
        (0.75, 6.25),
        (3.25, 1.75),
        (3.25, 6.25),
    }


def test_labels_that_a_frame_has_not_are_not_asked_for():
    painter = Painter(np.zeros((32, 32)))
    labels = np.full((2, 2), 5)
    found = refine_decoder(labels, labels >= 0, EMBEDDING, painter, (32, 32), (16, 16))
    assert len(painter.prompts) == 1
    assert (found == 5).all()


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
