"""Tracks as files of other programs, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import numpy as np
import pandas as pd
import pytest
import tifffile

import napari_kindred as nk
from napari_kindred.results.segmentation import measure

if TYPE_CHECKING:
    from pathlib import Path


def block(*places: tuple[int, int]) -> np.ndarray:
    """Labels of 2 × 2 pixels: an id, and the column it begins in."""
    labels = np.zeros((4, 12), np.int32)
    for label, column in places:
        labels[1:3, column : column + 2] = label
    return labels


@pytest.fixture
def lineage() -> nk.Segmentation:
    """Track 5 divides into 2 and 9; track 2 is missing in frame 3, track 7 stays alone."""
    frames = [
        block((5, 0), (7, 9)),
        block((5, 1), (7, 9)),
        block((2, 0), (9, 4)),
        block((9, 4)),
        block((2, 1), (9, 5)),
    ]
    table = pd.concat([measure(labels, None, None, n) for n, labels in enumerate(frames)])
    table = table.drop(columns="score").reset_index(drop=True).assign(track=table["index"].array)
    table["parent"] = np.where(table["track"].isin([2, 9]), 5, 0)
    return nk.Segmentation(
        np.stack(frames),
        table,
        axes="TYX",
        scale=(60.0, 0.5, 0.5),
        units=("second", "micrometer", "micrometer"),
        ids="track",
    )


def test_the_folder_of_the_cell_tracking_challenge_has_no_gaps(
    lineage: nk.Segmentation, tmp_path: Path
) -> None:
    folder = lineage.export(tmp_path / "01_RES")
    lines = (folder / "res_track.txt").read_text().splitlines()
    rows = [tuple(map(int, line.split())) for line in lines]
    masks = [tifffile.imread(folder / f"mask{frame:03}.tif") for frame in range(5)]
    for track, first, last, _ in rows:
        there = [frame for frame, mask in enumerate(masks) if (mask == track).any()]
        assert there == list(range(first, last + 1))
    by_place = {
        mask[1, column]: (frame, column)
        for frame, column, mask in [
            (0, 0, masks[0]),
            (0, 9, masks[0]),
            (2, 0, masks[2]),
            (4, 1, masks[4]),
            (2, 4, masks[2]),
        ]
    }
    parents = {by_place[track]: by_place.get(parent) for track, _, _, parent in rows}
    assert parents == {
        (0, 0): None,
        (0, 9): None,
        (2, 0): (0, 0),
        (4, 1): (2, 0),  # the same cell after its gap
        (2, 4): (0, 0),
    }
    for mask, labels in zip(masks, lineage.labels, strict=True):
        assert np.array_equal(mask > 0, labels > 0)


def test_what_was_written_for_the_challenge_is_read_again(
    lineage: nk.Segmentation, tmp_path: Path
) -> None:
    again = nk.load_tracks(lineage.export(tmp_path / "a", format="ctc"))
    assert (again.ids, again.axes) == ("track", "TYX")
    assert np.array_equal(np.asarray(again.labels) > 0, lineage.labels > 0)
    assert sorted(again.tracks["first"]) == [0, 0, 2, 2, 4]
    assert (again.tracks["parent"] > 0).sum() == 3
    saved = nk.load_segmentation(again.save(tmp_path / "a.ome.zarr"))
    pd.testing.assert_frame_equal(saved.tracks, again.tracks)


def test_trackmate_gets_spots_in_units_and_a_track_per_lineage(
    lineage: nk.Segmentation, tmp_path: Path
) -> None:
    root = ET.parse(lineage.export(tmp_path / "a.xml")).getroot()  # noqa: S314
    model = root.find("Model")
    assert model is not None
    assert (model.get("spatialunits"), model.get("timeunits")) == ("micrometer", "second")
    spots = {spot.get("ID"): spot for spot in model.iter("Spot")}
    assert len(spots) == len(lineage.table)
    last = [one for one in spots.values() if one.get("FRAME") == "4"]
    assert {(one.get("POSITION_X"), one.get("POSITION_T")) for one in last} == {
        ("0.75", "240.0"),
        ("2.75", "240.0"),
    }
    tracks = model.findall("AllTracks/Track")
    assert sorted(len(track.findall("Edge")) for track in tracks) == [1, 6]
    for edge in model.iter("Edge"):
        before, after = (spots[edge.get(f"SPOT_{end}_ID")] for end in ("SOURCE", "TARGET"))
        assert int(before.get("FRAME", 0)) < int(after.get("FRAME", 0))
    assert len(model.findall("FilteredTracks/TrackID")) == len(tracks)


def test_the_table_of_tracks_names_the_object_before(
    lineage: nk.Segmentation, tmp_path: Path
) -> None:
    rows = pd.read_csv(lineage.export(tmp_path / "a.tracks.csv")).set_index("spot")
    daughters = rows[(rows["frame"] == 2)]
    assert (rows.loc[daughters["source"], "track"] == 5).all()
    assert (rows.loc[daughters["source"], "frame"] == 1).all()
    assert set(rows["radius"]) == {np.sqrt(1 / np.pi)}


@pytest.mark.parametrize("name", ["a_RES", "a.xml", "a.tracks.csv"])
def test_labels_that_are_not_linked_have_no_tracks_to_export(name: str, tmp_path: Path) -> None:
    result = nk.Segmentation(np.zeros((2, 4, 4), int), pd.DataFrame(), axes="TYX")
    with pytest.raises(nk.KindredError, match="not linked"):
        result.export(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_folder_without_tracks_is_refused(lineage: nk.Segmentation, tmp_path: Path) -> None:
    with pytest.raises(nk.KindredError, match="no folder"):
        nk.load_tracks(tmp_path / "none")
    with pytest.raises(nk.KindredError, match="holds no tracks"):
        nk.load_tracks(tmp_path)
    folder = lineage.export(tmp_path / "01_RES")
    (folder / "res_track.txt").write_text("1 2 three\n")
    with pytest.raises(nk.KindredError, match="damaged"):
        nk.load_tracks(folder)
