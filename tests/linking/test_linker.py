"""Parts of linking, each next to another way to the same answer."""

from __future__ import annotations

import time
from itertools import permutations

import numpy as np
import pytest

from napari_kindred.linking.cost import Weights, find_candidates, link_cost
from napari_kindred.linking.drift import common_motion, estimate_drift
from napari_kindred.linking.ends import Ends
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


def colony(parts: int, at: tuple[int, int] = (10, 10)) -> np.ndarray:
    """Labels of 4 x 6 rods close together, each in so many parts."""
    labels = np.zeros((160, 320), np.int32)
    for number in range(24):
        row, column = at[0] + 7 * (number // 6), at[1] + 25 * (number % 6)
        for part in range(parts):
            start = column + part * 24 // parts
            label = number * parts + part + 1
            labels[row : row + 6, start : start + 24 // parts - (parts > 1)] = label
    return labels


@pytest.mark.parametrize("at", [(10, 10), (30, 80)])
def test_a_colony_whose_cells_all_divide_at_once_keeps_its_lineage(at: tuple[int, int]) -> None:
    linker = Linker()
    linker.add(measure_objects(colony(1)))
    source = linker.add(measure_objects(colony(2, at)))
    assert source.tolist() == np.repeat(np.arange(24), 2).tolist()


def test_a_gap_at_the_edge_of_the_frame_costs_more() -> None:
    costs = []
    for column in (0, 20):
        labels = np.zeros((60, 60), np.int32)
        labels[20:30, column : column + 10] = 1
        objects = measure_objects(labels)
        assert objects.at_edge.tolist() == [column == 0]
        ends = Ends.of(objects, 0).older()
        pairs = find_candidates(ends, objects, 1.0)
        costs.append(link_cost(pairs, ends, objects, 1.0, Weights())[0])
    assert costs[0] - costs[1] == pytest.approx(Weights().edge)


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
