"""Objects first: told from the background, of one kind each all over and as they move."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import pytest

from napari_kindred.clusters import object_stage
from napari_kindred.clusters.config import ClusterConfig
from napari_kindred.clusters.foreground import FrameObjects
from napari_kindred.clusters.kinds import count_kinds, grow, kinds_and_specks
from napari_kindred.clusters.levels import lut
from napari_kindred.clusters.model import HierarchicalClustering
from napari_kindred.clusters.predict import cluster_stack
from napari_kindred.core.errors import InputError, OptionError

if TYPE_CHECKING:
    from pathlib import Path

PLACES = [(20, 22), (20, 66), (56, 24), (56, 68), (86, 46)]
BRIGHT = {1, 3}


def cells(frames: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Bright and dim blurred discs that drift on a dark ground, and which is which, (T, Y, X)."""
    rows, columns = np.mgrid[:104, :96]
    truth = np.zeros((frames, 104, 96), np.intp)
    pixels = np.full(truth.shape, 20.0)
    for time in range(frames):
        for number, (top, left) in enumerate(PLACES):
            distance = np.hypot(rows - top, columns - left - time)
            truth[time][distance < 10] = 1 + (number in BRIGHT)
            edge = 1 / (1 + np.exp(distance - 10))
            pixels[time] += edge * (200 if number in BRIGHT else 80)
    pixels += np.random.default_rng(0).normal(0, 2, pixels.shape)
    return pixels.clip(0, 255).astype(np.uint8), truth


@pytest.fixture(scope="module")
def run() -> tuple[np.ndarray, Any]:
    """The truth, and the clusters of the shipped network with defaults but for two kinds."""
    pixels, truth = cells()
    return truth, cluster_stack(pixels, axes="TYX", kinds=2, device="cpu")


def test_cells_are_told_from_one_background_and_by_kind(run: tuple[np.ndarray, Any]) -> None:
    truth, result = run
    assert set(np.unique(result.labels)) == {0, 1, 2}
    assert ((result.labels > 0) == (truth > 0)).mean() > 0.97
    inside = (truth > 0) & (result.labels > 0)
    kind_of = [np.bincount(result.labels[inside & (truth == kind)]).argmax() for kind in (1, 2)]
    assert sorted(kind_of) == [1, 2]
    assert (result.labels[inside] == np.array([0, *kind_of])[truth[inside]]).mean() > 0.97
    assert result.table["index"].tolist() == [1, 2]
    assert any("clustered by kind" in note for note in result.provenance["notes"])


def test_the_tree_is_background_then_kinds_then_parts(run: tuple[np.ndarray, Any]) -> None:
    result = run[1]
    assert result.level == 3
    whole = result.at_level(2)
    np.testing.assert_array_equal(whole.labels > 0, result.labels > 0)
    finest = result.at_level(result.levels[-1])
    assert finest.labels.max() > 2
    for part in np.unique(finest.labels):
        assert len(np.unique(np.asarray(result.labels)[finest.labels == part])) == 1


def test_a_model_labels_other_frames_by_the_same_kinds(
    run: tuple[np.ndarray, Any], tmp_path: Path
) -> None:
    result = run[1]
    pixels, _ = cells()
    path = result.model.save(tmp_path / "kinds.safetensors")
    lazy = da.from_array(pixels, (1, 50, 96))
    again = cluster_stack(lazy, axes="TYX", model=path, device="cpu")
    np.testing.assert_array_equal(again.labels, result.labels)
    with pytest.raises(InputError, match="cluster_stack"):
        HierarchicalClustering.load(path).predict(np.zeros((1, 4, 4, 8), np.float32))


def test_noise_shows_no_objects_and_is_clustered_whole() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (2, 64, 64)).astype(np.uint8)
    result = cluster_stack(noise, axes="TYX", n_clusters=3, stride=8, device="cpu")
    assert object_stage.NOT_FOUND in result.provenance["notes"]
    assert result.table["index"].tolist() == [1, 2, 3]
    other = cluster_stack(
        noise, axes="TYX", n_clusters=3, stride=8, device="cpu", background="none"
    )
    np.testing.assert_array_equal(result.labels, other.labels)


@pytest.mark.parametrize(
    "unfit", [{"refinement": "edges"}, {"objects": False}, {"preset": "paper"}, {"reassign": False}]
)
def test_what_asks_for_whole_frames_is_refused_with_objects(unfit: dict[str, Any]) -> None:
    assert ClusterConfig(**unfit).unfit_for_objects()
    with pytest.raises(OptionError, match="does not go with"):
        ClusterConfig(background="objects", **unfit)


