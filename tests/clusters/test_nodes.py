"""Nodes of the tree: picked in one frame, found in all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_kindred.clusters.assembly import ClusterAssembly
from napari_kindred.clusters.model import HierarchicalClustering
from napari_kindred.clusters.nodes import all_nodes
from napari_kindred.core.errors import InputError, OptionError
from napari_kindred.images.stack import ImageStack
from napari_kindred.load import load_segmentation

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def result(planted: Callable[..., Any]) -> Any:
    """Two frames whose rows show one leaf each, all of them in the first frame."""
    model = HierarchicalClustering(3).fit(planted(count=3).tokens)
    count = len(model.leaf_areas_)
    assembly = ClusterAssembly(ImageStack.open(np.zeros((2, count, 4), np.uint8), "TYX"))
    assembly.begin(model)
    leaves = np.repeat(np.arange(count)[:, None], 4, 1)
    for time in range(2):
        assembly.add((time,), np.roll(leaves, time, 0), np.zeros(leaves.shape))
    return assembly.result()


def test_a_pixel_picks_its_cluster_in_every_frame(result: Any) -> None:
    node = result.node_at(1, 2, 3)
    np.testing.assert_array_equal(node.mask, result.labels == result.labels[1, 2, 3])


def test_a_mask_picks_the_node_most_like_it(result: Any) -> None:
    for leaves in all_nodes(result.model.merges_):
        mask = np.isin(result.leaves, sorted(leaves))
        assert result.like(mask).leaves == leaves
        mask[0, :, 0] = False  # not all of it was painted
        assert result.like(mask[0], frame=0).leaves == leaves


def test_a_node_is_widened_to_the_root_and_narrowed_to_leaves(result: Any) -> None:
    node = result.node_at(0, 0, 0)
    wider = node.wider()
    assert node.leaves < wider.leaves
    assert node in wider.parts()
    for _ in range(len(result.model.leaf_areas_)):
        wider = wider.wider()
    assert wider.mask.all()
    assert wider.wider() == wider
    while node.parts():
        first, second = node.parts()
        assert first.leaves | second.leaves == node.leaves
        assert not first.leaves & second.leaves
        node = first
    assert len(node.leaves) == 1


def test_what_lies_outside_is_named(result: Any) -> None:
    with pytest.raises(InputError, match="frame 2"):
        result.node_at(2, 0, 0)
    with pytest.raises(InputError, match="x=-1"):
        result.node_at(0, 0, -1)
    with pytest.raises(InputError, match="mask"):
        result.like(np.zeros((3, 4), bool))
    with pytest.raises(InputError, match="mask"):
        result.like(np.ones((3, 3), bool))


def test_two_examples_are_joined_in_the_smallest_node_with_both(result: Any) -> None:
    nodes = [result._node(leaves) for leaves in all_nodes(result.model.merges_)]
    for one in nodes:
        for other in nodes:
            both = [node.leaves for node in nodes if node.leaves >= one.leaves | other.leaves]
            assert one.joined(other).leaves == min(both, key=len)


def test_picks_become_labels_with_names_in_this_and_other_movies(
    result: Any, tmp_path: Path
) -> None:
    inner = result._node(frozenset([0]))
    outer = inner.wider()
    picked = result.picked({"inner": inner, "outer": outer})
    expected = np.where(inner.mask, 1, 2 * outer.mask)
    np.testing.assert_array_equal(picked.labels, expected)
    assert picked.names == {1: "inner", 2: "outer"}
    assert picked.table["area"].tolist() == [(expected == label).sum() for label in (1, 2)]
    assert picked.per_frame["area"].sum() == (expected > 0).sum()

    result.model.remember("inner", inner)
    path = result.model.save(tmp_path / "kinds.safetensors")
    assert HierarchicalClustering.load(path).examples_ == {"inner": inner.leaves}
    np.testing.assert_array_equal(result.picked().labels, inner.mask)
    again = load_segmentation(picked.save(tmp_path / "picked.ome.zarr"))
    np.testing.assert_array_equal(again.labels, expected)
    assert again.provenance["picks"] == {"inner": [0], "outer": sorted(outer.leaves)}


def test_a_pick_of_nothing_is_refused(result: Any) -> None:
    with pytest.raises(OptionError, match="Nothing was picked"):
        result.picked()
    with pytest.raises(OptionError, match="one level"):
        result.picked({"all": result.node_at(0, 0, 0)}).node_at(0, 0, 0)
