"""What napari is told about the plugin is true."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from npe2 import PluginManifest
from npe2.manifest.utils import import_python_name

import napari_kindred
from napari_kindred.images.samples import SAMPLES, open_sample

MANIFEST = Path(napari_kindred.__file__).with_name("napari.yaml")


@pytest.fixture
def manifest() -> PluginManifest:
    return PluginManifest.from_file(MANIFEST)


def test_the_manifest_is_valid_and_every_command_can_be_imported(manifest: PluginManifest) -> None:
    manifest.validate_imports()
    for command in manifest.contributions.commands:
        assert callable(import_python_name(command.python_name))


def test_every_sample_is_offered_and_no_other(manifest: PluginManifest) -> None:
    offered = {sample.key: sample.display_name for sample in manifest.contributions.sample_data}
    assert offered == {name: sample.title for name, sample in SAMPLES.items()}


def test_every_widget_is_found_in_the_layers_menu(manifest: PluginManifest) -> None:
    menus = manifest.contributions.menus
    found = {name: [entry.command for entry in entries] for name, entries in menus.items()}
    assert found == {
        "napari/layers/segment": ["napari-kindred.entities", "napari-kindred.clusters"],
        "napari/layers/classify": ["napari-kindred.classes"],
        "napari/layers/measure": ["napari-kindred.compare"],
    }
    widgets = [widget.command for widget in manifest.contributions.widgets]
    assert widgets == [command for commands in found.values() for command in commands]


def test_the_manifest_at_the_root_is_the_packages() -> None:
    root = Path(__file__).parents[2]
    text = (root / "napari.yaml").read_text("utf-8")
    # A checkout without symbolic links, as on Windows, has the path in a link's place.
    followed = text if "\n" in text else (root / text).read_text("utf-8")
    assert followed == MANIFEST.read_text("utf-8")


@pytest.mark.parametrize("name", list(SAMPLES))
def test_a_sample_opens_in_the_viewer_with_its_truth_on_top_of_it(
    make_napari_viewer: Any, name: str
) -> None:
    viewer = make_napari_viewer()
    viewer.open_sample("napari-kindred", name)
    sample = open_sample(name)
    layer = viewer.layers[name]
    np.testing.assert_array_equal(layer.data, sample.data)
    assert layer.rgb == ("S" in sample.axes)
    if sample.truth is not None:
        truth = viewer.layers[f"{name} truth"]
        assert truth.data.shape == layer.data.shape
        assert not truth.visible
        np.testing.assert_array_equal(truth.scale, layer.scale)
        assert truth.units == layer.units


def test_naparis_menu_opens_the_widget_with_the_viewer_in_it(make_napari_viewer: Any) -> None:
    viewer = make_napari_viewer()
    _, widget = viewer.window.add_plugin_dock_widget("napari-kindred", "Cells and nuclei")
    viewer.open_sample("napari-kindred", "phase")
    assert widget.image.value.name == "phase"
    assert widget.axes.value == "TYX"
    assert widget.run.enabled


def test_what_was_entered_and_chosen_stays_when_layers_come_and_go(make_napari_viewer: Any) -> None:
    viewer = make_napari_viewer()
    _, widget = viewer.window.add_plugin_dock_widget("napari-kindred", "Cells and nuclei")
    for name in ("a", "b"):
        viewer.add_image(np.zeros((5, 32, 32)), name=name)
    widget.image.value = next(c for c in widget.image.choices if c.name == "b")
    widget.axes.value = "ZYX"
    viewer.add_image(np.zeros((32, 32)), name="c")
    viewer.layers["b"].name = "renamed"
    assert widget.image.value.name == "renamed"
    viewer.layers.remove("a")
    assert widget.image.value.name == "renamed"
    assert widget.axes.value == "ZYX"
    viewer.layers.remove("renamed")
    assert widget.image.value.name == "c"
    assert widget.axes.value == "YX"
