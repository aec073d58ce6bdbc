"""Two results side by side: what differs is outlined, listed and gone to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_kindred._napari.common.layers import KEY
from napari_kindred._napari.results.compare_layers import add_outlines, is_comparison, show_change
from napari_kindred._napari.results.compare_widget import CompareWidget
from napari_kindred.results.compare import CHANGED, ONLY_A, ONLY_B, compare

if TYPE_CHECKING:
    from collections.abc import Callable

PLACED: dict[str, Any] = {
    "axis_labels": ("t", "y", "x"),
    "scale": (10, 0.5, 0.5),
    "translate": (0, 100, 200),
}


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    """Three frames (3, 40, 60): in the second a thing moved, in the last one went, another came."""
    before = np.zeros((3, 40, 60), np.int32)
    before[:, 4:14, 4:14], before[:, 20:30, 40:50] = 1, 2
    after = before.copy()
    after[1, 4:14, 4:14] = 0
    after[1, 4:14, 8:18] = 1
    after[2][after[2] == 2] = 0
    after[2, 22:32, 5:15] = 3
    return before, after


@pytest.fixture
def widget(viewer: Any) -> CompareWidget:
    widget = CompareWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Compare results")
    return widget


@pytest.fixture
def compared(
    viewer: Any,
    widget: CompareWidget,
    pair: tuple[np.ndarray, np.ndarray],
    until: Callable[..., None],
) -> CompareWidget:
    viewer.add_labels(pair[0], name="old", **PLACED)
    viewer.add_labels(pair[1], name="new", **PLACED)
    widget.compare.native.click()
    until(lambda: widget.changes is not None)
    return widget


def test_what_differs_is_told_listed_and_outlined(
    viewer: Any, compared: CompareWidget, pair: tuple[np.ndarray, np.ndarray]
) -> None:
    told = "4 unchanged, 1 changed, 1 only in 'old', 1 only in 'new'. In 2 of 3 frames."
    assert compared.status.value == told
    rows = [
        [compared.table.item(row, column).text() for column in range(5)]
        for row in range(compared.table.rowCount())
    ]
    assert rows == [
        [CHANGED, "1", "1", "1", "43 %"],
        [ONLY_A, "2", "2", "", ""],
        [ONLY_B, "2", "", "3", ""],
    ]
    overlay = compared.overlay
    assert is_comparison(overlay)
    assert overlay.name == "old → new"
    assert viewer.layers[-1] == overlay
    np.testing.assert_array_equal(overlay.scale, (10, 0.5, 0.5))
    drawn = np.asarray(overlay.data)
    assert [np.unique(frame).tolist() for frame in drawn] == [[0], [0, 1], [0, 2, 3]]
    assert (drawn[1] == 1).sum() == 36
    np.testing.assert_array_equal(viewer.layers["old"].data, pair[0])  # both stay as they are
    np.testing.assert_array_equal(viewer.layers["new"].data, pair[1])


def test_next_and_previous_move_the_viewer_to_each_difference(
    viewer: Any, compared: CompareWidget
) -> None:
    centres = [(1, 8.5, 12.5), (2, 24.5, 44.5), (2, 26.5, 9.5)]
    for number in (0, 1, 2, 0):
        compared.next.native.click()
        frame, y, x = centres[number]
        assert viewer.dims.point[0] == 10 * frame
        np.testing.assert_allclose(viewer.scene.camera.center[-2:], (100 + y / 2, 200 + x / 2))
        assert compared.table.currentRow() == number
        assert compared.status.value.startswith(f"{number + 1} of 3: ")
    compared.previous.native.click()
    assert "3 is only in B" in compared.status.value
    assert viewer.layers["new"].selected_label == 3
    compared.table.cellClicked.emit(1, 0)
    assert "2 is only in A" in compared.status.value
    assert viewer.layers["old"].selected_label == 2


def test_keys_go_from_difference_to_difference_and_are_given_back(
    viewer: Any, compared: CompareWidget
) -> None:
    bound = {str(key): action for key, action in viewer.keymap.items()}
    bound["Alt+Down"](viewer)
    assert compared.status.value.startswith("1 of 3")
    bound["Alt+Up"](viewer)
    assert compared.status.value.startswith("3 of 3")
    compared._closed()
    assert not {"Alt+Down", "Alt+Up"} & {str(key) for key in viewer.keymap}


def test_comparing_again_replaces_the_outlines_and_nothing_else(
    viewer: Any, compared: CompareWidget, until: Callable[..., None]
) -> None:
    compared.same.value = 0.5
    first = compared.overlay
    compared.changes = None
    compared.compare.native.click()
    until(lambda: compared.changes is not None)
    assert [layer.name for layer in viewer.layers] == ["old", "new", "old → new"]
    assert compared.overlay is not first


def test_equal_results_get_a_sentence_and_no_layer(
    viewer: Any,
    widget: CompareWidget,
    pair: tuple[np.ndarray, np.ndarray],
    until: Callable[..., None],
) -> None:
    for name in ("one", "two"):
        viewer.add_labels(pair[0].copy(), name=name)
    widget.compare.native.click()
    until(lambda: widget.changes is not None)
    assert widget.status.value == "No difference: all 6 things are the same in both."
    assert len(viewer.layers) == 2
    widget.next.native.click()
    assert widget.overlay is None


def test_what_cannot_be_compared_is_said_before_it_is_tried(
    viewer: Any, widget: CompareWidget, pair: tuple[np.ndarray, np.ndarray]
) -> None:
    assert "Choose two results" in widget.status.value
    assert not widget.compare.enabled
    viewer.add_labels(pair[0], name="stack")
    viewer.add_labels(pair[1][0], name="picture")
    assert "different images" in widget.status.value
    assert not widget.compare.enabled


@pytest.mark.parametrize("kinds", ["clusters", "classes"])
def test_a_number_per_thing_beside_a_number_per_kind_is_told_of_before_and_after(
    viewer: Any, widget: CompareWidget, until: Callable[..., None], kinds: str
) -> None:
    each, together = np.zeros((2, 1, 30, 30), np.int32)
    each[0, 2:8, 2:8], each[0, 12:18, 2:8], each[0, 20:28, 20:28] = 1, 2, 3
    together[each > 0] = 1
    together[each == 3] = 2
    for data, name, method in ((together, "kinds", kinds), (each, "each", "entities")):
        viewer.add_labels(data, name=name, metadata={KEY: {"method": method}})
    why = (
        "'each' has one label per object, 'kinds' one for all objects of a kind, so only an "
        "object that is alone of its kind in a frame can be the same in both."
    )
    assert widget.status.value == f"{why} Press Compare."
    widget.compare.native.click()
    until(lambda: widget.changes is not None)
    assert widget.status.value.startswith("1 unchanged, ")  # the one that is alone of its kind
    assert widget.status.value.endswith(why)


def test_two_results_of_one_method_are_compared_without_more_words(
    viewer: Any, widget: CompareWidget, pair: tuple[np.ndarray, np.ndarray]
) -> None:
    for data in pair:
        viewer.add_labels(data, metadata={KEY: {"method": "entities"}})
    assert widget.status.value == "Press Compare."


def test_a_removed_result_is_told_of(viewer: Any, compared: CompareWidget) -> None:
    viewer.layers.remove("old")
    compared.next.native.click()
    assert "was removed" in compared.status.value


def test_large_stacks_are_drawn_when_they_are_looked_at(
    pair: tuple[np.ndarray, np.ndarray],
) -> None:
    viewer = ViewerModel()
    read = []

    class Lazy:
        """Labels that say which frames are read."""

        def __init__(self, data: np.ndarray) -> None:
            self.data, self.shape, self.dtype, self.ndim = data, data.shape, data.dtype, data.ndim

        def __getitem__(self, index: Any) -> np.ndarray:
            first = index[0] if isinstance(index, tuple) else index
            read.append(first)
            return self.data[index]

        def __array__(self, *_: Any, **__: Any) -> np.ndarray:
            raise AssertionError("read as a whole")

    first, second = (viewer.add_labels(Lazy(data)) for data in pair)  # type: ignore[arg-type]
    changes = compare(*pair)
    read.clear()
    layer = add_outlines(viewer, first, second, changes)
    read_before = list(read)
    np.asarray(layer.data[1])
    assert set(read[len(read_before) :]) == {1}
    show_change(viewer, second, changes.table.iloc[2])
    assert viewer.dims.point[0] == 2


def test_a_picture_without_frames_is_compared_too() -> None:
    viewer = ViewerModel()
    before, after = np.zeros((20, 30), int), np.zeros((20, 30), int)
    after[4:10, 4:12] = 5
    first, second = viewer.add_labels(before), viewer.add_labels(after)
    changes = compare(before, after)
    layer = add_outlines(viewer, first, second, changes)
    assert set(np.unique(np.asarray(layer.data))) == {0, 3}
    show_change(viewer, second, changes.table.iloc[0])
    np.testing.assert_allclose(viewer.scene.camera.center[-2:], (6.5, 7.5))
