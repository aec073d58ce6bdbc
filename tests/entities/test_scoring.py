"""How likely an entity is right: what pixels tell, and what is learnt from it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from napari_kindred.entities import decode
from napari_kindred.entities.config import EntityConfig
from napari_kindred.entities.decode import InstanceMap
from napari_kindred.entities.projective import WIDTH_PER_DIAMETER
from napari_kindred.entities.scoring import (
    LEAST,
    ObjectFilter,
    ObjectStats,
    ScoreModel,
    object_stats,
)


def squares(width=True):
    """Entities 1 (4 by 4 pixels, surer) and 3 (6 by 6, of which half are expected); no 2."""
    labels = np.zeros((20, 20), np.int32)
    labels[10:14, 10:14], labels[2:8, 2:8] = 1, 3
    quality = np.where(labels == 1, 0.8, 0.5).astype(np.float32)
    foreground = np.where(labels == 1, 0.9, 0.75).astype(np.float32)
    expected = np.where(labels == 1, 16.0, 18.0)
    widths = (WIDTH_PER_DIAMETER * np.sqrt(expected * 4 / np.pi)).astype(np.float32)
    return InstanceMap(labels, quality, foreground, widths if width else None)


def test_traits_are_odds_of_the_means_and_logarithms_of_the_sizes():
    traits = object_stats(squares()).traits(scale=2.0)[[0, 2]]
    assert traits[:, 0] == pytest.approx([math.log(0.8 / 0.2), 0], abs=0.01)
    assert traits[:, 1] == pytest.approx([math.log(0.9 / 0.1), math.log(0.75 / 0.25)], abs=0.02)
    assert traits[:, 2] == pytest.approx([0, math.log(36 / 18)], abs=1e-5)
    assert traits[:, 3] == pytest.approx(
        [math.log(2 * math.sqrt(16 * 4 / math.pi)), math.log(2 * math.sqrt(36 * 4 / math.pi))]
    )


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_pixels_without_any_doubt_give_finite_odds(value):
    sums = np.array([9 * value])
    traits = ObjectStats(np.array([9]), sums, sums, np.array([np.nan])).traits(1.0)
    assert np.isfinite(traits).all()
    assert traits[0, 2] == 0, "of a network that tells no size"


def test_a_learnt_score_is_the_chance_that_made_the_examples():
    """Ten thousand entities, right by chances that follow a known function."""
    rng = np.random.default_rng(0)
    traits = rng.normal([0.5, 1.0, -0.2, 3.0], [1.0, 2.0, 0.3, 0.5], (10_000, 4))
    made_by = ScoreModel(-4.0, 1.5, 0.5, 2.0, 1.0)
    right = rng.random(10_000) < made_by(traits)
    learnt = ScoreModel.learn(traits, right, np.ones(10_000))
    np.testing.assert_allclose(learnt(traits), made_by(traits), atol=0.05)
    by_hand = [1 / (1 + math.exp(4 - row @ [1.5, 0.5, 2.0, 1.0])) for row in traits[:50]]
    np.testing.assert_allclose(made_by(traits[:50]), by_hand)


def test_what_weighs_more_decides():
    """The same traits, as often right as wrong."""
    traits, right = np.ones((100, 4)), np.arange(100) < 50
    learnt = ScoreModel.learn(traits, right, np.where(right, 3.0, 1.0))
    assert learnt(traits) == pytest.approx(0.75, abs=1e-3)


@pytest.mark.parametrize("value", [True, False])
def test_nothing_is_learnt_from_a_handful_of_either_kind(value):
    traits = np.random.default_rng(0).normal(size=(200, 4))
    enough = np.arange(200) < LEAST
    assert ScoreModel.learn(traits, enough == value, np.ones(200)) is not None
    enough[0] = False
    assert ScoreModel.learn(traits, enough == value, np.ones(200)) is None


def test_the_less_likely_entity_is_left_out_and_the_other_becomes_the_first():
    larger_is_better = ScoreModel(-math.log(5), 0, 0, 0, 1)  # 5 pixels across: one to one
    odds = np.sqrt([64 / math.pi, 144 / math.pi]) / 5
    probabilities = odds / (1 + odds)
    for least, left in ((0.0, [1, 0]), (0.5, [1]), (0.6, [])):
        config = EntityConfig(min_area=0, min_score=least)
        labels, scores = ObjectFilter(larger_is_better, 1.0, config).finish(squares())
        assert labels.max(initial=0) == len(left)
        assert scores == pytest.approx(probabilities[left].tolist())
        assert (labels[4, 4], labels[12, 12]) == ((1, 2), (1, 0), (0, 0))[2 - len(left)]


@pytest.mark.parametrize(("width", "kept"), [(True, 1), (False, 2)])
def test_without_a_learnt_score_fragments_are_left_out(width, kept):
    """A third of what its pixels speak of is a fragment; where they speak of nothing, it is not."""
    instances = squares(width)
    if instances.width is not None:
        instances.width[instances.labels == 1] *= 2
    labels, scores = ObjectFilter(None, 1.0, EntityConfig(min_area=0, min_score=0.1)).finish(
        instances
    )
    assert labels.max() == kept
    assert scores == pytest.approx([0.5, 0.8][:kept])


def test_a_lower_threshold_never_leaves_out_what_a_higher_one_finds() -> None:
    """Discs whose foreground falls off slowly, at three heights."""
    rows, columns = np.mgrid[:60, :200].astype(np.float32)
    foreground = np.zeros((60, 200), np.float32)
    votes = np.stack([rows, columns], -1)
    for x, height in ((30, 0.95), (90, 0.8), (150, 0.7)):
        away = np.hypot(rows - 30, columns - x)
        foreground = np.maximum(foreground, height / (1 + np.exp((away - 12) / 3)))
        votes[away < 30] = (30, x)
    maps = decode.Maps(foreground, votes, np.full((60, 200), 0.35 * 24, np.float32))
    scoring = ScoreModel(0.0, 1.0, 1.0, 0.0, 0.0)
    found = []
    for threshold in (0.6, 0.4, 0.2):
        objects = ObjectFilter(scoring, 1.0, EntityConfig(min_score=0.7))
        labels, scores = objects.finish(decode.find_pieces(maps, threshold))
        found.append((len(scores), int(np.count_nonzero(labels))))
    assert found[0][0] == 3
    assert [count for count, _ in found] == [3, 3, 3]
    assert found[0][1] < found[1][1] < found[2][1]
