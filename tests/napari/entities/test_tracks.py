"""Tracks of a linked result: a layer of their own, and links made again after painting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from napari.components import ViewerModel

import napari_kindred as nk
from napari_kindred._napari.common.layers import KEY
from napari_kindred._napari.entities.edit_layer import ShownPlane
from napari_kindred._napari.entities.tracks import (
    apply_relinked,
    is_linked,
    iter_relink_layer,
    objects_of,
    show_tracks,
)
from napari_kindred._napari.results.layer_storage import layer_data, result_of
from napari_kindred._napari.results.painting import settle, watch
from napari_kindred.core.events import finish
from napari_kindred.entities.edits import add_object

if TYPE_CHECKING:
    from pathlib import Path


def movie() -> np.ndarray:
    """A square that divides into two after two frames, and one that stays."""
    labels = np.zeros((5, 40, 40), np.int32)
    labels[:, 25:35, 25:35] = 2
    labels[:2, 5:15, 8:18] = 1
    labels[2:, 5:15, 3:12] = 3
    labels[2:, 5:15, 14:23] = 4
    return labels


@pytest.fixture
def opened(tmp_path: Path) -> tuple[ViewerModel, Any]:
    """A linked result as a layer, as napari opens it."""
    viewer = ViewerModel()
    path = nk.link(movie(), axes="TYX").save(tmp_path / "a.ome.zarr")
    data, options, _ = layer_data(path)
    layer = viewer.add_labels(np.asarray(data), **options)
    watch(viewer)
    return viewer, layer


def test_a_linked_layer_has_a_row_per_track(opened: tuple[ViewerModel, Any]) -> None:
    _, layer = opened
    assert is_linked(layer)
    rows = layer.features.iloc[1:]
    assert list(rows["index"]) == [1, 2, 3, 4]
    assert list(rows["parent"]) == [0, 0, 1, 1]
    assert list(rows["frames"]) == [2, 5, 3, 3]


def test_tracks_have_the_colours_of_the_labels_and_their_divisions(
    opened: tuple[ViewerModel, Any],
) -> None:
    viewer, layer = opened
    tracks = show_tracks(viewer, layer)
    assert tracks.data[:, 0].tolist() == [1] * 2 + [2] * 5 + [3] * 3 + [4] * 3
    assert tracks.data[0].tolist() == [1, 0, 9.5, 12.5]
    assert {int(k): [int(one) for one in v] for k, v in tracks.graph.items()} == {3: [1], 4: [1]}
    for track, colour in zip(tracks.data[:, 0], tracks.track_colors, strict=True):
        np.testing.assert_allclose(colour, layer.get_color(int(track)), atol=1e-3)
    assert show_tracks(viewer, layer) is tracks  # not a second layer


def test_painting_and_deleting_change_tracks_and_what_is_saved(
    opened: tuple[ViewerModel, Any],
) -> None:
    viewer, layer = opened
    tracks = show_tracks(viewer, layer)
    layer.events.features.connect(lambda _: show_tracks(viewer, layer))
    for frame in (2, 3, 4):  # one daughter is deleted
        viewer.dims.set_current_step(0, frame)
        layer.fill((frame, 10, 18), 0)
    layer.fill((4, 10, 7), 9)
    settle(layer)
    assert sorted(set(tracks.data[:, 0])) == [1, 2, 3, 9]
    saved = result_of(layer.data, layer.as_layer_data_tuple()[1])
    assert saved.tracks.to_dict("list") == {
        "track": [1, 2, 3, 9],
        "parent": [0, 0, 1, 0],
        "first": [0, 0, 2, 4],
        "last": [1, 4, 3, 4],
    }


def test_links_are_made_again_from_a_frame_on(opened: tuple[ViewerModel, Any]) -> None:
    viewer, layer = opened
    show_tracks(viewer, layer)
    layer.data[4][layer.data[4] == 3] = 9
    layer.metadata[KEY]["edited"] = {"labels": [3, 9], "frames": [4]}
    relinked = finish(iter_relink_layer(layer, 3))
    assert apply_relinked(layer, relinked) == 1
    assert np.array_equal(layer.data, nk.link(movie(), axes="TYX").labels)
    assert sorted(objects_of(layer)["track"].unique()) == [1, 2, 3, 4]
    assert list(layer.features["parent"].iloc[1:]) == [0, 0, 1, 1]


def test_the_window_shows_tracks_and_links_again(
    viewer: Any, entities_widget: Any, until: Any, tmp_path: Path
) -> None:
    panel = entities_widget.tracks_panel
    assert not panel.tracks.enabled
    assert "run with Link" in panel.relink.tooltip
    data, options, _ = layer_data(nk.link(movie(), axes="TYX").save(tmp_path / "a.ome.zarr"))
    layer = viewer.add_labels(np.asarray(data), **options)
    until(lambda: panel.tracks.enabled)
    panel.tracks.changed.emit(True)
    tracks = viewer.layers["a labels tracks"]
    viewer.layers.selection.active = layer
    viewer.dims.set_current_step(0, 4)
    layer.fill((4, 10, 7), 9)
    settle(layer)
    assert 9 in tracks.data[:, 0]
    panel.relink.changed.emit(True)
    until(lambda: "Linked again from frame 4: 1 labels" in entities_widget.status.value)
    assert set(tracks.data[:, 0]) == {1, 2, 3, 4}


def test_an_added_object_continues_a_track_that_is_missing_here(
    opened: tuple[ViewerModel, Any],
) -> None:
    viewer, layer = opened
    viewer.dims.set_point(0, 3)
    plane = ShownPlane.of(viewer, layer)
    square = np.ones((10, 10), bool)
    assert plane.id_for(square, (26, 26)) == 5  # track 2 is here already
    plane.write(np.where(plane.labels == 2, 0, plane.labels))
    assert plane.id_for(square, (26, 26)) == 2
    assert plane.id_for(square, (0, 28)) == 5
    plane.write(add_object(plane.labels, square, (26, 26), 2))
    rows = objects_of(layer)
    assert list(rows[rows["track"] == 2]["frame"]) == [0, 1, 2, 3, 4]
    assert [each.index for each in plane.planes_with(1)] == [(0,), (1,)]
