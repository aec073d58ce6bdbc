"""Settings that napari keeps, and options that are remembered from run to run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from napari.settings import get_plugin_settings
from npe2 import PluginManifest
from qtpy.QtWidgets import QApplication, QDialog

import napari_kindred
from napari_kindred._napari.classes.widget import ClassesWidget
from napari_kindred._napari.clusters.widget import ClustersWidget
from napari_kindred._napari.common.saved_options import DAMAGED, load_options, place
from napari_kindred._napari.common.settings import DAMAGED as DAMAGED_SETTINGS
from napari_kindred._napari.common.settings import apply_settings
from napari_kindred._napari.entities.widget import EntitiesWidget
from napari_kindred.core.settings import Preferences, preferences

if TYPE_CHECKING:
    from collections.abc import Callable

WIDGET = "entities_widget"


@pytest.fixture
def options(own_settings: Path) -> Callable[[str], None]:
    """Write the file of remembered options."""

    def write(text: str) -> None:
        place().parent.mkdir(parents=True, exist_ok=True)
        place().write_text(text, "utf-8")

    return write


# -- settings ----------------------------------------------------------------------------------


def test_settings_as_they_come_change_nothing(qapp: Any) -> None:
    assert apply_settings() == ""
    assert preferences() == Preferences()


def test_a_setting_holds_at_once_and_in_the_next_session(own_settings: Path, qapp: Any) -> None:
    apply_settings()
    kept = get_plugin_settings()["napari-kindred"]
    kept.computing.device, kept.computing.memory = "cpu", 3
    kept.cache.folder, kept.cache.limit = " /some/where ", 0
    expected = Preferences("cpu", 3.0, "/some/where", 0.0)
    assert preferences() == expected
    from napari import settings

    settings._clear_plugin_settings_cache()  # what a new session begins with
    apply_settings()
    assert preferences() == expected


def test_settings_that_are_damaged_are_told_and_the_usual_ones_hold(
    own_settings: Path, viewer: Any
) -> None:
    (own_settings / "napari-kindred.yaml").write_text("- a list\n", "utf-8")
    widget = EntitiesWidget(viewer)
    assert widget.status.value == DAMAGED_SETTINGS
    assert preferences() == Preferences()


def test_every_setting_says_what_it_is_and_its_devices_are_those_of_the_options() -> None:
    manifest = PluginManifest.from_file(Path(napari_kindred.__file__).with_name("napari.yaml"))
    found = {
        f"{section}.{name}": setting
        for section, about in manifest.contributions.configurations.items()
        for name, setting in about.properties.items()
    }
    assert set(found) == {"computing.device", "computing.memory", "cache.folder", "cache.limit"}
    assert all(setting.title and setting.description for setting in found.values())
    field = napari_kindred.EntityConfig.__dataclass_fields__["device"]
    assert tuple(found["computing.device"].enum) == field.metadata["choices"]


def test_the_settings_button_opens_our_page_of_naparis_preferences(
    viewer: Any, widget: EntitiesWidget
) -> None:
    from qtpy.QtWidgets import QListWidget

    viewer.window._qt_window.show()
    widget.settings.native.click()
    (dialog,) = (
        top
        for top in QApplication.topLevelWidgets()
        if isinstance(top, QDialog) and top.isVisible()
    )
    assert dialog.findChild(QListWidget).currentItem().text() == "napari-kindred"
    dialog.close()


# -- options that are remembered ---------------------------------------------------------------


def test_the_options_of_the_last_run_are_there_again_but_not_what_belongs_to_the_image(
    viewer: Any, widget: EntitiesWidget, run: Any, opened_movie: Any
) -> None:
    widget.form.inputs["threshold"].value = 0.3
    widget.form.inputs["views"].value = 2
    widget.form.inputs["memory"].value = "2.5"
    widget.form.inputs["fill_holes"].value = False
    run()
    chosen = {"threshold": 0.3, "views": 2, "memory": 2.5, "fill_holes": False}
    assert json.loads(place().read_text("utf-8")) == {"Cells and nuclei": chosen}
    again = EntitiesWidget(viewer)
    assert {name: getattr(again.check(), name) for name in chosen} == chosen
    assert again.form.more.text == "▸ More options (3 changed)"
    again.defaults.native.click()
    assert again.form.more.text == "▸ More options"
    assert again.check() == napari_kindred.EntityConfig(axes="TYX")


def test_options_are_remembered_for_each_method_by_itself(
    viewer: Any, options: Any, widget: EntitiesWidget, greys: Any
) -> None:
    options(json.dumps({"Clusters": {"encoder": "efficientnet", "seed": 5}}))
    again = ClustersWidget(viewer, segment=greys)
    viewer.add_image(np.zeros((4, 32, 32), np.uint8), axis_labels=("t", "y", "x"))
    assert again.encoder.choice.value == "efficientnet"
    again.reset_choices()
    assert again.check().seed == 5
    again.take_defaults()
    assert again.encoder.choice.value == "kindred"
    assert EntitiesWidget(viewer).form.more.text == "▸ More options"


def test_the_threshold_of_classes_is_remembered(viewer: Any, classes_widget: ClassesWidget) -> None:
    classes_widget.restore({"threshold": 0.4})
    assert classes_widget.panel.threshold == 0.4
    classes_widget.take_defaults()
    assert classes_widget.panel.threshold == "auto"


@pytest.fixture
def asked(
    viewer: Any, classes_widget: ClassesWidget, brightness: Any, until: Any, shaded: np.ndarray
) -> ClassesWidget:
    """The widget after a run with two names, written into one line, and a vocabulary's file."""
    viewer.add_image(shaded, name="smear", axis_labels=("t", "y", "x"))
    classes_widget.names.setPlainText("dim, bright")
    classes_widget.panel.enter(0.4)
    classes_widget.check()
    classes_widget.run.native.click()
    until(lambda: not classes_widget.controls.busy)
    return classes_widget


