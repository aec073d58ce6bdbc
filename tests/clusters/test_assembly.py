"""Labels of clusters while a run works: provisional ones first, then the final ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from napari_kindred.clusters.assembly import ClusterAssembly
from napari_kindred.images.stack import ImageStack

if TYPE_CHECKING:
    from collections.abc import Callable

NONE = pd.DataFrame()


def empty(frames: int, width: int) -> ClusterAssembly:
    movie = np.zeros((frames, 2, width), np.uint8)
    return ClusterAssembly(ImageStack.open(movie, "TYX"))


def rows(*row: int) -> np.ndarray:
    """A frame of two equal rows."""
    return np.array([row, row], np.int32)


@pytest.fixture
def model(planted: Callable[..., Any]) -> Any:
    from napari_kindred.clusters.model import HierarchicalClustering

    return HierarchicalClustering(3).fit(planted(count=3).tokens)


def test_a_stopped_run_has_one_numbering_in_all_frames(model: Any) -> None:
    assembly = empty(3, 6)
    for time in range(3):
        assembly.add_provisional((time,), rows(1, 1, 1, 2, 2, 3), NONE)
    assembly.begin(model)
    leaf = {label: leaf for leaf, label in enumerate(assembly._lut)}
    leaves = np.array([[leaf[2]] * 3 + [leaf[1]] * 3] * 2)
    partial = assembly.add((0,), leaves, np.zeros((2, 6)))
    assert partial.assembly is assembly
    assert partial.labels[0].tolist() == [2, 2, 2, 1, 1, 1]
    assembly.close()
    assembly.add((1,), leaves[:, ::-1], np.zeros((2, 6)))  # too late
    result = assembly.result()
    assert result.labels is assembly.labels
    assert result.labels[:, 0].tolist() == [[2, 2, 2, 1, 1, 1]] * 3
    assert (result.ids, result.provenance["complete"]) == ("stack", False)
    assert result.provenance["frames_done"] == 3


def test_the_table_counts_each_cluster_over_the_frames_that_are_there() -> None:
    assembly = empty(4, 4)
    assembly.add_provisional((3,), rows(1, 1, 1, 3), NONE)
    assembly.add_provisional((1,), rows(1, 1, 0, 0), NONE)
    table = assembly.table().set_index("index")
    assert table.loc[1, ["area", "first_frame", "last_frame", "frames"]].tolist() == [10, 1, 3, 2]
    assert table["share"].tolist() == [5 / 8, 0, 1 / 8]
    assert table.loc[2, "frames"] == 0
    assert "provisional" in assembly.result().provenance["notes"][-1]


def test_clusters_are_numbered_by_their_pixels_in_the_end(model: Any) -> None:
    """Whatever areas the sample promised; also if the run is stopped while it renumbers."""
    assembly = empty(2, 6)
    assembly.begin(model)
    leaf = {label: leaf for leaf, label in enumerate(assembly._lut)}
    leaves = np.array([[leaf[3]] * 4 + [leaf[2]] * 2] * 2)
    for time in range(2):
        assembly.add((time,), leaves, np.zeros((2, 6)))
    assert assembly.count_areas() == [(0,), (1,)]
    assembly.renumber((0,))
    result = assembly.result()
    assert result.labels[:, 0].tolist() == [[1, 1, 1, 1, 2, 2]] * 2
    assert result.table[["index", "area"]].to_numpy().tolist() == [[1, 16], [2, 8]]
    np.testing.assert_array_equal(result.at_level(3).labels, result.labels)
    assert assembly.clusters == 2
