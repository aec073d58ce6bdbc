"""Picking a thing in one frame and seeing its kind in all, in a real napari window."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils._proxies import ReadOnlyWrapper
from napari.utils.interactions import mouse_press_callbacks, mouse_release_callbacks

from napari_kindred._napari.clusters.picks import picks_layer
from napari_kindred.clusters.model import HierarchicalClustering

if TYPE_CHECKING:
    from pathlib import Path

    from napari_kindred._napari.clusters.widget import ClustersWidget

WIDGET = "clusters_widget"


def click(viewer: Any, place: tuple[float, ...], modifiers: tuple[str, ...] = ()) -> None:
    """Press and release the left button at a place in the world, as the canvas reports it."""

    def event(kind: str) -> Any:
        about = {"button": 1, "pos": (5.0, 5.0), "position": place, "modifiers": modifiers}
        return ReadOnlyWrapper(SimpleNamespace(type=kind, **about))

    mouse_press_callbacks(viewer, event("mouse_press"))
    mouse_release_callbacks(viewer, event("mouse_release"))


def at(mask: np.ndarray) -> tuple[float, ...]:
    """Return the place of the first pixel of a mask."""
    return tuple(float(value) for value in np.argwhere(mask)[0])


def test_a_click_shows_a_kind_in_every_frame(
    widget: ClustersWidget, run: Any, viewer: Any, steps: np.ndarray, opened_steps: Any
) -> None:
    layer, picker = run(), widget.panel.picker
    truth = layer.data == layer.data[0][steps[0] == 250][0]
    click(viewer, at(truth))
    assert picks_layer(viewer, layer) is None  # the button is not down

    picker.pick.native.click()
    click(viewer, at(truth))
    shown = picks_layer(viewer, layer)
    np.testing.assert_array_equal(shown.data > 0, truth)
    assert "pick 1" in widget.status.value
    assert not layer.visible
    assert widget.panel.layer is layer

    picker.wider.native.click()
    wider = shown.data > 0
    assert (wider & ~truth).any()
    assert wider[truth].all()
    picker.narrower.native.click()
    np.testing.assert_array_equal(shown.data > 0, truth)

    other = layer.data == layer.data[~truth][0]
    click(viewer, at(other), ("Shift",))
    assert (shown.data[truth | other] == 1).all()


def test_picks_have_names_that_are_saved_with_the_model(
    widget: ClustersWidget,
    run: Any,
    viewer: Any,
    steps: np.ndarray,
    opened_steps: Any,
    tmp_path: Path,
) -> None:
    layer, picker = run(), widget.panel.picker
    truth = layer.data == layer.data[0][steps[0] == 250][0]
    picker.pick_at(at(truth))
    picker.pick_at(at(layer.data == layer.data[~truth][0]))
    assert list(picker.picks) == ["pick 1", "pick 2"]
    picker.name.value = "pick 1"
    picker.rename()
    assert "already" in widget.status.value
    picker.remove.native.click()
    picker.name.value = "bright"
    picker.name.native.editingFinished.emit()
    assert picks_layer(viewer, layer).features["name"].tolist() == ["background", "bright"]

    widget.save_model(path=tmp_path / "kinds.safetensors")
    assert set(HierarchicalClustering.load(tmp_path / "kinds.safetensors").examples_) == {"bright"}
    viewer.add_image(steps[:, ::-1], name="turned", axis_labels=("t", "y", "x"))
    widget.image.value = viewer.layers["turned"]
    found = run(widget.apply)
    np.testing.assert_array_equal(picks_layer(viewer, found).data > 0, truth[:, ::-1])

    picker.remove.native.click()
    assert picks_layer(viewer, found) is None
    assert found.visible