def test_names_and_what_they_mean_are_there_again_until_defaults_are_taken(
    viewer: Any, asked: ClassesWidget, until: Any
) -> None:
    again = ClassesWidget(viewer)
    assert again.names.toPlainText() == "dim, bright"
    assert again.classifier.kind.value == "vocabulary"
    assert again.classifier.vocabulary.name == asked.classifier.vocabulary.name
    until(lambda: again.classifier.vocabulary.vocabulary is not None)
    assert again.classifier.vocabulary.vocabulary.names == ("dim", "grey", "bright")
    assert again.check().threshold == 0.4
    again.defaults.native.click()
    assert again.names.toPlainText() == ""
    assert again.classifier.vocabulary.name == "microscopy"
    again.release()


def test_a_vocabulary_that_is_gone_is_told_once_and_the_one_that_comes_along_is_taken(
    viewer: Any, asked: ClassesWidget
) -> None:
    Path(asked.classifier.vocabulary.name).unlink()
    again, third = ClassesWidget(viewer), ClassesWidget(viewer)
    assert "'shades.kindred'" in again.status.value
    assert "is missing" in again.status.value
    assert "gone" not in third.status.value
    for widget in (again, third):
        assert widget.classifier.vocabulary.name == "microscopy"
        assert widget.names.toPlainText() == ""
        assert widget.panel.threshold == 0.4
        widget.release()


def test_the_names_of_regrouped_classes_are_not_kept_without_their_meaning(
    viewer: Any, asked: ClassesWidget, until: Any
) -> None:
    asked.panel.merge(["dim", "bright"], "odd")
    until(lambda: asked.names.names == ("odd",))
    asked.run.native.click()
    until(lambda: not asked.controls.busy)
    again = ClassesWidget(viewer)
    assert again.names.toPlainText() == ""
    assert again.classifier.vocabulary.name == "microscopy"
    again.release()


def test_a_clip_is_chosen_again_and_examples_that_are_gone_are_not(
    viewer: Any, options: Any, tmp_path: Path
) -> None:
    file = tmp_path / "mine.pt"
    clip = {"classifier": "clip", "name": f"ViT-B-16/{file}", "file": str(file), "names": "road"}
    file.write_bytes(b"")
    options(json.dumps({"Classes": {"entries": clip}}))
    chosen = ClassesWidget(viewer)
    assert chosen.classifier.entries() == {key: clip[key] for key in ("classifier", "name", "file")}
    assert chosen.names.names == ("road",)
    chosen.release()
    options(json.dumps({"Classes": {"entries": {"classifier": "examples", "names": "a"}}}))
    gone = ClassesWidget(viewer)
    assert "last until napari is closed" in gone.status.value
    assert gone.classifier.kind.value == "vocabulary"
    assert gone.names.names == ()
    gone.release()


@pytest.mark.parametrize(
    "strange",
    [
        5, [], {"names": ["a"]}, {"classifier": "guess", "name": "x", "file": "", "names": "a"},
        {"classifier": "vocabulary", "name": 5, "file": "\0", "names": 7},
        {"classifier": [], "name": "microscopy", "file": {}, "names": "a"},
    ],
)  # fmt: skip
def test_names_of_another_version_are_left_out(viewer: Any, options: Any, strange: Any) -> None:
    options(json.dumps({"Classes": {"entries": strange, "threshold": 0.3}}))
    widget = ClassesWidget(viewer)
    assert widget.names.names == ()
    assert widget.classifier.vocabulary.name == "microscopy"
    assert widget.panel.threshold == 0.3
    widget.release()


@pytest.mark.parametrize("threshold", [None, "much", 7.0, True])
def test_a_threshold_that_is_none_is_auto(classes_widget: ClassesWidget, threshold: Any) -> None:
    classes_widget.restore({"threshold": threshold})
    assert classes_widget.panel.threshold == "auto"


def test_options_of_another_version_are_taken_where_they_fit(
    viewer: Any, options: Any, opened_movie: Any
) -> None:
    strange = {
        "threshold": 0.4, "views": 3, "resolutions": "many", "fill_holes": "no", "device": "tpu",
        "memory": -1, "min_area": 3.5, "scale": [1], "weights": {"a": 1}, "of_the_future": 1,
    }  # fmt: skip
    options(json.dumps({"Cells and nuclei": strange, "Later": {}}))
    widget = EntitiesWidget(viewer)
    widget.reset_choices()
    assert widget.check() == napari_kindred.EntityConfig(axes="TYX", threshold=0.4)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"Cells and nuclei": 5}', b"\xff"])
def test_a_damaged_file_is_told_in_one_sentence_and_the_next_run_mends_it(
    viewer: Any, own_settings: Path, threshold: Any, until: Any, content: bytes, opened_movie: Any
) -> None:
    place().write_bytes(content)
    widget = EntitiesWidget(viewer, segment=threshold)
    viewer.window.add_dock_widget(widget, name="Cells and nuclei")
    assert widget.status.value == DAMAGED
    widget.form.inputs["min_area"].value = 40
    widget.run.native.click()
    until(lambda: not widget.controls.busy)
    assert load_options("Cells and nuclei") == ({"min_area": 40}, "")


def test_where_nothing_can_be_kept_the_run_goes_on(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    widget: EntitiesWidget,
    run: Any,
    opened_movie: Any,
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("NAPARI_KINDRED_CONFIG", str(tmp_path / "file"))
    run()
    assert "Found 23 objects" in widget.status.value
