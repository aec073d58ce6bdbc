"""Taking a result elsewhere: the copied command, files, tables and the plot."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import tifffile
from napari.layers import Labels
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QFileDialog

from napari_kindred import cli
from napari_kindred._napari.charts import chart_of, iter_chart, ticks, written
from napari_kindred._napari.command import Command, command_for
from napari_kindred._napari.layers import KEY, read_layer
from napari_kindred._napari.reader import get_reader
from napari_kindred.config import EntityConfig
from napari_kindred.events import finish
from napari_kindred.results import load_segmentation

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def widget(shades: Any, request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(getattr(request, "param", "entities_widget"))


@pytest.fixture
def opened(viewer: Any, widget: Any, tmp_path: Path) -> Callable[..., Any]:
    """Write a movie to disk, open it as a user does, and choose it."""

    def open_(movie: np.ndarray, name: str = "my cells.tif", axes: str = "TYX") -> Any:
        tifffile.imwrite(tmp_path / name, movie, photometric="minisblack")
        (layer,) = viewer.open(str(tmp_path / name), plugin="napari")
        widget.image.value = layer
        widget.axes.value = axes
        return layer

    return open_


@pytest.fixture
def copied(widget: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], Labels]:
    """Press the button, run what is on the clipboard elsewhere, and drag in what it wrote."""

    def run() -> Labels:
        QApplication.clipboard().setText("")
        widget.more_tools.keep.command.native.click()
        folder = tmp_path / "elsewhere"
        folder.mkdir(exist_ok=True)
        monkeypatch.chdir(folder)
        out = ""
        for line in QApplication.clipboard().text().splitlines():
            program, *words = shlex.split(line)
            assert program == "napari-kindred"
            assert cli.main(words) == 0
            out = words[words.index("--out") + 1]
        reader = get_reader(str(folder / out))
        assert reader is not None, widget.status.value
        ((data, options, _),) = reader(str(folder / out))
        return Labels(data, **options)

    return run


# -- the command line -------------------------------------------------------------------------


def test_the_copied_command_computes_the_same_entities(
    widget: Any,
    opened: Any,
    copied: Any,
    run: Any,
    threshold: Any,
    movie: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = []

    def segment(image: Any, *, config: Any, **_: Any) -> Any:
        seen.append(config)
        return threshold(image, config=config)

    monkeypatch.setattr("napari_kindred.entities.predict.iter_segment_entities", segment)
    monkeypatch.setattr("napari_kindred.tasks.EntityTask.iter_prepare", lambda _: iter(()))
    opened(movie)
    widget.form.inputs["min_area"].value = 33
    widget.form.inputs["fill_holes"].value = False
    layer = run()
    again = copied()
    np.testing.assert_array_equal(again.data, layer.data)
    assert seen == [EntityConfig(axes="TYX", min_area=33, fill_holes=False)]


@pytest.mark.parametrize("widget", ["consistent_widget"], indirect=True)
@pytest.mark.parametrize("what", ["as it came", "changed", "applied"])
def test_the_copied_command_computes_the_same_clusters(
    viewer: Any,
    widget: Any,
    opened: Any,
    copied: Any,
    run: Any,
    greys: Any,
    steps: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
) -> None:
    monkeypatch.setattr("napari_kindred.consistent.predict.iter_cluster_stack", greys)
    opened(steps)
    layer = run()
    if what == "changed":
        widget.panel.level.value = 5
        widget.panel.relabel()
        layer.selected_label = 2
        widget.panel.toggle_background()
    elif what == "applied":
        opened(steps[:2], "other.tif")
        layer = run(widget.apply)
    viewer.layers.selection.active = layer
    again = copied()
    np.testing.assert_array_equal(again.data, layer.data)
    assert len(np.unique(again.data)) == (5 if what == "changed" else 3)


@pytest.mark.parametrize("widget", ["classes_widget"], indirect=True)
@pytest.mark.parametrize("what", ["as it came", "threshold", "regrouped"])
def test_the_copied_command_computes_the_same_classes(
    widget: Any,
    opened: Any,
    copied: Any,
    run: Any,
    until: Any,
    brightness: Any,
    shaded: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
) -> None:
    from napari_kindred.classes.meaning import VocabularyMeaning

    def open_meaning(*_: Any, vocabulary: Any, **__: Any) -> Any:
        yield from ()
        return VocabularyMeaning(brightness, None, 0.7, 0.5, vocabulary)

    monkeypatch.setattr("napari_kindred.classes.open_meaning.iter_open_meaning", open_meaning)
    opened(shaded)
    widget.names.names = ("bright", "dim")
    layer = run()
    before = np.asarray(layer.data).copy()
    if what == "threshold":
        widget.panel.slider.value = float(np.mean(sorted(layer.features["mean_score"][1:])))
        until(lambda: not np.array_equal(layer.data, before))
    elif what == "regrouped":
        widget.panel.make_one(["dim", "bright"], "odd")
        until(lambda: layer.data.max() == 1, timeout=60000)
        widget.more_tools.keep.command.native.click()
        assert "press 'Save vocabulary …'" in widget.status.value
        return
    np.testing.assert_array_equal(copied().data, layer.data)


def test_a_layer_that_is_no_file_is_told_how_to_become_one(
    viewer: Any, widget: Any, run: Any, movie: np.ndarray
) -> None:
    widget.more_tools.keep.command.native.click()
    assert "press Run" in widget.status.value
    viewer.add_image(movie[0], name="discs")
    run()
    QApplication.clipboard().setText("mine")
    widget.more_tools.keep.command.native.click()
    assert widget.status.value.startswith("'discs' does not come from a file; save it")
    assert QApplication.clipboard().text() == "mine"


def test_what_was_painted_is_not_in_the_command_and_that_is_said(
    widget: Any, opened: Any, run: Any, movie: np.ndarray
) -> None:
    opened(movie)
    run().paint((0, 5, 5), 1)
    widget.more_tools.keep.command.native.click()
    assert "painted on the layer is not in it" in widget.status.value
    widget.copy.native.click()
    assert "painted on the layer is not in it" in widget.status.value


def test_a_layer_that_shows_other_pixels_than_its_file_has_no_command(
    opened: Any, movie: np.ndarray
) -> None:
    layer = opened(movie)
    config = EntityConfig(axes="TYX")
    assert command_for(read_layer(layer), config, "entities", "entities").lines
    layer.data = movie[:, ::-1].copy()
    fault = command_for(read_layer(layer), config, "entities", "entities").fault
    assert "does not hold what" in fault


def test_one_channel_of_a_file_is_found_again(
    viewer: Any, tmp_path: Path, movie: np.ndarray
) -> None:
    both = np.stack([movie // 9, movie], axis=1)
    path = tmp_path / "two.ome.tif"
    tifffile.imwrite(path, both, metadata={"axes": "TCYX"}, photometric="minisblack")
    layer = viewer.add_image(movie, axis_labels=("t", "y", "x"))
    layer._source = layer.source.model_copy(update={"path": str(path)})
    command = command_for(read_layer(layer), EntityConfig(axes="TYX"), "entities", "entities")
    (line,) = command.lines
    assert line[line.index("--axes") + 1] == "TCYX"
    assert line[line.index("--channel") + 1] == "1"


def test_a_command_after_another_that_cannot_be_is_none() -> None:
    assert Command((("a",),)).after(Command(fault="No.")) == Command(fault="No.")
    assert Command((("b",),)).after(Command((("a",),))).lines == (("a",), ("b",))


def test_a_second_run_leaves_the_first_result_as_it_was(
    viewer: Any, widget: Any, run: Any, movie: np.ndarray
) -> None:
    viewer.add_image(movie[0], name="discs")
    first = run()
    first.paint((5, 5), 9)
    before, features = first.data.copy(), first.features.copy()
    widget.form.inputs["min_area"].value = 20
    second = run()
    assert [layer.name for layer in viewer.layers[1:]] == ["discs entities", "discs entities [1]"]
    assert second is not first
    np.testing.assert_array_equal(first.data, before)
    pd.testing.assert_frame_equal(first.features, features)


# -- files and tables -------------------------------------------------------------------------


def test_saving_asks_where_and_never_replaces_a_result(
    widget: Any,
    opened: Any,
    run: Any,
    until: Any,
    movie: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened(movie)
    layer = run()
    chosen = (str(tmp_path / "kept"), "OME-Zarr (*.ome.zarr)")
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: chosen)
    widget.more_tools.keep.save.native.click()
    until(lambda: "is in" in widget.status.value)
    np.testing.assert_array_equal(load_segmentation(tmp_path / "kept.ome.zarr").labels, layer.data)
    widget.more_tools.keep.save.native.click()
    until(lambda: "is there already" in widget.status.value)


def test_a_table_is_exported_per_entity_or_frame(
    widget: Any,
    opened: Any,
    run: Any,
    movie: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    image = opened(movie)
    image.scale, image.units = (2, 0.5, 0.5), ("s", "um", "um")
    layer = run()
    for kind, rows in (("entity", len(layer.features) - 1), ("frame", 4)):
        chosen = (str(tmp_path / f"{kind}.csv"), f"Table per {kind} (*.csv)")
        monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_, chosen=chosen: chosen)
        widget.more_tools.keep.export.native.click()
        table = pd.read_csv(chosen[0])
        assert len(table) == rows
        assert "area [µm²]" in table
        assert "time [s]" in table
    assert table["count"].sum() == len(layer.features) - 1


# -- the plot ---------------------------------------------------------------------------------


def test_entities_are_counted_over_time_and_a_click_goes_to_the_frame(
    viewer: Any, widget: Any, opened: Any, run: Any, until: Any, qtbot: Any, movie: np.ndarray
) -> None:
    image = opened(movie)
    image.scale, image.units = (30, 1, 1), ("s", "pixel", "pixel")
    layer = run()
    keep = widget.more_tools.keep
    until(lambda: bool(keep.plot.chart.curves))
    chart = chart_of(layer)
    assert chart is not None
    assert chart.curves[0].values.tolist() == [6, 6, 6, 5]
    assert (chart.x, chart.y, chart.step) == ("Time [s]", "Entities", 30)
    place = keep.plot.place_of(2, 3)
    qtbot.mouseClick(keep.plot, Qt.MouseButton.LeftButton, pos=place.toPoint())
    assert viewer.dims.point[0] == 60
    viewer.dims.set_point(0, 90)
    assert keep.plot.frame == 3
    layer.fill((1, *np.argwhere(np.asarray(layer.data[1]))[0]), 0)
    until(lambda: keep.plot.chart.curves[0].values.tolist() == [6, 5, 6, 5])


@pytest.mark.parametrize("widget", ["consistent_widget"], indirect=True)
def test_the_areas_of_clusters_are_plotted_in_their_colours(
    viewer: Any, widget: Any, run: Any, until: Any, steps: np.ndarray
) -> None:
    units = ("s", "um", "um")
    viewer.add_image(steps, name="a", axis_labels=tuple("tyx"), scale=(1, 0.5, 0.5), units=units)
    layer = run()
    widget.panel.name.value = "ground"
    chart = chart_of(layer)
    assert chart is not None
    assert chart.y == "Area [µm²]"
    for label, curve in enumerate(chart.curves, start=1):
        areas = [(frame == label).sum() * 0.25 for frame in layer.data]
        np.testing.assert_allclose(curve.values, areas)
        assert curve.colour == layer.metadata[KEY]["colours"][str(label)]
    # painted on, its pixels are counted anew
    layer.paint((2, 20, 20), 3)
    assert chart_of(layer) is None
    counted = finish(iter_chart(layer))
    assert counted is not None
    expected = (np.asarray(layer.data)[2] == 3).sum() * 0.25
    assert counted.curves[2].values[2] == expected
    drawn = widget.more_tools.keep.plot
    until(lambda: [curve.values[2] for curve in drawn.chart.curves[2:]] == [expected])
    picture = drawn.grab().toImage()
    place = drawn.place_of(0.5, float(counted.curves[0].values[:2].mean())).toPoint()
    assert picture.pixelColor(place) != picture.pixelColor(place.x(), place.y() + 12)


def test_a_single_picture_has_no_plot(viewer: Any, widget: Any, run: Any, movie: Any) -> None:
    viewer.add_image(movie[0])
    assert chart_of(run()) is None
    widget.more_tools.keep.draw()
    assert not widget.more_tools.keep.plot.chart.curves


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        (11, [0, 5, 10]),
        (0.9, [0, 0.5]),
        (100, [0, 50, 100]),
        (400, [0, 100, 200, 300, 400]),
        (0, [0]),
    ],
)
def test_axes_have_round_numbers(last: float, expected: list[float]) -> None:
    assert ticks(last) == expected


def test_numbers_are_written_short() -> None:
    assert [written(value) for value in (0, 0.25, 1500, 20_000, 3.5e6)] == [
        *("0", "0.25", "1500", "20k", "3.5M"),
    ]
