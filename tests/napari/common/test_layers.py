"""Layers to arrays and results to layers, without a window."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import pytest
import zarr
from napari.components import ViewerModel
from napari.layers import Image

from napari_kindred._napari.common import multiscale_labels
from napari_kindred._napari.common.layers import (
    KEY,
    growing_in_shape,
    layer_features,
    layer_options,
    read_layer,
)
from napari_kindred._napari.common.placement import place_labels
from napari_kindred._napari.entities.run import EntityRun
from napari_kindred.core.errors import InputError
from napari_kindred.core.events import Partial
from napari_kindred.entities.assembly import EntityAssembly
from napari_kindred.entities.config import EntityConfig
from napari_kindred.images.stack import ImageStack
from napari_kindred.results.assembly import make_labels
from napari_kindred.results.label_ids import unique_ids
from napari_kindred.results.recipe import recipe_of
from napari_kindred.results.segmentation import Segmentation, measure

if TYPE_CHECKING:
    from pathlib import Path


def part(index: tuple[int, ...], labels: Any, frame: int | None = None) -> Partial:
    labels = np.asarray(labels, np.int32)
    return Partial(index, labels, measure(labels, np.ones(labels.shape), frame=frame))


def entities(shape: tuple[int, ...], axes: str) -> EntityAssembly:
    return EntityAssembly(ImageStack.open(np.zeros(shape), axes), unique_ids=True)


def test_an_rgb_layer_has_its_samples_last() -> None:
    image = read_layer(Image(np.zeros((20, 30, 3), np.uint8), rgb=True))
    assert image.guess.axes == "YXS"
    movie = read_layer(Image(np.zeros((5, 20, 30, 4), np.uint8), rgb=True))
    assert movie.guess.axes == "TYXS"


def test_a_layer_of_three_columns_that_is_not_rgb_is_not_taken_for_colours() -> None:
    image = read_layer(Image(np.zeros((9, 20, 3), np.uint8), rgb=False))
    assert "S" not in image.guess.axes


def test_a_multiscale_layer_is_segmented_at_its_finest_level() -> None:
    levels = [np.zeros((64, 80)), np.zeros((32, 40))]
    image = read_layer(Image(levels, multiscale=True))
    assert image.data is levels[0]
    assert image.multiscale


def test_a_multiscale_layer_is_handed_on_with_all_its_levels_and_where_it_lies(
    tmp_path: Path,
) -> None:
    arrays = [
        zarr.create_array(tmp_path / "a.zarr" / name, shape=shape, chunks=(1, 32, 32), dtype="u2")
        for name, shape in (("0", (3, 64, 80)), ("1", (3, 32, 40)))
    ]
    layer = Image(arrays, multiscale=True, scale=(2, 0.5, 0.5), units=("s", "um", "um"))
    frames = ImageStack.open(read_layer(layer).file, "TYX")
    assert frames.at(0.5).plane_shape == (32, 40)
    assert frames.path == tmp_path / "a.zarr"
    assert (frames.scale, frames.units) == ((2.0, 0.5, 0.5), ("second", "micrometer", "micrometer"))


def test_labels_on_disk_are_shown_without_being_loaded() -> None:
    labels = make_labels((100, 500, 500), in_memory=0)
    viewer = ViewerModel()
    tracemalloc.start()
    layer = viewer.add_labels(labels)
    for frame in range(5):
        labels[frame] = np.full((500, 500), frame + 1, np.int32)
        viewer.dims.set_point(0, frame)
        layer.refresh()
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < labels.nbytes / 2
    assert layer.data is labels
    assert np.asarray(layer._slice.image.raw).min() == 5


def test_a_lazy_layer_is_handed_on_unread() -> None:
    movie = da.zeros((6, 64, 64), chunks=(1, 64, 64))
    assert read_layer(Image(movie)).data is movie


@pytest.mark.parametrize(
    ("labels", "axes"),
    [
        (("c", "y", "x"), "CYX"),
        (("Time", "Y", "X"), "TYX"),
        (("z", "y", "x"), "ZYX"),
        (("plane", "row", "column"), "ZYX"),
    ],
)
def test_axis_labels_decide_what_the_axes_are(labels: tuple[str, ...], axes: str) -> None:
    image = read_layer(Image(np.zeros((3, 64, 64)), axis_labels=labels))
    assert (image.guess.axes, image.guess.safe) == (axes, True)


def test_the_viewers_axis_labels_help_a_layer_that_has_none() -> None:
    layer = Image(np.zeros((3, 64, 64)))
    assert read_layer(layer, ("c", "y", "x")).guess.axes == "CYX"
    assert read_layer(layer, ("t", "c", "y", "x")).guess == read_layer(layer).guess


def test_a_layer_of_six_axes_is_refused_in_one_sentence() -> None:
    with pytest.raises(InputError, match="2 to 5 axes"):
        read_layer(Image(np.zeros((2, 2, 2, 2, 16, 16))))


def test_labels_lie_where_the_image_lies() -> None:
    layer = Image(
        np.zeros((3, 40, 50)),
        scale=(2, 0.5, 0.25),
        translate=(1, 10, 20),
        units=("pixel", "um", "um"),
        axis_labels=("t", "y", "x"),
        rotate=20,
        shear=(0, 0, 0.3),
        affine=np.diag([1, 2, 2, 1]),
    )
    place = place_labels(layer, "TYX")
    viewer = ViewerModel()
    labels = viewer.add_labels(np.zeros(place.shape, int), **place.options)
    for point in ([0, 0, 0], [2, 39, 49], [1, 7, 30]):
        np.testing.assert_allclose(labels.data_to_world(point), layer.data_to_world(point))
    assert labels.units == layer.units
    assert labels.axis_labels == ("t", "y", "x")


def test_axes_without_labels_are_named_by_their_letters() -> None:
    assert place_labels(Image(np.zeros((3, 40, 50))), "ZYX").options["axis_labels"] == (
        "z",
        "y",
        "x",
    )


def test_channels_in_front_are_left_out() -> None:
    place = place_labels(Image(np.zeros((2, 40, 50)), scale=(1, 3, 4)), "CYX")
    assert place.shape == (40, 50)
    assert place.options["scale"] == (3, 4)


@pytest.mark.parametrize("channel", range(5))
def test_labels_of_a_movie_with_channels_show_in_every_channel(channel: int) -> None:
    viewer = ViewerModel()
    image = viewer.add_image(np.zeros((3, 5, 16, 24)), scale=(1, 2, 1, 1), translate=(0, 7, 0, 0))
    place = place_labels(image, "TCYX")
    growing = entities(image.data.shape, "TCYX")
    shown = growing_in_shape(growing.labels, place.shape)
    for time in range(3):
        growing.add(part((time,), np.full((16, 24), 1), frame=time))
    features = layer_features(growing.table())
    layer = viewer.add_labels(shown, **layer_options(features, place, "a", {}, "entities"))
    steps = viewer.dims.nsteps
    assert steps[:2] == (3, 5)
    viewer.dims.current_step = (2, channel, 0, 0)
    assert np.unique(layer.get_value(viewer.dims.point, world=True)) == [3]


def test_ids_count_on_from_frame_to_frame_so_that_each_names_one_row() -> None:
    growing = entities((3, 2, 16), "TYX")
    frames = [np.zeros((2, 16), int) for _ in range(3)]
    frames[0][0, 1], frames[0][1, 4:8] = 1, 2
    frames[2][0, 3:5] = 1
    for time, labels in enumerate(frames):
        growing.add(part((time,), labels, frame=time))
    table = layer_features(growing.table()).iloc[1:]
    assert list(table["index"]) == [1, 2, 3]
    assert list(table["frame"]) == [0, 0, 2]
    assert list(table["id_in_frame"]) == [1, 2, 1]
    for row in table.itertuples():
        assert (growing.labels == row.index).sum() == row.area
        assert ((growing.labels == row.index).any((1, 2)) == (np.arange(3) == row.frame)).all()


def test_the_layers_ids_are_those_of_unique_ids() -> None:
    rng = np.random.default_rng(0)
    stack = rng.integers(0, 4, (2, 3, 4, 16)).astype(np.int32)
    growing = entities(stack.shape, "TZYX")
    tables = []
    for frame, index in enumerate(np.ndindex(2, 3)):
        growing.add(part(index, stack[index], frame=frame))
        tables.append(measure(stack[index], np.ones((4, 16)), frame=frame))
    import pandas as pd

    result = unique_ids(Segmentation(stack, pd.concat(tables, ignore_index=True), axes="TZYX"))
    np.testing.assert_array_equal(result.labels, growing.labels)
    features = layer_features(growing.table()).iloc[1:].reset_index(drop=True)
    pd.testing.assert_frame_equal(result.table, features, check_dtype=False, check_like=True)


def test_the_place_of_a_row_is_its_labels_id_as_naparis_table_wants_it() -> None:
    growing = entities((2, 2, 16), "TYX")
    for time in range(2):
        growing.add(part((time,), [[1, 1, 2, 0] * 4] * 2, frame=time))
    table = layer_features(growing.table())
    assert list(table["index"]) == list(range(5))
    assert table["area"].isna().tolist() == [True, False, False, False, False]
    assert table["area"].mean() == 12
    assert list(table)[:2] == ["frame", "area"]
    assert list(table)[-2:] == ["id_in_frame", "index"]  # napari's table numbers its rows itself


def test_a_frame_without_entities_has_no_rows_and_keeps_the_count() -> None:
    growing = entities((2, 4, 16), "TYX")
    growing.add(part((0,), np.zeros((4, 16)), frame=0))
    assert list(layer_features(growing.table())["index"]) == [0]
    growing.add(part((1,), np.ones((4, 16)), frame=1))
    assert list(layer_features(growing.table())["index"]) == [0, 1]


def test_the_layer_carries_provenance_and_its_source() -> None:
    growing = entities((4, 16), "YX")
    growing.add(part((), np.ones((4, 16))))
    place = place_labels(Image(np.zeros((4, 16))), "YX")
    features = layer_features(growing.table())
    options = layer_options(features, place, "dapi", {"version": "1"}, "entities")
    assert options["name"] == "dapi entities"
    assert options["metadata"][KEY] == {"version": "1", "source_layer": "dapi"}


def test_the_python_call_names_axes_and_only_the_options_that_were_changed() -> None:
    image = read_layer(
        Image([np.zeros((64, 64)), np.zeros((32, 32))], name="it's", multiscale=True)
    )
    config = {"axes": "YX", "threshold": 0.3}
    facts = {"method": "entities", "config": config, "source_layer": image.name}
    code = recipe_of(facts).to_python()
    assert 'image = viewer.layers["it\'s"].data\n' in code
    assert "axes='YX'" in code
    assert "threshold=0.3" in code
    assert "min_area" not in code
    compile(code, "copied", "exec")


def test_a_large_plane_is_shown_from_afar_without_being_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(multiscale_labels, "SIDE", 64)
    picture = np.zeros((300, 500), np.uint8)
    layer = Image(picture, name="plane")
    viewer = ViewerModel()
    run = EntityRun(viewer, layer, read_layer(layer), EntityConfig(axes="YX"))
    truth = np.arange(300 * 500, dtype=np.int32).reshape(300, 500)
    assembly = entities(picture.shape, "YX")
    for rows in (slice(0, 170), slice(170, 300)):
        block = (rows, slice(0, 500))
        run.add(assembly.add(Partial((), truth[block], measure(truth[:1], None), block=block)))
    shown = run.layer
    assert shown is not None
    assert [level.shape for level in shown.data] == [(300, 500), (38, 63), (19, 32), (10, 16)]
    for level, step in zip(shown.data, (1, 8, 16, 32), strict=True):
        np.testing.assert_array_equal(level, truth[::step, ::step])
    assert np.shares_memory(shown.data[0], assembly.labels)
    run.add(assembly.add(Partial((), truth + 1, measure(truth[:1], None))))
    np.testing.assert_array_equal(shown.data[1], truth[::8, ::8] + 1)


def test_an_ordinary_plane_is_shown_as_it_is() -> None:
    layer = Image(np.zeros((30, 50), np.uint8), name="plane")
    run = EntityRun(ViewerModel(), layer, read_layer(layer), EntityConfig(axes="YX"))
    run.add(entities((30, 50), "YX").add(part((), np.ones((30, 50), np.int32))))
    assert run.layer is not None
    assert not run.layer.multiscale


def test_labels_on_disk_show_in_every_channel_as_they_fill_up() -> None:
    labels = make_labels((3, 16, 24), in_memory=0)
    shown = growing_in_shape(labels, (3, 1, 16, 24))
    layer = ViewerModel().add_labels(shown)
    labels[1] = np.full((16, 24), 7, np.int32)
    assert shown[1, 0, 3, 4] == 7
    assert shown[..., 2:5].shape == (3, 1, 16, 3)
    shown[2, 0, 3, 4] = 5
    layer.data_setitem((np.array([2]), np.array([0]), np.array([5]), np.array([6])), 9)
    assert (labels[2, 3, 4], labels[2, 5, 6]) == (5, 9)
    np.testing.assert_array_equal(np.asarray(shown)[:, 0], labels[:])
    layer.refresh()
    assert layer._slice.image.raw.shape == (16, 24)
