"""The hierarchy: merged as Ward says, cut anywhere, split below, and counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy.cluster.hierarchy import linkage
from sklearn.cluster import AgglomerativeClustering
from sklearn.metrics import adjusted_rand_score

from napari_kindred.clusters.kmeans import nearest
from napari_kindred.clusters.merge_tree import (
    LEAVES,
    SPLITTABLE,
    best_count,
    cut,
    grow_leaves,
    ward_merges,
)
from napari_kindred.clusters.model import HierarchicalClustering

if TYPE_CHECKING:
    from collections.abc import Callable

RANDOM = np.random.default_rng(0)


def one_group(centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Merge centres that all weigh the same."""
    return ward_merges(centres, np.ones(len(centres)), np.zeros(len(centres), np.intp))


def same_parts(one: np.ndarray, other: np.ndarray) -> bool:
    return adjusted_rand_score(one, other) == 1


@pytest.fixture
def centres() -> np.ndarray:
    return RANDOM.standard_normal((15, 4)).astype(np.float32)


# -- merges ----------------------------------------------------------------------------------


def test_merges_are_those_of_scikit_learn_s_ward(centres: np.ndarray) -> None:
    merges, _ = one_group(centres)
    for count in range(1, 16):
        known = AgglomerativeClustering(count, linkage="ward").fit_predict(centres)
        assert same_parts(cut(merges, count), known)


def test_a_merge_costs_the_variance_that_scipy_says(centres: np.ndarray) -> None:
    costs = one_group(centres)[1]
    # Ward's distance in scipy is the root of twice what the merge adds to the sum of squares.
    np.testing.assert_allclose(costs, linkage(centres, "ward")[:, 2] ** 2 / 2, rtol=1e-4)


def test_a_size_counts_like_that_many_equal_centres(centres: np.ndarray) -> None:
    sizes = RANDOM.integers(1, 6, len(centres))
    merges, costs = ward_merges(centres, sizes.astype(float), np.zeros(15, np.intp))
    known, their_costs = one_group(np.repeat(centres, sizes, axis=0))
    np.testing.assert_allclose(costs, their_costs[-14:], rtol=1e-4)
    first = np.cumsum(sizes) - sizes
    for count in range(1, 15):
        assert same_parts(cut(merges, count), cut(known, count)[first])


def test_leaves_of_one_cluster_are_merged_before_clusters_with_each_other(
    centres: np.ndarray,
) -> None:
    groups = np.repeat([0, 1, 2, 3], [5, 1, 6, 3])
    merges, _ = ward_merges(centres, np.ones(15), groups)
    np.testing.assert_array_equal(cut(merges, 4), groups)
    for count in range(5, 16):
        assert all(len(set(groups[cut(merges, count) == part])) == 1 for part in range(count))


# -- cuts ------------------------------------------------------------------------------------


def test_cuts_are_nested_and_have_as_many_parts_as_asked(centres: np.ndarray) -> None:
    merges, _ = one_group(centres)
    fine = cut(merges, 15)
    assert sorted(fine) == list(range(15))
    for count in range(14, 0, -1):
        coarse = cut(merges, count)
        assert set(coarse) == set(range(count))
        pairs = set(zip(fine, coarse, strict=True))
        assert len(pairs) == count + 1  # each finer part lies in one coarser part
        fine = coarse


def test_a_single_leaf_cannot_be_cut_but_is_a_part() -> None:
    merges, costs = one_group(np.zeros((1, 3), np.float32))
    assert merges.shape == (0, 2)
    assert costs.shape == (0,)
    np.testing.assert_array_equal(cut(merges, 1), [0])


# -- leaves ----------------------------------------------------------------------------------


def test_each_cluster_is_split_into_as_many_leaves_as_its_tokens_allow() -> None:
    sizes = [SPLITTABLE * 2 - 1, SPLITTABLE * 2, SPLITTABLE * 9]
    places = np.array([[0.0, 0], [100, 0], [0, 100]], np.float32)
    owner = np.repeat([0, 1, 2], sizes)
    tokens = (places[owner] + RANDOM.standard_normal((len(owner), 2))).astype(np.float32)
    leaves, parents, areas = grow_leaves(tokens, places, 0)
    np.testing.assert_array_equal(parents, np.repeat([0, 1, 2], [1, 2, LEAVES]))
    np.testing.assert_array_equal(nearest(leaves, places), parents)
    np.testing.assert_array_equal(np.bincount(parents, areas), sizes)
    # A cluster that is not split is its own leaf, in its own place.
    np.testing.assert_array_equal(leaves[0], places[0])


def test_a_cluster_of_equal_tokens_is_not_split_and_one_without_tokens_is_kept() -> None:
    places = np.array([[0.0, 0], [9, 9]], np.float32)
    leaves, parents, areas = grow_leaves(np.zeros((1000, 2), np.float32), places, 0)
    np.testing.assert_array_equal(leaves, places)
    np.testing.assert_array_equal(parents, [0, 1])
    np.testing.assert_array_equal(areas, [1000, 1])


# -- the number of clusters ------------------------------------------------------------------


@pytest.mark.parametrize("count", [4, 7, 12])
def test_the_largest_gap_is_at_the_number_of_groups(count: int) -> None:
    places = 10 * RANDOM.standard_normal((count, 8))
    centres = np.repeat(places, 6, axis=0) + 0.2 * RANDOM.standard_normal((count * 6, 8))
    assert best_count(centres.astype(np.float32), np.ones(count * 6)) == count


@pytest.mark.parametrize(("prototypes", "known"), [(2, 2), (4, 4), (5, 4)])
def test_with_few_prototypes_there_are_few_clusters(prototypes: int, known: int) -> None:
    centres = RANDOM.standard_normal((prototypes, 3)).astype(np.float32)
    assert best_count(centres, np.ones(prototypes)) == known


@pytest.mark.parametrize("count", [4, 6, 8])
@pytest.mark.parametrize("noise", [0.3, 0.05])
def test_auto_finds_the_number_of_kinds_in_a_movie(
    planted: Callable[..., Any], count: int, noise: float
) -> None:
    movie = planted(frames=16, count=count, noise=noise)
    model = HierarchicalClustering("auto").fit(movie.tokens)
    assert model.n_labels_ == count
    assert movie.agreement(model.predict(movie.tokens)) == 1


@pytest.mark.parametrize("count", [4, 8])
@pytest.mark.parametrize("preset", ["default", "paper"])
def test_auto_finds_the_number_of_kinds_in_a_movie_that_stands_still(
    planted: Callable[..., Any], count: int, preset: Any
) -> None:
    """Prototypes of equal batches coincide: merging those says nothing of what there is."""
    still = np.repeat(planted(frames=1, count=count).tokens, 12, axis=0)
    assert HierarchicalClustering("auto", preset=preset).fit(still).n_labels_ == count
