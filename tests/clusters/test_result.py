"""Results: tables that add up to the labels, other levels, and the way to disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import zarr

from napari_kindred.clusters import assembly as assembly_module
from napari_kindred.clusters import levels
from napari_kindred.clusters.assembly import ClusterAssembly
from napari_kindred.clusters.model import HierarchicalClustering
from napari_kindred.clusters.result import ClusterSegmentation
from napari_kindred.core.errors import OptionError, OutputError
from napari_kindred.images.stack import ImageStack
from napari_kindred.load import load_segmentation
from napari_kindred.results.segmentation import Segmentation

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

COLUMNS = ["index", "area", "share", "first_frame", "last_frame", "frames", "mean_intensity"]


@pytest.fixture
def pixels() -> np.ndarray:
    """Intensities of a movie (6, 12, 16)."""
    return np.random.default_rng(1).integers(0, 1000, (6, 12, 16)).astype(np.uint16)


@pytest.fixture
def make(planted: Callable[..., Any], pixels: np.ndarray) -> Callable[..., ClusterSegmentation]:
    """Cluster planted tokens, one per pixel; the second frame is of nothing but one kind."""

    def run(**options: Any) -> ClusterSegmentation:
        movie = planted()
        movie.tokens[1] = movie.tokens[movie.truth == 0][0]
        model = HierarchicalClustering(5, **options).fit(movie.tokens)
        frames = ImageStack.open(pixels, "TYX")
        assembly = ClusterAssembly(frames)
        assembly.begin(model)
        for number, index in enumerate(frames.indices()):
            distances = np.square(model.reduce(movie.tokens[number])[..., None, :] - model.leaves_)
            assembly.add(index, distances.sum(-1).argmin(-1), pixels[number].astype(np.float32))
        return assembly.result({"method": "clusters"})

    return run


@pytest.fixture
def made(make: Callable[..., ClusterSegmentation]) -> ClusterSegmentation:
    return make()


def check_tables(result: ClusterSegmentation, pixels: np.ndarray) -> None:
    """Count again, by another way, what the tables say."""
    labels = np.asarray(result.labels)
    there = [label for label in np.unique(labels) if label > 0]
    table, per_frame = result.table.set_index("index"), result.per_frame
    assert list(result.table) == COLUMNS
    assert table.index.tolist() == there
    for label in there:
        mask = labels == label
        seen = np.flatnonzero(mask.any((1, 2)))
        row = table.loc[label]
        assert row["area"] == mask.sum()
        assert row["share"] == pytest.approx(mask.mean())
        assert (row["first_frame"], row["last_frame"]) == (seen[0], seen[-1])
        assert row["frames"] == len(seen)
        assert row["mean_intensity"] == pytest.approx(pixels[mask].mean())
        rows = per_frame[per_frame["index"] == label].set_index("frame")
        assert rows.index.tolist() == seen.tolist()
        for frame in seen:
            assert rows.loc[frame, "area"] == mask[frame].sum()
            assert rows.loc[frame, "share"] == pytest.approx(mask[frame].mean())
            mean = pixels[frame][mask[frame]].mean()
            assert rows.loc[frame, "mean_intensity"] == pytest.approx(mean)
    assert per_frame["area"].sum() == (labels > 0).sum()


# -- tables ----------------------------------------------------------------------------------


@pytest.mark.parametrize("background", ["none", "largest"])
def test_the_tables_say_what_the_labels_show(
    make: Callable[..., ClusterSegmentation], pixels: np.ndarray, background: str
) -> None:
    result = make(background=background)
    assert (result.labels == 0).any() == (background == "largest")
    assert result.labels.dtype == np.int32
    assert result.leaves.dtype == np.uint8
    check_tables(result, pixels)


# -- levels ----------------------------------------------------------------------------------


@pytest.mark.parametrize("background", ["none", "largest"])
def test_every_level_has_labels_and_tables_of_its_own(
    make: Callable[..., ClusterSegmentation], pixels: np.ndarray, background: str
) -> None:
    result = make(background=background)
    assert result.levels == range(2, len(result.model.leaf_areas_) + 1)
    for n in (2, 4, 8):
        other = result.at_level(n)
        assert other.level == n
        assert other.provenance["level"] == n
        assert set(np.unique(other.labels)) == set(
            range(n) if background == "largest" else range(1, n + 1)
        )
        check_tables(other, pixels)
    assert result.level == 5
    assert "level" not in result.provenance


def test_a_level_of_a_level_is_the_level(made: ClusterSegmentation) -> None:
    straight, around = made.at_level(7), made.at_level(2).at_level(7)
    np.testing.assert_array_equal(straight.labels, around.labels)
    pd.testing.assert_frame_equal(straight.table, around.table)
    back = made.at_level(3).at_level(5)
    np.testing.assert_array_equal(back.labels, made.labels)
    pd.testing.assert_frame_equal(back.per_frame, made.per_frame)


def test_scale_and_units_stay_at_every_level(made: ClusterSegmentation) -> None:
    made.scale, made.units = (1.0, 0.5, 0.5), ("second", "micrometer", "micrometer")
    other = made.at_level(2)
    assert (other.axes, other.scale, other.units) == (made.axes, made.scale, made.units)


# -- larger than memory ----------------------------------------------------------------------


def test_labels_larger_than_the_limit_lie_on_disk_and_so_does_every_level(
    make: Callable[..., ClusterSegmentation],
    made: ClusterSegmentation,
    pixels: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(assembly_module, "IN_MEMORY", made.leaves.nbytes - 1)
    monkeypatch.setattr(levels, "LAZY", 0)
    large = make()
    assert isinstance(large.labels, zarr.Array)
    assert isinstance(large.leaves, zarr.Array)
    np.testing.assert_array_equal(large.labels[:], made.labels)
    check_tables(large, pixels)
    coarse = large.at_level(3)
    assert isinstance(coarse.labels, da.Array)
    check_tables(coarse, pixels)
    for name in ("a.ome.zarr", "a.tif"):
        read = load_segmentation(coarse.save(tmp_path / name))
        np.testing.assert_array_equal(read.labels, made.at_level(3).labels)


# -- to disk and back ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.tif", "a.ome.tif", "a.ome.zarr"])
def test_labels_and_tables_come_back_from_disk(
    made: ClusterSegmentation, tmp_path: Path, name: str
) -> None:
    path = made.save(tmp_path / name)
    read = load_segmentation(path)
    np.testing.assert_array_equal(read.labels, made.labels)
    pd.testing.assert_frame_equal(read.table, made.table)
    assert read.provenance == made.provenance
    assert read.axes == "TYX"
    if name.endswith(".zarr"):
        group: Any = zarr.open_group(path, mode="r")["per_frame"]
        frames = pd.DataFrame({column: group[column][:] for column in group.attrs["columns"]})
    else:
        frames = pd.read_csv(tmp_path / "a.frames.csv")
    pd.testing.assert_frame_equal(frames, made.per_frame)


def test_what_was_saved_is_returned_with_all_its_levels(
    made: ClusterSegmentation, tmp_path: Path
) -> None:
    hidden = made.without([2])
    hidden.provenance["names"] = {"1": "membrane", "2": "gone", "3": ""}
    read = load_segmentation(hidden.save(tmp_path / "a.ome.zarr"))
    assert isinstance(read, ClusterSegmentation)
    assert (read.level, read.levels) == (made.level, made.levels)
    assert made.ids == read.ids == "stack"
    assert (read.names, read.background) == ({1: "membrane"}, (2,))
    pd.testing.assert_frame_equal(read.per_frame, hidden.per_frame)
    for level in (3, 7):
        here, there = made.at_level(level), read.at_level(level)
        np.testing.assert_array_equal(there.labels, here.labels)
        pd.testing.assert_frame_equal(there.table, here.table)
        assert (there.names, there.background) == ({}, ())
    np.testing.assert_array_equal(read.without([1]).labels, made.without([1]).labels)


def test_a_tiff_holds_one_level_and_says_where_there_are_more(
    made: ClusterSegmentation, tmp_path: Path
) -> None:
    read = load_segmentation(made.at_level(3).save(tmp_path / "a.tif"))
    assert isinstance(read, ClusterSegmentation)
    assert (read.level, len(read.levels)) == (3, 0)
    for change in (lambda: read.at_level(2), lambda: read.without([1])):
        with pytest.raises(OptionError, match=r"save the result as \.ome\.zarr"):
            change()
    again = load_segmentation(read.save(tmp_path / "b.ome.zarr"))
    np.testing.assert_array_equal(again.labels, read.labels)


def test_labels_edited_in_napari_are_no_clusters_any_more(
    made: ClusterSegmentation, tmp_path: Path
) -> None:
    made.provenance["edited"] = True
    assert type(load_segmentation(made.save(tmp_path / "a.ome.zarr"))) is Segmentation


@pytest.mark.parametrize("name", ["a.tif", "a.ome.zarr"])
def test_nothing_is_overwritten_unasked(
    made: ClusterSegmentation, tmp_path: Path, name: str
) -> None:
    made.save(tmp_path / name)
    with pytest.raises(OutputError, match="there already"):
        made.save(tmp_path / name)
    coarse = made.at_level(2)
    coarse.save(tmp_path / name, overwrite=True)
    assert load_segmentation(tmp_path / name).labels.max() == 2


def test_a_table_of_frames_that_is_in_the_way_is_named_before_anything_is_written(
    made: ClusterSegmentation, tmp_path: Path
) -> None:
    (tmp_path / "a.frames.csv").write_text("mine")
    with pytest.raises(OutputError, match=r"a\.frames\.csv"):
        made.save(tmp_path / "a.tif")
    assert [path.name for path in tmp_path.iterdir()] == ["a.frames.csv"]
    assert (tmp_path / "a.frames.csv").read_text() == "mine"
