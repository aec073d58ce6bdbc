"""Tokens made small: components as scikit-learn finds them, centres, memberships, means."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.special import softmax
from sklearn.decomposition import PCA

from napari_kindred.clusters import kmeans
from napari_kindred.clusters.kmeans import (
    different,
    fit_basis,
    fit_centres,
    means,
    memberships,
    nearest,
    sample,
    squared_distances,
)
from napari_kindred.core.errors import InputError

RANDOM = np.random.default_rng(0)


def tokens_of(*shape: int) -> np.ndarray:
    """Tokens that vary more along some directions than along others, far from the origin."""
    mixing = RANDOM.standard_normal((shape[-1], shape[-1])) * np.arange(1, shape[-1] + 1)
    return (RANDOM.standard_normal(shape) @ mixing + 5).astype(np.float32)


# -- principal components --------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(500, 30), (20, 30)], ids=["many tokens", "few tokens"])
def test_components_are_those_of_scikit_learn(shape: tuple[int, int]) -> None:
    tokens = tokens_of(*shape)
    expected = PCA(6, svd_solver="full").fit(tokens.astype(np.float64))
    basis = fit_basis(tokens, 6)
    reduced = basis.reduce(tokens)
    assert reduced.dtype == basis.components.dtype == np.float32
    # The sign of a component is arbitrary.
    np.testing.assert_allclose(
        np.abs(reduced), np.abs(expected.transform(tokens)), rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize(("shape", "kept"), [((100, 8), 8), ((5, 30), 4), ((2, 30), 1)])
def test_there_are_never_more_components_than_tokens_or_dimensions_allow(
    shape: tuple[int, int], kept: int
) -> None:
    assert fit_basis(tokens_of(*shape), 20).components.shape == (kept, shape[1])


@pytest.mark.parametrize("count", [40, 4000])
def test_a_basis_from_disk_gives_the_same_bits(count: int) -> None:
    tokens = np.random.default_rng(0).standard_normal((count, 96)).astype(np.float32)
    basis = kmeans.fit_basis(tokens, 20)
    again = kmeans.Basis(
        np.frombuffer(basis.mean.tobytes(), np.float32),
        np.frombuffer(basis.components.tobytes(), np.float32).reshape(basis.components.shape),
    )
    np.testing.assert_array_equal(basis.reduce(tokens), again.reduce(tokens))
    np.testing.assert_array_equal(
        basis.expand(basis.reduce(tokens)), again.expand(again.reduce(tokens))
    )


# -- centres ---------------------------------------------------------------------------------


def blobs(count: int, each: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Tokens (N, 3) around ``count`` places on a line, and the places."""
    places = np.zeros((count, 3), np.float32)
    places[:, 0] = 10 * np.arange(count)
    noise = 0.5 * RANDOM.standard_normal((count, each, 3))
    return (places[:, None] + noise).reshape(-1, 3).astype(np.float32), places


def test_centres_are_found_in_the_middle_of_what_lies_together() -> None:
    tokens, places = blobs(5)
    centres = fit_centres(tokens, 5, 0, tries=10)
    assert centres.dtype == np.float32
    np.testing.assert_allclose(centres[centres[:, 0].argsort()], places, atol=0.3)


