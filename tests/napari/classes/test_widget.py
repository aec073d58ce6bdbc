"""The dock widget for classes in a real napari window, with brightness in place of a network."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import napari_kindred
from napari_kindred._napari.classes import layer as class_layers
from napari_kindred._napari.common.label_state import STATE
from napari_kindred._napari.common.layers import KEY
from napari_kindred._napari.results.layer_storage import layer_data, save_layer
from napari_kindred.classes.config import ClassesConfig
from napari_kindred.core.events import finish

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_kindred._napari.classes.widget import ClassesWidget
    from napari_kindred.classes.vocabulary.vocabulary import Vocabulary

ALL = ("dim", "grey", "bright")

WIDGET = "classes_widget"


@pytest.fixture
def movie(viewer: Any, shaded: np.ndarray) -> Any:
    return viewer.add_image(shaded, name="smear", axis_labels=("t", "y", "x"))


@pytest.fixture
def named(widget: ClassesWidget, movie: Any) -> ClassesWidget:
    """With a movie and three names."""
    widget.names.names = ALL
    return widget


def truth(shaded: np.ndarray) -> np.ndarray:
    return np.select([shaded == 90, shaded == 150, shaded == 250], [1, 2, 3], 0)


# -- before a run ----------------------------------------------------------------------------


def test_the_names_that_a_vocabulary_knows_are_listed_and_added_by_a_click(
    widget: ClassesWidget, movie: Any
) -> None:
    box = widget.classifier.vocabulary
    for name in ALL:
        assert f">{name}</a>" in box.about.value
    box.about.native.linkActivated.emit("1")
    box.about.native.linkActivated.emit("1")
    assert widget.names.names == ("grey",)
    box.about.native.linkActivated.emit("3")
    assert widget.names.names == ("grey", "dim", "bright")
    assert widget.run.enabled


def test_names_have_the_colours_of_the_vocabulary(named: ClassesWidget) -> None:
    assert named.names.colours() == ("#335577", "#999999", "#ffee00")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "No class is named"),
        ("grey\nGREY", "named twice"),
        ("grey\n!!", "no name of a class"),
        ("grey\nred cell", "does not know 'red cell'; it knows dim, grey (gray), bright"),
        ("grey\ngray", "mean the class 'grey'"),
        ("gr\u0007ey", "cannot be shown"),
    ],
)
def test_names_that_cannot_be_looked_for_get_one_sentence_and_run_is_off(
    widget: ClassesWidget, movie: Any, text: str, said: str
) -> None:
    widget.names.setPlainText(text)
    assert said in widget.about.value
    assert not widget.run.enabled
    assert ("background-color: #6b2320" in widget.names.styleSheet()) == bool(text)
    widget.names.setPlainText("grey")
    assert widget.run.enabled
    assert "#6b2320" not in widget.names.styleSheet()


def test_a_damaged_vocabulary_is_one_sentence_and_another_can_be_chosen(
    named: ClassesWidget, shades: Vocabulary, tmp_path: Path, until: Any
) -> None:
    whole = shades.save(tmp_path / "whole.kindred").read_bytes()
    (tmp_path / "half.kindred").write_bytes(whole[: len(whole) // 2])
    box = named.classifier.vocabulary
    box.take_file(tmp_path / "half.kindred")
    assert not named.run.enabled
    until(lambda: "half.kindred" in box.about.value)
    assert "half.kindred" in named.about.value
    assert "background-color" in box.choice.native.styleSheet()
    assert not named.run.enabled
    box.choice.value = "shades.kindred"
    assert named.run.enabled
    assert box.choice.native.styleSheet() == ""


def test_what_another_way_needs_takes_the_place_of_the_vocabulary(named: ClassesWidget) -> None:
    pages = named.classifier._pages
    for kind in ("examples", "clip", "vocabulary"):
        named.classifier.kind.value = kind
        assert [name for name, page in pages.items() if not page.native.isHidden()] == [kind]
    assert named.run.enabled


def test_a_clip_that_there_is_not_is_one_sentence(named: ClassesWidget, until: Any) -> None:
    named.classifier.kind.value = "clip"
    assert not named.run.enabled
    clip = named.classifier.clip
    box = clip.choice.native
    box.setEditText("ViT-B-16/no_such_weights")
    box.lineEdit().editingFinished.emit()
    until(lambda: "no_such_weights" in clip.about.value, timeout=60000)
    assert not named.run.enabled


# -- a run -----------------------------------------------------------------------------------


def test_the_result_is_a_layer_on_the_image_with_a_row_per_class(
    named: ClassesWidget, movie: Any, run: Any, shaded: np.ndarray
) -> None:
    movie.scale, movie.translate = (1, 0.5, 0.25), (0, 10, 20)
    layer = run()
    assert layer.name == "smear classes"
    np.testing.assert_array_equal(layer.data, truth(shaded))
    np.testing.assert_array_equal(layer.scale, movie.scale)
    np.testing.assert_array_equal(layer.translate, movie.translate)
    rows = layer.features
    assert list(rows["index"]) == [0, 1, 2, 3]
    assert list(rows["name"]) == ["background", *ALL]
    assert list(rows["area"][1:]) == [300, 300, 500]
    assert list(rows["count"][1:]) == [3, 3, 5]
    assert rows["share"][3] == pytest.approx(500 / shaded.size)
    entry = layer.metadata[KEY]
    assert entry["names"] == list(ALL)
    assert entry["source_layer"] == "smear"
    assert entry["complete"] is True
    assert "Found 3 dims, 3 greys, 5 brights in 3 frames" in named.status.value
    assert 0.2 < layer.opacity < 0.8


def test_colours_are_those_before_the_names_and_the_table_is_their_legend(
    named: ClassesWidget, run: Any
) -> None:
    named.names.set_colour("grey", "#00ff00")
    layer = run()
    np.testing.assert_allclose(layer.get_color(2), (0, 1, 0, 1))
    np.testing.assert_allclose(layer.get_color(1)[:3], np.array([0x33, 0x55, 0x77]) / 255)
    assert layer.get_color(0) is None or layer.get_color(0)[3] == 0
    assert layer.features["colour"][2] == "#00ff00"
    table = named.panel.table
    texts = [[table.item(row, column).text() for column in range(4)] for row in range(3)]
    assert texts[2] == ["bright", "500", "6.9 %", "5"]
    shown = table.item(1, 0).icon().pixmap(12, 12).toImage().pixelColor(6, 6)
    assert shown.name() == "#00ff00"
    named.names.set_colour("grey", "#0000ff")
    np.testing.assert_allclose(layer.get_color(2), (0, 0, 1, 1))


def test_areas_are_told_in_the_images_units(named: ClassesWidget, movie: Any, run: Any) -> None:
    movie.scale, movie.units = (1, 0.5, 0.5), ("s", "um", "um")
    run()
    assert named.panel.table.horizontalHeaderItem(1).text() == "Area (µm²)"
    assert named.panel.table.item(2, 1).text() == f"{500 / 4:.0f}"


def test_frames_appear_as_they_are_done(
    named: ClassesWidget, brightness: Any, labels_layers: Any, until: Any
) -> None:
    gate = brightness.gates[1] = threading.Event()
    named.run.native.click()
    until(lambda: "1 of 3 frames done" in named.status.value and len(labels_layers()) == 1)
    (layer,) = labels_layers()
    assert [bool(frame.any()) for frame in layer.data] == [True, False, False]
    assert list(layer.features["count"][1:]) == [1, 1, 1]
    np.testing.assert_allclose(layer.get_color(3)[:3], (1, 0xEE / 255, 0))
    gate.set()
    until(lambda: named.run.enabled)
    assert all(frame.any() for frame in layer.data)


def test_cancel_keeps_the_frames_that_are_done_as_a_result_of_fewer_frames(
    named: ClassesWidget,
    brightness: Any,
    labels_layers: Any,
    until: Any,
    shaded: np.ndarray,
    tmp_path: Path,
) -> None:
    brightness.gates[2] = threading.Event()
    named.run.native.click()
    until(lambda: "2 of 3 frames done" in named.status.value)
    named.cancel.native.click()
    until(lambda: named.run.enabled)
    (layer,) = labels_layers()
    np.testing.assert_array_equal(layer.data[:2], truth(shaded)[:2])
    assert not layer.data[2].any()
    assert list(layer.features["area"][1:]) == [200, 200, 300]
    assert layer.features["share"][3] == pytest.approx(300 / (2 * shaded[0].size))
    assert layer.metadata[KEY]["complete"] is False
    assert "2 of 3 frames are in the layer 'smear classes'" in named.status.value
    assert "cancelled" in layer.metadata[KEY]["stopped"]
    assert layer.metadata[KEY]["vocabulary"]["names"] == ["dim", "grey", "bright"]
    assert list(class_layers.classes_of(layer).result.entity_table["frame"]) == [0] * 3 + [1] * 4
    named.panel.show_names(("bright",))
    until(lambda: layer.data.max() == 1)
    np.testing.assert_array_equal(layer.data[:2], truth(shaded)[:2] == 3)
    assert not layer.data[2].any()
    assert list(layer.features["area"][1:]) == [300]
    again = layer_data(save_layer(layer, tmp_path / "kept.ome.zarr"))[1]["metadata"]
    changed = again[STATE].result.with_names(["dim", "grey", "bright"])
    np.testing.assert_array_equal(changed.labels[:2], truth(shaded)[:2])
    assert changed.provenance["complete"] is False


@pytest.mark.parametrize("what", ["as it came", "threshold", "other names", "regrouped", "channel"])
def test_the_copied_code_runs_and_computes_the_same_labels(
    viewer: Any,
    named: ClassesWidget,
    brightness: Any,
    run: Callable[..., Any],
    until: Any,
    shaded: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
) -> None:
    def segment_classes(image: Any, names: Any, vocabulary: Any, **options: Any) -> Any:
        from napari_kindred import Vocabulary

        if isinstance(vocabulary, str):
            vocabulary = Vocabulary.load(vocabulary)
        config = ClassesConfig(**options)
        return finish(brightness(image, names, config=config, vocabulary=vocabulary))

    monkeypatch.setattr(napari_kindred, "segment_classes", segment_classes, raising=False)
    if what == "channel":
        viewer.layers.clear()
        both = np.stack([np.zeros_like(shaded), shaded], axis=1)
        viewer.add_image(both, name="smear", axis_labels=("t", "c", "y", "x"))
        named.channel.value = 1
    layer = run()
    before = np.asarray(layer.data).copy()
    if what == "threshold":
        named.panel.slider.value = float(np.mean(sorted(layer.features["mean_score"][1:])[:2]))
        until(lambda: len(np.unique(layer.data)) == 3)
    elif what == "other names":
        named.names.names = ("bright", "dim")
        named.panel.rename.native.click()
        until(lambda: layer.data.max() == 2)
    elif what == "regrouped":
        named.panel.merge(["dim", "bright"], "odd")
        until(lambda: layer.data.max() == 2, timeout=60000)
    space: dict[str, Any] = {"viewer": viewer}
    exec(named.python(), space)  # noqa: S102  (what the user does with it)
    np.testing.assert_array_equal(np.squeeze(layer.data), space["labels"])
    assert np.array_equal(layer.data, before) == (what in ("as it came", "channel"))
