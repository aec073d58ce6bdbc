"""Scores agree with their definitions, followed pixel by pixel."""

from __future__ import annotations

from itertools import pairwise, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from napari_kindred.core.errors import InputError
from napari_kindred.results.metrics import (
    THRESHOLDS,
    average_precision,
    consistency,
    contingency,
    instance_counts,
    mean_iou,
)

label_pairs = st.tuples(st.integers(1, 7), st.integers(1, 7)).flatmap(
    lambda shape: st.tuples(*[arrays(np.int32, shape, elements=st.integers(0, 4))] * 2)
)


def literal_iou(truth, predicted):
    """IoU of every instance with every other, from sets of pixels."""
    return [
        [
            np.logical_and(truth == i, predicted == j).sum()
            / np.logical_or(truth == i, predicted == j).sum()
            for j in np.unique(predicted[predicted > 0])
        ]
        for i in np.unique(truth[truth > 0])
    ]


def literal_matching(iou, threshold):
    """Try every way to pair instances; most hits first, then the largest sum of IoU."""
    rows, columns = len(iou), len(iou[0]) if iou else 0
    best = (0, 0.0)
    padded = list(range(columns)) + [None] * rows
    for chosen in set(permutations(padded, rows)):
        hits = [iou[i][j] for i, j in enumerate(chosen) if j is not None and iou[i][j] >= threshold]
        best = max(best, (len(hits), sum(hits)))
    return best


@given(label_pairs, st.sampled_from([0.2, 0.35, 0.5, 0.7]))
@settings(max_examples=60, deadline=None)
def test_counts_are_those_of_the_best_of_all_matchings(pair, threshold):
    truth, predicted = pair
    iou = literal_iou(truth, predicted)
    hits, total = literal_matching(iou, threshold)
    n_truth, n_predicted = (len(np.unique(x[x > 0])) for x in pair)
    ((tp, fp, fn, iou_sum),) = instance_counts(truth, predicted, [threshold])
    assert (tp, fp, fn) == (hits, n_predicted - hits, n_truth - hits)
    assert iou_sum == pytest.approx(total)


def test_two_halves_of_an_object_are_one_hit_and_one_mistake():
    """Both have an IoU of exactly one half, the only threshold at which a tie can be."""
    truth = np.ones((4, 4), int)
    halves = np.repeat([[1, 1, 2, 2]], 4, axis=0)
    np.testing.assert_array_equal(instance_counts(truth, halves, [0.5]), [[1, 1, 0, 0.5]])


def test_scores_follow_from_counts_summed_over_pictures():
    rng = np.random.default_rng(0)
    pairs = []
    for _ in range(3):
        truth = np.kron(rng.integers(0, 5, (2, 3)), np.ones((8, 8), int))
        pairs.append((truth, np.where(rng.random(truth.shape) < 0.12, 0, np.roll(truth, 1, 1))))
    counts = []
    for threshold in THRESHOLDS:
        tp = fp = fn = total = 0
        for truth, predicted in pairs:
            hits, iou = literal_matching(literal_iou(truth, predicted), threshold)
            tp, total = tp + hits, total + iou
            fp += len(np.unique(predicted[predicted > 0])) - hits
            fn += len(np.unique(truth[truth > 0])) - hits
        counts.append((tp, fp, fn, total))
    tp, fp, fn, total = counts[0]
    assert tp > 0
    scores = average_precision(pairs)
    assert scores["AP50"] == pytest.approx(tp / (tp + fp + fn))
    assert scores["mSA"] == pytest.approx(np.mean([c[0] / sum(c[:3]) for c in counts]))
    assert scores["PQ"] == pytest.approx(total / (tp + fp / 2 + fn / 2))
    assert scores["F1"] == pytest.approx(2 * tp / (2 * tp + fp + fn))
    assert (scores["images"], scores["objects"]) == (3, tp + fn)
    alone = [average_precision([pair])["mSA"] for pair in pairs]
    assert scores["mSA_per_image"] == pytest.approx(np.mean(alone))


def test_missed_and_wrong_objects_count_half_each_for_pq_and_f1():
    """Of four objects one is found; what is wrong is another number than what is missed."""
    truth = np.zeros((4, 40), int)
    truth[:, 0:4], truth[:, 5:9], truth[:, 10:14], truth[:, 15:19] = 1, 2, 3, 4
    for wrong in (1, 5):
        found = np.where(truth == 1, 9, 0)
        for number in range(wrong):
            found[:, 20 + 3 * number : 22 + 3 * number] = 10 + number
        scores = average_precision([(truth, found)])
        assert scores["PQ"] == pytest.approx(1 / (1 + wrong / 2 + 3 / 2))
        assert scores["F1"] == pytest.approx(2 / (2 + wrong + 3))


