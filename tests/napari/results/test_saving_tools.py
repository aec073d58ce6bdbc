"""A result saved and exported from the window."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from qtpy.QtWidgets import QFileDialog

from napari_kindred._napari.results import result_tools
from napari_kindred._napari.results.layer_storage import save_layer
from napari_kindred.load import load_segmentation
from napari_kindred.results.imports import load_outlines

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_one_result_is_saved_at_a_time(
    widget: Any,
    computed: Any,
    until: Any,
    movie: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gate = threading.Event()

    def held(layer: Any, path: Path, overwrite: bool) -> Path:
        gate.wait(60)
        return save_layer(layer, path, overwrite)

    monkeypatch.setattr(result_tools, "save_layer", held)
    keep = widget.more_tools
    computed(movie)
    keep.save_result(tmp_path / "kept.ome.zarr")
    assert not keep.save.enabled
    assert "is being saved" in str(keep.save.native.toolTip())
    gate.set()
    until(lambda: keep.save.enabled)
    assert "Saved " in widget.status.value


# -- files and tables -------------------------------------------------------------------------


def test_saving_asks_where_and_never_replaces_a_result(
    widget: Any,
    computed: Any,
    until: Any,
    movie: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    layer, offered = computed(movie), []

    def choose(_parent: Any, _title: str, name: str, _kinds: str) -> tuple[str, str]:
        offered.append(name)
        return str(tmp_path / "kept"), "OME-Zarr (*.ome.zarr)"

    monkeypatch.setattr(QFileDialog, "getSaveFileName", choose)
    widget.more_tools.save.native.click()
    assert offered == [str(tmp_path / f"{layer.name}.ome.zarr")]  # next to the image
    until(lambda: "Saved " in widget.status.value)
    np.testing.assert_array_equal(load_segmentation(tmp_path / "kept.ome.zarr").labels, layer.data)
    widget.more_tools.save.native.click()
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
        widget.more_tools.export.native.click()
        table = pd.read_csv(chosen[0])
        assert len(table) == rows
        assert "area [µm²]" in table
        assert "time [s]" in table
    assert table["count"].sum() == len(layer.features) - 1


def test_a_file_for_another_program_is_exported_as_the_dialog_says(
    widget: Any,
    computed: Any,
    until: Any,
    movie: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    layer = computed(movie)
    tools = widget.more_tools
    offered: list[str] = []

    def choose(*arguments: str) -> tuple[str, str]:
        offered[:] = [kind for kind in arguments[-1].split(";;") if kind in result_tools.EXPORTS]
        return str(tmp_path / "cells"), kind

    fitting = [kind for kind, entry in result_tools.EXPORTS.items() if not entry.of_tracks]
    for kind in fitting:
        monkeypatch.setattr(QFileDialog, "getSaveFileName", choose)
        tools.export.native.click()
        assert not tools.export.enabled
        until(lambda: tools.export.enabled)
        assert "Exported " in widget.status.value
        place = tmp_path / f"cells{result_tools.EXPORTS[kind].suffix}"
        assert str(place) in widget.status.value
        assert place.stat().st_size > 0
    assert offered == fitting  # tracks are of linked results only
    table = pd.read_csv(tmp_path / "cells.csv")
    assert len(table) == len(layer.features) - 1
    assert "intensity_mean" in table  # of the image that is open
    found = load_outlines(tmp_path / "cells.geojson", layer.data.shape, "TYX")
    np.testing.assert_array_equal(found.labels, layer.data)
    tools.export.native.click()
    until(lambda: "is there already" in widget.status.value)
