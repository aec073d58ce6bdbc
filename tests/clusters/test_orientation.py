"""Objects that only lie differently are of one kind."""

from __future__ import annotations

import numpy as np
from skimage.draw import ellipse

from napari_kindred.clusters.foreground import FrameObjects
from napari_kindred.clusters.kmeans import Basis
from napari_kindred.clusters.orientation import COMPONENTS, _within, directions, without
from napari_kindred.clusters.predict import cluster_stack
from napari_kindred.clusters.prepass import Sample


def test_what_follows_twice_the_angle_is_found_and_taken_out() -> None:
    random = np.random.default_rng(0)
    angle, size = random.uniform(0, np.pi, 300), random.normal(0, 1, 300)
    hidden = np.stack([3 * np.cos(2 * angle), 3 * np.sin(2 * angle), size, size * 0], 1)
    turned = hidden * [-1, -1, 1, 1]  # a quarter turn: 180 degrees of twice the angle
    mix = np.linalg.qr(random.normal(size=(4, 4)))[0]
    out = directions((hidden @ mix).astype(np.float32), (turned @ mix).astype(np.float32))
    assert out.shape == (4, COMPONENTS)
    np.testing.assert_allclose(mix[2:] @ out, 0, atol=1e-5)  # size stays
    basis = Basis(np.zeros(4, np.float32), np.eye(4, dtype=np.float32))
    tokens = (hidden @ mix).astype(np.float16)
    left = without(Sample(basis, tokens, objects=True), out)
    seen = left.basis.reduce((hidden @ mix).astype(np.float32))
    np.testing.assert_allclose(seen, (hidden * [0, 0, 1, 1]) @ mix, atol=1e-4)
    np.testing.assert_allclose(left.tokens, seen, atol=0.02)


def test_nothing_is_taken_out_if_turns_change_little_or_objects_are_few() -> None:
    own = np.random.default_rng(0).normal(size=(100, 5)).astype(np.float32)
    assert directions(own, own * np.float32(0.9)).shape == (5, 0)
    assert directions(own[:10], -own[:10]).shape == (5, 0)


def test_objects_of_a_part_of_a_frame_are_numbered_anew() -> None:
    labels = np.zeros((4, 8), np.int32)
    labels[:, 1], labels[:, 3], labels[:, 7] = 2, 1, 3
    part = _within(FrameObjects(labels, 3), (4, 5))
    assert part.count == 2
    assert part.labels[0].tolist() == [0, 2, 0, 1, 0]
    full = _within(FrameObjects(np.ones((2, 2), np.int32), 1), (2, 2))
    assert (full.count, full.labels.tolist()) == (1, [[1, 1], [1, 1]])


def test_cells_that_lean_to_either_side_are_one_kind_and_round_ones_another() -> None:
    random = np.random.default_rng(0)
    truth = np.zeros((2, 288, 288), np.intp)
    for number in range(36):
        kind = number % 3  # round, leaning to the left, leaning to the right
        middle = 28 + 46 * (number // 6), 28 + 46 * (number % 6)
        radii = (11, 11) if kind == 0 else (7, 17)
        inside = ellipse(*middle, *radii, rotation=(0, np.pi / 4, -np.pi / 4)[kind])
        truth[:, inside[0], inside[1]] = kind + 1
    pixels = np.where(truth > 0, 150, 20) + random.normal(0, 3, truth.shape)
    result = cluster_stack(pixels.clip(0, 255).astype(np.uint8), axes="TYX", kinds=2, device="cpu")
    counts = [
        np.bincount(result.labels[(truth == kind) & (result.labels > 0)], minlength=3)
        for kind in (1, 2, 3)
    ]
    round_ones, left, right = (int(one.argmax()) for one in counts)
    assert left == right != round_ones
    assert all(one.max() > 0.95 * one.sum() for one in counts)
