"""Fewer or more labels from the same leaves: nested, numbered by area, looked up lazily."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import pytest
import zarr

from napari_kindred.clusters import levels
from napari_kindred.clusters.levels import relabel
from napari_kindred.clusters.model import HierarchicalClustering
from napari_kindred.core.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def model(planted: Callable[..., Any]) -> HierarchicalClustering:
    return HierarchicalClustering(5).fit(planted(frames=8).tokens)


def all_levels(model: HierarchicalClustering) -> range:
    return range(2, len(model.leaf_areas_) + 1)


# -- the look-up table -----------------------------------------------------------------------


def test_every_level_numbers_its_clusters_from_1_by_area(model: HierarchicalClustering) -> None:
    assert len(all_levels(model)) > 5
    for n in all_levels(model):
        table = model.lut(n)
        assert (table.dtype, table.shape) == (np.int32, model.leaf_areas_.shape)
        assert set(table) == set(range(1, n + 1))
        assert (np.diff(np.bincount(table, model.leaf_areas_)[1:]) <= 0).all()


def test_a_finer_level_splits_one_cluster_of_the_coarser_one(model: HierarchicalClustering) -> None:
    for coarse, fine in pairwise(all_levels(model)):
        pairs = set(zip(model.lut(fine).tolist(), model.lut(coarse).tolist(), strict=True))
        assert len(pairs) == fine


def test_the_level_of_the_clusters_themselves_is_what_is_predicted(
    model: HierarchicalClustering, planted: Callable[..., Any]
) -> None:
    movie = planted(frames=8)
    parents = model.lut(model.n_labels_)
    for cluster in range(model.n_labels_):
        assert len(set(parents[model.leaf_parents_ == cluster])) == 1
    np.testing.assert_array_equal(model.predict(movie.tokens), movie.truth + 1)
    np.testing.assert_array_equal(parents, model.numbers_[model.leaf_parents_])


def test_the_background_is_0_and_the_others_go_on_from_1(model: HierarchicalClustering) -> None:
    tables = [model.lut(n) for n in all_levels(model)]
    model.background = "largest"
    for n, table in zip(all_levels(model), tables, strict=True):
        np.testing.assert_array_equal(model.lut(n), table - 1)


@pytest.mark.parametrize("n", [-1, 0, 1, "one too many", 1000])
def test_a_level_that_there_is_not_is_refused_naming_those_that_there_are(
    model: HierarchicalClustering, n: Any
) -> None:
    most = len(model.leaf_areas_)
    n = most + 1 if n == "one too many" else n
    with pytest.raises(OptionError, match=f"no level of {n} clusters; choose one from 2 to {most}"):
        model.lut(n)


# -- looking up ------------------------------------------------------------------------------

TABLE = np.array([3, 1, 2, 2], np.int32)
LEAVES = np.random.default_rng(0).integers(0, 4, (6, 20, 30)).astype(np.uint8)


def test_leaves_in_memory_become_labels_in_memory() -> None:
    labels = relabel(LEAVES, TABLE)
    assert isinstance(labels, np.ndarray)
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(labels, TABLE[LEAVES])


@pytest.mark.parametrize("shape", [(20, 30), (6, 20, 30), (2, 3, 20, 30)])
def test_leaves_on_disk_are_looked_up_when_they_are_read(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    leaves = LEAVES.ravel()[: int(np.prod(shape))].reshape(shape)
    array = zarr.create_array(
        tmp_path / "a.zarr", data=leaves, chunks=(1,) * (len(shape) - 2) + (16, 16)
    )
    labels = relabel(array, TABLE)
    assert isinstance(labels, da.Array)
    assert (labels.dtype, labels.shape) == (np.int32, shape)
    array[...] = leaves[..., ::-1]  # nothing was read before
    np.testing.assert_array_equal(np.asarray(labels), TABLE[leaves[..., ::-1]])


def test_large_leaves_in_memory_are_looked_up_frame_by_frame(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(levels, "LAZY", LEAVES.size * 4 - 1)
    labels = relabel(LEAVES, TABLE)
    assert isinstance(labels, da.Array)
    assert labels.chunksize == (1, 20, 30)
    np.testing.assert_array_equal(np.asarray(labels[2]), TABLE[LEAVES[2]])
    np.testing.assert_array_equal(np.asarray(labels), TABLE[LEAVES])