def test_tokens_alone_have_no_objects() -> None:
    with pytest.raises(InputError, match="cluster_stack"):
        HierarchicalClustering(background="objects").fit(np.zeros((2, 4, 4, 8), np.float32))


def test_the_mean_token_of_an_object_weighs_tokens_by_pixels() -> None:
    labels = np.zeros((4, 8), np.int32)
    labels[:, 2:6] = 1  # half of the first token, half of the second
    labels[0, 7] = 2
    objects = FrameObjects(labels, 2)
    values = np.array([[[1.0], [3.0]]], np.float32)
    assert objects.means(values, (4.0, 4.0)).tolist() == [[2.0], [3.0]]
    moved = FrameObjects(np.roll(labels, 1, 1), 2)
    assert objects.overlaps(moved).toarray().tolist() == [[12, 0], [0, 0]]


def test_the_background_merges_last_and_is_label_0() -> None:
    random = np.random.default_rng(0)
    centres = np.array([[0, 0], [9, 0], [9, 3]], np.float32)
    owner = np.repeat(centres, 200, axis=0)
    tokens = owner + random.normal(0, 1, owner.shape).astype(np.float32)
    tree = grow(centres, np.concatenate([tokens, owner], 1), 0)
    count = len(tree.leaves)
    for level in range(2, count + 1):
        labels = lut(tree.merges, tree.areas, "objects", level)
        assert labels[0] == 0
        assert sorted(set(labels)) == list(range(level))
        assert (labels[1:] > 0).all()
    kinds = lut(tree.merges, tree.areas, "objects", 4)
    for kind in (1, 2, 3):
        assert len(set(kinds[tree.parents == kind])) == 1


@pytest.mark.parametrize("true", [2, 3, 5])
def test_auto_finds_the_number_of_kinds(true: int) -> None:
    random = np.random.default_rng(0)
    centres = 10 * np.eye(true, 6)
    means = np.repeat(centres, 60, axis=0) + random.normal(0, 1, (60 * true, 6))
    prototypes = np.concatenate([centres + random.normal(0, 0.3, centres.shape) for _ in range(4)])
    found = count_kinds("auto", prototypes.astype(np.float32), means.astype(np.float32))
    assert found == true
    assert count_kinds(99, prototypes.astype(np.float32), means.astype(np.float32)) == 4 * true


def test_a_kind_of_specks_is_background_and_does_not_count() -> None:
    random = np.random.default_rng(0)
    places = np.array([[0.0, 0.0], [10, 0], [0, 10], [30, 30]])
    owner = np.repeat(np.arange(4), 50)
    prototypes = (places[owner] + random.normal(0, 0.1, (200, 2))).astype(np.float32)
    scores = np.where(owner == 3, 0.2, 0.9)

    def cluster(count: int) -> np.ndarray:
        # Three kinds: the specks, and two of the three kinds of cells together.
        merged = [places[:2].mean(0), places[2], places[3]] if count == 3 else places
        return np.array(merged, np.float32)

    sizes = np.ones(200, np.int64)
    centres, specks = kinds_and_specks(cluster, prototypes, scores, sizes, range(3, 9))
    assert specks == 1
    np.testing.assert_array_equal(centres, places[[3, 0, 1, 2]])
    centres, specks = kinds_and_specks(cluster, prototypes, scores, sizes, range(3, 4))
    assert (len(centres), specks) == (3, 1)


def test_specks_are_parts_of_the_background_below_the_kinds() -> None:
    centres = np.array([[30.0, 30.0], [0, 0], [10, 0]], np.float32)
    owner = np.repeat(centres, 400, 0)
    tokens = (owner + np.random.default_rng(0).normal(0, 1, owner.shape)).astype(np.float32)
    tree = grow(centres, np.concatenate([tokens, owner], 1), 0, specks=1)
    np.testing.assert_array_equal(tree.centres[1:], centres[1:])
    assert tree.parents[:2].tolist() == [0, 0]
    assert (np.diff(tree.parents) >= 0).all()
    by_kind = lut(tree.merges, tree.areas, "objects", 3)
    assert by_kind[1] == by_kind[0] == 0
    assert set(by_kind[2:].tolist()) == {1, 2}
    assert lut(tree.merges, tree.areas, "objects", 4)[1] > 0