def test_a_perfect_answer_scores_one_whatever_its_ids():
    truth = np.kron(np.arange(6).reshape(2, 3), np.ones((5, 5), int))
    renamed = np.where(truth > 0, 4_000_000_000 - truth, 0)
    scores = average_precision([(truth, renamed)])
    assert scores["AP50"] == scores["mSA"] == scores["PQ"] == scores["F1"] == 1


def test_nothing_to_find_and_nothing_found_scores_zero_without_failing():
    empty = np.zeros((5, 5), int)
    assert average_precision([(empty, empty)])["mSA"] == 0
    assert average_precision([])["AP50"] == 0
    np.testing.assert_array_equal(instance_counts(empty, empty + 1, [0.5]), [[0, 1, 0, 0]])


@given(label_pairs)
@settings(max_examples=50, deadline=None)
def test_the_table_counts_every_pixel_once(pair):
    counted = {(a, b): n for a, b, n in zip(*contingency(*pair), strict=True)}
    literal = {}
    for a, b in zip(pair[0].flat, pair[1].flat, strict=True):
        literal[a, b] = literal.get((a, b), 0) + 1
    assert counted == literal
    assert list(counted) == sorted(counted)


def test_label_images_that_cannot_be_compared_are_refused():
    good = np.zeros((3, 3), int)
    for bad in (np.zeros((3, 4), int), np.zeros((3, 3)), good - 1):
        with pytest.raises(InputError):
            average_precision([(good, bad)])


def test_class_maps_are_scored_over_all_pictures_and_ignored_pixels_do_not_count():
    pairs = [
        (np.array([[0, 0, 1, 1, 255]]), np.array([[0, 1, 1, 1, 2]])),
        (np.array([[2, 2, 2, 1, 255]]), np.array([[2, 2, 0, 3, 1]])),
    ]
    mean, per_class = mean_iou(pairs)
    assert per_class == {0: 1 / 3, 1: 2 / 4, 2: 2 / 3}
    assert mean == pytest.approx((2 / 4 + 2 / 3) / 2)
    assert mean_iou([]) == (0.0, {})


def test_flip_rate_counts_changes_of_an_objects_majority_cluster():
    # Object 1 changes its cluster once in two steps; object 2 is missing in the second frame and
    # has the same cluster before and after.
    truth = np.array([[[1, 1, 1, 2, 2]], [[1, 1, 1, 0, 0]], [[1, 1, 1, 2, 2]]])
    clusters = np.array([[[7, 7, 5, 6, 6]], [[7, 7, 5, 6, 6]], [[5, 5, 7, 6, 6]]])
    assert consistency(truth, clusters)["flip_rate"] == pytest.approx(1 / 3)


@given(
    arrays(np.int32, (4, 3, 5), elements=st.integers(0, 3)),
    arrays(np.int32, (4, 3, 5), elements=st.integers(0, 3)),
)
@settings(max_examples=50, deadline=None)
def test_consistency_agrees_with_its_definition_followed_literally(truth, clusters):
    flips = steps = 0
    for track in range(1, 4):
        majorities = []
        for own, found in zip(truth, clusters, strict=True):
            inside = list(found[own == track])
            if inside:
                majorities.append(min(sorted(set(inside)), key=lambda c: -inside.count(c)))
        steps += max(len(majorities) - 1, 0)
        flips += sum(a != b for a, b in pairwise(majorities))
    taken = [c for c in range(4) if (truth[clusters == c] > 0).sum() * 2 > (clusters == c).sum()]
    mask, objects = np.isin(clusters, taken), truth > 0
    both = (mask & objects).sum()
    scores = consistency(truth, clusters)
    assert scores["flip_rate"] == pytest.approx(flips / max(steps, 1))
    assert scores["best_iou"] == pytest.approx(both / max((mask | objects).sum(), 1))
    assert scores["best_f1"] == pytest.approx(2 * both / max(mask.sum() + objects.sum(), 1))
    assert scores["best_recall"] == pytest.approx(both / max(objects.sum(), 1))
    assert scores["clusters"] == len(np.unique(clusters))
