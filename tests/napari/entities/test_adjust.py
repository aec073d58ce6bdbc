"""Options that need no network change the result at once, and a preview shows a part of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_kindred._napari.common.layers import KEY
from napari_kindred._napari.entities.widget import EntitiesWidget
from napari_kindred.images.samples import open_sample

if TYPE_CHECKING:
    from collections.abc import Callable

WIDGET = "real_widget"


@pytest.fixture
def real_widget(viewer: Any) -> EntitiesWidget:
    """The widget with the network; at a given scale, which is faster."""
    widget = EntitiesWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Cells and nuclei")
    widget.form.inputs["scale"].value = "1.5"
    return widget


@pytest.fixture
def picture(viewer: Any) -> Any:
    pixels = np.asarray(open_sample("nuclei").data[0])[:96, :128]
    return viewer.add_image(pixels, name="nuclei", scale=(0.5, 0.5), units=("um", "um"))


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From now on, a network that is asked for is an error."""

    def forbid() -> None:
        monkeypatch.setattr("napari_kindred.entities.segment.iter_dense", None)

    return forbid


def areas(layer: Any) -> np.ndarray:
    return np.bincount(np.asarray(layer.data).ravel())[1:]


def test_area_and_threshold_change_the_result_without_the_network(
    viewer: Any, widget: Any, picture: Any, run: Any, until: Any, no_network: Any
) -> None:
    layer = run()
    found, before = len(areas(layer)), np.count_nonzero(layer.data)
    assert areas(layer).min() < 60
    no_network()
    widget.form.inputs["min_area"].value = 60
    until(lambda: areas(layer).min() >= 60)
    until(lambda: not widget.busy)
    assert viewer.layers[-1] is layer
    assert len(viewer.layers) == 2
    assert len(areas(layer)) == len(layer.features) - 1 < found
    assert layer.metadata[KEY]["config"]["min_area"] == 60
    widget.form.inputs["threshold"].value = 0.3
    widget.form.inputs["min_area"].value = 12
    until(lambda: np.count_nonzero(layer.data) > before and not widget.busy)
    entry = layer.metadata[KEY]
    assert entry["config"]["threshold"] == 0.3
    assert entry["scale_used"] == 1.5
    assert "edited" not in entry
    assert "Found" in widget.status.value


def test_what_was_corrected_is_not_changed(
    viewer: Any, widget: Any, picture: Any, run: Any, until: Any
) -> None:
    layer = run()
    layer.data_setitem((np.array([0, 1]), np.array([0, 0])), 7)
    before = np.asarray(layer.data).copy()
    widget.form.inputs["min_area"].value = 60
    until(lambda: "corrected by hand" in widget.status.value)
    np.testing.assert_array_equal(layer.data, before)


def test_results_stay_if_other_options_differ_or_the_user_says_so(
    viewer: Any, widget: Any, picture: Any, run: Any, qtbot: Any
) -> None:
    layer = run()
    before = np.asarray(layer.data).copy()
    widget.form.inputs["scale"].value = "1.0"
    widget.form.inputs["min_area"].value = 60
    qtbot.wait(500)
    widget.form.inputs["scale"].value = "1.5"
    widget.adjusts.value = False
    widget.form.inputs["min_area"].value = 80
    qtbot.wait(500)
    assert not widget.busy
    np.testing.assert_array_equal(layer.data, before)


def test_a_preview_of_a_drawn_part_follows_the_options_and_goes_with_the_run(
    viewer: Any, widget: Any, picture: Any, run: Any, until: Any, no_network: Any
) -> None:
    corners = np.array([[10, 20], [10, 79], [69, 79], [69, 20]]) * 0.5  # in micrometres
    viewer.add_shapes([corners], shape_type="rectangle", name="part")
    run(widget.preview)
    preview = viewer.layers["nuclei preview"]
    assert preview.data.shape == (60, 60)
    np.testing.assert_allclose(preview.data_to_world((0, 0)), (5, 10))
    assert "Preview of 60 × 60 pixels" in widget.status.value
    assert viewer.layers.selection.active.name == "part"
    no_network()
    count = len(np.unique(preview.data))
    widget.form.inputs["min_area"].value = 200
    until(lambda: len(np.unique(viewer.layers["nuclei preview"].data)) < count)
    until(lambda: not widget.busy)


def test_a_run_takes_the_place_of_its_preview_and_of_the_last_result(
    viewer: Any, widget: Any, picture: Any, run: Any
) -> None:
    run(widget.preview)
    assert "nuclei preview" in viewer.layers
    first = run()
    assert "nuclei preview" not in viewer.layers
    widget.form.inputs["scale"].value = "1.0"
    widget.replaces.value = True
    second = run()
    assert first not in viewer.layers
    assert second.name == "nuclei entities"
    assert len(viewer.layers) == 2
    second.data_setitem((np.array([0, 1]), np.array([0, 0])), 7)
    third = run()
    assert second in viewer.layers
    assert "stays, because you have corrected it" in widget.status.value
    assert third in viewer.layers


def test_a_circle_shows_the_diameter(
    viewer: Any, widget: Any, picture: Any, run: Any, until: Any
) -> None:
    widget.circle.native.click()
    assert "No diameter was measured or entered yet" in widget.status.value
    widget.form.inputs["scale"].value = "auto"
    widget.form.inputs["diameter"].value = "10 um"
    widget.circle.native.click()
    (corners,) = viewer.layers["diameter"].data
    np.testing.assert_allclose(np.ptp(corners, axis=0), 20, atol=0.1)  # pixels of half a micrometre
    widget.circle.native.click()
    assert "diameter" not in viewer.layers
    widget.form.inputs["diameter"].value = ""
    widget.preview.native.click()
    until(lambda: not widget.busy)
    widget.circle.native.click()
    (corners,) = viewer.layers["diameter"].data
    assert f"{np.ptp(corners, axis=0)[0]:.0f} pixels across" in widget.status.value
    widget.circle.native.click()
    layer = run()
    widget.circle.native.click()
    (corners,) = viewer.layers["diameter"].data
    measured = layer.metadata[KEY]["typical_diameter"]
    np.testing.assert_allclose(np.ptp(corners, axis=0), measured, rtol=0.01)
