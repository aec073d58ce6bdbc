"""The losses of multiple-instance learning, against their formulas written out term by term."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from napari_kindred.classes.vocabulary.mil import (
    NOTHING,
    UNKNOWN,
    UNMARKED,
    Bag,
    Head,
    bad_masks,
    bag_scores,
    instance_loss,
    mil_loss,
    uncertainty_loss,
)


def softmax(values: list[float]) -> list[float]:
    powers = [math.exp(value) for value in values]
    return [power / sum(powers) for power in powers]


@pytest.fixture
def logits() -> torch.Tensor:
    return torch.randn(40, 3, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("share", [1, 3, 10, 1000])
def test_a_bags_score_is_the_mean_of_its_largest_logits(logits: torch.Tensor, share: int) -> None:
    sizes = [1, 25, 14]
    expected, start = [], 0
    for size in sizes:
        rows = logits[start : start + size].tolist()
        start += size
        k = max(1, math.ceil(size / share))
        columns = zip(*rows, strict=True)
        expected.append([sum(sorted(column, reverse=True)[:k]) / k for column in columns])
    assert bag_scores(logits, sizes, share).numpy() == pytest.approx(np.array(expected), abs=1e-6)


def test_only_the_largest_logits_learn_from_a_bag(logits: torch.Tensor) -> None:
    logits.requires_grad_()
    bag_scores(logits, [30, 10])[0].sum().backward()
    assert (logits.grad[:30] > 0).sum(0).tolist() == [3, 3, 3]
    assert not logits.grad[30:].any()


def test_the_loss_of_bags_is_the_cross_entropy_with_normalised_names() -> None:
    scores = [[1.0, -2.0, 0.5], [0.0, 3.0, 2.0]]
    present = [[True, False, False], [False, True, True]]
    total = 0.0
    for row, names in zip(scores, present, strict=True):
        for probability, name in zip(softmax(row), names, strict=True):
            total -= name / sum(names) * math.log(probability)
    loss = mil_loss(torch.tensor(scores), torch.tensor(present))
    assert float(loss) == pytest.approx(total / 2, rel=1e-6)


def test_a_class_that_nobody_looked_for_is_left_out_of_a_bags_loss() -> None:
    scores = torch.tensor([[1.0, -2.0, 9.0]], requires_grad=True)
    known = torch.tensor([[True, True, False]])
    loss = mil_loss(scores, torch.tensor([[True, False, False]]), known)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(-math.log(softmax([1.0, -2.0])[0]), rel=1e-6)
    assert scores.grad is not None
    assert scores.grad[0, 2] == 0
    assert torch.isfinite(scores.grad).all()


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_bad_masks_are_the_unsure_and_the_wrong(logits: torch.Tensor, share: float) -> None:
    allowed = torch.rand(40, 3, generator=torch.Generator().manual_seed(1)) > 0.5
    expected = []
    for row, may in zip((3 * logits).tolist(), allowed.tolist(), strict=True):
        chances = softmax(row)
        entropy = -sum(p * math.log(p) for p in chances)
        high = entropy > share * math.log(3)
        low_and_wrong = not high and not may[chances.index(max(chances))]
        expected.append(high or low_and_wrong)
    assert bad_masks(3 * logits, allowed, share).tolist() == expected
    assert 0 < sum(expected) < 40


def test_the_uncertainty_loss_is_smallest_where_all_classes_are_alike(
    logits: torch.Tensor,
) -> None:
    total = sum(-math.log(p) for row in logits.tolist() for p in softmax(row))
    assert float(uncertainty_loss(logits)) == pytest.approx(total / 40, rel=1e-5)
    assert float(uncertainty_loss(torch.zeros(4, 3))) == pytest.approx(3 * math.log(3))
    assert float(uncertainty_loss(torch.zeros(0, 3))) == 0


def test_a_mask_may_be_one_of_several_classes(logits: torch.Tensor) -> None:
    allowed = torch.tensor([[True, False, False], [False, True, True]])
    first, second = (softmax(row) for row in logits[:2].tolist())
    costs = [-math.log(first[0]), -math.log(second[1] + second[2])]
    loss = instance_loss(logits[:2], allowed, torch.tensor([3.0, 1.0]))
    assert float(loss) == pytest.approx((3 * costs[0] + costs[1]) / 4, rel=1e-5)
    assert float(instance_loss(logits[:0], allowed[:0], torch.zeros(0))) == 0


def test_a_head_gives_probabilities_and_leaves_the_rest_to_nothing() -> None:
    head = Head(6, classes=2, nothing=True, hidden=16)
    found = head.probabilities(np.random.default_rng(0).normal(size=(5, 6)), batch=2)
    assert found.shape == (5, 2)
    assert (found > 0).all()
    assert (found.sum(1) < 1).all()
    alone = Head(6, classes=1, nothing=False, hidden=16)
    assert alone.probabilities(np.zeros((3, 6))).tolist() == [[1.0]] * 3


def test_a_head_is_four_layers_deep_and_standardises_by_itself() -> None:
    head = Head(6, classes=2, nothing=False, hidden=16)
    widths = [tuple(layer.weight.shape) for layer in head.layers if hasattr(layer, "weight")]
    assert widths == [(16, 6), (8, 16), (4, 8), (2, 4)]
    values = torch.randn(9, 6, generator=torch.Generator().manual_seed(0))
    before = head(values)
    head.mean += 5.0
    head.scale *= 100.0
    assert torch.allclose(head(values * 100 + 5), before, atol=1e-5)


def test_classes_of_a_bag_are_renumbered_and_may_become_one() -> None:
    bag = Bag(
        np.zeros((6, 2), np.float32),
        np.array([0, 1, 2, NOTHING, UNMARKED, UNKNOWN], np.int16),
        np.array([True, False, True]),
        np.array([True, True, True]),
    )
    moved = bag.mapped(np.array([3, 1, 3], np.int16), 4)
    assert moved.instances.tolist() == [3, 1, 3, NOTHING, UNMARKED, UNKNOWN]
    assert moved.present is not None
    assert moved.present.tolist() == [False, False, False, True]
    assert moved.annotated.tolist() == [False, True, False, True]
    assert moved.take(np.array([1, 5])).instances.tolist() == [1, UNKNOWN]
