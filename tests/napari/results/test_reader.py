"""How napari finds the plugin that opens a saved result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from napari._qt.widgets.qt_extension2reader import Extension2ReaderTable
from napari.errors import MultipleReaderError
from napari.layers import Labels
from napari.settings import get_settings

from napari_kindred._napari.results.reader import write

if TYPE_CHECKING:
    from pathlib import Path


def test_with_the_pattern_that_the_pages_name_napari_does_not_ask_which_plugin_opens_a_result(
    viewer: Any, tmp_path: Path
) -> None:
    data, about, _ = Labels(np.eye(4, dtype=np.uint8), name="mine").as_layer_data_tuple()
    (place,) = write(str(tmp_path / "mine"), data, about)
    get_settings().plugins.extension2reader = {}
    with pytest.raises(MultipleReaderError):  # where the window asks
        viewer.open(place, plugin=None)
    table = Extension2ReaderTable()
    table._fn_pattern_edit.setText("*.ome.zarr/")
    offered = table._new_reader_dropdown
    assert "napari-kindred" in [offered.itemData(place) for place in range(offered.count())]
    get_settings().plugins.extension2reader = {"*.ome.zarr/": "napari-kindred"}
    (layer,) = viewer.open(place, plugin=None)
    assert layer.name == "mine"
    np.testing.assert_array_equal(layer.data, np.eye(4))


def test_a_result_saved_from_the_window_opens_as_one_without_a_question(
    viewer: Any, tmp_path: Path
) -> None:
    get_settings().plugins.extension2reader = {}
    data, about, _ = Labels(np.eye(4, dtype=np.uint8), name="mine").as_layer_data_tuple()
    (place,) = write(str(tmp_path / "mine"), data, about)
    (layer,) = viewer.open(place, plugin=None)
    assert (layer.name, type(layer).__name__) == ("mine", "Labels")


def test_a_reader_that_the_user_chose_stays(viewer: Any, tmp_path: Path) -> None:
    get_settings().plugins.extension2reader = {"*.zarr/": "napari"}
    data, about, _ = Labels(np.eye(4, dtype=np.uint8), name="mine").as_layer_data_tuple()
    write(str(tmp_path / "mine"), data, about)
    assert get_settings().plugins.extension2reader == {"*.zarr/": "napari"}
