"""Parts of linking, each next to another way to the same answer."""

from __future__ import annotations

import time
from itertools import permutations

import numpy as np
import pytest

from napari_kindred.linking.drift import common_motion, estimate_drift
from napari_kindred.linking.linker import Linker
from napari_kindred.linking.matching import UNLINKED, match_pairs
from napari_kindred.linking.objects import measure_objects


@pytest.mark.parametrize("seed", range(5))
def test_no_other_matching_costs_less(seed: int) -> None:
    rng = np.random.default_rng(seed)
    cost = rng.uniform(0, 1.5, (4, 4)) * (rng.random((4, 4)) < 0.7)
    first, second = np.nonzero(cost)
    chosen = match_pairs(first, second, cost[first, second], 4)
    paid = UNLINKED * (4 - len(chosen)) + cost[first, second][chosen].sum()
    table = np.where(cost > 0, np.minimum(cost, UNLINKED), UNLINKED)
    best = min(table[range(4), order].sum() for order in permutations(range(4)))
    assert paid == pytest.approx(best)
    assert len(set(first[chosen])) == len(set(second[chosen])) == len(chosen)


def test_no_candidate_is_no_pair() -> None:
    nothing = np.zeros(0, np.int64)
    assert len(match_pairs(nothing, nothing, nothing.astype(float), 3)) == 0


@pytest.mark.parametrize("axes", [2, 3])
def test_the_drift_that_most_objects_share_is_found(axes: int) -> None:
    rng = np.random.default_rng(0)
    places = rng.uniform(0, 200, (60, axes))
    labels = np.zeros((8,) * axes, int)
    labels[:2], labels[2:4] = 1, 2
    like = measure_objects(labels)
    drift = np.arange(1, axes + 1) * 2.5
    after = type(like)(np.arange(60), np.full(60, 80.0), places + drift, like.labels, like.spacing)
    before = np.concatenate([places[:50], rng.uniform(0, 200, (10, axes))])
    assert estimate_drift(before, np.full(60, 80.0), after) == pytest.approx(drift)


def test_a_field_that_turns_is_a_common_motion_and_noise_is_none() -> None:
    rng = np.random.default_rng(1)
    places = rng.uniform(-50, 50, (40, 2))
    turned = places @ np.array([[0, 0.1], [-0.1, 0]])
    moved = np.arange(30)
    way = turned[moved] + rng.normal(0, 0.1, (30, 2))
    way[0] += 20
    assert common_motion(places, moved, way) == pytest.approx(turned, abs=0.5)
    assert not common_motion(places, moved, rng.normal(0, 1, (30, 2))).any()


def test_an_id_may_be_any_number() -> None:
    labels = np.array([[0, 7, 7], [2**40, 0, 3]])
    objects = measure_objects(labels)
    assert objects.ids.tolist() == [3, 7, 2**40]
    assert objects.labels.tolist() == [[0, 2, 2], [3, 0, 1]]
    assert objects.area.tolist() == [1, 2, 1]
    assert objects.centroid.tolist() == [[1, 2], [0, 1.5], [1, 0]]


def test_a_full_frame_takes_no_longer_than_a_user_waits() -> None:
    side, step = 1000, 10
    labels = np.zeros((side, side), np.int32)
    cells = np.arange(1, (side // step) ** 2 + 1).reshape(side // step, -1)
    labels[:] = np.kron(cells, np.ones((step, step), np.int32))
    labels[::step], labels[:, ::step] = 0, 0
    linker = Linker()
    linker.add(measure_objects(labels))
    start = time.process_time()
    moved = np.zeros_like(labels)
    moved[:, 2:] = labels[:, :-2]
    assert np.array_equal(linker.add(measure_objects(moved)), np.arange(10_000))
    assert time.process_time() - start < 10
