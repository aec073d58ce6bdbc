"""The plot below a result: what it draws, where a click goes, and counts that come late."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from napari.layers import Labels
from qtpy.QtCore import Qt

from napari_kindred._napari.common.layers import KEY
from napari_kindred._napari.results import plot_panel
from napari_kindred._napari.results.charts import chart_of, counted_chart, short_number, ticks
from napari_kindred._napari.results.painting import settle

WIDGET = "entities_widget"


def test_entities_are_counted_over_time_and_a_click_goes_to_the_frame(
    viewer: Any, widget: Any, run: Any, until: Any, qtbot: Any, movie: np.ndarray
) -> None:
    units = ("s", "pixel", "pixel")
    viewer.add_image(movie, axis_labels=tuple("tyx"), scale=(30, 1, 1), units=units)
    layer = run()
    keep = widget.more_tools
    until(lambda: bool(keep.plot.chart.curves))
    chart = chart_of(layer)
    assert chart is not None
    assert chart.curves[0].values.tolist() == [6, 6, 6, 5]
    assert (chart.x, chart.y, chart.step) == ("Time [s]", "Objects", 30)
    place = keep.plot.place_of(2, 3)
    qtbot.mouseClick(keep.plot, Qt.MouseButton.LeftButton, pos=place.toPoint())
    assert viewer.dims.point[0] == 60
    viewer.dims.set_point(0, 90)
    assert keep.plot.frame == 3
    layer.fill((1, *np.argwhere(np.asarray(layer.data[1]))[0]), 0)
    until(lambda: keep.plot.chart.curves[0].values.tolist() == [6, 5, 6, 5])


def test_frames_that_a_stopped_run_never_did_have_no_value() -> None:
    rows = {"index": [0, 1, 2], "frame": [np.nan, 0, 1], "area": [np.nan, 4, 4]}
    entry = {"method": "entities", "complete": False, "frames_done": 2}
    layer = Labels(np.zeros((4, 8, 8), int), features=rows, metadata={KEY: entry})
    chart = chart_of(layer)
    assert chart is not None
    np.testing.assert_array_equal(chart.curves[0].values, [1, 1, np.nan, np.nan])


@pytest.mark.parametrize("widget", ["clusters_widget"], indirect=True)
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
    settle(layer)
    assert chart_of(layer) is None
    counted = counted_chart(layer)
    assert counted is not None
    expected = (np.asarray(layer.data)[2] == 3).sum() * 0.25
    assert counted.curves[2].values[2] == expected
    drawn = widget.more_tools.plot
    until(lambda: [curve.values[2] for curve in drawn.chart.curves[2:]] == [expected])
    picture = drawn.grab().toImage()
    place = drawn.place_of(0.5, float(counted.curves[0].values[:2].mean())).toPoint()
    assert picture.pixelColor(place) != picture.pixelColor(place.x(), place.y() + 12)


def test_a_count_that_comes_late_is_not_shown_for_the_layer_that_was_chosen_meanwhile(
    viewer: Any, widget: Any, until: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, gate, left = (threading.Event() for _ in range(3))

    def counting(layer: Labels) -> Any:
        if layer.name == "first":
            begun.set()
            gate.wait(60)
            left.set()
        return counted_chart(layer)

    monkeypatch.setattr(plot_panel, "counted_chart", counting)
    plot, shown = widget.more_tools.plot, []
    monkeypatch.setattr(plot, "show_chart", lambda chart: shown.append(chart))
    first, second = np.zeros((2, 2, 8, 8), np.int32)
    first[:, :2, :2] = second[:, :3, :3] = 1
    result = {KEY: {"method": "labels", "complete": True}}
    viewer.add_labels(first, name="first", metadata=result)
    until(begun.is_set)
    viewer.add_labels(second, name="second", metadata=result)

    def areas() -> list[list[float]]:
        return [curve.values.tolist() for chart in shown for curve in chart.curves]

    until(lambda: bool(areas()))
    gate.set()
    until(left.is_set)
    qtbot.wait(50)
    assert areas() == [[9, 9]]


def test_a_single_picture_has_no_plot(viewer: Any, widget: Any, run: Any, movie: Any) -> None:
    viewer.add_image(movie[0])
    assert chart_of(run()) is None
    widget.more_tools.plot_panel.draw()
    assert not widget.more_tools.plot.chart.curves


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
    assert [short_number(value) for value in (0, 0.25, 1500, 20_000, 3.5e6)] == [
        *("0", "0.25", "1500", "20k", "3.5M"),
    ]
