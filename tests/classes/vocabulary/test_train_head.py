"""A head learns from names of pictures and from marks what the single masks are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from napari_kindred.classes.config import TeachConfig
from napari_kindred.classes.vocabulary import train_head as train_head_module
from napari_kindred.classes.vocabulary.mil import NOTHING, UNKNOWN, UNMARKED, Bag
from napari_kindred.classes.vocabulary.train_head import (
    instance_weights,
    iter_train_head,
    train_head,
)
from napari_kindred.core.errors import InputError
from napari_kindred.core.events import Progress

QUICK = TeachConfig(hidden=128)

FEW = TeachConfig(steps=30, distillation=0.0)

EMPTY = Bag(np.zeros((0, 8), np.float32), np.zeros(0, np.int16), None, np.ones(2, bool))


def masks(kind: int, count: int, seed: int) -> np.ndarray:
    """Embeddings of a kind: a direction of its own, and noise; (count, 8)."""
    values = np.random.default_rng(seed).normal(0, 0.3, (count, 8))
    values[:, kind] += 2
    return values.astype(np.float32)


def bag(kinds: dict[int, int], seed: int, present: list[int] | None, classes: int = 2) -> Bag:
    """A picture of masks of some kinds, with the names of its classes."""
    names = None if present is None else np.isin(np.arange(classes), present)
    parts = [masks(kind, count, 100 * seed + kind) for kind, count in kinds.items()]
    values = np.concatenate(parts)
    unknown = np.full(len(values), UNKNOWN, np.int16)
    return Bag(values, unknown, names, np.ones(classes, bool))


def marked(source: Bag, codes: list[int]) -> Bag:
    return Bag(source.embeddings, np.array(codes, np.int16), source.present, source.annotated)


@pytest.fixture
def named() -> list[Bag]:
    """Kind 0 or kind 1 in each picture, and kind 2 in all of them."""
    return [bag({i % 2: 6, 2: 20}, i, [i % 2]) for i in range(8)]


def test_names_of_pictures_tell_which_masks_are_meant(named: list[Bag]) -> None:
    head = train_head(named, 2, QUICK)
    assert head.probabilities(masks(0, 20, 7))[:, 0].min() > 0.8
    assert head.probabilities(masks(1, 20, 8))[:, 1].min() > 0.8


def test_what_is_in_every_picture_is_left_undecided_by_the_student(named: list[Bag]) -> None:
    teacher, student = (
        train_head(named, 2, TeachConfig(hidden=128, distillation=weight)) for weight in (0.0, 0.15)
    )
    unsure, sure = (
        head.probabilities(masks(2, 50, 9)).max(1).mean() for head in (student, teacher)
    )
    assert unsure < sure
    assert unsure < 0.7


def test_the_student_is_taught_doubt_only_where_the_teacher_fails(named: list[Bag]) -> None:
    student = train_head(named, 2, TeachConfig(hidden=128, distillation=1.0))
    for kind in (0, 1):
        assert student.probabilities(masks(kind, 50, 9))[:, kind].mean() > 0.9
    assert student.probabilities(masks(2, 50, 9)).max(1).mean() < 0.6


def test_a_mark_is_never_taught_doubt(named: list[Bag]) -> None:
    """Even if every mask counts as uncertain, marked ones stay what they are marked as."""
    both = [bag({3: 6, 4: 6}, 30 + i, [0, 1]) for i in range(6)]
    told = [marked(one, [0] * 6 + [1] * 6) for one in both]
    student = train_head(
        [*named, *told], 2, TeachConfig(hidden=128, distillation=3.0, uncertain=0.0)
    )
    assert student.probabilities(masks(3, 50, 9))[:, 0].mean() > 0.9
    assert student.probabilities(masks(4, 50, 9))[:, 1].mean() > 0.9


def test_names_beside_pictures_of_background_tell_classes_from_nothing(named: list[Bag]) -> None:
    empty = marked(bag({2: 40}, 20, None), [NOTHING] * 40)
    head = train_head([*named, empty], 2, QUICK)
    for kind in (0, 1):
        assert head.probabilities(masks(kind, 20, 7))[:, kind].mean() > 0.7
    assert head.probabilities(masks(2, 20, 8)).max(1).mean() < 0.3


def test_pictures_of_several_classes_teach_each_of_them() -> None:
    several = [bag({0: 5, 1: 5, 3: 20}, 1, [0, 1], 3), bag({1: 5, 2: 5, 3: 20}, 2, [1, 2], 3)]
    several += [bag({0: 5, 2: 5, 3: 20}, 3, [0, 2], 3)]
    found = train_head(several, 3, QUICK).probabilities(
        np.concatenate([masks(kind, 10, 40 + kind) for kind in range(3)])
    )
    assert found.argmax(1).tolist() == [0] * 10 + [1] * 10 + [2] * 10


def test_one_class_is_told_from_nothing_by_marks() -> None:
    one = marked(bag({0: 12, 1: 12}, 1, None, 1), [0] * 12 + [NOTHING] * 12)
    head = train_head([one], 1, QUICK)
    assert head.probabilities(masks(0, 20, 7)).min() > 0.7
    assert head.probabilities(masks(1, 20, 8)).max() < 0.3


def test_a_few_marks_are_enough_and_the_unmarked_rest_is_background_unless_it_looks_alike() -> None:
    codes = [0, 0] + [UNMARKED] * 8 + [1, 1] + [UNMARKED] * 8 + [UNMARKED] * 30
    few = marked(bag({0: 10, 1: 10, 2: 30}, 1, None), codes)
    head = train_head([few], 2, QUICK)
    for kind in (0, 1):
        assert head.probabilities(masks(kind, 20, 7))[:, kind].mean() > 0.7
    assert head.probabilities(masks(2, 20, 8)).max(1).mean() < 0.3


def test_who_knew_one_class_says_nothing_of_another() -> None:
    """Nothing for the first author may well be the second author's class."""
    first = marked(bag({0: 5, 1: 5}, 1, None), [0] * 5 + [NOTHING] * 5)
    first = Bag(first.embeddings, first.instances, None, np.array([True, False]))
    second = marked(bag({1: 5, 2: 5}, 2, None), [1] * 5 + [NOTHING] * 5)
    second = Bag(second.embeddings, second.instances, None, np.array([False, True]))
    head = train_head([first, second], 2, QUICK)
    assert head.probabilities(masks(1, 20, 7))[:, 1].mean() > 0.8


