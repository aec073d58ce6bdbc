"""Mean-shift finds lines, whatever their sign, order, number and crowdedness."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_rand_score

from napari_kindred.entities.meanshift import mean_shift, segment_features

SEES = np.cos(np.pi / 4)


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def noisy_lines(sizes, dimensions=16, noise=0.25, seed=0):
    """Points around orthogonal lines, shuffled, of random sign; and which line each is of."""
    rng = np.random.default_rng(seed)
    lines = np.linalg.qr(rng.normal(size=(dimensions, len(sizes))))[0].T
    truth = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    points = lines[truth] + rng.normal(size=(len(truth), dimensions)) * noise / dimensions**0.5
    return unit(points * rng.choice([-1, 1], (len(truth), 1))), truth, lines


def literal_mean_shift(points):
    """The definition, point by point: climb from everywhere, strongest mode first, nearest mode."""
    modes = []
    for start in points:
        mode = start
        while True:
            near = [point * np.sign(point @ mode) for point in points if abs(point @ mode) >= SEES]
            moved = np.sum(near, axis=0) / np.linalg.norm(np.sum(near, axis=0))
            if np.abs(moved - mode).max() < 1e-9:
                break
            mode = moved
        modes.append((len(near), mode))
    distinct = []
    for _, mode in sorted(modes, key=lambda pair: -pair[0]):
        if all(abs(mode @ other) < SEES for other in distinct):
            distinct.append(mode)
    labels = [np.argmax([abs(p @ mode) for mode in distinct]) for p in points]
    return np.array(labels), np.array(distinct)


def same_partition(a, b):
    return adjusted_rand_score(a, b) == 1


@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_the_definition_followed_literally(seed):
    points, _, _ = noisy_lines([24, 12, 6, 2], dimensions=6, noise=0.35, seed=seed)
    labels, modes = mean_shift(points)
    expected, expected_modes = literal_mean_shift(points.astype(float))
    assert same_partition(labels, expected)
    assert len(modes) == len(expected_modes)
    cos = np.abs(expected_modes @ modes.T)
    np.testing.assert_allclose(cos.max(1), 1, atol=1e-5)


def test_recovers_orthogonal_lines_in_noise():
    points, truth, lines = noisy_lines([900, 400, 200, 60, 10])
    labels, modes = mean_shift(points)
    assert same_partition(labels, truth)
    np.testing.assert_array_equal(labels, truth)  # numbered by size
    assert np.abs((lines * modes).sum(1)).min() > 0.98


def test_signs_are_of_no_consequence():
    points, _, _ = noisy_lines([300, 200, 100], noise=0.6)
    flipped = points * np.random.default_rng(1).choice([-1, 1], (len(points), 1)).astype(np.float32)
    for before, after in zip(mean_shift(points), mean_shift(flipped), strict=True):
        np.testing.assert_array_equal(before, after)


def test_the_order_of_the_points_is_of_no_consequence():
    points, _, _ = noisy_lines([300, 200, 100, 7])
    order = np.random.default_rng(1).permutation(len(points))
    labels, modes = mean_shift(points)
    shuffled, shuffled_modes = mean_shift(points[order])
    np.testing.assert_array_equal(shuffled, labels[order])
    np.testing.assert_allclose(shuffled_modes, modes, atol=1e-5)


def test_rotating_space_rotates_the_modes():
    points, _, _ = noisy_lines([300, 200, 100], dimensions=8)
    rotation = np.linalg.qr(np.random.default_rng(2).normal(size=(8, 8)))[0]
    labels, modes = mean_shift(points)
    turned, turned_modes = mean_shift((points @ rotation).astype(np.float32))
    np.testing.assert_array_equal(turned, labels)
    np.testing.assert_allclose(np.abs((turned_modes * (modes @ rotation)).sum(1)), 1, atol=1e-5)


def test_a_second_run_gives_the_same_to_the_bit():
    points, _, _ = noisy_lines([3000, 2000, 100], noise=0.9)
    for once, again in zip(
        mean_shift(points, sample=500), mean_shift(points, sample=500), strict=True
    ):
        np.testing.assert_array_equal(once, again)


def test_small_clusters_are_found_in_a_map_much_larger_than_the_sample():
    sizes = [60_000, 30_000, 9_000, *[40] * 12]
    points, truth, _ = noisy_lines(sizes, dimensions=24)
    labels, modes = mean_shift(points, sample=1000)
    assert len(modes) == len(sizes)
    assert same_partition(labels, truth)


def test_a_wider_kernel_joins_lines_that_a_narrow_one_tells_apart():
    angle = np.deg2rad(30)
    points = unit(np.repeat([[1, 0], [np.cos(angle), np.sin(angle)]], 20, axis=0))
    assert len(mean_shift(points, similarity=np.cos(np.deg2rad(20)))[1]) == 2
    assert len(mean_shift(points, similarity=np.cos(np.deg2rad(40)))[1]) == 1


def test_the_search_ends_when_enough_modes_were_found():
    assert len(mean_shift(np.eye(50, dtype=np.float32), max_modes=7)[1]) == 7


def test_takes_tensors_and_nothing():
    points, truth, _ = noisy_lines([30, 20])
    np.testing.assert_array_equal(mean_shift(torch.from_numpy(points))[0], truth)
    labels, modes = mean_shift(np.zeros((0, 5), np.float32))
    assert labels.shape == (0,)
    assert modes.shape == (0, 5)


def drawing(*rows):
    """Digits to a label map; a dot is 0."""
    return np.array([[0 if c == "." else int(c) for c in row] for row in rows])


def test_a_feature_map_becomes_one_label_per_connected_piece():
    clusters = drawing(
        "111.222",
        "111.222",
        "111.111",
        "...2...",
    )
    lines = np.linalg.qr(np.random.default_rng(0).normal(size=(8, 3)))[0].T
    signs = np.random.default_rng(1).choice([-1, 1], (*clusters.shape, 1))
    features = torch.from_numpy((lines[clusters] * signs).astype(np.float32))
    labels = segment_features(features, clusters == 0)
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(
        labels,
        drawing(
            "111.222",
            "111.222",
            "111.333",
            "...4...",
        ),
    )


def test_a_feature_map_of_background_only_has_no_labels():
    assert not segment_features(torch.zeros(5, 5, 3), np.ones((5, 5), bool)).any()
