"""Prompts for training lie where they must, and corrections where an answer is wrong."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_kindred.classes.sam.model import Prompts
from napari_kindred.classes.sam.prompts import (
    SMALLEST,
    PromptBatch,
    draw_corrections,
    draw_prompt_batch,
)
from napari_kindred.models.augment import IGNORE

SIDE = 64


@pytest.fixture
def labels():
    """Two squares, a speck, and a strip at the right that is outside the picture."""
    truth = torch.zeros(SIDE, SIDE, dtype=torch.int64)
    truth[8:24, 8:24] = 5
    truth[40:56, 10:40] = 9
    truth[30:33, 50:53] = 7
    truth[:, 60:] = IGNORE
    return truth


def draw(labels, seed, boxes=0.0, count=8, complete=True):
    return draw_prompt_batch(labels, complete, count, boxes, np.random.default_rng(seed), 32)


def test_points_lie_on_their_things_and_one_on_background(labels):
    seen = set()
    for seed in range(20):
        prompt_batch = draw(labels, seed)
        under = [int(labels[int(y), int(x)]) for x, y in prompt_batch.prompts.points]
        assert sorted(under) == [0, 5, 9], "the speck is too small, the rest is there"
        assert prompt_batch.empty.tolist() == [n == 0 for n in under]
        for number, target in zip(under, prompt_batch.targets, strict=True):
            area = (labels == number).sum() if number else 0
            assert target.sum() * 4 == area
        seen.update(map(tuple, prompt_batch.prompts.points.tolist()))
    assert len(seen) > 40, "anywhere on them"


def test_boxes_are_rough_but_around_their_things(labels):
    for seed in range(20):
        prompt_batch = draw(labels, seed, boxes=1.0)
        assert len(prompt_batch.prompts.boxes) == 2
        assert prompt_batch.single.tolist() == [False, True, True]
        for box, target in zip(prompt_batch.prompts.boxes, prompt_batch.targets[1:], strict=True):
            rows, columns = torch.nonzero(target > 0.5, as_tuple=True)
            exact = 2 * np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
            size = (exact[2:] - exact[:2]).min()
            assert (box[2:] > box[:2]).all()
            assert np.abs(box.numpy() - exact).max() <= min(20, 0.4 * max(size, 30))
    assert not np.array_equal(box.numpy(), exact)


def test_points_come_before_boxes_and_targets_in_the_same_order(labels):
    for seed in range(10):
        prompt_batch = draw(labels, seed, boxes=0.5)
        prompts = prompt_batch.prompts
        assert len(prompts) == len(prompt_batch.targets) == len(prompt_batch.empty) == 3
        for (x, y), target in zip(prompts.points.long(), prompt_batch.targets, strict=False):
            assert bool(target[y // 2, x // 2] > 0) == bool(labels[y, x] > 0)


def test_nothing_is_called_background_where_annotation_is_incomplete(labels):
    for seed in range(10):
        assert not draw(labels, seed, complete=False).empty.any()


def test_no_more_is_asked_than_allowed_and_nothing_where_nothing_is(labels):
    assert len(draw(labels, 0, count=1).prompts) == 1
    assert not draw(labels, 0, count=1).empty.any()
    assert draw(torch.full((SIDE, SIDE), IGNORE), 0) is None
    only = draw(torch.zeros(SIDE, SIDE, dtype=torch.int64), 0)
    assert only.empty.tolist() == [True]
    small = torch.zeros(SIDE, SIDE, dtype=torch.int64)
    small.view(-1)[: SMALLEST - 1] = 1
    assert draw(small, 0, complete=False) is None


def test_pixels_outside_the_picture_count_for_nothing(labels):
    valid = draw(labels, 0).valid
    assert (valid[:, :30] == 1).all()
    assert (valid[:, 30:] == 0).all()


# -- corrections ------------------------------------------------------------------------------


def answered(logits, truth, valid=None):
    """One point prompt, its three equal candidates, and the truth, all (8, 8)."""
    prompt_batch = PromptBatch(
        Prompts(torch.zeros(1, 2), torch.zeros(0, 4)),
        truth[None],
        torch.ones(8, 8) if valid is None else valid,
        torch.tensor([False]),
    )
    return logits.expand(1, 4, 8, 8), torch.zeros(1, 4), prompt_batch


@pytest.fixture
def truth():
    square = torch.zeros(8, 8)
    square[2:6, 2:6] = 1
    return square


def place(correction):
    """Row and column of the mask pixel, at four input pixels each."""
    x, y = ((correction.points[0] + 0.5) / 4).floor().int().tolist()
    return y, x


def correct(masks, truth, seed, valid=None):
    return draw_corrections(*answered(masks * 2 - 1, truth, valid), 32, np.random.default_rng(seed))


@pytest.mark.parametrize("seed", range(5))
def test_corrections_lie_where_the_mask_is_wrong_or_else_on_the_object(truth, seed):
    missed, more, valid = truth.clone(), truth.clone(), torch.ones(8, 8)
    missed[5, 2:6], more[0, :], valid[:, 4:] = 0, 1, 0
    correction = correct(missed, truth, seed)
    assert correction.inside.tolist() == [True]
    assert place(correction)[0] == 5
    correction = correct(more, truth, seed, valid)
    assert correction.inside.tolist() == [False]
    row, column = place(correction)
    assert row == 0
    assert column < 4, "not beyond the image"
    correction = correct(truth, truth, seed)
    assert correction.inside.tolist() == [True]
    assert truth[place(correction)] == 1
    assert torch.equal(correction.masks[0], truth * 2 - 1)


def test_the_candidate_that_is_trusted_most_is_the_one_corrected(truth):
    logits, quality, prompt_batch = answered(truth * 2 - 1, truth)
    logits = logits.clone()
    logits[0, 2] = 1.0
    quality[0, 2] = 1.0
    correction = draw_corrections(logits, quality, prompt_batch, 32, np.random.default_rng(0))
    assert correction.inside.tolist() == [False]
    assert torch.equal(correction.masks[0], logits[0, 2])
