"""Taking a result elsewhere: the copied command, files, tables and the plot."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import tifffile
from napari.layers import Labels
from qtpy.QtCore import QPoint
from qtpy.QtWidgets import QApplication

from napari_kindred._napari.common.layers import read_layer
from napari_kindred._napari.results.painting import settle
from napari_kindred._napari.results.reader import get_reader
from napari_kindred._napari.results.replay import origin_in_file
from napari_kindred.cli import main as cli
from napari_kindred.entities.config import EntityConfig
from napari_kindred.methods import ENTITIES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def copied(widget: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], Labels]:
    """Press the button, run what is on the clipboard elsewhere, and drag in what it wrote."""

    def run() -> Labels:
        QApplication.clipboard().setText("")
        widget.more_tools.command.native.click()
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
    computed: Any,
    copied: Any,
    threshold: Any,
    movie: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = []

    def segment(image: Any, *, config: Any, **_: Any) -> Any:
        seen.append(config)
        return threshold(image, config=config)

    monkeypatch.setattr("napari_kindred.entities.predict.iter_segment_entities", segment)
    monkeypatch.setattr("napari_kindred.cli.tasks.EntityTask.iter_prepare", lambda _: iter(()))
    widget.form.inputs["min_area"].value = 33
    widget.form.inputs["fill_holes"].value = False
    layer = computed(movie)
    again = copied()
    np.testing.assert_array_equal(again.data, layer.data)
    assert seen == [EntityConfig(axes="TYX", min_area=33, fill_holes=False)]


@pytest.mark.parametrize("widget", ["clusters_widget"], indirect=True)
@pytest.mark.parametrize("what", ["as it came", "changed", "applied"])
def test_the_copied_command_computes_the_same_clusters(
    viewer: Any,
    widget: Any,
    computed: Any,
    opened: Any,
    copied: Any,
    run: Any,
    greys: Any,
    steps: np.ndarray,
    changed_clusters: Any,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
) -> None:
    monkeypatch.setattr("napari_kindred.clusters.predict.iter_cluster_stack", greys)
    layer = computed(steps)
    if what == "changed":
        changed_clusters(layer)
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
    computed: Any,
    copied: Any,
    until: Any,
    brightness: Any,
    shaded: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
) -> None:
    from napari_kindred.classes.classifiers import VocabularyClassifier

    def open_classifier(*_: Any, vocabulary: Any, **__: Any) -> Any:
        yield from ()
        return VocabularyClassifier(brightness, None, 0.7, 0.5, vocabulary)

    monkeypatch.setattr("napari_kindred.classes.open.iter_open_classifier", open_classifier)
    widget.names.names = ("bright", "dim")
    layer = computed(shaded)
    before = np.asarray(layer.data).copy()
    if what == "threshold":
        widget.panel.slider.value = float(np.mean(sorted(layer.features["mean_score"][1:])))
        until(lambda: not np.array_equal(layer.data, before))
    elif what == "regrouped":
        widget.panel.merge(["dim", "bright"], "odd")
        until(lambda: layer.data.max() == 1, timeout=60000)
        widget.more_tools.command.native.click()
        assert "press 'Save vocabulary …'" in widget.status.value
        return
    np.testing.assert_array_equal(copied().data, layer.data)


def test_a_layer_that_is_no_file_is_told_how_to_become_one(
    viewer: Any, widget: Any, run: Any, movie: np.ndarray
) -> None:
    viewer.add_image(movie[0], name="discs")
    run()
    QApplication.clipboard().setText("mine")
    widget.more_tools.command.native.click()
    assert widget.status.value.startswith("'discs' does not come from a file. To get")
    assert QApplication.clipboard().text() == "mine"


def test_what_was_painted_is_not_in_the_command_and_that_is_said(
    widget: Any, computed: Any, movie: np.ndarray
) -> None:
    computed(movie).paint((0, 5, 5), 1)
    widget.more_tools.command.native.click()
    assert "does not include what you painted" in widget.status.value
    widget.copy.native.click()
    assert "does not include what you painted" in widget.status.value


def test_a_layer_that_shows_other_pixels_than_its_file_has_no_command(
    opened: Any, movie: np.ndarray
) -> None:
    layer = opened(movie)
    config = EntityConfig(axes="TYX")
    assert origin_in_file(read_layer(layer), config, ENTITIES)["file"]
    layer.data = movie[:, ::-1].copy()
    found = origin_in_file(read_layer(layer), config, ENTITIES)
    assert "is not what" in found["no_file"]


def test_one_channel_of_a_file_is_found_again(
    viewer: Any, tmp_path: Path, movie: np.ndarray
) -> None:
    both = np.stack([movie // 9, movie], axis=1)
    path = tmp_path / "two.ome.tif"
    tifffile.imwrite(path, both, metadata={"axes": "TCYX"}, photometric="minisblack")
    layer = viewer.add_image(movie, axis_labels=("t", "y", "x"))
    layer._source = layer.source.model_copy(update={"path": str(path)})
    found = origin_in_file(read_layer(layer), EntityConfig(axes="TYX"), ENTITIES)
    assert found == {"file": {"path": str(path), "axes": "TCYX", "channel": 1}}


def test_a_second_run_leaves_the_first_result_as_it_was(
    viewer: Any, widget: Any, run: Any, movie: np.ndarray
) -> None:
    viewer.add_image(movie[0], name="discs")
    first = run()
    first.paint((5, 5), 9)
    settle(first)
    before, features = first.data.copy(), first.features.copy()
    widget.form.inputs["min_area"].value = 20
    second = run()
    assert [layer.name for layer in viewer.layers[1:]] == ["discs entities", "discs entities [1]"]
    assert second is not first
    np.testing.assert_array_equal(first.data, before)
    pd.testing.assert_frame_equal(first.features, features)


# -- what can be pressed ------------------------------------------------------------------------


def told(button: Any) -> str:
    """What the tooltip says of a button that cannot be pressed; nothing of one that can."""
    return "" if button.enabled else str(button.native.toolTip())


def test_what_a_result_is_needed_for_cannot_be_pressed_before_and_its_tooltip_says_why(
    viewer: Any, widget: Any, run: Any, opened_movie: Any
) -> None:
    tools = widget.more_tools
    needing = (
        tools.command,
        tools.save,
        tools.export,
        tools.table,
    )
    assert all(told(button).endswith("no result yet: press Run first.") for button in needing)
    assert all("no Labels layer" in told(button) for button in (tools.previous, tools.next))
    layer = run()
    everything = (*needing, tools.previous, tools.next)
    assert not any(map(told, everything))
    assert not any("yet" in button.tooltip for button in everything)
    viewer.layers.selection.active = opened_movie  # the last result is meant
    assert not any(map(told, everything))
    viewer.layers.remove(layer)
    assert all(map(told, everything))


def test_in_a_single_picture_there_is_no_change_to_go_to(
    viewer: Any, widget: Any, run: Any, movie: np.ndarray
) -> None:
    viewer.add_image(movie[0])
    run()
    assert widget.more_tools.save.enabled
    assert not widget.more_tools.next.enabled


def test_where_the_buttons_are_does_not_change_when_the_result_comes(
    viewer: Any, widget: Any, run: Any, opened_movie: Any, until: Any
) -> None:
    tools = widget.more_tools
    buttons = (
        tools.copy,
        tools.command,
        tools.table,
        tools.save,
        tools.next,
    )

    def places() -> list[Any]:
        return [button.native.mapTo(widget.native, QPoint(0, 0)) for button in buttons]

    viewer.window._qt_window.show()
    until(tools.next.native.isVisible)
    QApplication.processEvents()
    before = places()
    run()
    until(lambda: places() == before)  # a busy machine lays out later
