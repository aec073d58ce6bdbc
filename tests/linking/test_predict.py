"""Labels linked over time: the same object, the same id, whatever happens in between."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import zarr

import napari_kindred as nk
from napari_kindred.core.errors import InputError, OptionError
from napari_kindred.core.events import finish
from napari_kindred.linking.relink import iter_relink
from napari_kindred.results.segmentation import measure

if TYPE_CHECKING:
    from pathlib import Path

SIDE = 96


def frame(*discs: tuple[int, float, float], radius: float = 7.0) -> np.ndarray:
    """Labels of discs, each an id and its centre."""
    y, x = np.mgrid[:SIDE, :SIDE]
    labels = np.zeros((SIDE, SIDE), np.int32)
    for label, row, column in discs:
        labels[(y - row) ** 2 + (x - column) ** 2 < radius**2] = label
    return labels


GRID = [(row, column) for row in (14, 36, 58, 80) for column in (14, 36, 58, 80)]


def shuffled(seed: int, places: list[tuple[float, float]]) -> np.ndarray:
    """Discs whose ids are in another order in every frame."""
    ids = np.random.default_rng(seed).permutation(len(places)) + 1
    return frame(*((int(label), *place) for label, place in zip(ids, places, strict=True)))


def at(result: nk.Segmentation, time: int, row: float, column: float) -> int:
    return int(result.labels[time][round(row), round(column)])


def test_an_object_keeps_its_label() -> None:
    movie = np.stack([shuffled(seed, GRID) for seed in range(4)])
    result = nk.link(movie, axes="TYX")
    assert result.ids == "track"
    assert len(np.unique(result.labels)) == len(GRID) + 1
    assert (result.labels == result.labels[:1]).all()
    assert result.tracks.to_dict("list") == {
        "track": list(range(1, 17)),
        "parent": [0] * 16,
        "first": [0] * 16,
        "last": [3] * 16,
    }


def test_a_row_says_which_object_it_is_and_which_it_was() -> None:
    movie = np.stack([shuffled(seed, GRID) for seed in range(2)])
    table = nk.link(movie, 10.0 * movie, axes="TYX").table
    assert len(table) == 32
    assert (table["index"] == table["track"]).all()
    for row in table.itertuples():
        place = row.frame, round(row.centroid_y), round(row.centroid_x)
        assert movie[place] == row.id_in_frame
        assert row.mean_intensity == pytest.approx(10 * row.id_in_frame)
        assert row.area == (movie[row.frame] == row.id_in_frame).sum()


@pytest.mark.parametrize("kind", ["numpy", "dask", "zarr"])
def test_the_kind_of_array_makes_no_difference(kind: str, tmp_path: Path) -> None:
    movie = np.stack([shuffled(seed, GRID) for seed in range(3)])
    labels: Any = movie
    if kind == "dask":
        labels = da.from_array(movie, chunks=(1, 48, 48))
    if kind == "zarr":
        labels = zarr.create_array(tmp_path / "a.zarr", data=movie, chunks=(2, 50, 50))
    result, plain = nk.link(labels, axes="TYX"), nk.link(movie, axes="TYX")
    assert np.array_equal(result.labels, plain.labels)
    pd.testing.assert_frame_equal(result.table, plain.table)


def test_a_drift_of_half_a_cell_is_no_motion_of_cells() -> None:
    places = [(row - 6 + 2 * (column % 5), column - (row % 4)) for row, column in GRID]
    moved = [(row + 7, column - 5) for row, column in places]
    movie = np.stack([shuffled(0, places), shuffled(1, moved)])
    result = nk.link(movie, axes="TYX")
    for before, after in zip(places, moved, strict=True):
        assert at(result, 0, *before) == at(result, 1, *after)


def test_an_object_may_be_missing_for_some_frames() -> None:
    frames = [frame((1, 20, 20), (2, 60, 60)), frame((5, 60, 60)), frame((3, 21, 22), (9, 60, 61))]
    assert at(nk.link(np.stack(frames), axes="TYX"), 2, 21, 22) == 1
    assert at(nk.link(np.stack(frames), axes="TYX", max_gap=0), 2, 21, 22) == 3


def test_an_empty_frame_in_the_middle_breaks_no_track() -> None:
    movie = np.stack([shuffled(0, GRID), frame(), shuffled(2, GRID)])
    result = nk.link(movie, axes="TYX")
    assert len(result.tracks) == 16
    assert (result.labels[0] == result.labels[2]).all()


@pytest.mark.parametrize("count", [1, 3])
def test_frames_without_objects_are_a_result_without_tracks(count: int) -> None:
    result = nk.link(np.zeros((count, 8, 8), np.uint8), axes="TYX")
    assert len(result.table) == len(result.tracks) == 0
    assert result.labels.shape == (count, 8, 8)


def test_one_frame_is_a_movie_too() -> None:
    result = nk.link(shuffled(0, GRID)[None], axes="TYX")
    assert result.tracks["track"].tolist() == list(range(1, 17))


def dividing() -> np.ndarray:
    """Sixteen discs, the first of which becomes two smaller ones."""
    others = [(i + 2, *place) for i, place in enumerate(GRID[1:])]
    before = frame((1, 14, 14), *others)
    after = frame(*others) + frame((30, 9, 14), (31, 19, 14), radius=5)
    return np.stack([before, before, after, after, after])


def test_a_division_begins_two_tracks_and_names_their_parent() -> None:
    result = nk.link(dividing(), axes="TYX")
    mother, daughters = at(result, 0, 14, 14), {at(result, 4, 9, 14), at(result, 4, 19, 14)}
    tracks = result.tracks.set_index("track")
    assert len(daughters) == 2
    assert mother not in daughters
    assert set(tracks.index[tracks["parent"] == mother]) == daughters
    assert tracks.loc[mother, "last"] == 1
    assert tracks.loc[list(daughters), "first"].tolist() == [2, 2]
    rows = result.table[result.table["track"].isin(daughters)]
    assert set(rows["parent"]) == {mother}


def test_divisions_may_be_switched_off() -> None:
    tracks = nk.link(dividing(), axes="TYX", divisions=False).tracks
    assert (tracks["parent"] == 0).all()


def test_a_cell_that_is_cut_in_one_frame_does_not_divide() -> None:
    whole = dividing()[0]
    cut = whole.copy()
    cut[14, :28] = 0
    cut[15:28, :28][cut[15:28, :28] == 1] = 40
    result = nk.link(np.stack([whole, cut, whole, whole, whole]), axes="TYX")
    assert (result.tracks["parent"] == 0).all()
    assert at(result, 0, 14, 14) == at(result, 4, 14, 14)
    assert sorted(result.tracks["track"]) == sorted(np.unique(result.labels)[1:])


def test_objects_of_three_dimensions_are_linked_too() -> None:
    movie = np.zeros((2, 6, SIDE, SIDE), np.int32)
    movie[0, 1:4], movie[1, 2:5] = shuffled(0, GRID), shuffled(1, GRID)
    result = nk.link(movie, axes="TZYX", spacing=(2.0, 0.5, 0.5))
    assert (result.labels[0, 1] == result.labels[1, 2]).all()
    assert len(result.tracks) == 16
    assert result.table["centroid_z"].tolist() == [2.0] * 16 + [3.0] * 16
    assert result.table["volume"].tolist() == [3 * (movie[0, 1] == 1).sum()] * 32


def test_a_result_is_linked_with_its_axes_and_sizes(tmp_path: Path) -> None:
    movie = np.stack([shuffled(seed, GRID) for seed in range(2)])
    before = nk.Segmentation(
        movie, pd.DataFrame(), axes="TYX", scale=(60.0, 0.5, 0.5), units=("second", "", "")
    )
    result = nk.link(before)
    assert (result.axes, result.scale) == ("TYX", (60.0, 0.5, 0.5))
    for name in ("a.ome.zarr", "a.tif"):
        again = nk.load_segmentation(result.save(tmp_path / name))
        assert again.ids == "track"
        pd.testing.assert_frame_equal(again.tracks, result.tracks)
        pd.testing.assert_frame_equal(again.table, result.table)
        assert again.provenance["config"] == result.provenance["config"]
        assert again.provenance["config"]["max_gap"] == nk.LinkConfig().max_gap


def test_what_a_table_knew_of_objects_stays_with_them() -> None:
    movie = np.stack([shuffled(seed, GRID) for seed in range(2)])
    rows = pd.concat([measure(labels, None, None, n) for n, labels in enumerate(movie)])
    rows["score"] = rows["index"] / 100 + rows["frame"]
    table = nk.link(nk.Segmentation(movie, rows, {"method": "entities"}, axes="TYX")).table
    assert table["score"].to_numpy() == pytest.approx(table["id_in_frame"] / 100 + table["frame"])


def test_a_stopped_run_keeps_the_frames_that_were_linked() -> None:
    job = nk.iter_link(dividing(), axes="TYX")
    partials = (event for event in job if hasattr(event, "assembly"))
    parts = [next(partials), next(partials)]
    job.close()
    result = parts[-1].assembly.result()
    assert result.provenance["frames_done"] == 2
    assert not result.provenance["complete"]
    assert set(result.table["frame"]) == {0, 1}
    assert not np.asarray(result.labels[2:]).any()


@pytest.mark.parametrize(
    ("labels", "options", "sentence"),
    [
        (np.zeros((3, 8, 8)), {}, "whole numbers"),
        (np.zeros((8, 8), int), {"axes": "YX"}, "TYX or TZYX, not YX"),
        (np.zeros((3, 8, 8), int), {"axes": "ZYX"}, "TYX or TZYX, not ZYX"),
        (np.full((3, 8, 8), -1), {}, "negative"),
        (np.zeros((3, 8, 8), int), {"image": np.zeros((3, 9, 9))}, "shape"),
    ],
)
def test_what_is_no_movie_of_labels_is_refused(
    labels: Any, options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        nk.link(labels, **options)


@pytest.mark.parametrize("spacing", [(1.0,), (0.0, 1.0), (-1.0, 1.0), (float("nan"), 1.0)])
def test_a_size_of_pixels_is_a_number_above_0_for_each_axis(spacing: Any) -> None:
    with pytest.raises(OptionError, match="spacing"):
        nk.link(np.zeros((2, 8, 8), int), spacing=spacing)


def test_labels_that_are_not_linked_have_no_tracks() -> None:
    result = nk.Segmentation(np.zeros((2, 8, 8), int), pd.DataFrame(), axes="TYX")
    with pytest.raises(OptionError, match="not linked"):
        _ = result.tracks


def test_links_made_again_from_a_frame_keep_those_before_it() -> None:
    movie = np.asarray(nk.link(dividing(), axes="TYX").labels).copy()
    daughters = {int(movie[2, 9, 14]), int(movie[2, 19, 14])}
    mother, last = int(movie[0, 14, 14]), int(movie.max())
    for frame in (2, 3, 4):  # the user wipes out one daughter and calls the other by another name
        movie[frame][movie[frame] == movie[frame, 9, 14]] = 0
        movie[frame][movie[frame] == movie[frame, 19, 14]] = 77 + frame
    parents = dict.fromkeys(daughters, mother)
    again = finish(iter_relink(movie, 2, max(last, 81), parents, nk.LinkConfig()))
    assert set(again.ids) == {2, 3, 4}
    assert [again.ids[frame][77 + frame] for frame in (2, 3, 4)] == [mother] * 3
    others = again.ids[4].drop(81)
    assert (others == others.index).all()
    assert again.parents == {}
    whole = finish(iter_relink(movie, 0, 0, parents, nk.LinkConfig()))
    assert sorted(whole.ids[0]) == list(range(1, 17))