def test_the_same_seed_gives_the_same_centres() -> None:
    tokens = tokens_of(400, 5)
    one, two, other = (fit_centres(tokens, 8, seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, other)


def test_centres_that_are_given_are_where_it_begins_and_keep_their_order() -> None:
    tokens, places = blobs(4)
    start = (places + 1)[[2, 0, 3, 1]]
    np.testing.assert_allclose(fit_centres(tokens, 4, 0, start=start), start - 1, atol=0.3)


def test_a_weight_of_ten_is_ten_tokens_at_one_place() -> None:
    tokens, _ = blobs(3, each=20)
    weights = np.where(np.arange(60) % 7 == 0, 10.0, 1.0)
    repeated = np.repeat(tokens, weights.astype(int), axis=0)
    start = tokens[[0, 20, 40]]
    np.testing.assert_allclose(
        fit_centres(tokens, 3, 0, start=start, weights=weights),
        fit_centres(repeated, 3, 0, start=start),
        atol=1e-4,
    )


@pytest.mark.parametrize("copies", [1, 30_000], ids=["few tokens", "many equal tokens"])
def test_fewer_different_tokens_than_centres_are_refused_with_their_number(copies: int) -> None:
    tokens = np.repeat(np.eye(3, dtype=np.float32), copies, axis=0)
    with pytest.raises(InputError, match="only 3 different tokens, too few for 4 clusters"):
        fit_centres(tokens, 4, 0)
    np.testing.assert_allclose(fit_centres(tokens, 3, 0).sum(0), 1, atol=1e-5)


def test_different_tokens_are_counted_up_to_a_number() -> None:
    tokens = np.zeros((30_000, 2), np.float32)
    tokens[-3:] = np.eye(3, 2) + 1  # the rare ones count as well
    assert [different(tokens, most) for most in (1, 3, 4, 9)] == [1, 3, 4, 4]
    assert different(tokens_of(5000, 3), 12) == 12


def test_the_number_of_threads_and_their_order_do_not_change_a_bit() -> None:
    """Sums of floats depend on their order, and threads finish in any."""
    program = """
import hashlib, numpy as np
from napari_kindred.clusters.kmeans import fit_centres
tokens = np.random.default_rng(0).standard_normal((20_000, 8)).astype(np.float32)
start = tokens[:10].copy()
for _ in range(4):
    print(hashlib.sha256(fit_centres(tokens, 10, 0, start=start).tobytes()).hexdigest())
"""
    told = []
    for threads in ("1", "8"):
        more = {"OMP_NUM_THREADS": threads}
        done = subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | more,
            capture_output=True,
            check=True,
            text=True,
        )
        told += done.stdout.split()
    assert len(told) == 8
    assert len(set(told)) == 1


# -- distances and memberships ---------------------------------------------------------------


def test_distances_are_euclidean_and_the_nearest_centre_is_the_nearest() -> None:
    tokens, centres = tokens_of(7, 9, 5), tokens_of(6, 5)
    known = cdist(tokens.reshape(-1, 5), centres, "sqeuclidean").reshape(7, 9, 6)
    np.testing.assert_allclose(squared_distances(tokens, centres), known, rtol=1e-3, atol=1e-2)
    np.testing.assert_array_equal(nearest(tokens, centres), known.argmin(-1))


@pytest.mark.parametrize("temperature", [0.0, 1.0, 1e3])
def test_memberships_are_the_softmax_of_distances_over_the_temperature(temperature: float) -> None:
    tokens, centres = tokens_of(7, 9, 5), tokens_of(6, 5)
    soft = memberships(tokens, centres, temperature)
    distances = squared_distances(tokens, centres).astype(np.float64)
    expected = softmax(-distances / max(temperature, 1e-12), axis=-1)
    assert soft.dtype == np.float32
    np.testing.assert_allclose(soft, expected, atol=1e-5)


# -- means -----------------------------------------------------------------------------------


@pytest.mark.parametrize("at_once", [16, 8192])
def test_means_are_those_of_each_label_over_all_frames(
    monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(kmeans, "AT_ONCE", at_once)
    frames = [tokens_of(100, 6), tokens_of(37, 6)]
    labels = RANDOM.choice([0, 1, 3], 137)
    seen, sizes = means(frames, labels, 5)
    assert sizes.tolist() == [(labels == label).sum() for label in range(5)]
    whole = np.concatenate(frames).astype(np.float64)
    for label in (0, 1, 3):
        np.testing.assert_allclose(seen[label], whole[labels == label].mean(0), rtol=1e-4)
    assert not seen[[2, 4]].any()  # no token, no mean


# -- samples ---------------------------------------------------------------------------------


def test_a_sample_keeps_the_order_and_takes_no_token_twice() -> None:
    tokens = np.arange(100, dtype=np.float32)[:, None]
    few = sample(tokens, 30, np.random.default_rng(0))[:, 0]
    assert len(few) == 30
    assert (np.diff(few) > 0).all()
    assert sample(tokens, 100, np.random.default_rng(0)) is tokens
