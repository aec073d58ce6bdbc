"""The losses of the promptable model are small where they should be, and teach who they should."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from napari_kindred.classes.sam.losses import (
    DenseHead,
    answer_loss,
    dense_loss,
    mask_loss,
    real_quality,
)
from napari_kindred.entities.projective import OFFSET_UNIT
from napari_kindred.models.augment import IGNORE


@pytest.fixture
def targets():
    square = torch.zeros(1, 8, 8)
    square[:, 2:6, 2:6] = 1
    return square


ALL = torch.ones(8, 8)


def test_focal_and_dice_are_as_published(targets):
    """Computed from their formulas, pixel by pixel."""
    torch.manual_seed(0)
    logits = torch.randn(1, 1, 8, 8)
    focal = shared = chances = 0.0
    for logit, t in zip(logits.flatten(), targets.flatten(), strict=True):
        p = float(torch.sigmoid(logit))
        right, alpha = (p, 0.25) if t else (1 - p, 0.75)
        focal += -alpha * (1 - right) ** 2 * float(torch.tensor(right).log()) / 64
        shared += p * float(t)
        chances += p
    dice = 1 - (2 * shared + 1) / (chances + 16 + 1)
    assert float(mask_loss(logits, targets, ALL)) == pytest.approx(20 * focal + dice, rel=1e-4)


def test_pixels_outside_the_picture_change_nothing(targets):
    valid = ALL.clone()
    valid[:, 4:] = 0
    logits = torch.randn(1, 1, 8, 8)
    other = logits.clone()
    other[..., 4:] = 9.0
    assert torch.equal(mask_loss(logits, targets, valid), mask_loss(other, targets, valid))
    assert torch.equal(real_quality(logits, targets, valid), real_quality(other, targets, valid))


def test_quality_is_the_overlap(targets):
    half = targets.clone()
    half[:, 4:] = 0
    logits = torch.stack([targets, half, 1 - targets, torch.ones_like(half)], 1) * 2 - 1
    assert real_quality(logits, targets, ALL).tolist() == [[1.0, 0.5, 0.0, 0.25]]
    assert real_quality(-torch.ones(1, 1, 8, 8), targets * 0, ALL).item() == 0


@pytest.mark.parametrize(
    ("single", "empty", "masks", "rated"),
    [
        (False, False, [False, False, True, False], [False, True, True, True]),
        (True, False, [True, False, False, False], [True, False, False, False]),
        (False, True, [False] * 4, [False] * 4),
    ],
    ids=["ambiguous", "a box", "background"],
)
def test_only_the_best_mask_that_a_prompt_may_use_is_trained_and_all_are_rated(
    single, empty, masks, rated, targets
):
    """Gradients that reach the four masks and their qualities; the second mask is the best."""
    targets = targets * (not empty)
    torch.manual_seed(0)
    logits = torch.randn(1, 4, 8, 8)
    logits[0, 2] = targets[0] * 4 - 2
    logits.requires_grad_()
    quality = torch.zeros(1, 4, requires_grad=True)
    terms = answer_loss(
        logits, quality, targets, ALL, torch.tensor([single]), torch.tensor([empty])
    )
    sum(terms.values()).backward()
    assert (logits.grad.abs().sum((0, 2, 3)) > 0).tolist() == masks
    assert (quality.grad.abs() > 0)[0].tolist() == rated


def test_a_click_on_background_has_no_mask_and_a_quality_of_zero(targets):
    logits, quality = torch.ones(1, 4, 8, 8), torch.ones(1, 4)
    flags = torch.tensor([False]), torch.tensor([True])
    terms = answer_loss(logits, quality, targets * 0, ALL, *flags)
    assert float(terms["mask"]) == 0
    assert float(terms["quality"]) == 1, "and to expect nothing of it"


# -- dense helper -----------------------------------------------------------------------------


@pytest.fixture
def labels():
    truth = torch.zeros(32, 32, dtype=torch.int64)
    truth[8:20, 8:20] = 3
    truth[:, 28:] = IGNORE
    return truth


def perfect(labels):
    """Maps that say for every other pixel what it is and where its entity's centre is."""
    full = F.pad((labels == 3).float()[None, None], (1, 1, 1, 1))
    inner = -F.max_pool2d(-full, 3, stride=1)[0, 0]
    kind = torch.where(labels == 3, 2 - inner.long(), 0)[::2, ::2]
    maps = torch.zeros(5, 16, 16)
    maps[:3] = F.one_hot(kind, 3).permute(2, 0, 1) * 40.0
    places = torch.arange(16) * 2 + 0.5
    maps[3] = ((13.5 - places) / OFFSET_UNIT)[:, None]
    maps[4] = ((13.5 - places) / OFFSET_UNIT)[None]
    return maps


def test_maps_that_say_it_all_cost_nothing_and_moved_ones_do(labels):
    maps = perfect(labels)
    assert float(dense_loss(maps, labels, complete=True)) < 1e-3
    assert float(dense_loss(maps.roll(2, 2), labels, complete=True)) > 1


def test_neither_what_is_outside_nor_what_may_be_unlabelled_is_background(labels):
    maps = perfect(labels)
    maps[:3, :, 14:] = torch.tensor([0.0, 40.0, 0.0])[:, None, None]
    assert float(dense_loss(maps, labels, complete=True)) < 1e-3
    maps[:3, 12:, :14] = torch.tensor([0.0, 40.0, 0.0])[:, None, None]
    assert float(dense_loss(maps, labels, complete=True)) > 1
    assert float(dense_loss(maps, labels, complete=False)) < 1e-3
    assert float(dense_loss(maps, torch.full_like(labels, IGNORE), complete=True)) == 0


def test_the_helper_reads_a_grid_of_half_the_pixels():
    assert DenseHead(16, 8)(torch.zeros(2, 16, 4, 4)).shape == (2, 5, 16, 16)
    assert DenseHead(16, 16)(torch.zeros(1, 16, 4, 4)).shape == (1, 5, 32, 32)
