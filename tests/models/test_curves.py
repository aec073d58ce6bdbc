"""Learning curves show what a run logged."""

from __future__ import annotations

import re
from xml.dom import minidom

from napari_kindred.models.curves import draw_curves, read_log


def test_every_logged_value_has_a_panel_whose_line_falls_as_the_value_does(tmp_path):
    log = tmp_path / "log.csv"
    log.write_text("50,0.5,loss,4\n50,0.5,a<b,1\n100,1.0,loss,2\n100,1.0,a<b,3\n150,1.5,loss,1\n")
    document = minidom.parseString(draw_curves(log))  # noqa: S318
    titles = [one.firstChild.data for one in document.getElementsByTagName("text")]
    assert titles[0] == "loss: 4 to 1, last 1"
    assert titles[2] == "a<b: 3 to 1, last 3"
    points = document.getElementsByTagName("polyline")[0].getAttribute("points")
    x, y = zip(*(map(float, re.split(",", pair)) for pair in points.split()), strict=True)
    assert [round((one - x[2]) / (x[2] - x[0]), 2) for one in x] == [-1.0, -0.5, 0.0]
    assert [round((one - y[0]) / (y[2] - y[0]), 2) for one in y] == [0.0, 0.67, 1.0]  # down is more


def test_steps_logged_again_after_resuming_count_once(tmp_path):
    log = tmp_path / "log.csv"
    log.write_text("50,0.5,loss,4\n100,1.0,loss,3\n100,1.2,loss,2\n")
    assert read_log(log) == {"loss": [(50, 4.0), (100, 2.0)]}
