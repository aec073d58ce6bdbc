"""Saved results come back as the layers that they were."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile
from napari.layers import Labels

from napari_kindred._napari.classes import layer as class_layers
from napari_kindred._napari.clusters import layer as clusters
from napari_kindred._napari.common.layers import KEY
from napari_kindred._napari.results import layer_storage
from napari_kindred._napari.results.layer_storage import layer_data, save_layer
from napari_kindred._napari.results.reader import get_reader, write
from napari_kindred.classes.config import ClassesConfig
from napari_kindred.cli import main as cli
from napari_kindred.core.errors import KindredError, OutputError
from napari_kindred.load import load_segmentation
from napari_kindred.results.label_ids import lazily_unique, unique_ids
from napari_kindred.results.recipe import recipe_of
from napari_kindred.results.segmentation import Segmentation, measure, provenance


def opened(path: Path) -> Labels:
    """The layer that a file becomes when it is dragged into napari."""
    reader = get_reader(str(path))
    assert reader is not None
    ((data, options, kind),) = reader(str(path))
    assert kind == "labels"
    return Labels(data, **options)


def assert_alike(one: Labels, other: Labels) -> None:
    """Check that nothing of a layer was lost."""
    np.testing.assert_array_equal(np.asarray(one.data), np.asarray(other.data))
    for name in ("scale", "translate", "rotate", "shear"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name))
    np.testing.assert_allclose(one.affine.affine_matrix, other.affine.affine_matrix)
    assert [str(unit) for unit in one.units] == [str(unit) for unit in other.units]
    assert one.axis_labels == other.axis_labels
    assert one.name == other.name
    pd.testing.assert_frame_equal(
        one.features.reset_index(drop=True), other.features.reset_index(drop=True)
    )
    for label in range(1, int(np.asarray(one.data).max()) + 1):
        np.testing.assert_allclose(one.get_color(label), other.get_color(label), atol=1 / 255)


@pytest.fixture
def widget(shades: Any, request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


@pytest.fixture
def result(viewer: Any, widget: Any, run: Any, request: pytest.FixtureRequest) -> Labels:
    """A result of the widget on a calibrated image."""
    placed = {
        "axis_labels": ("t", "y", "x"),
        "scale": (5, 0.5, 0.5),
        "translate": (0, 10, 20),
        "units": ("s", "um", "um"),
    }
    kind = type(widget).__name__
    name = {"EntitiesWidget": "movie", "ClustersWidget": "steps", "ClassesWidget": "shaded"}[kind]
    viewer.add_image(request.getfixturevalue(name), name="cells", **placed)
    if name == "shaded":
        widget.names.names = ("bright", "dim")
    layer: Labels = run()
    assert layer is not None, widget.status.value
    return layer


ALL = ["entities_widget", "clusters_widget", "classes_widget"]


@pytest.mark.parametrize("widget", ALL, indirect=True)
@pytest.mark.parametrize("suffix", [".ome.zarr", ".tif"])
def test_a_saved_layer_comes_back_with_table_names_colours_and_place(
    result: Labels, widget: Any, tmp_path: Path, suffix: str
) -> None:
    path = save_layer(result, tmp_path / f"kept{suffix}")
    again = opened(path.with_suffix(".json") if suffix == ".tif" else path)
    assert_alike(result, again)
    before, after = result.metadata[KEY], again.metadata[KEY]
    assert {key: after[key] for key in before} == json.loads(json.dumps(before))
    scopes = {"entities": "frame", "clusters": "stack", "classes": "class"}
    assert load_segmentation(path).ids == after["ids"] == scopes[after["method"]]


@pytest.mark.parametrize("widget", ["clusters_widget"], indirect=True)
def test_clusters_that_were_saved_can_still_be_shown_at_another_level(
    viewer: Any, result: Labels, widget: Any, tmp_path: Path
) -> None:
    widget.panel.level.value = 4
    widget.panel.relabel()
    result.selected_label = 2
    widget.panel.name.value = "debris"
    widget.panel.rename()
    widget.panel.set_colour((1.0, 0.0, 0.0, 1.0))
    result.selected_label = 3
    widget.panel.toggle_background()
    code = widget.python()
    save_layer(result, tmp_path / "kept.ome.zarr")
    viewer.layers.remove(result)

    again = viewer.add_layer(opened(tmp_path / "kept.ome.zarr"))
    assert_alike(result, again)
    viewer.layers.selection.active = again
    assert widget.panel.state.name(2) == "debris"
    np.testing.assert_allclose(again.get_color(2), (1, 0, 0, 1), atol=0.01)
    assert widget.python() == code
    again.selected_label = 3
    widget.panel.toggle_background()
    assert widget.python() == code.replace("result = result.without([3])\n", "")
    finest = clusters.clusters_of(result).result.at_level(7)  # type: ignore[union-attr]
    widget.panel.level.value = 7
    widget.panel.relabel()
    np.testing.assert_array_equal(again.data, finest.labels)
    assert "debris" in set(again.features["name"]) | set(clusters.clusters_of(again).names.values())  # type: ignore[union-attr]


def test_clusters_of_the_command_line_open_as_those_saved_in_the_window(
    viewer: Any,
    clusters_widget: Any,
    greys: Any,
    steps: np.ndarray,
    tmp_path: Path,
    monkeypatch: Any,
) -> None:
    monkeypatch.setattr("napari_kindred.clusters.predict.iter_cluster_stack", greys)
    movie, out = tmp_path / "movie.tif", tmp_path / "out.ome.zarr"
    tifffile.imwrite(movie, steps, metadata={"axes": "TYX"})
    arguments = ["clusters", str(movie), "--out", str(out), "--n-clusters", "3"]
    assert cli.main([*arguments, "--at-level", "5", "--hide", "2"]) == 0
    layer = viewer.add_layer(opened(out))
    viewer.layers.selection.active = layer
    panel, found = clusters_widget.panel, clusters.clusters_of(layer)
    assert found is not None
    assert (panel.level.value, panel.level.max) == (5, 9)
    assert layer.features["name"].tolist() == ["background", "", "background", "", "", ""]
    assert layer.metadata[KEY]["background"] == [2]
    assert not (layer.data == 2).any()
    layer.selected_label = 2
    panel.toggle_background()
    expected = found.result.at_level(5).labels
    np.testing.assert_array_equal(layer.data, expected)
    assert "result.at_level(5)" in clusters_widget.python()
    layer.selected_label = 1
    panel.name.value = "debris"
    panel.rename()
    panel.level.value = 3
    panel.relabel()
    np.testing.assert_array_equal(layer.data, found.result.at_level(3).labels)
    again = opened(save_layer(layer, tmp_path / "again.ome.zarr"))
    assert_alike(layer, again)


@pytest.mark.parametrize("widget", ["classes_widget"], indirect=True)
def test_classes_that_were_saved_are_changed_as_those_that_were_not(
    viewer: Any, result: Labels, widget: Any, tmp_path: Path, until: Any
) -> None:
    widget.panel.recolour({"dim": "#123456"})
    save_layer(result, tmp_path / "kept.ome.zarr")
    again = viewer.add_layer(opened(tmp_path / "kept.ome.zarr"))
    shown = []
    for layer in (result, again):
        viewer.layers.selection.active = layer
        assert widget.panel.layer is layer
        assert widget.panel.fixed.native.isHidden()
        widget.panel.auto.value = True
        widget.panel.relabel()
        until(lambda layer=layer: class_layers.classes_of(layer).threshold == "auto")
        widget.panel.slider.value = 0.95
        until(lambda layer=layer: class_layers.classes_of(layer).threshold == 0.95)
        widget.panel.show_names(("bright", "grey", "dim"))
        until(lambda layer=layer: len(class_layers.classes_of(layer).result.names) == 3)
        widget.panel.merge(["grey", "dim"], "dull")
        until(lambda layer=layer: layer.metadata[KEY]["names"] == ["bright", "dull"])
        assert widget.panel.save.enabled
        shown.append(recipe_of(layer.metadata[KEY]).to_python())
    viewer.layers.remove(result)
    again.name = result.name
    assert_alike(result, again)
    assert shown[0] == shown[1]
    assert "0.95" in shown[1]
    assert "regroup({'dull': ['grey', 'dim']})" in shown[1]
    assert widget.names.names == ("bright", "dull")


def test_the_command_of_a_saved_result_follows_threshold_and_names() -> None:
    facts: dict[str, Any] = {
        "method": "classes",
        "file": {"path": "a.tif", "axes": "YX", "channel": None},
        "arguments": {"clip": "x"},
    }

    def words(names: list[str], threshold: float | str) -> tuple[str, ...]:
        config = {"threshold": threshold}
        (line,) = recipe_of({**facts, "config": config, "names": names}).commands()
        return line

    start = ("napari-kindred", "classes", "a.tif", "--out", "a classes.ome.zarr", "--names")
    assert words(["x", "y"], 0.7) == (
        *start, "x,y", "--clip", "x", "--axes", "YX", "--threshold", "0.7"
    )  # fmt: skip
    assert words(["y"], "auto")[:7] == (*start, "y")
    assert "--threshold" not in words(["y"], ClassesConfig().threshold)  # type: ignore[arg-type]


@pytest.mark.parametrize("widget", ["classes_widget"], indirect=True)
def test_classes_saved_as_tiff_have_their_legend_and_say_what_they_cannot_do(
    viewer: Any, result: Labels, widget: Any, tmp_path: Path, until: Any
) -> None:
    save_layer(result, tmp_path / "kept.tif")
    viewer.layers.remove(result)
    again = viewer.add_layer(opened(tmp_path / "kept.tif"))
    viewer.layers.selection.active = again
    table = widget.panel.table
    assert [table.item(place, 0).text() for place in range(2)] == ["bright", "dim"]
    widget.panel.recolour({"dim": "#123456"})
    np.testing.assert_allclose(
        again.get_color(2)[:3], np.array([0x12, 0x34, 0x56]) / 255, atol=1e-6
    )
    assert not widget.panel.fixed.native.isHidden()
    assert "run again" in widget.panel.fixed.value
    assert not widget.panel.rename.enabled
    labels = again.data.copy()
    widget.panel.slider.value = 0.91
    until(lambda: "run again" in widget.status.value)
    np.testing.assert_array_equal(again.data, labels)
    save_layer(again, tmp_path / "again.ome.zarr")  # with its things, as it came


@pytest.mark.parametrize("widget", ["entities_widget"], indirect=True)
def test_what_napari_saves_is_read_by_napari(
    viewer: Any, result: Labels, widget: Any, tmp_path: Path
) -> None:
    path = tmp_path / "saved.ome.zarr"
    viewer.layers.selection = {result}
    assert viewer.layers.save(str(path), selected=True) == [str(path)]
    with pytest.raises(KindredError, match="is there already"):
        viewer.layers.save(str(path), selected=True)
    (again,) = viewer.open(str(path), plugin="napari-kindred")
    again.name = result.name = "one name"
    result.name = "one name"
    np.testing.assert_array_equal(again.data, result.data)
    assert again.metadata[KEY]["weights"] == result.metadata[KEY]["weights"]


def test_labels_of_others_are_saved_too(tmp_path: Path) -> None:
    painted = Labels(np.eye(4, dtype=np.uint8), name="mine")
    data, about, _ = painted.as_layer_data_tuple()
    (place,) = write(str(tmp_path / "mine"), data, about)
    assert place == str(tmp_path / "mine.ome.zarr")
    again = opened(Path(place))
    np.testing.assert_array_equal(again.data, painted.data)
    assert again.name == "mine"


@pytest.mark.parametrize("name", ["a.json", "entities.tif", "folder", "nothing.tif"])
def test_what_is_not_ours_is_left_to_other_readers(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "folder":
        path.mkdir()
    elif name != "nothing.tif":
        path.write_text('{"an": "annotation"}')
    assert get_reader(str(path)) is None
    assert get_reader([str(path)]) is None


@pytest.mark.parametrize("suffix", [".ome.zarr", ".tif"])
def test_a_result_of_the_command_line_becomes_the_layer_of_the_window(
    tmp_path: Path, movie: np.ndarray, suffix: str
) -> None:
    """Its ids are unique within a frame, those of the layer in the whole stack."""
    stored = per_frame_result(movie)
    again = opened(stored.save(tmp_path / f"out{suffix}"))
    expected = unique_ids(stored)
    np.testing.assert_array_equal(again.data, expected.labels)
    np.testing.assert_array_equal(again.features["index"][1:], expected.table["index"])
    assert again.name == "movie entities"


def per_frame_result(movie: np.ndarray) -> Segmentation:
    from scipy import ndimage as ndi

    labels = np.stack([ndi.label(frame > 160)[0] for frame in movie]).astype(np.int32)
    table = pd.concat(
        [measure(here, None, frame=number) for number, here in enumerate(labels)],
        ignore_index=True,
    )
    facts = {**provenance(method="entities", config={}), "image": "movie", "complete": True}
    return Segmentation(labels, table, facts, "TYX", (1.0, 0.5, 0.5), ("pixel",) * 3)


def test_large_labels_stay_on_disk_and_are_numbered_when_they_are_looked_at(
    tmp_path: Path, movie: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = per_frame_result(movie)
    path = stored.save(tmp_path / "large.ome.zarr")
    monkeypatch.setattr("napari_kindred.results.storage.IN_MEMORY", 0)
    monkeypatch.setattr(layer_storage, "SIDE", 64)
    lazy = lazily_unique(load_segmentation(path))
    expected = unique_ids(stored)
    pd.testing.assert_frame_equal(lazy.table, expected.table)
    data, options, _ = layer_data(path)
    assert options["multiscale"]
    assert [level.shape for level in data] == [(4, 96, 128), (4, 48, 64)]
    assert not any(isinstance(level, np.ndarray) for level in data)
    np.testing.assert_array_equal(np.asarray(data[0]), expected.labels)
    np.testing.assert_array_equal(np.asarray(data[1]), expected.labels[:, ::2, ::2])


def test_a_damaged_result_is_told_in_one_sentence(tmp_path: Path, movie: np.ndarray) -> None:
    path = per_frame_result(movie).save(tmp_path / "out.tif")
    path.write_bytes(b"damaged")
    reader = get_reader(str(path))
    assert reader is not None
    with pytest.raises(OutputError, match="incomplete or damaged"):
        reader(str(path))