def test_a_step_takes_one_thread_and_the_others_are_given_back_before_the_next_event(
    named: list[Bag], monkeypatch: pytest.MonkeyPatch
) -> None:
    taken, step = [], train_head_module._loss

    def watched(*given: Any) -> torch.Tensor:
        taken.append(torch.get_num_threads())
        return step(*given)

    monkeypatch.setattr(train_head_module, "_loss", watched)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        seen = [torch.get_num_threads() for _ in iter_train_head(named, 2, FEW)]
    finally:
        torch.set_num_threads(before)
    assert seen == [3] * 3
    assert taken == [1] * 30


def test_pictures_with_many_masks_and_many_marks_are_drawn_from() -> None:
    large = [bag({i % 2: 150, 2: 150}, i, [i % 2]) for i in range(2)]
    large += [marked(bag({0: 400, 1: 400}, 5, None), [0] * 400 + [1] * 400)]
    head = train_head(large, 2, TeachConfig(steps=60, hidden=64))
    assert head.probabilities(masks(0, 20, 7))[:, 0].mean() > 0.8


def test_progress_covers_teacher_and_student(named: list[Bag]) -> None:
    config = TeachConfig(steps=20, hidden=16, distillation=0.15)
    events = list(iter_train_head(named, 2, config))
    assert all(isinstance(event, Progress) for event in events)
    assert [(event.done, event.total) for event in events] == [
        (0, 40),
        (10, 40),
        (20, 40),
        (30, 40),
    ]


def test_frequent_and_rare_classes_and_the_unmarked_are_weighed() -> None:
    codes = np.array([0] * 16 + [1] * 4 + [NOTHING] * 9 + [UNMARKED] * 60, np.int16)
    weights = instance_weights(codes, 0.2)
    totals = [weights[codes == code].sum() for code in (0, 1, NOTHING, UNMARKED)]
    assert totals == pytest.approx([4, 2, 3, 0.2 * (4 + 2)])


def test_without_masks_or_names_there_is_nothing_to_learn() -> None:
    with pytest.raises(InputError, match="hold no masks"):
        train_head([EMPTY], 2, QUICK)
    with pytest.raises(InputError, match="name no class"):
        train_head([bag({0: 5}, 0, None)], 2, QUICK)
